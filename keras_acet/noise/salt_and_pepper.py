"""Salt and pepper on gray."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images, check_range
from keras_acet.noise._draws import one_per_image
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class SaltAndPepperNoise(Noise):
    """Black and white pixels on the mean gray of an image.

    Each pixel is black with probability `q / 2`, white with probability `q / 2`, and else the mean of all values of the
    image that was given; `q ~ U[share]` for each image. All channels of a pixel are the same.

    Args:
        share: Smallest and largest `q`, in `[0, 1]`.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`.

    Raises:
        TypeError: If `share` is no pair of numbers.
        ValueError: If `share` is out of order or out of range.
    """

    def __init__(
        self,
        *,
        share: Sequence[float] = (0.05, 0.5),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.share = check_range("share", share, highest=1.0)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "SaltAndPepperNoise"), "SaltAndPepperNoise")
        share = one_per_image(images, self.seed_generator, self.share)
        chance = keras.random.uniform((*tf.unstack(tf.shape(images)[:3]), 1), seed=self.seed_generator)
        gray = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        out = tf.where(chance < share / 2, 0.0, tf.where(chance >= 1 - share / 2, 1.0, gray))
        return tf.broadcast_to(out, tf.shape(images))

    def get_config(self) -> dict[str, Any]:
        return {"share": self.share, **super().get_config()}
