"""Checkerboards."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet._checks import check_integer
from keras_acet.noise._checks import check_floats, check_images, check_range
from keras_acet.noise._draws import one_per_channel
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class CheckerboardNoise(Noise):
    """Checkerboards of two colours from U[0, 1]^channels.

    Pixel `(y, x)` has the first colour where `y // s + x // s` is even, else the second; the side `s` of the squares is
    a whole number, drawn for each image.

    Args:
        sides: Smallest and largest side in pixels, whole numbers from 1.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        TypeError: If `sides` is no pair of whole numbers.
        ValueError: If `sides` is out of order or out of range.
    """

    def __init__(
        self,
        *,
        sides: Sequence[int] = (1, 8),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        check_range("sides", sides, lowest=1)
        self.sides = tuple(check_integer(side, "sides", minimum=1) for side in sides)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "CheckerboardNoise"), "CheckerboardNoise")
        first, second = (one_per_channel(images, self.seed_generator) for _ in range(2))
        smallest, largest = self.sides
        shape = (tf.shape(images)[0], 1)
        side = keras.random.randint(shape, smallest, largest + 1, seed=self.seed_generator)
        rows, columns = (tf.range(size) // side for size in images.shape[1:3])  # (batch, size)
        is_even = (rows[:, :, None] + columns[:, None, :]) % 2 == 0
        return tf.where(is_even[..., None], first, second)

    def get_config(self) -> dict[str, Any]:
        return {"sides": self.sides, **super().get_config()}
