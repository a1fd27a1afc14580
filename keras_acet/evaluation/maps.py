"""Confidence over the plane, for data of two numbers."""

import numpy as np

from keras_acet.evaluation.prediction import as_float, confidence_of

RANGES = ((0, 1), (-2, 3), (-5, 6), (-10, 10))  # those that the authors' notebook draws
_SIZE = 200


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
        axis = np.linspace(low, high, _SIZE, dtype=np.float32)
        points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        arrays[f"maps/[{low},{high}]"] = confidence_of(classifier.logits(points)).reshape(_SIZE, _SIZE)
    return arrays
