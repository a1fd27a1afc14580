"""What stands before a classifier that was trained elsewhere: a mean, a standard deviation, channels first."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_acet._prediction import as_float, logits_of
from keras_acet.classifiers.base import Classifier, Shape
from keras_acet.classifiers.function import TracedClassifier
from keras_acet.networks import Interface


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From images in [0, 1] with channels last to what a classifier takes: `(x - mean) / std`, then the channels first.

    Args:
        mean, std: One number, or one for each channel, in units of [0, 1]; empty for 0 and 1.
        channels_first: Whether the classifier takes `(n, channels, height, width)`, as PyTorch has them.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If a number is not finite, or an `std` not positive.

    Example:

    >>> Preprocessing(mean=(0.5,), std=(0.25,), channels_first=True)(np.ones((1, 2, 3, 1))).shape
    (1, 1, 2, 3)
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels_first: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, Sequence) or not all(isinstance(one, int | float) for one in values):
                raise TypeError(f"`{name}` must be numbers, one for each channel. Received: {name}={values!r}.")
            if not all(math.isfinite(one) and (name == "mean" or one > 0) for one in values):
                kind = "positive and finite" if name == "std" else "finite"
                raise ValueError(f"`{name}` must be {kind}, in units of [0, 1]. Received: {name}={tuple(values)}.")

    @property
    def is_default(self) -> bool:
        """Whether it changes nothing."""
        return self == Preprocessing()

    def check(self, channels: int) -> None:
        """Raises ValueError unless there is one number, or one for each channel."""
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, 1, channels):
                raise ValueError(
                    f"`{name}` must be one number, or one for each of the {channels} channels. Received: "
                    f"{len(getattr(self, name))} of them."
                )

    def __call__(self, images: Any) -> Any:
        """Returns images, a tensor or an array, as the classifier takes them."""
        images = images * self._scale + self._offset
        if not self.channels_first:
            return images
        return np.moveaxis(images, -1, 1) if isinstance(images, np.ndarray) else tf.transpose(images, (0, 3, 1, 2))

    def layers(self) -> list[keras.layers.Layer]:
        """The same as stock layers of Keras."""
        made: list[keras.layers.Layer] = [
            layers.Rescaling(self._scale.tolist(), offset=self._offset.tolist(), dtype="float32")
        ]
        return [*made, layers.Permute((3, 1, 2), dtype="float32")] if self.channels_first else made

    def shape_of_images(self, shape: Shape | None) -> Shape | None:
        """Returns the shape of an image with channels last, for a classifier that takes `shape`."""
        return (*shape[1:], shape[0]) if shape is not None and self.channels_first and len(shape) == 3 else shape

    @property
    def _scale(self) -> np.ndarray:
        return (1 / np.array(self.std or (1.0,))).astype(np.float32)

    @property
    def _offset(self) -> np.ndarray:
        return (-np.array(self.mean or (0.0,)) / np.array(self.std or (1.0,))).astype(np.float32)

    def __str__(self) -> str:
        parts = [f"{name} {', '.join(f'{one:g}' for one in getattr(self, name))}" for name in ("mean", "std")]
        parts = [part for name, part in zip(("mean", "std"), parts, strict=True) if getattr(self, name)]
        return ", ".join([*parts, *(["channels first"] if self.channels_first else [])]) or "none"


class PreprocessedClassifier(Classifier):
    """A classifier that TensorFlow cannot trace, with what stands before it; see `preprocessed`.

    Args:
        classifier: The classifier as it was stored.
        preprocessing: What stands before it.
    """

    def __init__(self, classifier: Classifier, preprocessing: Preprocessing) -> None:
        super().__init__(
            image_shape=preprocessing.shape_of_images(classifier.image_shape),
            num_classes=classifier.num_classes,
            path=classifier.path,
            name=classifier.name,
            sha256=classifier.sha256,
        )
        self.inner = classifier
        self.preprocessing = preprocessing
        self.trained_on = classifier.trained_on

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"{self.inner.description} ({self.preprocessing})"

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.inner.kind

    def variables(self, image_shape: tuple[int, ...]) -> list[Any]:
        return []

    def logits(self, images: np.ndarray) -> np.ndarray:
        return self.inner.logits(np.ascontiguousarray(self.preprocessing(as_float(images))))


def preprocessed(classifier: Classifier, preprocessing: Preprocessing) -> Classifier:
    """Returns a classifier of images in [0, 1] with channels last around one that takes others.

    Args:
        classifier: The classifier as it was stored. Of a Keras model of a known shape the result is a Keras model
            again, of the same weights; of another model or function that TensorFlow can trace it is a function.
        preprocessing: What stands before it.

    Raises:
        ValueError: If there is a number for each channel, and of another number of channels.
    """
    if preprocessing.is_default:
        return classifier
    shape = preprocessing.shape_of_images(classifier.image_shape)
    if shape is not None and shape[-1] is not None:
        preprocessing.check(shape[-1])
    if not isinstance(classifier, TracedClassifier):
        return PreprocessedClassifier(classifier, preprocessing)
    network = classifier.network
    made: Any = lambda images: logits_of(network, preprocessing(images))  # noqa: E731
    if isinstance(network, keras.Model) and shape is not None:
        images = keras.Input(shape, name="images")
        x = images
        for layer in preprocessing.layers():
            x = layer(x)
        made = keras.Model(images, network(x), name=network.name)
    interface: Interface = classifier.interface  # type: ignore[assignment]  # None stays None
    other = classifier.around(made, interface)
    other.image_shape, other.num_classes = shape, classifier.num_classes
    return other
