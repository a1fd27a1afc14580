"""The checks that kinds of noise share."""

import math
import numbers
from collections.abc import Sequence

import tensorflow as tf


def check_images(images: tf.Tensor, user: str) -> tf.Tensor:
    """Returns images as a tensor, or raises ValueError that names `user`, the function that needs height and width."""
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(
            f"`{user}` needs images of shape (batch, height, width, channels). Received: shape {tuple(images.shape)}. "
            "For vectors use `UniformNoise`."
        )
    return images


def check_floats(images: tf.Tensor, user: str) -> tf.Tensor:
    """Returns images as a float32 tensor, or raises TypeError that names `user` if they are no floats."""
    images = tf.convert_to_tensor(images)
    if not images.dtype.is_floating:
        raise TypeError(
            f"`{user}` needs floats in [0, 1]. Received: {images.dtype.name}. For 8-bit levels divide by 255."
        )
    return tf.cast(images, tf.float32)


def check_range(
    argument: str, pair: Sequence[float], *, lowest: float = 0.0, highest: float = math.inf
) -> tuple[float, float]:
    """Returns a pair `(smallest, largest)` as two floats.

    Args:
        argument: Its name, for the message.
        pair: Two finite numbers in order, between `lowest` and `highest`.
        lowest, highest: What the numbers may be.

    Raises:
        TypeError: If it is no pair of numbers.
        ValueError: If the numbers are out of order or out of range.
    """
    expected = f"`{argument}` must be a pair (smallest, largest) of numbers"
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise TypeError(f"{expected}. Received: {argument}={pair!r}.")
    if not all(isinstance(one, numbers.Real) and not isinstance(one, bool) for one in pair):
        raise TypeError(f"{expected}. Received: {argument}={pair!r}.")
    low, high = (float(one) for one in pair)
    if not lowest <= low <= high <= highest or math.isinf(high):
        limits = f"[{lowest:g}, {highest:g}]" if math.isfinite(highest) else f"[{lowest:g}, inf)"
        raise ValueError(f"{expected} in {limits}, the smaller first. Received: {argument}={pair!r}.")
    return low, high
