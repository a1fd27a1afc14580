"""The random numbers that several kinds of noise draw for each image; `seed` is a `keras.random.SeedGenerator`."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.noise.operations import rescale_range


def seeds(seed: Any, count: int) -> list[Any]:
    """Returns a seed for each of several parts; a generator is shared, and None stays None."""
    if not isinstance(seed, int):
        return [seed] * count
    return [int(one) for one in np.random.SeedSequence(seed).generate_state(count) >> 1]


def one_per_image(
    images: tf.Tensor, seed: keras.random.SeedGenerator, between: tuple[float, float] = (0.0, 1.0)
) -> tf.Tensor:
    """Draws one uniform number for each image, of shape `(batch, 1, ..., 1)`."""
    shape = tf.concat([tf.shape(images)[:1], tf.ones(images.shape.rank - 1, tf.int32)], 0)
    return keras.random.uniform(shape, *between, seed=seed)


def one_per_channel(images: tf.Tensor, seed: keras.random.SeedGenerator) -> tf.Tensor:
    """Draws a colour for each image: uniform numbers of shape `(batch, 1, 1, channels)`, or `(batch, 1)` of vectors.

    The values of a vector have one number in common.
    """
    if images.shape.rank != 4:
        return one_per_image(images, seed)
    return keras.random.uniform((tf.shape(images)[0], 1, 1, images.shape[3]), seed=seed)


def ramp(images: tf.Tensor, seed: keras.random.SeedGenerator) -> tf.Tensor:
    """Draws a direction for each image and returns how far along it each pixel lies.

    Returns:
        float32 tensor of shape `(batch, height, width, 1)`, from 0 at the first pixel to 1 at the last; 0 where the
        image has one pixel.
    """
    angle = one_per_image(images, seed, (0.0, 2 * math.pi))
    rows, columns = positions(images)
    return rescale_range(columns[:, None] * tf.cos(angle) + rows[:, None, None] * tf.sin(angle))


def positions(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the numbers of the rows, `0 .. height - 1`, and of the columns, as float32."""
    return tf.range(images.shape[1], dtype=tf.float32), tf.range(images.shape[2], dtype=tf.float32)
