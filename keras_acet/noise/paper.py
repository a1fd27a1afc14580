"""The noise of the paper."""

from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise._checks import check_images
from keras_acet.noise.base import Noise
from keras_acet.noise.operations import gaussian_blur, permute_pixels, rescale_range


@keras.saving.register_keras_serializable("keras_acet")
class PaperNoise(Noise):
    """The out-distribution p_out of the paper.

    Of a batch of `n` images the first `n // 2` are permuted pixelwise (`permute_pixels`), the others replaced by
    uniform noise; all are blurred (`gaussian_blur`) with `sigma ~ U[min_sigma, max_sigma]` and rescaled to exactly
    [0, 1] (`rescale_range`).

    Args:
        min_sigma: Smallest standard deviation of the blur in pixels, at least 0, which is no blur; the paper: 1.
        max_sigma: Largest one, at least `min_sigma`; the paper: 2.5.
        sigma_per: `"batch"` draws one sigma for all images of a batch, as published; `"image"` one for each.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`: the current, already
            augmented training batch.

    Raises:
        ValueError: If a sigma is negative, the two are out of order, or the images are not of rank 4.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code. Differs:
        1. A constant image gives zeros instead of a division by zero.
        2. The generator is seeded.
    """

    def __init__(
        self,
        *,
        min_sigma: float = 1.0,
        max_sigma: float = 2.5,
        sigma_per: str = "batch",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        if not 0 <= min_sigma <= max_sigma < float("inf"):
            raise ValueError(
                "The blur needs 0 <= `min_sigma` <= `max_sigma`, in pixels; the paper's are 1.0 and 2.5. "
                f"Received: min_sigma={min_sigma}, max_sigma={max_sigma}."
            )
        if sigma_per not in ("batch", "image"):
            raise ValueError(
                f"`sigma_per` must be 'batch' (as published) or 'image'. Received: sigma_per={sigma_per!r}."
            )
        self.min_sigma = min_sigma
        self.max_sigma = max_sigma
        self.sigma_per = sigma_per

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_images(images, "PaperNoise")
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

    def get_config(self) -> dict[str, Any]:
        return {
            "min_sigma": self.min_sigma,
            "max_sigma": self.max_sigma,
            "sigma_per": self.sigma_per,
            **super().get_config(),
        }
