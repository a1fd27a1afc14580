"""Confidence over the plane, and the linear regions of the network, for data of two numbers."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_acet import theory
from keras_acet._prediction import confidence_of
from keras_acet.classifiers import Classifier

RANGES = ((0, 1), (-2, 3), (-5, 6), (-10, 10))  # those that the authors' notebook draws
SIZE = 200
_NUM_PARTS = 8  # 45,000 points at a time
FINE = 600  # a finer grid, because linear regions are thin


def confidence_maps(classifier: Classifier, ranges: Sequence[tuple[float, float]] = RANGES) -> np.ndarray:
    """Computes the confidence at `200 x 200` points of each square of the plane.

    Args:
        classifier: `classifiers.Classifier` for points of the plane.
        ranges: Pairs `(low, high)`, the squares.

    Returns:
        float32 array `(len(ranges), 200, 200)`, row 0 at the lowest second coordinate.
    """
    maps = [confidence_of(classifier.logits(_grid(low, high, SIZE))).reshape(SIZE, SIZE) for low, high in ranges]
    return np.stack(maps)


def region_maps(
    network: keras.Model | theory.PiecewiseAffine, ranges: Sequence[tuple[float, float]] = RANGES
) -> np.ndarray:
    """Numbers the linear regions of a network at `600 x 600` points of each square of the plane.

    Args:
        network: `keras.Model` for points of the plane, or its `theory.PiecewiseAffine`.
        ranges: Pairs `(low, high)`, the squares.

    Returns:
        int32 array `(len(ranges), 600, 600)`, row 0 at the lowest second coordinate. Points of a square have one number
        if all ReLUs have one sign there, which is where the network is one affine map.

    Raises:
        TypeError, ValueError: If the network is not made of what `theory.PiecewiseAffine` lists.
    """
    if not isinstance(network, theory.PiecewiseAffine):
        network = theory.PiecewiseAffine(network)
    maps = []
    for low, high in ranges:
        parts = np.split(_grid(low, high, FINE), _NUM_PARTS)
        sums = np.concatenate([_random_sums(theory.activation_pattern(network, points)) for points in parts])
        maps.append(np.unique(sums, return_inverse=True)[1].reshape(FINE, FINE).astype(np.int32))
    return np.stack(maps)


def _random_sums(patterns):
    """Hashes each pattern to a number modulo 2^64, by a sum with random weights.

    The probability that two of a million different patterns of ReLUs collide is 3e-8; for maxima over windows of 9 it
    is 8 times that, because the indices of two patterns may differ by multiples of 8.
    """
    return patterns @ np.random.default_rng(0).integers(-(2**63), 2**63, patterns.shape[1])


def _grid(low, high, size):
    axis = np.linspace(low, high, size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
