"""Random changes of training images: functions `(images, seed) -> images`.

Images are tensors `(batch, height, width, channels)` of any dtype and range, and so is what comes back. The seed is an
integer tensor or pair of shape `(2,)`; the same seed gives the same images.

Source: the augmentation of Hein et al., CVPR 2019, arXiv:1812.05720.
"""

import tensorflow as tf


def random_crop(images: tf.Tensor, seed: tf.Tensor, *, padding: int = 4) -> tf.Tensor:
    """Pads with zeros, then cuts a window of the old size at a random place in each image.

    `out[i, y, x] = padded[i, y + dy_i, x + dx_i]` with `dy_i, dx_i` uniform on the whole numbers `0 .. 2 * padding`;
    `padding` is the number of zero pixels added on each of the four sides.

    >>> random_crop(tf.ones((1, 2, 2, 1)), seed=(0, 0), padding=1).shape
    TensorShape([1, 2, 2, 1])
    """
    images = tf.convert_to_tensor(images)
    batch, height, width, _ = tf.unstack(tf.shape(images))
    shift = tf.random.stateless_uniform([batch, 2], seed, maxval=2 * padding + 1, dtype=tf.int32)
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    rows = shift[:, :1] + tf.range(height)  # (batch, height)
    columns = shift[:, 1:] + tf.range(width)  # (batch, width)
    cropped = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape)


def random_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with probability one half."""
    images = tf.convert_to_tensor(images)
    batch, _, width, _ = tf.unstack(tf.shape(images))
    column = tf.range(width)
    flipped = tf.random.stateless_uniform([batch, 1], seed) < 0.5
    columns = tf.where(flipped, width - 1 - column, column)  # (batch, width)
    # Half the time of tf.where(flipped, tf.reverse(images, [2]), images).
    return tf.ensure_shape(tf.gather(images, columns, axis=2, batch_dims=1), images.shape)


def random_flip_crop(images: tf.Tensor, seed: tf.Tensor, *, padding: int = 4) -> tf.Tensor:
    """`random_flip`, then `random_crop`, each with a seed of its own."""
    flip_seed, crop_seed = tf.unstack(tf.random.split(seed))
    return random_crop(random_flip(images, flip_seed), crop_seed, padding=padding)
