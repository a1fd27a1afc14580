"""The sets of a result: their names for a reader, and which rows of several runs belong together."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_acet.evaluation.results import Row, RunResult, SetKey
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


def label(row: Row) -> str:
    """The set's name for a reader.

    >>> row = Row(kind="worst_case_noise", set="noise", radius=0.3, label="worst-case noise", n=0, note="")
    >>> label(row).replace(SPACE, " ")
    'Worst-case Noise, radius .3'
    """
    names = {
        "test": "Test, in-distribution",
        "ood": row.set,
        "noise": "Noise",
        "adversarial_noise": "Adv. Noise",
        "worst_case_noise": "Worst-case Noise",
        "worst_case_ood": f"Worst-case {row.set}",
        "adversarial_samples": f"Adv. Samples ({row.set})",
    }
    name = names.get(row.kind, row.label)
    return name if row.radius is None else f"{name}, radius{SPACE}{short(row.radius)}"


def short(radius: float) -> str:
    """Text of a radius with three significant digits: `.3`, or `.0314` for 8/255."""
    return f"{radius:.3g}".removeprefix("0") or "0"


def all_sets(runs: Sequence[RunResult]) -> list[Row]:
    """First row of every set that any of the runs has, in the order of the tables; kinds of one's own come last."""
    rows: dict[SetKey, Row] = {}
    for run in runs:
        for row in run.rows:
            rows.setdefault(row.key, row)
    return sorted(rows.values(), key=lambda row: KINDS.index(row.kind) if row.kind in KINDS else len(KINDS))


def find(run: RunResult, wanted: Row) -> Row | None:
    """The run's row of the same set as `wanted`, or `None`."""
    return next((row for row in run.rows if row.key == wanted.key), None)


def rows_of(run: RunResult, kind: str) -> list[Row]:
    """The run's rows of that kind that have numbers, the smallest radius first."""
    rows = [row for row in run.rows if row.kind == kind and row.n]
    return sorted(rows, key=lambda row: row.radius or 0)


def of_row(arrays: Mapping[SetKey, np.ndarray], row: Row | None) -> np.ndarray | None:
    """The array of the row's images, or `None` where there are none."""
    values = None if row is None else arrays.get(row.key)
    return values if values is not None and len(values) else None
