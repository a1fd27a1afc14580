"""Pixels of low contrast."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_range
from keras_acet.noise._draws import one_per_image
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class LowContrastNoise(Noise):
    """Uniform pixels of low contrast around one gray; data of any shape.

    `out = clip(m + a (u - 1/2), 0, 1)` with `m ~ U[0, 1]` and `a ~ U[contrast]` for each image, and `u ~ U[0, 1]` for
    each value.

    Args:
        contrast: Smallest and largest `a`, in `[0, 1]`.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.

    Raises:
        TypeError: If `contrast` is no pair of numbers.
        ValueError: If `contrast` is out of order or out of range.
    """

    takes_vectors = True

    def __init__(
        self,
        *,
        contrast: Sequence[float] = (0.02, 0.4),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.contrast = check_range("contrast", contrast, highest=1.0)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(images, "LowContrastNoise")
        middle = one_per_image(images, self.seed_generator)
        contrast = one_per_image(images, self.seed_generator, self.contrast)
        uniform = keras.random.uniform(tf.shape(images), seed=self.seed_generator)
        return tf.clip_by_value(middle + contrast * (uniform - 0.5), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"contrast": self.contrast, **super().get_config()}
