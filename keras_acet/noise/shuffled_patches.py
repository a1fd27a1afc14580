"""Images with their patches shuffled."""

from typing import Any

import keras
import tensorflow as tf

from keras_acet._checks import check_integer
from keras_acet.noise._checks import check_floats, check_images
from keras_acet.noise.base import Noise


@keras.saving.register_keras_serializable("keras_acet")
class ShuffledPatchesNoise(Noise):
    """The images, cut into a grid of patches that are put together in random order.

    Row `i` of the grid begins at pixel `floor(i height / grid)`, and so do its columns. Where that gives patches of
    different sizes, a patch that is too small repeats its last row or column, and one that is too large is cut. An
    image with fewer rows or columns of pixels than the grid is cut between all of them.

    Args:
        grid: Rows and columns of the grid.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`.

    Raises:
        TypeError: If `grid` is no whole number.
        ValueError: If `grid` is below 1.
    """

    def __init__(
        self,
        *,
        grid: int = 4,
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.grid = check_integer(grid, "grid", minimum=1)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "ShuffledPatchesNoise"), "ShuffledPatchesNoise")
        batch = tf.shape(images)[0]
        height, width, channels = images.shape[1:]
        num_rows, num_columns = min(self.grid, height), min(self.grid, width)
        keys = keras.random.uniform((batch, num_rows * num_columns), seed=self.seed_generator)
        sources = tf.reshape(tf.argsort(keys), (-1, num_rows, num_columns))
        # For each pixel: the patch that it lies in, the patch that it comes from, and where in that it lies.
        row_patch, row_inside, row_starts = _patches(height, num_rows)
        column_patch, column_inside, column_starts = _patches(width, num_columns)
        source = tf.gather(tf.gather(sources, row_patch, axis=1), column_patch, axis=2)  # (batch, height, width)
        rows = _from(source // num_columns, row_inside[:, None], row_starts)
        columns = _from(source % num_columns, column_inside[None, :], column_starts)
        pixels = tf.reshape(images, (-1, height * width, channels))
        index = tf.reshape(rows * width + columns, (-1, height * width))
        return tf.ensure_shape(tf.reshape(tf.gather(pixels, index, batch_dims=1), tf.shape(images)), images.shape)

    def get_config(self) -> dict[str, Any]:
        return {"grid": self.grid, **super().get_config()}


def _patches(size: int, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """For each position its patch and its place there, of shape `(size,)`; the starts of all patches, and the end."""
    starts = [number * size // count for number in range(count + 1)]
    patch = [number for number in range(count) for _ in range(starts[number], starts[number + 1])]
    inside = [position - starts[number] for position, number in enumerate(patch)]
    return tf.constant(patch), tf.constant(inside), tf.constant(starts)


def _from(patch: tf.Tensor, inside: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """The position at a place inside a patch, the last one where the patch is too small."""
    return tf.minimum(tf.gather(starts, patch) + inside, tf.gather(starts, patch + 1) - 1)
