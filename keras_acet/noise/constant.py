"""Images of one colour."""

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images
from keras_acet.noise._draws import one_per_channel
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class ConstantNoise(Noise):
    """Images of one colour: each channel is constant, with a value from U[0, 1].

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "ConstantNoise"), "ConstantNoise")
        return tf.broadcast_to(one_per_channel(images, self.seed_generator), tf.shape(images))
