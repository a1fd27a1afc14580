"""Images of another size or number of channels."""

from collections.abc import Sequence

import numpy as np

from keras_acet._checks import as_float
from keras_acet.datasets import decoding


def fit_images(images: Sequence[np.ndarray] | np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Gives images another size and number of channels, and makes them float32 in [0, 1].

    Resizes with Pillow's bilinear filter, which averages where it shrinks (antialias); the aspect is not kept. Then
    three channels become one by their unweighted mean, and one becomes three by repetition.

    Args:
        images: Sequence of arrays `(height, width, 1 or 3)`, all uint8 in 0..255 or all float32 in [0, 1]; sizes may
            differ.
        image_shape: Tuple `(height, width, 1 or 3)`.

    Returns:
        float32 array `(n, *image_shape)` in [0, 1].

    Example:

    >>> fit_images(np.array([[[[0, 30, 255]]]], "uint8"), (2, 1, 1)).ravel() * 255  # (0 + 30 + 255) / 3
    array([95., 95.], dtype=float32)
    """
    made = np.empty((len(images), *image_shape), np.float32)
    for i, image in enumerate(images):
        made[i] = decoding.fit(image, image_shape)
    return made


def fitted(name: str, images: np.ndarray, image_shape: tuple[int, ...], resize: bool) -> np.ndarray:
    """Returns images as float32 of a shape, or raises ValueError if they have another and may not be made to fit."""
    check_shape(name, images.shape[1:], image_shape, resize)
    if images.shape[1:] != image_shape:
        return fit_images(images, image_shape)
    return as_float(images)


def check_shape(name: str, shape: tuple[int, ...], image_shape: tuple[int, ...], resize: bool) -> None:
    """Raises ValueError if images of a shape may not, or cannot, be made to fit another."""
    if shape == image_shape:
        return
    expected = f"{name}: the images must have the shape {image_shape}. Received: {shape}."
    if not len(shape) == len(image_shape) == 3:
        raise ValueError(f"{expected} Vectors and images do not turn into each other; name another set.")
    if shape[2] != image_shape[2] and {shape[2], image_shape[2]} != {1, 3}:
        raise ValueError(f"{expected} Only 1 channel and 3 turn into each other; name another set.")
    if not resize:
        raise ValueError(f"{expected} To make them fit give `resize=True`.")
