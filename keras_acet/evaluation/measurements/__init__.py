"""The measurements of an evaluation: each has a file of this folder, of its name, and a line below, in report order.

A measurement of your own is a subclass of `Measurement`; put an object of it into the list that `evaluate` takes.
"""

from collections.abc import Iterable, Sequence

from keras_acet._checks import did_you_mean
from keras_acet._registry import members
from keras_acet.datasets import Data
from keras_acet.evaluation.protocol import Protocol

# isort: off
from keras_acet.evaluation.measurements.base import Measurement as Measurement
from keras_acet.evaluation.measurements.test_set import TestSet as TestSet
from keras_acet.evaluation.measurements.calibration import Calibration as Calibration
from keras_acet.evaluation.measurements.out_distribution import OutDistribution as OutDistribution
from keras_acet.evaluation.measurements.noise import Noise as Noise
from keras_acet.evaluation.measurements.worst_case_noise import WorstCaseNoise as WorstCaseNoise
from keras_acet.evaluation.measurements.certificates import Certificates as Certificates
from keras_acet.evaluation.measurements.larger_radius import LargerRadius as LargerRadius
from keras_acet.evaluation.measurements.interval_bounds import IntervalBounds as IntervalBounds
from keras_acet.evaluation.measurements.attacked_out_distribution import (
    AttackedOutDistribution as AttackedOutDistribution,
)
from keras_acet.evaluation.measurements.adversarial_samples import AdversarialSamples as AdversarialSamples
from keras_acet.evaluation.measurements.alpha_scaling import AlphaScaling as AlphaScaling
from keras_acet.evaluation.measurements.exact_alpha import ExactAlpha as ExactAlpha
from keras_acet.evaluation.measurements.plane import Plane as Plane
# isort: on

_MEASUREMENTS = members(vars(), Measurement)  # type: ignore[type-abstract]  # mypy takes no abstract class for a type


def names() -> list[str]:
    """Lists the names of the measurements of this package, in the order of the report.

    >>> names()[:3]
    ['test_set', 'calibration', 'out_distribution']
    """
    return list(_MEASUREMENTS)


def build(name: str) -> Measurement:
    """Makes a measurement by its name, with all settings open.

    Raises:
        ValueError: If there is no measurement of this name.
    """
    if name not in _MEASUREMENTS:
        near = did_you_mean(name, _MEASUREMENTS)
        raise ValueError(f"A measurement must be one of {sorted(_MEASUREMENTS)}. Received: {name!r}.{near}")
    return _MEASUREMENTS[name]()


def defaults(
    protocol: Protocol, data: Data, *, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> list[Measurement]:
    """Lists the measurements of an evaluation for which the caller names none.

    Args:
        protocol: `Protocol`, whose numbers open settings get; a number of zero leaves a measurement out.
        data: `datasets.Data`.
        only: Names of those to measure; none for all that are usual.
        skip: Names of those to leave out.

    Returns:
        List of `Measurement`, to be shortened or extended.

    Raises:
        ValueError: If there is no measurement of a name, or none is left.

    Example:

    >>> from keras_acet import datasets
    >>> [one.name for one in defaults(Protocol(), datasets.load("moons"), skip=["calibration"])][:3]
    ['test_set', 'out_distribution', 'noise']
    """
    chosen = {name: build(name) for name in [*only, *skip]}
    for name, kind in _MEASUREMENTS.items():
        if not only and kind.is_default(protocol, data):
            chosen.setdefault(name, kind())
    kept = [chosen[name] for name in _MEASUREMENTS if name in chosen and name not in skip]
    if not kept:
        raise ValueError(f"Nothing is left to measure: `skip` leaves out all that was chosen, {', '.join(chosen)}.")
    return kept


def resolved(measurements: Iterable[Measurement | str], protocol: Protocol, data: Data) -> list[Measurement]:
    """Fills in the settings that were left open.

    Args:
        measurements: What is to be measured: objects, or names of `names()`.
        protocol: `Protocol` for these data.
        data: `datasets.Data`.

    Returns:
        List of `Measurement`, one for each set.

    Raises:
        TypeError: If one of them is neither.
        ValueError: If there is no measurement of a name.
    """
    chosen: list[Measurement] = []
    if isinstance(measurements, str | Measurement | type):
        raise TypeError(f"`measurements` must be a list, such as ['test_set', 'noise']. Received: {measurements!r}.")
    for one in measurements:
        one = build(one) if isinstance(one, str) else one
        if not isinstance(one, Measurement):
            raise TypeError(
                "`measurements` must be names such as 'noise' or objects such as evaluation.measurements.Noise(), in "
                f"a list. Received: {one!r}."
            )
        chosen += one.resolved(protocol, data)
    return chosen
