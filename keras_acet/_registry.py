"""The members of a seam by their names, from the imports of its folder."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def members(names: Mapping[str, Any], base: type[T]) -> dict[str, type[T]]:
    """Returns the subclasses of a base class among the names of a module, each by its attribute `name`, in their order.

    Args:
        names: The `vars()` of the module.
        base: The base class, which is not a member itself.

    Example:

    >>> class Base: ...
    >>> class One(Base):
    ...     name = "one"
    >>> list(members({"Base": Base, "One": One, "other": 3}, Base))
    ['one']
    """
    found = [value for value in names.values() if isinstance(value, type) and issubclass(value, base)]
    return {member.name: member for member in found if member is not base}  # type: ignore[attr-defined]
