"""Noise whose amplitude falls with the frequency."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.noise._checks import check_floats, check_images, check_range
from keras_acet.noise._draws import one_per_image
from keras_acet.noise.base import Noise
from keras_acet.noise.operations import rescale_range


@keras.saving.register_keras_serializable("keras_acet")
class PowerLawNoise(Noise):
    """Noise with random phases and the amplitude `|f|^-b` at frequency `f`, rescaled to exactly [0, 1].

    Photographs have such spectra, with `b` near 1. The phases of all channels are independent, the frequency 0 is left
    out, `|f|` is in cycles per pixel in both directions, and `b ~ U[exponent]` for each image.

    Args:
        exponent: Smallest and largest `b`, at least 0.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        TypeError: If `exponent` is no pair of numbers.
        ValueError: If `exponent` is out of order or out of range.
    """

    def __init__(
        self,
        *,
        exponent: Sequence[float] = (1.0, 3.0),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.exponent = check_range("exponent", exponent)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "PowerLawNoise"), "PowerLawNoise")
        batch = tf.shape(images)[0]
        height, width, channels = images.shape[1:]
        exponent = one_per_image(images, self.seed_generator, self.exponent)
        log_frequency, is_used = _log_frequencies(height, width)
        white = tf.signal.rfft2d(keras.random.normal((batch, channels, height, width), seed=self.seed_generator))
        amplitude = is_used * tf.exp(-exponent * log_frequency)
        amplitude = tf.math.divide_no_nan(amplitude, tf.abs(white))  # of white noise only the phases stay
        pixels = tf.signal.irfft2d(white * tf.cast(amplitude, tf.complex64), fft_length=[height, width])
        pixels = rescale_range(tf.transpose(pixels, (0, 2, 3, 1)))
        return tf.ensure_shape(pixels, images.shape)

    def get_config(self) -> dict[str, Any]:
        return {"exponent": self.exponent, **super().get_config()}


def _log_frequencies(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The log of `|f|` relative to its smallest, which keeps amplitudes near 1, and 0 at the frequency 0, else 1."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    is_used = frequency > 0
    if not is_used.any():  # one pixel
        return np.zeros(frequency.shape, np.float32), is_used.astype(np.float32)
    relative = np.where(is_used, frequency / frequency[is_used].min(), 1.0)
    return np.log(relative).astype(np.float32), is_used.astype(np.float32)
