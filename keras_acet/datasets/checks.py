"""Checks of images and labels; each error message says what was expected, what was received and how to mend it."""

from typing import Any

import numpy as np

from keras_acet import _checks


def check_images(what: str, images: Any) -> np.ndarray:
    """Returns images as uint8 or float32 with a channel axis, or raises a ValueError that starts with `what`."""
    images = np.asarray(images)
    if images.ndim not in (2, 3, 4) or images.size == 0:
        raise ValueError(
            f"{what} must be a non-empty array of shape (n, height, width, channels), (n, height, width) or (n, size). "
            f"Received: {images.shape}."
        )
    if images.ndim == 4 and images.shape[1] in (1, 3) and min(images.shape[2:]) > 4:
        raise ValueError(
            f"{what} must have the channels last. Received: {images.shape}. Use np.moveaxis(images, 1, -1)."
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"{what} must be uint8 in 0..255 or floats in [0, 1]. Received: {images.dtype}. "
            "For whole numbers in 0..255 use images.astype('uint8')."
        )
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images)
    if not finite.all():
        raise ValueError(
            f"{what} must be finite. Received: {np.count_nonzero(~finite)} pixels that are not, the first in image "
            f"{np.argwhere(~finite)[0, 0]}. Remove those images."
        )
    if images.min() < 0 or images.max() > 1:
        raise ValueError(
            f"{what} of a float type must lie in [0, 1]. Received: values from {images.min():g} to {images.max():g}. "
            "For 8-bit levels use images / 255."
        )
    return images


def check_labels(what: str, labels: Any, num_images: int, limit: int) -> np.ndarray:
    """Returns labels as int64 `(n,)`, or raises a ValueError that starts with `what`; all must be below `limit`."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in keras.datasets.cifar10
        labels = labels[:, 0]
    labels = _checks.check_labels(what, labels, num_images, limit, hint="Renumber or remove those examples.")
    return labels.astype(np.int64)
