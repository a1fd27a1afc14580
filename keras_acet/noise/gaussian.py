"""Gaussian pixels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_range
from keras_acet.noise._draws import one_per_channel, one_per_image
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class GaussianNoise(Noise):
    """Gaussian pixels around one colour; data of any shape.

    `out = clip(m + s z, 0, 1)` with `m ~ U[0, 1]` for each image and channel, `s ~ U[spread]` for each image and
    `z ~ N(0, 1)` for each value.

    Args:
        spread: Smallest and largest standard deviation `s`, at least 0.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.

    Raises:
        TypeError: If `spread` is no pair of numbers.
        ValueError: If `spread` is out of order or out of range.
    """

    takes_vectors = True

    def __init__(
        self,
        *,
        spread: Sequence[float] = (0.05, 0.6),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.spread = check_range("spread", spread)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(images, "GaussianNoise")
        mean = one_per_channel(images, self.seed_generator)
        spread = one_per_image(images, self.seed_generator, self.spread)
        normal = keras.random.normal(tf.shape(images), seed=self.seed_generator)
        return tf.clip_by_value(mean + spread * normal, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"spread": self.spread, **super().get_config()}
