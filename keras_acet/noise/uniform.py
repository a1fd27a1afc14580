"""Uniform noise."""

import keras
import tensorflow as tf

from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class UniformNoise(Noise):
    """Noise with every value drawn from U[0, 1], independent of the images; data of any shape.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.
    """

    takes_vectors = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return keras.random.uniform(tf.shape(images), seed=self.seed_generator)
