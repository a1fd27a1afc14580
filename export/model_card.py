"""`MODEL_CARD.md`: the metadata as a page for people."""

from typing import Any

import jinja2

from keras_acet.report.formatting import markdown

from .metadata import Metadata


def render(metadata: Metadata, verification: dict[str, Any]) -> str:
    """Returns the model card as Markdown.

    Args:
        metadata: `metadata.Metadata`.
        verification: Dict as in `verification.json`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=markdown,
    )
    environment.filters |= {"rate": _rate, "percent": _percent, "texts": _texts}
    variants = {"float32": metadata, **metadata.variants}
    template = environment.get_template("model_card.jinja")
    return template.render(metadata=metadata, variants=variants, verification=verification).rstrip() + "\n"


_FOLDER = __file__.removesuffix("model_card.py") + "templates"


def _texts(values):
    """Each escaped on its own, before they are joined."""
    return [markdown(value) for value in values]


def _rate(value):
    return "-" if value is None else f"{value:.3f}"


def _percent(value):
    return "-" if value is None else f"{value:.1%}"
