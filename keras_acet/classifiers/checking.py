"""Checks that a classifier fits its data."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from keras_acet._prediction import as_float, logits_of
from keras_acet.classifiers.base import Classifier, one_line
from keras_acet.classifiers.origin import for_data
from keras_acet.datasets import Data

_NUM_CHECKED = 256
_SUM_TOLERANCE = 1e-3


AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


def check(classifier: AnyClassifier, data: Data) -> AnyClassifier:
    """Raises if a classifier does not fit the data, or does not give logits.

    Nothing is changed of the classifier; networks run in inference mode.

    Args:
        classifier: `Classifier`.
        data: `datasets.Data`; up to 256 of its test images are tried.

    Returns:
        The classifier; of a model whose logits have no gradient in the images, as after rounding, a copy that is noted
        as not differentiable.

    Raises:
        ValueError: If the shapes of the images or the numbers of classes differ; if the outputs are not finite; if they
            look like probabilities: none is negative, and each row sums to 1 within 1e-3.
    """
    classifier = for_data(classifier, data)
    shape, name = tuple(data.image_shape), classifier.name
    if not _fits(shape, classifier.image_shape):
        raise ValueError(
            f"{name} takes images of shape {classifier.image_shape}. Received: {data.name} with images of shape "
            f"{shape}. {_advice(classifier.image_shape, shape)}"
        )
    try:
        logits = classifier.logits(data.test_images[:_NUM_CHECKED])
        is_differentiable = classifier.is_differentiable and _has_gradient(classifier.network, data.test_images[:2])
    except Exception as error:  # a model can fail in any way
        raise ValueError(
            f"{name} must take images of shape {shape}, as {data.name} has them. It fails: {one_line(error)}"
        ) from error
    _check_logits(logits, name, data)
    if is_differentiable == classifier.is_differentiable:
        return classifier
    return classifier.replace(is_differentiable=is_differentiable)


def _check_logits(logits: np.ndarray, name: str, data: Data) -> None:
    if logits.ndim != 2 or logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} must give one logit for each of the {data.num_classes} classes of {data.name}. Received: outputs "
            f"of shape {logits.shape[1:]}. Name the data that it was trained on."
        )
    if not np.isfinite(logits).all():
        count = np.count_nonzero(~np.isfinite(logits).all(axis=1))
        raise ValueError(
            f"The logits of {name} must be finite. Received: {count} of {len(logits)} test images of {data.name} with "
            "NaN or infinity. Its weights are damaged, or training went astray."
        )
    if (logits >= 0).all() and (np.abs(logits.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE).all():
        raise ValueError(
            f"{name} must give logits. Received: what looks like probabilities (none negative, each row sums to 1). "
            "Remove the softmax at its end (in Keras: activation=None in the last layer)."
        )


def _has_gradient(network: Any, images: np.ndarray) -> bool:
    pixels = tf.constant(as_float(images))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)
        logits = logits_of(network, pixels)
    return tape.gradient(logits, pixels) is not None


def _fits(shape: Sequence[int], expected: Sequence[int | None] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def _advice(expected: Any, shape: tuple[int, ...]) -> str:
    if len(shape) == len(expected) == 3 and _fits((shape[2], *shape[:2]), expected):
        return "It wants the channels first: export it with channels last."
    return "Name the data that it was trained on, or data of that shape."
