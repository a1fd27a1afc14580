"""Report files from results, arrays and history."""

import base64
import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_acet.evaluation import Arrays, Evaluation, Results
from keras_acet.evaluation import results as make_results
from keras_acet.evaluation.results import SCHEMA_VERSION
from keras_acet.files import whole_file
from keras_acet.report import figures
from keras_acet.report.formatting import csv_cell
from keras_acet.report.pages import render
from keras_acet.report.tables import MEASURED
from keras_acet.typed_json import from_json, to_json

History = list[dict[str, Any]]


def write_report(
    evaluations: Evaluation | Sequence[Evaluation], directory: str | os.PathLike, *, command: str | None = None
) -> None:
    """Writes the report of one evaluation, or of several classifiers side by side.

    Args:
        evaluations: What `evaluate` returned, or a list of what `evaluate_all` yielded.
        directory, command: As for `write` and `evaluation.results`.

    Raises:
        ValueError: If there is no evaluation, or two of them have the same name.
    """
    several = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    names = [one.result.name for one in several]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`evaluations` must be one or more, of different names. Received: {names}.")
    arrays = {one.result.name: one.arrays for one in several}
    write(make_results(several, command), arrays, {one.result.name: one.history for one in several}, directory)


def write(
    results: Results,
    arrays: Mapping[str, Arrays],
    history: Mapping[str, History],
    directory: str | os.PathLike,
) -> None:
    """Writes `report.md`, `report.html`, `figures/*.png`, `results.json` and `results.csv`.

    `report.html` is one file: styles and figures are inside, it has no script and asks no server for anything.
    `report.md` shows the same, with the figures beside it. Every file appears whole or not at all, the reports last.
    The same input gives the same bytes.

    Args:
        results: `evaluation.Results`; those of a file are read by `read_results`.
        arrays: Mapping from run name to `evaluation.Arrays` for the figures; what is missing leaves out its figure.
        history: Mapping from run name to a list of dicts, one per epoch, as in `metrics.csv`; may be empty.
        directory: Path of a directory; made when missing.

    Raises:
        ValueError: If there is a number in `results` that JSON does not have (NaN, infinity).
    """
    written = to_json(results)
    directory = pathlib.Path(directory)
    files = {
        "results.json": json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "results.csv": _csv(results),
    }
    drawn = figures.draw(results, arrays, history)
    in_files = {name: f"figures/{name}.png" for name in drawn}
    in_page = {name: "data:image/png;base64," + base64.b64encode(figure.png).decode() for name, figure in drawn.items()}
    files["report.md"] = render("markdown", results, drawn, in_files)
    files["report.html"] = render("html", results, drawn, in_page)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        _write(directory / in_files[name], figure.png)
    for name, text in files.items():
        _write(directory / name, text.encode())


def read_results(path: str | os.PathLike) -> Results:
    """Reads a `results.json`.

    Raises:
        ValueError: If it is of another schema version, or not what the schema says.
    """
    read = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    version = read.get("schema_version") if isinstance(read, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} must have schema_version {SCHEMA_VERSION}, the one this release reads. Received: {version!r}. "
            "Evaluate again to get results of this version."
        )
    return from_json(Results, read)


def _write(path, content):
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _csv(results):
    names = ["run", "method", "model", "kind", "set", "radius", "n"]
    for name in MEASURED:
        names += [name, f"{name}_low", f"{name}_high"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "note"], lineterminator="\n")
    writer.writeheader()
    for run in results.runs:
        for row in run.rows:
            line = {"run": run.name, "method": run.method, "model": run.kind}
            line |= {name: getattr(row, name) for name in ("kind", "set", "radius", "n", "note")}
            for name in MEASURED:
                measured = getattr(row, name)
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    line[name + suffix] = None if measured is None else getattr(measured, end)
            writer.writerow({name: csv_cell(value) for name, value in line.items()})
    return text.getvalue()
