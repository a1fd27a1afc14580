"""Mosaics of coloured squares."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet._checks import check_integer
from keras_acet.noise._checks import check_floats, check_images
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class MosaicNoise(Noise):
    """Mosaics: squares, each of a colour from U[0, 1]^channels.

    Pixel `(y, x)` has the colour of the square `(y // s, x // s)`; the side `s` is drawn for each image.

    Args:
        sides: The sides in pixels, each equally likely.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        TypeError: If `sides` are no whole numbers.
        ValueError: If there is none, or one below 1.
    """

    def __init__(
        self,
        *,
        sides: Sequence[int] = (2, 4, 8),
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        if isinstance(sides, str) or not isinstance(sides, Sequence):
            raise TypeError(f"`sides` must hold integers, such as (2, 4, 8). Received: sides={sides!r}.")
        if not sides:
            raise ValueError("`sides` must hold at least one side, such as (2, 4, 8). Received: sides=().")
        self.sides = tuple(check_integer(side, "sides", minimum=1) for side in sides)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "MosaicNoise"), "MosaicNoise")
        batch = tf.shape(images)[0]
        height, width, channels = images.shape[1:]
        chosen = keras.random.randint((batch, 1), 0, len(self.sides), seed=self.seed_generator)
        side = tf.gather(tf.constant(self.sides, tf.int32), chosen)
        # As many squares as the smallest side needs; a larger one uses the first of them.
        num_rows, num_columns = (-(-size // min(self.sides)) for size in (height, width))
        squares = keras.random.uniform((batch, num_rows, num_columns, channels), seed=self.seed_generator)
        rows = tf.gather(squares, tf.range(height) // side, axis=1, batch_dims=1)
        return tf.gather(rows, tf.range(width) // side, axis=2, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        return {"sides": self.sides, **super().get_config()}
