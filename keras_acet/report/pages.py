"""The report's pages: one template for the text, and one per format for blocks (headings, tables, figures)."""

import re

import jinja2

from keras_acet.evaluation.results import Results
from keras_acet.report import tables
from keras_acet.report.figures.style import Figure
from keras_acet.report.formatting import markdown, number, percent
from keras_acet.report.sentences import certified, flat_shares, headline, held_out, not_known, success_rates
from keras_acet.typed_json import to_json


def render(kind: str, results: Results, figures: dict[str, Figure], sources: dict[str, str]) -> str:
    """The report as text.

    Args:
        kind: "html" or "markdown".
        results: As `keras_acet.report.write` takes them.
        figures: Dict from name to figure, in the order of the report.
        sources: Dict from name to the figure's address.

    Returns:
        A string. Names in `results` are escaped: no name is taken for Markdown or HTML.
    """
    environment = _environment(FINALIZE[kind])
    text = environment.get_template("report.jinja").render(
        blocks=f"{kind}.jinja", results=results, figures=figures, sources=sources
    )
    return text if kind == "html" else re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(finalize):
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_acet.report", "templates"),
        autoescape=True,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    functions = {
        f.__name__: f for f in (certified, flat_shares, headline, held_out, not_known, number, percent, success_rates)
    }
    environment.globals |= {"tables": tables, "text": functions, "to_json": to_json}
    return environment


FINALIZE = {"html": None, "markdown": markdown}
