"""Data sets by name: the library's own entries, and those that the user registers."""

from keras_acet._checks import did_you_mean
from keras_acet.datasets.entries import BUILT_IN
from keras_acet.datasets.sources import Source
from keras_acet.datasets.specs import DatasetSpec, OODSpec

_BUILT_IN = {spec.name: spec for spec in BUILT_IN}
_OWN: dict[str, DatasetSpec | OODSpec] = {}


def register(spec: DatasetSpec | OODSpec) -> None:
    """Makes a set known by its name, in this process: to `load`, `ood_sets`, and commands called in it.

    Registering another entry under the name of an earlier one of your own replaces that; the library's names stay.

    Args:
        spec: `DatasetSpec` or `OODSpec`.

    Raises:
        TypeError: If it is neither.
        ValueError: If the name is one of the library's, or holds a colon, a comma or a line break.
    """
    if not isinstance(spec, DatasetSpec | OODSpec):
        raise TypeError(f"`spec` must be a DatasetSpec or an OODSpec. Received: {type(spec).__name__}.")
    if ":" in spec.name or "," in spec.name or not spec.name.isprintable():
        raise ValueError(f"A name must be one line without colon and comma. Received: {spec.name!r}.")
    if spec.name in _BUILT_IN:
        raise ValueError(f"A set of your own needs a name of its own. Received: {spec.name!r}, one of the library's.")
    _OWN[spec.name] = spec


def registered() -> dict[str, DatasetSpec | OODSpec]:
    """Returns all entries by name, sorted."""
    return dict(sorted({**_BUILT_IN, **_OWN}.items()))


def own() -> dict[str, DatasetSpec | OODSpec]:
    """Returns the entries that the user registered by name, sorted."""
    return dict(sorted(_OWN.items()))


def labelled() -> dict[str, DatasetSpec]:
    """Returns the entries with labels by name, sorted."""
    return {name: spec for name, spec in registered().items() if isinstance(spec, DatasetSpec)}


def of_source(source: Source) -> DatasetSpec:
    """Returns the entry of images of the user's own, under a name that none of the library's sets has.

    It is the last part of the path; "photos (folder)", say, where the library has a set of that name.
    """
    name = source.name
    return DatasetSpec(f"{name} ({source.kind})" if name in registered() else name, source)


def how_to_add(name: str, names: list[str]) -> str:
    """The end of an error message about an unknown name: names like it, or how to register a set of that name."""
    near = did_you_mean(name, names)
    if near or not name or ":" in name:
        return near
    return (
        f" For files of your own use folder:PATH or npz:PATH; to give a set this name, add its entry: "
        f"datasets.register(datasets.DatasetSpec({name!r}, source))."
    )
