"""`MODEL_CARD.md`: the metadata as a page for people."""

import re
from typing import Any

import jinja2

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
        autoescape=False,  # Markdown; a bar alone would end a cell
    )
    environment.filters |= {"rate": _rate, "percent": _percent, "cell": _cell}
    variants = {"float32": metadata, **metadata.variants}
    template = environment.get_template("model_card.jinja")
    return template.render(metadata=metadata, variants=variants, verification=verification).rstrip() + "\n"


_FOLDER = __file__.removesuffix("model_card.py") + "templates"


def _cell(text):
    """Text that stays one cell, and text, in Markdown."""
    text = re.sub(r"([\\`*_<>|\[\]])", r"\\\1", str(text))
    return " ".join(text.split())


def _rate(value):
    return "-" if value is None else f"{value:.3f}"


def _percent(value):
    return "-" if value is None else f"{value:.1%}"
