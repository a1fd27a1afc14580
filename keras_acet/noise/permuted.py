"""Images with their pixels permuted."""

import keras
import tensorflow as tf

from keras_acet.noise.base import Noise
from keras_acet.noise.operations import permute_pixels


@keras.saving.register_keras_serializable("keras_acet")
class PermutedNoise(Noise):
    """Noise with the pixel positions of each image permuted: `permute_pixels(images)`.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return permute_pixels(images, seed=self.seed_generator)
