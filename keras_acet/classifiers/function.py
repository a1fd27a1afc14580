"""A function that TensorFlow can trace, as a classifier."""

import pathlib
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import in_batches, logits_of, traced
from keras_acet.classifiers.base import Classifier, Shape
from keras_acet.networks import Interface


class TracedClassifier(Classifier):
    """A classifier that TensorFlow traces, once per shape of an image, and can differentiate.

    Args:
        network: `keras.Model`, or function from a float32 tensor of images `(batch, ...)`, values in [0, 1], to logits
            `(batch, num_classes)`.
        image_shape, num_classes, path, name, sha256: See `Classifier`.
    """

    network: keras.Model | Callable[[tf.Tensor], tf.Tensor]
    is_differentiable = True

    def __init__(
        self,
        network: keras.Model | Callable[[tf.Tensor], tf.Tensor],
        *,
        image_shape: Shape | None = None,
        num_classes: int | None = None,
        path: pathlib.Path | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__(image_shape=image_shape, num_classes=num_classes, path=path, name=name, sha256=sha256)
        self.network = network
        self._traced: dict[tuple[int, ...], tf.types.experimental.ConcreteFunction] = {}

    def logits(self, images: np.ndarray) -> np.ndarray:
        return in_batches(self._function(images), images)

    def around(self, network: keras.Model | Callable[[tf.Tensor], tf.Tensor], interface: Interface) -> Self:
        """Returns a copy whose network is the given one, which wraps its own as the interface says."""
        other = self.replace()
        other.network, other.interface, other._traced = network, interface, {}
        other.num_classes = 2 if self.num_classes == 1 else self.num_classes
        return other

    def variables(self, image_shape: tuple[int, ...]) -> list[Any]:
        return list(self._function(np.zeros((1, *image_shape))).variables)

    def _function(self, images):
        shape = images.shape[1:]
        if shape not in self._traced:
            self._traced[shape] = traced(lambda x: logits_of(self.network, x), images)
        return self._traced[shape]


class FunctionClassifier(TracedClassifier):
    """A function of one's own.

    Args:
        network: Function that TensorFlow can trace, from a float32 tensor of images `(batch, ...)`, values in [0, 1],
            to logits `(batch, num_classes)`.
        image_shape, num_classes, path, name, sha256: See `Classifier`.

    Example:

    >>> classifier = FunctionClassifier(lambda images: 2 * images, name="twice")
    >>> classifier.logits(np.array([[0, 255]], np.uint8))
    array([[0., 2.]], dtype=float32)
    """

    description = "a function"
    kind = "function"
