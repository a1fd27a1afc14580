"""The arrays that the figures of a report are drawn from, by set."""

import dataclasses

import numpy as np

from keras_acet.evaluation.results import SetKey


@dataclasses.dataclass(frozen=True)
class ShownImages:
    """Images of a set that a figure shows, the most confident first.

    Attributes:
        images: Float array `(k, ...)`, values in [0, 1].
        confidence: Float array `(k,)`.
        label: Integer array `(k,)`, the class that the classifier sees.
    """

    images: np.ndarray
    confidence: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class NoisePairs:
    """Noise images before and after an attack.

    Attributes:
        noise, attacked: Float arrays `(k, ...)`, values in [0, 1].
        noise_confidence, attacked_confidence: Float arrays `(k,)`.
    """

    noise: np.ndarray
    attacked: np.ndarray
    noise_confidence: np.ndarray
    attacked_confidence: np.ndarray


@dataclasses.dataclass(frozen=True)
class PlaneMaps:
    """Confidence and linear regions of a classifier on squares of the plane.

    Attributes:
        ranges: Pairs `(low, high)`: the squares.
        confidence: Float array `(len(ranges), size, size)`, row 0 at the lowest second coordinate.
        regions: Integer array `(len(ranges), size, size)`, numbers that tell linear regions apart; None if not known.
        test_points, test_labels: Arrays `(n, 2)` and `(n,)`.
    """

    ranges: tuple[tuple[float, float], ...]
    confidence: np.ndarray
    regions: np.ndarray | None
    test_points: np.ndarray
    test_labels: np.ndarray


@dataclasses.dataclass
class Arrays:
    """The arrays that the figures of one run are drawn from; a figure whose arrays are missing is left out.

    Attributes:
        confidence: By row, the confidence of its images, float array `(n,)`.
        score: By row, the score of its images, float array `(n,)`.
        shown: By row, some of its images.
        pairs: Noise before and after the attack.
        maps: Maps of the plane, if the data are points of the plane.
    """

    confidence: dict[SetKey, np.ndarray] = dataclasses.field(default_factory=dict)
    score: dict[SetKey, np.ndarray] = dataclasses.field(default_factory=dict)
    shown: dict[SetKey, ShownImages] = dataclasses.field(default_factory=dict)
    pairs: NoisePairs | None = None
    maps: PlaneMaps | None = None

    def add(self, other: "Arrays") -> None:
        """Adds the arrays of another object."""
        self.confidence |= other.confidence
        self.score |= other.score
        self.shown |= other.shown
        self.pairs = other.pairs or self.pairs
        self.maps = other.maps or self.maps
