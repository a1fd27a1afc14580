"""The type of a measured number."""

from typing import TypedDict

LEVEL = 0.95  # of every interval


class Measured(TypedDict):
    """A number with its 95 % interval; the ends are None where there is none."""

    value: float
    low: float | None
    high: float | None
