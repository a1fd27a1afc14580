"""Stripes of two colours."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images, check_range
from keras_acet.noise._draws import one_per_channel, one_per_image, ramp
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class StripesNoise(Noise):
    """Stripes of two colours across a random direction.

    A pixel has the first colour where `sin(2 pi (n t + p)) > 0`, else the second: colours from U[0, 1]^channels, `t`
    the place of the pixel along a direction of random angle, 0 at the first pixel and 1 at the last, `n ~ U[periods]`
    and `p ~ U[0, 1]` for each image.

    Args:
        periods: Smallest and largest number of periods over the image, at least 0.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        TypeError: If `periods` is no pair of numbers.
        ValueError: If `periods` is out of order or out of range.
    """

    def __init__(
        self,
        *,
        periods: Sequence[float] = (2.0, 16.0),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.periods = check_range("periods", periods)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "StripesNoise"), "StripesNoise")
        first, second = (one_per_channel(images, self.seed_generator) for _ in range(2))
        periods = one_per_image(images, self.seed_generator, self.periods)
        phase = one_per_image(images, self.seed_generator)
        wave = tf.sin(2 * math.pi * (periods * ramp(images, self.seed_generator) + phase))
        return tf.where(wave > 0, first, second)

    def get_config(self) -> dict[str, Any]:
        return {"periods": self.periods, **super().get_config()}
