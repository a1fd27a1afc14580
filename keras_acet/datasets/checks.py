"""Checks of images and labels; each error message says what was expected, what was received and how to mend it."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_acet import _checks
from keras_acet._checks import notify

_ROUNDING = 1e-3  # a quarter of an 8-bit level: what a resize or a decoder of floats leaves
_MIN_SIDE = 8  # a last axis that is shorter may well be the channels


def check_images(what: str, images: Any) -> np.ndarray:
    """Returns images as uint8 or float32 with a channel axis, or raises a ValueError that starts with `what`."""
    images = _as_array(what, images)
    if images.ndim not in (2, 3, 4) or images.size == 0:
        raise ValueError(
            f"{what} must be a non-empty array of shape (n, height, width, channels), (n, height, width) or (n, size). "
            f"Received: {images.shape}."
        )
    if images.ndim == 4 and images.shape[1] in (1, 3) and min(images.shape[2:]) >= _MIN_SIDE:
        raise ValueError(
            f"{what} must have the channels last. Received: {images.shape}. Use np.moveaxis(images, 1, -1)."
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype == bool:
        return images.astype(np.float32)  # black and white
    if images.dtype == np.uint8:
        if images.max() == 1:
            raise ValueError(
                f"{what} of uint8 count as levels in 0..255. Received: 0 and 1 alone, which are next to black. For "
                "black and white use images * 255, for pixels in [0, 1] images.astype('float32')."
            )
        return images
    if images.dtype.kind in "iu" and (images.min() < 0 or images.max() > 255):
        raise ValueError(
            f"{what} must be uint8 in 0..255 or floats in [0, 1]. Received: {images.dtype} from {images.min()} to "
            f"{images.max()}. Scale them, such as (images - low) / (high - low)."
        )
    if not np.issubdtype(images.dtype, np.floating):
        is_unit = images.dtype.kind in "iu" and images.max() <= 1
        kind, where = ("float32", "[0, 1]") if is_unit else ("uint8", "0..255")
        raise ValueError(
            f"{what} must be uint8 in 0..255 or floats in [0, 1]. Received: {images.dtype}. "
            f"For whole numbers in {where} use images.astype('{kind}')."
        )
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images)
    if not finite.all():
        raise ValueError(
            f"{what} must be finite. Received: {np.count_nonzero(~finite)} pixels that are not, the first in image "
            f"{np.argwhere(~finite)[0, 0]}. Remove those images."
        )
    low, high = float(images.min()), float(images.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"{what} of a float type must lie in [0, 1]. Received: values from {low:g} to {high:g}. "
            f"{_advice_on_range(low, high)}"
        )
    return np.clip(images, 0, 1) if low < 0 or high > 1 else images


def _advice_on_range(low, high):
    if low >= -1 and high <= 1:
        return "Of pixels in [-1, 1] use (images + 1) / 2."
    if low >= 0 and 2 < high <= 255:
        return "For 8-bit levels use images / 255."
    if low >= -0.5 and high <= 1.5:
        return "To cut off what a resize or a filter left outside use np.clip(images, 0, 1)."
    return "Scale them, such as (images - low) / (high - low), by the same two numbers for all sets."


def check_labels(what: str, labels: Any, num_images: int, limit: int) -> np.ndarray:
    """Returns labels as int64 `(n,)`, or raises a ValueError that starts with `what`; all must be below `limit`."""
    labels = _as_array(what, labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in keras.datasets.cifar10
        labels = labels[:, 0]
    if labels.ndim == 1 and labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)  # as text files are read
    labels = _checks.check_labels(what, labels, num_images, limit, hint="Renumber or remove those examples.")
    return labels.astype(np.int64)


def check_pair(name: str, argument: str, pair: Any) -> tuple[Any, Any]:
    """Returns a pair `(images, labels)`, or raises TypeError."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        received = f"{len(pair)} parts" if isinstance(pair, tuple | list) else type(pair).__name__
        raise TypeError(f"{name}: `{argument}` must be a pair (images, labels) of arrays. Received: {received}.")
    return pair[0], pair[1]


def check_class_names(name: str, class_names: Any) -> list[str]:
    """Returns the names of classes as a list of str; an array of them will do. Raises TypeError or ValueError."""
    names = class_names.tolist() if isinstance(class_names, np.ndarray) else class_names
    is_list = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not is_list or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name}: `class_names` must be a list of str, one per class. Received: {class_names!r:.200}.")
    if not names:
        raise ValueError(f"{name}: `class_names` must name each class. Received: none; leave it out for numbers.")
    twice = [one for one, count in collections.Counter(names).items() if count > 1]
    if twice or not all(one.strip() for one in names):
        raise ValueError(
            f"{name}: `class_names` must be different and not empty. Received: {twice[0] if twice else ''!r}"
            f"{' twice' if twice else ''}."
        )
    alike = collections.Counter(" ".join(one.split()).casefold() for one in names)
    near = [one for one in names if alike[" ".join(one.split()).casefold()] > 1]
    if near:
        text = f"{name}: the classes {', '.join(map(repr, near[:4]))} are different ones"
        notify(text)
    return [str(one) for one in names]


def _as_array(what: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise ValueError(f"{what} must be one array. Received: what NumPy cannot make one of ({error}).") from error
