"""A set of images as out-distribution."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.noise._checks import check_floats
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class ImageSet(Noise):
    """Images of a set that show none of the classes, drawn at random with replacement.

    Args:
        images: Array of shape `(n, height, width, channels)`, or `(n, size)` for vectors: uint8 in 0..255, or floats in
            [0, 1], which are kept as float32. Images of another size than those of the data are refused when they are
            drawn; `datasets.fit_images` makes them fit.
        source: Name of the set, for what is said about it.
        flip: Whether images are mirrored left to right with probability 1/2, which is natural for photographs and not
            for letters.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.

    Raises:
        TypeError: If `images` are neither uint8 nor floats.
        ValueError: If there are none, or a float is outside [0, 1].

    A model that is saved keeps no images of it: what was loaded has to get an `ImageSet` anew before it trains on.

    Example:

    >>> two = ImageSet(np.array([[[[0]]], [[[255]]]], "uint8"), seed=0)
    >>> sorted(set(two(tf.zeros((20, 1, 1, 1))).numpy().ravel().tolist()))
    [0.0, 1.0]
    """

    has_content = True

    def __init__(
        self,
        images: np.ndarray | None,
        *,
        source: str = "images",
        flip: bool = False,
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.source = source
        self.flip = flip
        self._images: tf.Tensor | None = None
        if images is not None:
            images = _check(images)
            with tf.init_scope():  # a graph that is being traced refers to it instead of holding it
                self._images = tf.constant(images)
        self.takes_vectors = images is None or images.ndim != 4

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(images, "ImageSet")
        if self._images is None:
            raise ValueError(
                f"The images of the set {self.source!r} are not kept in a saved model. To train on, make an `ImageSet` "
                "of them and build the model with it."
            )
        if self._images.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"The images of the set {self.source!r} must have the shape of the data, {tuple(images.shape[1:])}. "
                f"Received: {tuple(self._images.shape[1:])}. To make them fit: datasets.fit_images(images, shape)."
            )
        count = tf.shape(images)[0]
        index = keras.random.randint((count,), 0, self._images.shape[0], seed=self.seed_generator)
        drawn = tf.gather(self._images, index)
        if drawn.dtype == tf.uint8:
            drawn = tf.cast(drawn, tf.float32) / 255.0
        if self.flip and images.shape.rank == 4:
            is_flipped = keras.random.uniform((count, 1, 1, 1), seed=self.seed_generator) < 0.5
            drawn = tf.where(is_flipped, tf.reverse(drawn, [2]), drawn)
        return drawn

    def get_config(self) -> dict[str, Any]:
        return {"images": None, "source": self.source, "flip": self.flip, **super().get_config()}


def _check(images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(
            f"`images` must be uint8 in 0..255 or floats in [0, 1]. Received: {images.dtype} of shape {images.shape}."
        )
    if images.ndim not in (2, 4) or 0 in images.shape:
        raise ValueError(
            "`images` must have the shape (n, height, width, channels), or (n, size) for vectors, with at least one "
            f"image. Received: {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):  # so for NaN
        raise ValueError(
            f"`images` that are floats must be in [0, 1]. Received: {images.min():g} to {images.max():g}. For 8-bit "
            "levels divide by 255."
        )
    return images.astype(np.float32)
