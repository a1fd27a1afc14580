"""The settings of a recipe: what each may be, in one declaration that code, flags and help share."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_acet._checks import check_one_line

PIXELS = ", in pixel units; for 8-bit levels divide by 255"


@dataclasses.dataclass(frozen=True)
class Setting:
    """The declaration of a setting: its type and its allowed values.

    Args:
        kind: `str`, `int`, `float`, `bool`, or `tuple` for a list of whole numbers.
        help: The meaning of the setting, with its unit and the paper's value; other settings in backticks.
        interval: The interval of a number, such as `"(0, 1]"`.
        hint: Text that an error message adds after the interval.
        choices: The allowed values of a text.
        optional: Whether it may be None.
    """

    kind: type
    help: str
    interval: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Returns the value in its own type.

        Raises:
            TypeError: If it is not of the type.
            ValueError: If it is out of the interval or not one of the choices.
        """
        if value is None and self.optional:
            return None
        if isinstance(value, np.generic):  # NumPy's numbers and texts are as good
            value = value.item()
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is tuple and isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            or_none = " or None" if self.optional else ""
            raise TypeError(f"`{name}` must be {_KINDS[self.kind]}{or_none}. Received: {name}={value!r}.")
        found: Any = value
        if self.kind is str:
            check_one_line(found, name)
        if self.choices and found not in self.choices:
            raise ValueError(f"`{name}` must be one of {', '.join(self.choices)}. Received: {name}={value!r}.")
        if self.interval and not self._is_inside(found):
            is_open = self.kind is int and self.interval.endswith(", inf)")
            where = f"at least {self.interval[1:-6]}" if is_open else f"in {self.interval}"
            raise ValueError(f"`{name}` must be {where}{self.hint}. Received: {name}={value}.")
        if self.kind is tuple and not _rises(found):
            raise ValueError(
                f"`{name}` must be rising whole numbers, such as 50,75,90. Received: {name}={write(value)}."
            )
        return found

    def read(self, name: str, text: str) -> Any:
        """Returns the value that a text of a flag file stands for.

        Raises:
            ValueError: If there is none.
        """
        try:
            if self.kind is bool:
                return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            if self.kind is tuple:
                return tuple(int(part) for part in text.split(","))
            return self.kind(text)
        except (KeyError, ValueError):
            raise ValueError(f"`{name}` must be {_KINDS[self.kind]}. Received: {name}={text}.") from None

    def _is_inside(self, value: float) -> bool:
        low, high = (float(end) for end in self.interval[1:-1].split(","))
        above = value >= low if self.interval[0] == "[" else value > low
        below = value <= high if self.interval[-1] == "]" else value < high
        return above and below  # false for nan


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    tuple: "rising whole numbers, such as 50,75,90",
}


def write(value: Any) -> str:
    """Returns the text of a value in a flag file."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def setting(kind: type, help: str, default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """A field of a recipe; without a default it has to be given."""
    limits.setdefault("optional", default is None)
    return dataclasses.field(default=default, metadata={"setting": Setting(kind, help, **limits)})


def number(help: str, interval: str, default: Any = dataclasses.MISSING, hint: str = "") -> Any:
    """A field with a number in an interval."""
    return setting(float, help, default, interval=interval, hint=hint)


def whole(help: str, at_least: int, default: Any = dataclasses.MISSING, below: float = math.inf) -> Any:
    """A field with a whole number."""
    return setting(int, help, default, interval=f"[{at_least}, {below})")


def choice(help: str, choices: tuple[str, ...], default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """A field with one of several texts."""
    return setting(str, help, default, choices=choices, **limits)


def _rises(numbers: tuple) -> bool:
    is_whole = all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
    return is_whole and all(before < after for before, after in zip((0, *numbers), numbers, strict=False))
