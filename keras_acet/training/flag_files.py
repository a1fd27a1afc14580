"""The text form of a recipe: an absl flag file, one `--name=value` per line, comments from `#` on.

A run directory and the package hold recipes in this form. Only this module writes and reads it.
"""

import importlib.resources
import pathlib
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable

_NOT_COMPARED = "# May be changed when the run goes on:"
_FINGERPRINT = "# Fingerprint of the data: "
_REPEAT = "# Repeats this run: python train.py --flagfile=THIS_FILE --run_dir=ANOTHER_DIRECTORY"


def write_run(flags: Mapping[str, str], *, fingerprint: str | None, extra_flags: Mapping[str, str] | None) -> str:
    """Returns the text of a run's flag file.

    Args:
        flags: The flags that make the run, name -> text.
        fingerprint: Fingerprint of the data, or None.
        extra_flags: Flags that may change from one start to the next, name -> text.
    """
    lines = [_REPEAT, *_lines_of(flags)]
    if fingerprint is not None:
        lines.append(_FINGERPRINT + fingerprint)
    if extra_flags:
        lines += [_NOT_COMPARED, *_lines_of(extra_flags)]
    return "\n".join([*lines, ""])


def read_run(text: str) -> tuple[dict[str, str], dict[str, str], str | None]:
    """Returns what a run's flag file holds: the flags that make the run, the others, the fingerprint of its data."""
    flags: dict[str, str] = {}
    others: dict[str, str] = {}
    fingerprint, into = None, flags
    for line in text.splitlines():
        if line == _NOT_COMPARED:
            into = others
        elif line.startswith(_FINGERPRINT) and fingerprint is None:
            fingerprint = line.removeprefix(_FINGERPRINT)
        elif line.startswith("--") and "=" in line:
            name, value = line[2:].split("=", 1)
            into[name] = value
    return flags, others, fingerprint


def read(text: str, where: str) -> dict[str, str]:
    """Returns the flags that make a run, name -> text, from a flag file that people write.

    Args:
        text: Content of the file.
        where: Name of the file in error messages.

    Raises:
        ValueError: If a line is neither a comment nor a flag in the form --name=value, --name or --noname.
    """
    flags = {}
    for line in text.split(_NOT_COMPARED)[0].splitlines():
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        name, equals, value = line.lstrip("-").partition("=")
        if not line.startswith("-") or not name or name == "flagfile":
            raise ValueError(f"{where}: a recipe holds lines such as --epochs=100 and comments. Received: {line!r}.")
        if not equals:
            name, value = (name.removeprefix("no"), "False") if name.startswith("no") else (name, "True")
        flags[name] = value
    return flags


def names() -> list[str]:
    """Returns the sorted names of the recipes of the package, such as "fast/mnist_acet"."""
    folders = [folder for folder in _packaged().iterdir() if folder.is_dir()]
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.flags')}"
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".flags")
    )


def read_named(name: str) -> dict[str, str]:
    """Returns the flags of a recipe of the package, or of a flag file.

    Args:
        name: One of `names()`, or the path of a file.

    Raises:
        ValueError: If it is neither; the message lists the names.
    """
    path = pathlib.Path(name)
    if name in names():
        text = (_packaged() / f"{name}.flags").read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise ValueError(
            f"A recipe must be one of {', '.join(names())}, or the path of a flag file. Received: {name!r}."
        )
    return read(text, name)


def _packaged() -> Traversable:
    """The folder of the recipes: within the package where it is installed, beside it in a checkout."""
    package = importlib.resources.files("keras_acet")
    installed = package / "recipes"
    if installed.is_dir():
        return installed
    return pathlib.Path(str(package)).parent / "recipes"


def _lines_of(flags: Mapping[str, str]) -> Iterable[str]:
    return [f"--{name}={text}" for name, text in sorted(flags.items())]
