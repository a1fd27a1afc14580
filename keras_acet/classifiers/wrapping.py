"""Wraps a classifier that takes pixels in 0..255 or gives probabilities, so that it goes from [0, 1] to logits."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import as_float, logits_of
from keras_acet.classifiers.base import Classifier, Shape
from keras_acet.classifiers.function import TracedClassifier
from keras_acet.networks import Interface, wrapped


class WrappedClassifier(Classifier):
    """A classifier that TensorFlow cannot trace, with its interface in front and behind; see `wrap`.

    Args:
        classifier: The classifier, with outputs as it was stored.
        interface: What it takes and gives.
    """

    def __init__(self, classifier: Classifier, interface: Interface) -> None:
        super().__init__(
            image_shape=classifier.image_shape,
            num_classes=2 if classifier.num_classes == 1 else classifier.num_classes,
            path=classifier.path,
            name=classifier.name,
            sha256=classifier.sha256,
        )
        self.inner = classifier
        self.interface: Interface = interface
        self.flags, self.history, self.trained_on = classifier.flags, classifier.history, classifier.trained_on

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"{self.inner.description} ({self.interface})"

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.inner.kind

    def variables(self, image_shape: tuple[int, ...]) -> list[Any]:
        return self.inner.variables(image_shape)

    def logits(self, images: np.ndarray) -> np.ndarray:
        outputs = self.inner.logits(self.interface.from_unit(as_float(images)))
        with tf.device("CPU:0"):
            return np.asarray(self.interface.to_logits(tf.constant(outputs)))


def wrap(
    classifier: Classifier,
    interface: Interface,
    *,
    image_shape: Shape | None = None,
    num_outputs: int | None = None,
) -> Classifier:
    """Returns a classifier from [0, 1] to logits around one with another interface.

    Args:
        classifier: The classifier as it was stored. Of a Keras model the result is a Keras model again, of the same
            weights; of a function it is a function.
        interface: What it takes and gives, a `networks.Interface`.
        image_shape: Shape of one image, for a Keras model that does not know it.
        num_outputs: Number of its outputs, for a model that does not say.
    """
    if interface.is_default and (num_outputs or classifier.num_classes) != 1:
        return classifier.replace(interface=interface)
    network: Any = classifier.network
    if not isinstance(classifier, TracedClassifier):
        return WrappedClassifier(classifier, interface)
    if isinstance(network, keras.Model):
        arguments = {"inputs": interface.inputs, "outputs": interface.outputs}
        return classifier.around(
            wrapped(network, image_shape=classifier.image_shape or image_shape, **arguments), interface
        )
    return classifier.around(
        lambda images: interface.to_logits(logits_of(network, interface.from_unit(images))), interface
    )
