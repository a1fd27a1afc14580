"""Almost black pixels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_range
from keras_acet.noise._draws import one_per_image
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class AlmostBlackNoise(Noise):
    """Uniform pixels so dark that the image looks black; data of any shape.

    `out = a u` with `a ~ U[brightness]` for each image and `u ~ U[0, 1]` for each value.

    Args:
        brightness: Smallest and largest `a`, in `[0, 1]`.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.

    Raises:
        TypeError: If `brightness` is no pair of numbers.
        ValueError: If `brightness` is out of order or out of range.
    """

    takes_vectors = True

    def __init__(
        self,
        *,
        brightness: Sequence[float] = (0.0, 0.1),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.brightness = check_range("brightness", brightness, highest=1.0)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(images, "AlmostBlackNoise")
        brightness = one_per_image(images, self.seed_generator, self.brightness)
        return brightness * keras.random.uniform(tf.shape(images), seed=self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        return {"brightness": self.brightness, **super().get_config()}
