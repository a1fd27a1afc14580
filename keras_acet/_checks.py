"""Checks of arguments that several modules share; each message says what was expected, what came and how to mend it."""

import contextlib
import difflib
import math
import operator
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

# Decorators that are context managers put a frame of contextlib between two of the package.
_INSIDE = (os.path.dirname(__file__) + os.sep, contextlib.__file__)


def as_float(images: np.ndarray) -> np.ndarray:
    """Returns images as a float32 array in [0, 1]: uint8 is divided by 255, floats stay."""
    images = np.asarray(images)
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def check_labels(what: str, labels: Any, num_images: int, num_classes: int, *, hint: str) -> np.ndarray:
    """Returns labels as an integer array `(num_images,)` of their own dtype, or raises ValueError.

    Args:
        what: Beginning of the message.
        labels: Integers of shape `(num_images,)`.
        num_images: How many there have to be.
        num_classes: Labels have to be in `[0, num_classes)`.
        hint: End of the message on labels outside, a sentence or two.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what} must be integers of shape ({num_images},), one per image. Received: {labels.dtype} of shape "
            f"{labels.shape}. For one-hot rows use labels.argmax(axis=1), for whole numbers stored as floats "
            "labels.astype('int64')."
        )
    if len(labels) != num_images:
        raise ValueError(f"{what}: each image needs one. Received: {num_images} images and {len(labels)} labels.")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        raise ValueError(
            f"{what} must count classes from 0, here up to {num_classes - 1} at most. "
            f"Received: {labels[outside[0]]} at position {outside[0]}. {hint}"
        )
    return labels


def check_integer(value: Any, argument: str, *, minimum: int) -> int:
    """Returns a whole number as int; raises TypeError for anything else, ValueError below `minimum`."""
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"`{argument}` must hold integers. Received: {value!r}.") from None
    if integer < minimum:
        raise ValueError(f"`{argument}` must be at least {minimum}. Received: {integer}.")
    return integer


def check_temperature(temperature: Any) -> float:
    """Returns a temperature as a float, or raises TypeError or ValueError."""
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | np.floating | np.integer):
        raise TypeError(f"`temperature` must be a number. Received: temperature={temperature!r}.")
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"`temperature` must be above 0 and finite. Received: temperature={temperature}. Without one it is 1."
        )
    return float(temperature)


def check_one_line(value: str, argument: str) -> str:
    """Returns a text that a line of a file can hold; raises ValueError for control characters and blanks at its ends.

    Bytes of a path that are not UTF-8 count as controls too: no file of ours could hold them.
    """
    # Controls, lone surrogates (how Python holds bytes that are no UTF-8), separators of lines and paragraphs.
    if value != value.strip() or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        raise ValueError(
            f"`{argument}` must be text in one line, without line breaks or other controls and blanks at its ends. "
            f"Received: {value!r}."
        )
    return value


class Notice(UserWarning):
    """What a user has to know and what stopped nothing; the command line prints it as a line of its own."""


def notify(text: str) -> None:
    """Issues a `Notice` that points to the line outside of this package that led to it."""
    frame, level = sys._getframe(1), 2  # of the caller
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, Notice, stacklevel=level)


class UnknownNameError(KeyError):
    """A name that is not among the known ones, which the message lists.

    >>> raise UnknownNameError("set", "noize", ["noise", "photos"])
    Traceback (most recent call last):
    keras_acet._checks.UnknownNameError: There is no set 'noize'. There are: noise, photos. Did you mean 'noise'?
    """

    def __init__(self, what: str, name: object, names: Iterable[str]) -> None:
        known = list(names)
        super().__init__(
            f"There is no {what} {name!r}. There are: {', '.join(known) or 'none'}.{did_you_mean(str(name), known)}"
        )

    def __str__(self) -> str:
        return str(self.args[0])


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns " Did you mean ...?" with the names that are near, in any case, or "" if none is.

    >>> did_you_mean("mobilenet-v2", ["VGG16", "MobileNetV2"])
    " Did you mean 'MobileNetV2'?"
    """
    by_lower_case = {known.lower(): known for known in names}
    near = nearest(name.lower().replace("-", "_"), by_lower_case)
    return f" Did you mean {' or '.join(repr(by_lower_case[match]) for match in near)}?" if near else ""


def nearest(name: str, names: Iterable[str], *, at_least: float = 0.6) -> list[str]:
    """Returns up to three names that are most like `name`, the nearest first; `at_least` is a likeness in [0, 1]."""
    return difflib.get_close_matches(name, list(names), n=3, cutoff=at_least)
