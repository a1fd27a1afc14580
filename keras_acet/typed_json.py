"""Frozen dataclasses to JSON and back, and the schema as text: one place for everything that is written as JSON.

How to use it: write a frozen dataclass whose docstring has a section "Attributes:" with one entry per field, annotate
each field, and call `to_json(value)`, `from_json(Class, read)` and `schema(Class)`. A field may be `str`, `int`,
`float`, `bool`, `None`, `Any` (whatever `json` writes), a `typing.Literal`, another such dataclass, `list[T]`,
`tuple[T, ...]`, `tuple[A, B]`, `dict[str, T]`, or several of these joined by `|`.

A field with the default None is left out of the JSON while it is None; every other field is always written. What is
read has to be what the class says: a missing field, one that the class does not have or a value of another type is an
error that names its place.

>>> @dataclasses.dataclass(frozen=True)
... class Point:
...     '''A point.
...
...     Attributes:
...         x: Distance from the left, in pixels.
...         name: What it is called.
...     '''
...
...     x: float
...     name: str | None = None
>>> to_json(Point(1.5)), from_json(Point, {"x": 2, "name": "corner"})
({'x': 1.5}, Point(x=2.0, name='corner'))
>>> print(schema(Point))
x: number. Distance from the left, in pixels.
name: text or null; may be absent. What it is called.
"""

import dataclasses
import functools
import inspect
import math
import re
import textwrap
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")

_WIDTH = 116
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "any JSON"}


def to_json(value: Any) -> Any:
    """Returns what the `json` module writes of a value: dataclasses become dicts, tuples lists.

    Args:
        value: A dataclass, or anything that a field of one may be; see above.

    Raises:
        TypeError: If there is something else in it.
        ValueError: If a number is NaN or infinite, which JSON does not have.
    """
    return _written(value, type(value).__name__)


def _written(value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {}
        for field in dataclasses.fields(value):
            member = getattr(value, field.name)
            if member is not None or field.default is not None:
                members[field.name] = _written(member, f"{place}.{field.name}")
        return members
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} must have keys that are text. Received: key {key!r}.")
        return {key: _written(member, f"{place}[{key!r}]") for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(member, f"{place}[{i}]") for i, member in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} must be finite: JSON has no {value}. Received: {value}. Use None where none is.")
        return value
    raise TypeError(
        f"{place} must be a dataclass, text, a number, a truth value, None, a list, a tuple or a dict. Received: "
        f"{type(value).__name__}. NumPy's numbers become Python's with `.item()`, arrays with `.tolist()`."
    )


def from_json(cls: type[T], read: Any) -> T:
    """Returns the dataclass, or other value, that `to_json` wrote.

    Args:
        cls: The dataclass, or any annotation that a field may have, such as `list[Row]`.
        read: What the `json` module read.

    Raises:
        ValueError: If `read` is not what the class says; the message names the place.
    """
    return typing.cast(T, _read(cls, read, getattr(cls, "__name__", str(cls))))


def _read(kind: Any, read: Any, place: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, read, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return read
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, read, place)
    if origin is typing.Literal and read in arguments:
        return read
    if origin in (list, tuple) and isinstance(read, list):
        kinds = arguments
        if origin is list or arguments[1:] == (...,):
            kinds = (arguments[0],) * len(read)
        if len(kinds) == len(read):
            return origin(
                _read(k, member, f"{place}[{i}]") for i, (k, member) in enumerate(zip(kinds, read, strict=True))
            )
    if origin is dict and isinstance(read, dict):
        return {key: _read(arguments[1], member, f"{place}[{key!r}]") for key, member in read.items()}
    if kind is float and isinstance(read, (int, float)) and not isinstance(read, bool):
        return float(read)
    if kind in (str, bool, type(None)) and isinstance(read, kind):
        return read
    if kind is int and isinstance(read, int) and not isinstance(read, bool):
        return read
    raise ValueError(f"{place} must be {_kind_text(kind)}. Received: {_short(read)}.")


def _read_union(arguments: tuple[Any, ...], read: Any, place: str) -> Any:
    errors = {}
    for kind in sorted(arguments, key=lambda kind: kind is float):  # a whole number stays one where both may be
        try:
            return _read(kind, read, place)
        except ValueError as error:
            errors[kind] = error
    others = [kind for kind in arguments if kind is not type(None)]
    if len(others) == 1:
        raise errors[others[0]]
    raise ValueError(f"{place} must be {' or '.join(map(_kind_text, arguments))}. Received: {_short(read)}.")


def _short(read: Any) -> str:
    return textwrap.shorten(repr(read), 80, placeholder=" ...")


def _read_dataclass(cls: type, read: Any, place: str) -> Any:
    if not isinstance(read, dict):
        raise ValueError(f"{place} must be an object, {cls.__name__}. Received: {_short(read)}.")
    kinds = _annotations(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(read) - set(fields))
    if unknown:
        raise ValueError(f"{place} must have fields among {sorted(fields)}. Received: {unknown} as well.")
    missing = [name for name, field in fields.items() if name not in read and field.default is not None]
    if missing:
        raise ValueError(f"{place} must have the fields {missing} too. Received: {sorted(read)}.")
    return cls(**{name: _read(kinds[name], member, f"{place}.{name}") for name, member in read.items()})


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def schema(cls: type, *, indent: str = "") -> str:
    """Returns the schema of a dataclass as text: a line for each field, those of inner dataclasses indented below.

    What a field means stands in the docstring of its class, under "Attributes:". A dataclass that was described before
    is only named.

    Args:
        cls: The dataclass.
        indent: What each line begins with.

    Raises:
        ValueError: If a field has no entry there, or an entry no field.
    """
    return "\n".join(_schema_lines(cls, indent, set()))


def _schema_lines(cls: type, indent: str, seen: set[type]) -> list[str]:
    seen.add(cls)
    documents, kinds, lines = _documents(cls), _annotations(cls), []
    for field in dataclasses.fields(cls):
        absent = "; may be absent" if field.default is None else ""
        text = f"{field.name}: {_kind_text(kinds[field.name])}{absent}. {documents[field.name]}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "    ")
        for inner in _dataclasses_in(kinds[field.name]):
            if inner not in seen:
                lines += _schema_lines(inner, indent + "  ", seen)
    return lines


def _dataclasses_in(kind: Any) -> list[type]:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [kind]
    return [found for argument in typing.get_args(kind) for found in _dataclasses_in(argument)]


def _documents(cls: type) -> dict[str, str]:
    """The description of each field in the section "Attributes:" of a class."""
    text = inspect.getdoc(cls) or ""
    section = re.search(r"^Attributes:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n     .*)*)", section.group(1) if section else "", re.MULTILINE)
    documents = {name.strip(): " ".join(said.split()) for names, said in entries for name in names.split(",")}
    fields = [field.name for field in dataclasses.fields(cls)]
    if sorted(documents) != sorted(fields):
        raise ValueError(
            f'The docstring of {cls.__name__} must describe the fields {fields} under "Attributes:". Received: '
            f"{sorted(documents)}."
        )
    return documents


def _kind_text(kind: Any) -> str:
    """The JSON values that an annotation allows, in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _NAMES:
        return _NAMES[kind]
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_kind_text, arguments))
    if origin is typing.Literal:
        return "one of " + ", ".join(f'"{value}"' for value in arguments)
    if origin is dict:
        return f"object from text to ({_kind_text(arguments[1])})"
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return f"list of ({_kind_text(arguments[0])})"
    if origin is tuple:
        return f"list of {len(arguments)}: {', '.join(map(_kind_text, arguments))}"
    return getattr(kind, "__name__", str(kind))
