"""Operations on batches of images that kinds of noise are built from."""

import keras
import numpy as np
import tensorflow as tf

from keras_acet.noise._checks import check_images

_RADIUS = 7  # the paper's: taps -7..7, a 15x15 kernel
_SMALLEST_VARIANCE = 1e-12  # exp(-1 / 1e-12) is 0, so that a sigma of 0 leaves an image as it is


def permute_pixels(images: tf.Tensor, *, seed: int | keras.random.SeedGenerator) -> tf.Tensor:
    """Permutes the pixel positions of each image; the channels of a pixel stay together.

    `out[i, p] = images[i, pi_i(p)]` with a new uniform permutation `pi_i` of the `height * width` positions for
    every image, so the multiset of an image's pixels is kept.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        seed: int or `keras.random.SeedGenerator`.

    Returns:
        Tensor of the shape and dtype of `images`.

    Raises:
        ValueError: If `images` is not of rank 4.
    """
    images = check_images(images, "permute_pixels")
    height, width, channels = _sizes(images)
    keys = keras.random.uniform((tf.shape(images)[0], height * width), dtype="float32", seed=seed)
    pixels = tf.reshape(images, (-1, height * width, channels))
    permuted = tf.gather(pixels, tf.argsort(keys), batch_dims=1)
    return tf.reshape(permuted, tf.shape(images))


def gaussian_blur(images: tf.Tensor, *, sigma: float | tf.Tensor, radius: int = _RADIUS) -> tf.Tensor:
    """Applies a Gaussian low-pass filter.

    Convolves each channel with the kernel `w[s, t] ~ exp(-(s^2 + t^2) / (2 sigma^2))`, `s, t = -radius..radius`,
    normalised to sum 1, the image continued symmetrically at its borders (`... x1 x0 | x0 x1 ...`).

    The kernel is a product of two one-dimensional ones and the border rule is linear, so the filter is written as
    one small matrix per axis: `out = A x A^T` for every channel. That costs two matrix products instead of a 15x15
    convolution and works for images narrower than the kernel.

    Args:
        images: Float tensor of shape `(batch, height, width, channels)`.
        sigma: Standard deviation in pixels, at least 0: a scalar, or shape `(batch,)` for one per image. 0 leaves an
            image as it is.
        radius: Where the kernel ends, in pixels; the paper: 7.

    Returns:
        Float tensor of the shape of `images`.

    Raises:
        ValueError: If `images` is not of rank 4.

    Source: p_out of Hein et al., CVPR 2019, as in the authors' code.
    """
    images = check_images(images, "gaussian_blur")
    sigma = tf.cast(sigma, images.dtype)[..., None]
    offsets = tf.range(-radius, radius + 1, dtype=images.dtype)
    taps = tf.exp(-(offsets**2) / tf.maximum(2 * sigma**2, _SMALLEST_VARIANCE))
    taps /= tf.reduce_sum(taps, axis=-1, keepdims=True)
    height, width, _ = _sizes(images)
    rows = tf.einsum("...t,thi->...hi", taps, _symmetric_shifts(height, radius, images.dtype))
    columns = tf.einsum("...t,twj->...wj", taps, _symmetric_shifts(width, radius, images.dtype))
    if sigma.shape.rank == 1:
        return tf.einsum("hi,nijc,wj->nhwc", rows, images, columns)
    return tf.einsum("nhi,nijc,nwj->nhwc", rows, images, columns)


def _sizes(images):
    """Height, width and channels: numbers where they are known, scalar tensors where not."""
    sizes = tf.shape(images)
    return [sizes[axis] if images.shape[axis] is None else images.shape[axis] for axis in (1, 2, 3)]


def _symmetric_shifts(size: int | tf.Tensor, radius: int, dtype: tf.DType) -> tf.Tensor:
    """Matrices `S` of shape `(2 radius + 1, size, size)`: `(S[t] x)[i] = x[i + t - radius]`, symmetric at the ends."""
    arange, where = (tf.range, tf.where) if tf.is_tensor(size) else (np.arange, np.where)
    position = arange(size) + np.arange(-radius, radius + 1, dtype=np.int32)[:, None]
    position %= 2 * size  # the symmetric continuation has period 2 * size
    position = where(position < size, position, 2 * size - 1 - position)
    return tf.cast(position[..., None] == arange(size), dtype)


def rescale_range(images: tf.Tensor) -> tf.Tensor:
    """Maps each image linearly onto exactly [0, 1].

    `out = (x - min) / (max - min)`, minimum and maximum over height, width and channels together. A constant image,
    where that is 0/0 (the authors' code divides by zero), becomes all zeros.

    Args:
        images: Float tensor of shape `(batch, ...)`.

    Returns:
        Float tensor of the shape of `images`, in `[0, 1]`.

    Example:

    >>> rescale_range(tf.constant([[2.0, 4.0, 3.0], [5.0, 5.0, 5.0]])).numpy().tolist()
    [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    """
    images = tf.convert_to_tensor(images)
    axes = list(range(1, images.shape.rank))
    smallest = tf.reduce_min(images, axis=axes, keepdims=True)
    return tf.math.divide_no_nan(images - smallest, tf.reduce_max(images, axis=axes, keepdims=True) - smallest)
