"""Keys of stored results: all settings of an object, as values that JSON can hold."""

import dataclasses
from typing import Any

import numpy as np

from keras_acet.files import sha256


def describe(value: Any) -> Any:
    """Describes a value completely, for the key of a stored result.

    Args:
        value: None, text, a number, a truth value, an array; a tuple, list or dict of such values; a dataclass, with
            all of its fields; or an object with Keras' `get_config`, such as an attack or a score, with its class and
            its configuration but for the name.

    Raises:
        TypeError: If there is something else in it, a function say: two of these could not be told apart.
    """
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return sha256(f"{value.shape}{value.dtype.str}", value)[:16]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": class_name(value), **fields}
    if isinstance(value, dict):
        return {str(key): describe(member) for key, member in value.items()}
    if isinstance(value, (tuple, list)):
        return [describe(member) for member in value]
    if hasattr(value, "get_config"):
        config = {name: member for name, member in value.get_config().items() if name != "name"}
        return {"class": class_name(value), **describe(config)}
    raise TypeError(
        "A setting of a measurement must be text, a number, an array, a dataclass, an object with `get_config`, or a "
        f"tuple, list or dict of these. Received: {value!r}."
    )


def class_name(value: Any) -> str:
    """Returns the module and name of a value's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
