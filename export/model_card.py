"""`MODEL_CARD.md`: the metadata as a page for people."""

import jinja2


def render(metadata, verification):
    """Returns the model card as Markdown.

    Args:
        metadata: Dict as in `metadata.json`.
        verification: Dict as in `verification.json`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown; a bar alone would end a cell
    )
    environment.filters |= {"rate": _rate, "percent": _percent, "cell": lambda text: str(text).replace("|", "\\|")}
    variants = {"float32": metadata, **metadata["variants"]}
    return environment.get_template("model_card.jinja").render(
        metadata=metadata, variants=variants, verification=verification
    )


_FOLDER = __file__.removesuffix("model_card.py") + "templates"


def _rate(value):
    return "-" if value is None else f"{value:.3f}"


def _percent(value):
    return "-" if value is None else f"{value:.1%}"
