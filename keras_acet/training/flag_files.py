"""The text form of a recipe: an absl flag file, one `--name=value` per line, comments from `#` on.

A run directory and the package hold recipes in this form. Only this module writes and reads it.
"""

import importlib.resources
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from keras_acet._checks import check_one_line, did_you_mean

_NOT_COMPARED = "# May be changed when the run goes on:"
_FINGERPRINT = "# Fingerprint of the data: "
_OUT_FINGERPRINT = "# Fingerprint of the out-distribution: "
_REPEAT = "# Repeats this run: python train.py --flagfile=THIS_FILE --run_dir=ANOTHER_DIRECTORY"
# Settings that had another name in a version before -> the name now.
RENAMED = {"noise": "out"}


class RunFlags(NamedTuple):
    """What a run's flag file holds.

    Attributes:
        flags: The flags that make the run, name -> text, under the names that they have now.
        extra_flags: Those that may change from one start to the next.
        fingerprint: Fingerprint of the data, or None.
        out_fingerprint: Fingerprint of the images of the out-distribution, or None.
    """

    flags: dict[str, str]
    extra_flags: dict[str, str]
    fingerprint: str | None
    out_fingerprint: str | None


def write_run(
    flags: Mapping[str, str],
    *,
    fingerprint: str | None,
    extra_flags: Mapping[str, str] | None,
    out_fingerprint: str | None = None,
) -> str:
    """Returns the text of a run's flag file.

    Args:
        flags: The flags that make the run, name -> text.
        fingerprint: Fingerprint of the data, or None.
        out_fingerprint: Fingerprint of the images of the out-distribution, or None.
        extra_flags: Flags that may change from one start to the next, name -> text.

    Raises:
        ValueError: If a text does not stand in one line.
    """
    lines = [_REPEAT, *_lines_of(flags)]
    if fingerprint is not None:
        lines.append(_FINGERPRINT + fingerprint)
    if out_fingerprint is not None:
        lines.append(_OUT_FINGERPRINT + out_fingerprint)
    if extra_flags:
        lines += [_NOT_COMPARED, *_lines_of(extra_flags)]
    return "\n".join([*lines, ""])


def read_run(text: str) -> RunFlags:
    """Returns what a run's flag file holds."""
    flags: dict[str, str] = {}
    others: dict[str, str] = {}
    fingerprint, out_fingerprint, into = None, None, flags
    for line in text.split("\n"):  # as it is written; `splitlines` knows other breaks
        if line == _NOT_COMPARED:
            into = others
        elif line.startswith(_FINGERPRINT) and fingerprint is None:
            fingerprint = line.removeprefix(_FINGERPRINT)
        elif line.startswith(_OUT_FINGERPRINT) and out_fingerprint is None:
            out_fingerprint = line.removeprefix(_OUT_FINGERPRINT)
        elif line.startswith("--") and "=" in line:
            name, value = line[2:].split("=", 1)
            into[name] = value
    return RunFlags(renamed(flags), others, fingerprint, out_fingerprint)


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings under the names that they have now.

    Raises:
        ValueError: If one is there under both of its names.

    >>> renamed({"noise": "paper", "epochs": 3})
    {'out': 'paper', 'epochs': 3}
    """
    for old, new in RENAMED.items():
        if old in settings and new in settings:
            raise ValueError(f"`{old}` is the former name of `{new}`; give one of them.")
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def read(text: str, where: str) -> dict[str, str]:
    """Returns the flags that make a run, name -> text, from a flag file that people write.

    Args:
        text: Content of the file.
        where: Name of the file in error messages.

    Raises:
        ValueError: If a line is neither a comment nor a flag in the form --name=value, --name or --noname, or the file
            includes another, which only the command line reads.
    """
    flags = {}
    for line in _flags_in(text.split(_NOT_COMPARED)[0], where):
        name, equals, value = line.lstrip("-").partition("=")
        if name == "flagfile":
            raise ValueError(f"{where}: a recipe holds all of its flags, without another file. Received: {line!r}.")
        if not equals:
            name, value = (name.removeprefix("no"), "False") if name.startswith("no") else (name, "True")
        flags[name] = value
    return flags


def arguments(path: str | os.PathLike[str], *, within: tuple[pathlib.Path, ...] = ()) -> list[str]:
    """Returns all flags of a flag file as they can be typed, such as "--epochs=3".

    A line --flagfile=OTHER includes another file at its place, as absl has it: a path within it starts at the working
    folder.

    Args:
        path: The file.
        within: The files that include this one.

    Raises:
        ValueError: If the file cannot be read, includes itself, or has a line that is neither a comment nor a flag.
    """
    file = pathlib.Path(path).expanduser()
    if file in within:
        raise ValueError(f"The flag file {file} includes itself: {' -> '.join(map(str, [*within, file]))}.")
    try:
        text = _decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise ValueError(f"The flag file {file} cannot be read: {error.strerror or error}.") from None
    found = []
    for line in _flags_in(text, str(file)):
        name, _, value = line.lstrip("-").partition("=")
        found += arguments(value, within=(*within, file)) if name == "flagfile" else [line]
    return found


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
    return read(_text_named(name), name)


def arguments_named(name: str) -> list[str]:
    """Returns the flags of a recipe of the package, or of a flag file, as they can be typed.

    Beyond those of `read_named` there are the ones that do not make the run, such as where the data lie.

    Args:
        name: As for `read_named`.

    Raises:
        ValueError: As `read_named` and `arguments`.
    """
    is_packaged = name in names() or not pathlib.Path(name).is_file()
    return _flags_in(_text_named(name), name) if is_packaged else arguments(name)


def _text_named(name: str) -> str:
    path = pathlib.Path(name)
    if name in names():
        return (_packaged() / f"{name}.flags").read_text(encoding="utf-8")
    if path.is_file():
        return _decoded(path.read_bytes(), name)
    raise ValueError(
        f"A recipe must be one of {', '.join(names())}, or the path of a flag file. Received: {name!r}."
        f"{did_you_mean(name, names())}"
    )


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{where} must be a text file in UTF-8, with a flag in each line, --epochs=100.") from None


def _flags_in(text: str, where: str) -> list[str]:
    """The lines of a flag file that are flags."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    flags = [(number, line) for number, line in lines if line and not line.startswith(("#", "//"))]
    for number, line in flags:
        if not re.fullmatch(r"--?[A-Za-z]\w*(=.*)?", line):
            raise ValueError(
                f"{where}, line {number}: a file of flags holds lines such as --epochs=100 and comments. "
                f"Received: {line!r}."
            )
    return [line for _, line in flags]


def _packaged() -> Traversable:
    """The folder of the recipes: within the package where it is installed, beside it in a checkout."""
    package = importlib.resources.files("keras_acet")
    installed = package / "recipes"
    if installed.is_dir():
        return installed
    return pathlib.Path(str(package)).parent / "recipes"


def _lines_of(flags: Mapping[str, str]) -> Iterable[str]:
    return [f"--{name}={check_one_line(text, name)}" for name, text in sorted(flags.items())]
