"""Gradients of two colours."""

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images
from keras_acet.noise._draws import one_per_channel, ramp
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class GradientNoise(Noise):
    """Images that go from one colour to another along a random direction.

    `out = (1 - t) c + t d` with colours `c, d ~ U[0, 1]^channels`, and `t` the place of the pixel along a direction of
    random angle, 0 at the first pixel and 1 at the last. An image of one pixel has the colour `c`.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "GradientNoise"), "GradientNoise")
        first, last = (one_per_channel(images, self.seed_generator) for _ in range(2))
        share = ramp(images, self.seed_generator)
        return (1 - share) * first + share * last
