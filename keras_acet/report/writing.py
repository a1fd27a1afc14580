"""Report files from results, arrays and history."""

import base64
import csv
import io
import json
import pathlib

from keras_acet.files import whole_file
from keras_acet.report import figures
from keras_acet.report.pages import render
from keras_acet.report.tables import MEASURED

SCHEMA_VERSION = 1


def write(results, arrays, history, directory):
    """Writes `report.md`, `report.html`, `figures/*.png`, `results.json` and `results.csv`.

    `report.html` is one file: styles and figures are inside, it has no script and asks no server for anything.
    `report.md` shows the same, with the figures beside it. Every file appears whole or not at all, the reports last.
    The same input gives the same bytes.

    Args:
        results: Dict of numbers, schema version 1, as described in `keras_acet.report`.
        arrays: Dict from run name to a dict of numpy arrays for the figures; what is missing leaves out its figure.
            `confidence/SET` of shape `(n,)`, in [0, 1], per set of the run's rows, `confidence/test` for the test set;
            `images/SET` `(k, height, width, channels)` in [0, 1], the most confident images of the set, with
            `images_confidence/SET` and `images_label/SET`, both `(k,)`; `pairs/noise` and `pairs/attacked`, images as
            above, with `pairs/noise_confidence` and `pairs/attacked_confidence`; for images of two numbers
            `maps/[LOW,HIGH]`, `(size, size)` confidences on that square, the first row at the bottom, with
            `test_points` `(n, 2)` and `test_labels` `(n,)`, and `regions/[LOW,HIGH]`, `(size, size)` numbers that tell
            linear regions apart.
        history: Dict from run name to a list of dicts, one per epoch, as in `metrics.csv`; may be empty.
        directory: Path of a directory; made when missing.

    Raises:
        ValueError: If `results` has another schema version, or a number that JSON does not have (NaN, infinity).
    """
    if results.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"`results` must have schema_version {SCHEMA_VERSION}, the one this release reads. "
            f"Received: {results.get('schema_version')!r}. Evaluate again to get results of this version."
        )
    directory = pathlib.Path(directory)
    files = {
        "results.json": json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
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
    for run in results["runs"]:
        for row in run["rows"]:
            line = {"run": run["name"], "method": run["method"], "model": run["kind"]}
            line |= {name: row[name] for name in ("kind", "set", "radius", "n", "note")}
            for name in MEASURED:
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    line[name + suffix] = (row.get(name) or {}).get(end)
            writer.writerow(line)
    return text.getvalue()
