"""Blobs: strongly blurred noise."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images, check_range
from keras_acet.noise.base import Noise
from keras_acet.noise.operations import gaussian_blur, rescale_range


@keras.saving.register_keras_serializable("keras_acet")
class BlobsNoise(Noise):
    """Uniform pixels, blurred so much that blobs remain, and rescaled to exactly [0, 1].

    `out = rescale_range(gaussian_blur(u, sigma))` with `u ~ U[0, 1]` for each value and `sigma ~ U[sigma]` for each
    image, but at most the longer side of the image, so that more than rounding errors remain of a tiny one. The kernel
    goes up to three standard deviations.

    Args:
        sigma: Smallest and largest standard deviation of the blur in pixels, at least 0.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        TypeError: If `sigma` is no pair of numbers.
        ValueError: If `sigma` is out of order or out of range.
    """

    def __init__(
        self,
        *,
        sigma: Sequence[float] = (3.0, 8.0),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.sigma = check_range("sigma", sigma)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "BlobsNoise"), "BlobsNoise")
        uniform = keras.random.uniform(tf.shape(images), seed=self.seed_generator)
        longest = float(max(images.shape[1:3]))
        sigma = keras.random.uniform(tf.shape(images)[:1], *self.sigma, seed=self.seed_generator)
        radius = max(math.ceil(3 * min(self.sigma[1], longest)), 1)
        blurred = gaussian_blur(uniform, sigma=tf.minimum(sigma, longest), radius=radius)
        return tf.ensure_shape(rescale_range(blurred), images.shape)

    def get_config(self) -> dict[str, Any]:
        return {"sigma": self.sigma, **super().get_config()}
