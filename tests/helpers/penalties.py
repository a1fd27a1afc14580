"""Parts of penalties for sums by hand."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_acet_tests")
class OnesNoise(keras.layers.Layer):
    """A noise whose images are all ones."""

    def call(self, images):
        return tf.ones_like(images)


def brightness(x):
    """The sum of all pixels of each image; its ascent moves every pixel up by the step size."""
    return tf.reduce_sum(x, axis=list(range(1, len(x.shape))))


def bright_network(x, training=False):
    """Logits (b / 10, 0) with the brightness b of the image, so that the confidence rises with it."""
    return tf.stack([brightness(x) / 10, tf.zeros_like(brightness(x))], axis=1)
