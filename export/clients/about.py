"""The metadata of an exported model, as the clients need them."""

import json
import math
from typing import Any

from .errors import UserError


def read_about(text: str | bytes, where: object) -> dict[str, Any]:
    """Reads the metadata of an exported model.

    Args:
        text: What `metadata.json` holds.
        where: Where it comes from, for error messages.

    Returns:
        dict as in `metadata.json`; the name, the names of the classes and the input are there.

    Raises:
        UserError: If it is something else.
    """
    try:
        about = json.loads(text)
        names, shape, resize = about["data"]["class_names"], about["input"]["shape"], about["input"]["resize"]
        is_whole = (
            isinstance(about["name"], str)
            and all(isinstance(name, str) for name in [*names])
            and all(isinstance(size, int) for size in [*shape])
            and isinstance(resize, bool)
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{where} holds no metadata of an exported model, such as the metadata.json beside it")
    return about


def check_threshold(threshold: float | None, about: dict[str, Any] | None) -> None:
    """Raises UserError if a model cannot decide by a threshold.

    Args:
        threshold: None for the model's own.
        about: The model's metadata; None where they are not known.
    """
    if threshold is None:
        return
    if not math.isfinite(threshold):
        raise UserError(f"--threshold={threshold} must be a finite number")
    is_confidence = about is not None and about.get("score") is None
    if is_confidence and not 0 <= threshold <= 1:
        raise UserError(f"--threshold={threshold:g} must be a confidence in [0, 1]; for 95 % write 0.95")
