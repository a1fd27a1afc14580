"""What images, labels and names have to look like; each check gives one sentence that says how to mend it."""

import difflib

import numpy as np


def check_images(what, images):
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


def check_labels(what, labels, num_images, limit):
    """Returns labels as int64 `(n,)`, or raises a ValueError that starts with `what`; all must be below `limit`."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in keras.datasets.cifar10
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{what} must be integers of shape (n,). Received: {labels.dtype} of shape {labels.shape}. For one-hot "
            "rows use labels.argmax(axis=1), for whole numbers stored as floats labels.astype('int64')."
        )
    if len(labels) != num_images:
        raise ValueError(f"{what}: each image needs one. Received: {num_images} images and {len(labels)} labels.")
    outside = np.flatnonzero((labels < 0) | (labels >= limit))
    if outside.size:
        raise ValueError(
            f"{what} must count classes from 0, here up to {limit - 1} at most. "
            f"Received: {labels[outside[0]]} at position {outside[0]}. Renumber or remove those examples."
        )
    return labels.astype(np.int64)


def did_you_mean(name, names):
    """Returns " Did you mean ...?" with the names that are near, or "" if none is."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
