"""The out-distribution p_out: objects that turn a batch of images into a batch of noise images.

Each object is a Keras layer, so that the state of its random generator is found, saved and restored with the
model that owns it. `noise(images)` returns float32 images of the same shape, values in [0, 1].
"""

import keras
import numpy as np
import tensorflow as tf

from keras_acet._shared import SeededLayer

_NUM_SIDE_TAPS = 7  # taps -7..7: a 15x15 kernel


def permute_pixels(images, *, seed):
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
    images = _check_images(images, "permute_pixels")
    height, width, channels = images.shape[1:]
    keys = keras.random.uniform((tf.shape(images)[0], height * width), seed=seed)
    pixels = tf.reshape(images, (-1, height * width, channels))
    permuted = tf.gather(pixels, tf.argsort(keys), batch_dims=1)
    return tf.reshape(permuted, tf.shape(images))


def gaussian_blur(images, *, sigma):
    """Applies a Gaussian low-pass filter.

    Convolves each channel with the kernel `w[s, t] ~ exp(-(s^2 + t^2) / (2 sigma^2))`, `s, t = -7..7`, normalised
    to sum 1, the image continued symmetrically at its borders (`... x1 x0 | x0 x1 ...`).

    The kernel is a product of two one-dimensional ones and the border rule is linear, so the filter is written as
    one small matrix per axis: `out = A x A^T` for every channel. That costs two matrix products instead of a 15x15
    convolution and works for images narrower than the kernel.

    Args:
        images: Float tensor of shape `(batch, height, width, channels)`.
        sigma: Standard deviation in pixels, positive: a scalar, or shape `(batch,)` for one per image.

    Returns:
        Float tensor of the shape of `images`.

    Raises:
        ValueError: If `images` is not of rank 4.

    Source: p_out of Hein et al., CVPR 2019, as in the authors' code.
    """
    images = _check_images(images, "gaussian_blur")
    sigma = tf.cast(sigma, images.dtype)[..., None]
    offsets = tf.range(-_NUM_SIDE_TAPS, _NUM_SIDE_TAPS + 1, dtype=images.dtype)
    taps = tf.exp(-(offsets**2) / (2 * sigma**2))
    taps /= tf.reduce_sum(taps, axis=-1, keepdims=True)
    rows = tf.einsum("...t,thi->...hi", taps, _symmetric_shifts(images.shape[1], images.dtype))
    columns = tf.einsum("...t,twj->...wj", taps, _symmetric_shifts(images.shape[2], images.dtype))
    if sigma.shape.rank == 1:
        return tf.einsum("hi,nijc,wj->nhwc", rows, images, columns)
    return tf.einsum("nhi,nijc,nwj->nhwc", rows, images, columns)


def _symmetric_shifts(size, dtype):
    """Matrices `S` of shape `(15, size, size)`: `(S[t] x)[i] = x[i + t - 7]`, continued symmetrically."""
    position = np.arange(size) + np.arange(-_NUM_SIDE_TAPS, _NUM_SIDE_TAPS + 1)[:, None]
    position %= 2 * size  # the symmetric continuation has period 2 * size
    position = np.where(position < size, position, 2 * size - 1 - position)
    return tf.constant(position[..., None] == np.arange(size), dtype=dtype)


def rescale_range(images):
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


class Noise(SeededLayer):
    """A batch of images to a batch of images without a class. The base class of all kinds of noise.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.
    """

    def __init__(self, *, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.built = True

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("keras_acet")
class UniformNoise(Noise):
    """Noise with every value drawn from U[0, 1], independent of the images; data of any shape.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`; only its shape is used.
    """

    def call(self, images):
        return keras.random.uniform(tf.shape(images), seed=self.seed_generator)


@keras.saving.register_keras_serializable("keras_acet")
class PermutedNoise(Noise):
    """Noise with the pixel positions of each image permuted: `permute_pixels(images)`.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`.
    """

    def call(self, images):
        return permute_pixels(images, seed=self.seed_generator)


@keras.saving.register_keras_serializable("keras_acet")
class PaperNoise(Noise):
    """The out-distribution p_out of the paper.

    Of a batch of `n` images the first `n // 2` are permuted pixelwise (`permute_pixels`), the others replaced by
    uniform noise; all are blurred (`gaussian_blur`) with `sigma ~ U[min_sigma, max_sigma]` and rescaled to exactly
    [0, 1] (`rescale_range`).

    Args:
        min_sigma: Smallest standard deviation of the blur in pixels, positive.
        max_sigma: Largest one, at least `min_sigma`.
        sigma_per: `"batch"` draws one sigma for all images of a batch, as published; `"image"` one for each.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`: the current, already
            augmented training batch.

    Raises:
        ValueError: If a sigma is not positive, the two are out of order, or the images are not of rank 4.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code. Differs:
        1. A constant image gives zeros instead of a division by zero.
        2. The generator is seeded.
    """

    def __init__(self, *, min_sigma=1.0, max_sigma=2.5, sigma_per="batch", seed=None, name=None):
        super().__init__(seed=seed, name=name)
        if not 0 < min_sigma <= max_sigma:
            raise ValueError(
                "The blur needs 0 < `min_sigma` <= `max_sigma`, in pixels; the paper's are 1.0 and 2.5. "
                f"Received: min_sigma={min_sigma}, max_sigma={max_sigma}."
            )
        if sigma_per not in ("batch", "image"):
            raise ValueError(
                f"`sigma_per` must be 'batch' (as published) or 'image'. Received: sigma_per={sigma_per!r}."
            )
        self.min_sigma = min_sigma
        self.max_sigma = max_sigma
        self.sigma_per = sigma_per

    def call(self, images):
        images = _check_images(images, "PaperNoise")
        num_permuted = tf.shape(images)[0] // 2
        permuted = permute_pixels(images[:num_permuted], seed=self.seed_generator)
        uniform = keras.random.uniform(tf.shape(images[num_permuted:]), seed=self.seed_generator)
        noise = tf.concat([permuted, uniform], axis=0)
        sigma = keras.random.uniform(
            () if self.sigma_per == "batch" else tf.shape(images)[:1],
            minval=self.min_sigma,
            maxval=self.max_sigma,
            seed=self.seed_generator,
        )
        noise = rescale_range(gaussian_blur(noise, sigma=sigma))
        return tf.ensure_shape(noise, images.shape)

    def get_config(self):
        return {
            "min_sigma": self.min_sigma,
            "max_sigma": self.max_sigma,
            "sigma_per": self.sigma_per,
            **super().get_config(),
        }


def _check_images(images, user):
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(
            f"`{user}` needs images of shape (batch, height, width, channels). Received: shape {tuple(images.shape)}. "
            "For vectors use `UniformNoise`."
        )
    return images
