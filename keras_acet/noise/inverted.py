"""Inverted images."""

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_floats
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class InvertedNoise(Noise):
    """The negatives of the images: `out = 1 - images`; data of any shape. Nothing about it is random.

    Args:
        seed: int or `keras.random.SeedGenerator`; not used.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.
    """

    takes_vectors = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return 1.0 - check_floats(images, "InvertedNoise")
