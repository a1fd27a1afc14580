"""Rows of the tables of inputs: a command line, the folder that it runs in, and what must come of it."""

import pathlib
import shlex
from collections.abc import Callable
from typing import Any

import pytest


def row(
    name: str,
    line: str,
    says: str = "",
    prepare: Callable[[pathlib.Path], Any] | None = None,
    *,
    wrong: str | None = None,
    safe: bool = True,
) -> Any:
    """A row of a table.

    Args:
        name: What it tries, the id of the test.
        line: The arguments, as one types them in a shell.
        says: Part of what the command must print.
        prepare: None, or a function that makes of a folder what the command meets in it.
        wrong: None, or what the command still does instead; the test is then known to fail.
        safe: Whether such a test can be run; one that takes all memory cannot.
    """
    marks = [pytest.mark.xfail(strict=True, reason=wrong, run=safe)] if wrong else []
    return pytest.param(shlex.split(line), says, prepare, id=name, marks=marks)


def tree(folder: pathlib.Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: what a file holds, where a link leads, None for the rest."""
    found: dict[str, bytes | str | None] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def check_refused(program: str, done: tuple[int, str, str], says: str) -> None:
    """Holds that a command refused what it was given in one line that says so, with exit code 2."""
    code, stdout, stderr = done
    assert stderr.startswith(f"{program}: error: "), stderr[-900:]
    assert stderr.count("\n") == 1, stderr[-900:]
    assert stderr.endswith("\n")
    assert stderr.removesuffix("\n").isprintable(), stderr
    assert says in stderr
    assert (code, stdout) == (2, "")
