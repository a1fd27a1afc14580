"""Confidence over the plane, and the linear regions of the network, for data of two numbers."""

import numpy as np

from keras_acet import theory
from keras_acet._prediction import as_float, confidence_of

RANGES = ((0, 1), (-2, 3), (-5, 6), (-10, 10))  # those that the authors' notebook draws
_SIZE = 200
_NUM_PARTS = 8  # 45,000 points at a time
_FINE = 600  # regions are thin: two points beside each other are told apart


def confidence_maps(classifier, data):
    """Computes the confidence at `200 x 200` points of each of four squares, the last far outside the data.

    Args:
        classifier: `classifiers.Classifier` for points of the plane.
        data: `datasets.Data` of shape `(2,)`.

    Returns:
        dict from "maps/[low,high]" to a float32 array `(200, 200)`, row 0 at the lowest second coordinate; and
        "test_points" and "test_labels".
    """
    arrays = {"test_points": as_float(data.test_images), "test_labels": data.test_labels}
    for low, high in RANGES:
        points = _grid(low, high, _SIZE)
        arrays[f"maps/[{low},{high}]"] = confidence_of(classifier.logits(points)).reshape(_SIZE, _SIZE)
    return arrays


def region_maps(network):
    """Numbers the linear regions of a network at `600 x 600` points of each of the same squares.

    Args:
        network: `keras.Model` for points of the plane.

    Returns:
        dict from "regions/[low,high]" to an int array `(600, 600)`, row 0 at the lowest second coordinate. Points have
        one number if all ReLUs have one sign there, which is where the network is one affine map.

    Raises:
        TypeError, ValueError: If the network is not made of what `theory.PiecewiseAffine` lists.
    """
    network = theory.PiecewiseAffine(network)
    arrays = {}
    for low, high in RANGES:
        parts = np.split(_grid(low, high, _FINE), _NUM_PARTS)
        sums = np.concatenate([_random_sums(theory.activation_pattern(network, points)) for points in parts])
        arrays[f"regions/[{low},{high}]"] = np.unique(sums, return_inverse=True)[1].reshape(_FINE, _FINE)
    return arrays


def _random_sums(patterns):
    """A number for each pattern, modulo 2^64.

    That two of a million patterns of ReLUs have the same has a chance of 3e-8; of maxima over windows of 9, of 8 times
    that, where patterns differ by even indices alone.
    """
    return patterns @ np.random.default_rng(0).integers(-(2**63), 2**63, patterns.shape[1])


def _grid(low, high, size):
    axis = np.linspace(low, high, size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
