"""Checks of the arguments of networks."""

import math
from typing import Any

from keras_acet._checks import check_integer


def check_num_classes(num_classes: Any) -> int:
    return check_integer(num_classes, "num_classes", minimum=2)


def check_weight_decay(weight_decay: Any) -> float:
    try:
        value = float(weight_decay)
    except (TypeError, ValueError):
        raise TypeError(f"`weight_decay` must be a number. Received: weight_decay={weight_decay!r}.") from None
    if not 0.0 <= value < math.inf:
        raise ValueError(
            "`weight_decay` must be a finite number of at least 0 (published: 5e-4). "
            f"Received: weight_decay={weight_decay}."
        )
    return value


def check_image_shape(image_shape: Any, *, name: str, ranks: tuple[int, ...] = (3,)) -> tuple[int, ...]:
    if not hasattr(image_shape, "__iter__") or isinstance(image_shape, (str, bytes)):
        raise TypeError(f"`image_shape` must be a tuple of integers. Received: image_shape={image_shape!r}.")
    shape = tuple(image_shape)
    if len(shape) not in ranks:
        if ranks == (3,):
            expected = "(height, width, channels)"
            mend = "Add the channel axis to gray images; use `mlp` for vectors."
        else:
            expected = "of 1 to 3 numbers"
            mend = "Leave out the batch axis."
        raise ValueError(f"`image_shape` must be {expected} for `{name}`. Received: image_shape={shape}. {mend}")
    return tuple(check_integer(size, "image_shape", minimum=1) for size in shape)
