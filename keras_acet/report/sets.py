"""The sets of a result: what they are called, and where the runs meet."""

from keras_acet.report.formatting import SPACE

KINDS = [
    "test",
    "ood",
    "noise",
    "adversarial_noise",
    "worst_case_noise",
    "worst_case_ood",
    "adversarial_samples",
]


def key(row):
    """What makes rows of several runs the same set."""
    return row["kind"], row["set"], row["radius"]


def label(row):
    """The set's name for a reader.

    >>> label({"kind": "worst_case_noise", "set": "noise", "radius": 0.3}).replace(SPACE, " ")
    'Worst-case Noise, radius .3'
    """
    names = {
        "test": "Test, in-distribution",
        "noise": "Noise",
        "adversarial_noise": "Adv. Noise",
        "worst_case_noise": "Worst-case Noise",
        "worst_case_ood": f"Worst-case {row['set'].removeprefix('worst-case ')}",
        "adversarial_samples": row["set"].replace("adversarial samples", "Adv. Samples"),
    }
    name = names.get(row["kind"], row["set"])
    return name if row["radius"] is None else f"{name}, radius{SPACE}{short(row['radius'])}"


def short(radius):
    """Text of a radius with three significant digits: `.3`, or `.0314` for 8/255."""
    return f"{radius:.3g}".removeprefix("0") or "0"


def all_sets(runs):
    """First row of every set that any of the runs has, in the order of the tables."""
    rows = {}
    for run in runs:
        for row in run["rows"]:
            rows.setdefault(key(row), row)
    return sorted(rows.values(), key=lambda row: KINDS.index(row["kind"]))


def find(run, wanted):
    """The run's row of the same set as `wanted`, or `None`."""
    return next((row for row in run["rows"] if key(row) == key(wanted)), None)


def rows_of(run, kind):
    """The run's rows of that kind that have numbers, the smallest radius first."""
    rows = [row for row in run["rows"] if row["kind"] == kind and row["n"]]
    return sorted(rows, key=lambda row: row["radius"] or 0)


def confidences(run, row, arrays):
    """The confidences of the row's images, or `None`.

    A name that two rows of a run share belongs to the first of them.
    """
    if row is None or next(other for other in run["rows"] if other["set"] == row["set"]) is not row:
        return None
    name = "test" if row["kind"] == "test" else row["set"]
    values = arrays.get(run["name"], {}).get(f"confidence/{name}")
    return values if values is not None and len(values) else None
