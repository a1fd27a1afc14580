"""The base class of all detectors."""

import abc
import os
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from keras_acet._keras_file import load_model
from keras_acet._prediction import in_batches, logits_of, traced
from keras_acet.files import whole_file

METHODS = ("intervals", "linear")


class Detector(abc.ABC):
    """A network `g` from images to one logit, with an upper bound over any box: `p_in = sigma(g)`.

    A kind is a subclass with `build`, `upper_bound` and `limit`. The network is made of plain Keras layers, so that its
    file opens without this package.

    Args:
        network: Built `keras.Model` from images `(n, ...)`, values in [0, 1], to `g`, shape `(n, 1)`, in float32.

    Attributes:
        name: Name of the kind.
        network: The network.
        image_shape: Shape of one image.
    """

    name: ClassVar[str]

    def __init__(self, network: keras.Model) -> None:
        if not isinstance(network, keras.Model):
            raise TypeError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
        self.network = network
        self.image_shape: tuple[int, ...] = tuple(network.input_shape[1:])
        self._traced: dict[Any, Any] = {}

    @classmethod
    @abc.abstractmethod
    def build(cls, image_shape: Sequence[int]) -> Self:
        """Makes an untrained detector for images of a shape."""

    @abc.abstractmethod
    def upper_bound(self, low: tf.Tensor, high: tf.Tensor, *, method: str = "intervals") -> tf.Tensor:
        """Bounds `g`, as the network computes it in float32, over boxes: `g(z) <= bound` where `low <= z <= high`.

        Args:
            low, high: float32 tensors `(n, ...)`, `low <= high`, the ends of `n` boxes.
            method: "intervals"; or "linear", a linear relaxation, never above the intervals and slower.

        Returns:
            float32 tensor `(n,)`, in operations that TensorFlow can trace and save.
        """

    @abc.abstractmethod
    def training_form(self) -> "TrainingForm":
        """Returns the layer that is trained in place of the network, with the network's weights to begin with."""

    @property
    @abc.abstractmethod
    def limit(self) -> float:
        """An upper bound of `g` on all of R^d."""

    def logit(self, images: tf.Tensor) -> tf.Tensor:
        """Computes `g`: float32 tensor `(n,)`, differentiable in the images."""
        return logits_of(self.network, images)[:, 0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes `g` for all images, in batches.

        Args:
            images: Array `(n, ...)`: float in [0, 1], or uint8.

        Returns:
            float32 array `(n,)`.
        """
        return in_batches(self._trace("logit", lambda: traced(self.logit, self._example())), images)

    def logit_bounds(self, images: np.ndarray, radius: float, *, method: str = "intervals") -> np.ndarray:
        """Bounds `g` over all images `z` in the pixel box with `|z - x| <= radius`, in batches.

        Args:
            images: Array `(n, ...)`: float in [0, 1], or uint8.
            radius: l_inf, in pixel units, at least 0. It is widened by 2^-24, by which float32 may move a pixel.
            method: See `upper_bound`.

        Returns:
            float32 array `(n,)`.

        Raises:
            ValueError: If the radius is negative or not finite, or the method none of the two.
        """
        check_radius(radius)
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {METHODS}. Received: method={method!r}.")
        example = self._example()
        radii = np.full(len(images), radius, np.float32)

        def bound(images, radii):
            return self.upper_bound(*pixel_box(images, radii), method=method)

        return in_batches(self._trace(method, lambda: traced(bound, example, radii)), images, radii)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the network as a `.keras` file of plain Keras layers; `load` makes a detector of it."""
        with whole_file(pathlib.Path(path)) as temporary:
            self.network.save(temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Loads a detector of this kind from a `.keras` file, with `safe_mode=True`.

        Raises:
            ValueError: If the file is missing or damaged, or its network is not of this kind.
        """
        try:
            network = load_model(path)
        except Exception as error:  # Keras and zipfile raise many kinds
            text = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} must be the .keras file of a detector. It cannot be read: {text}") from error
        return cls(network)

    def _example(self) -> np.ndarray:
        return np.zeros((1, *self.image_shape), np.float32)

    def _trace(self, name: Any, make: Any) -> Any:
        if name not in self._traced:
            self._traced[name] = make()
        return self._traced[name]


class TrainingForm(keras.layers.Layer):
    """A detector while it is trained, with free parameters; always float32, whatever the global dtype policy.

    Call arguments:
        images: float32 tensor `(n, ...)`.

    Returns:
        `g`, float32 tensor `(n,)`.

    Args:
        image_shape: Shape of one image.
    """

    def __init__(self, image_shape: tuple[int, ...], *, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32")
        self.image_shape = tuple(image_shape)

    def upper_bound(self, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        """Bounds `g` over boxes, `(n,)`, differentiable in the weights; without an allowance for rounding."""
        raise NotImplementedError(f"{type(self).__name__} must define `upper_bound(low, high)`.")

    def trained(self) -> Detector:
        """Returns the detector with the weights as they are now."""
        raise NotImplementedError(f"{type(self).__name__} must define `trained()`.")


def pixel_box(images: tf.Tensor, radius: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ends of `{z in [0, 1]^d: |z - x| <= radius}`, rounded outwards.

    Args:
        images: float32 tensor `(n, ...)`.
        radius: float32 tensor `()` or `(n,)`.
    """
    radius = tf.cast(radius, tf.float32) + 2.0**-23  # by 2^-24, and by what radius and difference lose to rounding
    radius = tf.reshape(radius, (-1, *[1] * (images.shape.rank - 1)))
    return tf.clip_by_value(images - radius, 0.0, 1.0), tf.clip_by_value(images + radius, 0.0, 1.0)


def check_radius(radius: float) -> None:
    """Raises unless a radius is a finite number, at least 0."""
    if isinstance(radius, bool) or not isinstance(radius, int | float | np.floating | np.integer):
        raise TypeError(f"`radius` must be a number, in pixel units. Received: radius={radius!r}.")
    if not 0 <= radius < float("inf"):
        raise ValueError(f"`radius` must be at least 0 and finite, in pixel units. Received: radius={radius}.")
