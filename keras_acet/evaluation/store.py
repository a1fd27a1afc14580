"""Stores computed arrays on disk, so that an evaluation that was killed continues where it stopped."""

import contextlib
import json
import os
import pathlib
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_acet.files import Lock, sha256, whole_file, writing

_SECONDS = "__seconds__"  # beside the arrays


class Store:
    """Dicts of arrays, each stored under a key that holds everything that the arrays depend on.

    Args:
        directory: Where each dict is an `.npz` file; None keeps nothing.

    Attributes:
        seconds: Time in which the last dict that `get` returned was made, now or before it came to the disk.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = None if directory is None else pathlib.Path(directory)
        self.seconds = 0.0

    def __contains__(self, key: dict[str, Any]) -> bool:
        path = self._path(key)
        return path is not None and path.exists()

    def get(self, key: dict[str, Any], make: Callable[[], Mapping[str, npt.ArrayLike]]) -> dict[str, np.ndarray]:
        """Returns the arrays under `key`, from disk if they are there and whole, else from `make()`, and keeps them.

        Args:
            key: Dict that the `json` module can write; its "stage" is the beginning of the file name.
            make: Function without arguments that returns a dict of arrays; text comes back as an array of text.
        """
        path = self._path(key)
        if path is not None and path.exists():
            try:
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                    stored = {name: archive[name] for name in archive.files}
                    self.seconds = float(stored.pop(_SECONDS, 0.0))
                    return stored
            except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
                pass  # damaged: computed again
        started = time.monotonic()
        arrays: dict[str, Any] = {name: np.asarray(array) for name, array in make().items()}
        self.seconds = time.monotonic() - started
        if path is not None:
            with writing(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            # Two processes may keep the same arrays, an evaluation and an export of one run.
            with _lock_of(path.parent), whole_file(path) as temporary, temporary.open("wb") as opened:
                np.savez(opened, **(arrays | {_SECONDS: np.float64(self.seconds)}))
        return arrays

    def _path(self, key: dict[str, Any]) -> pathlib.Path | None:
        if self._directory is None:
            return None
        digits = sha256(json.dumps(key, sort_keys=True))[:12]
        name = "".join(letter if letter.isalnum() else "-" for letter in key["stage"])[:40]
        return self._directory / f"{name}-{digits}.npz"


def _lock_of(directory: pathlib.Path) -> contextlib.AbstractContextManager[Any]:
    try:
        return Lock(directory)
    except (ImportError, OSError):  # no locks on this system, or this disk
        return contextlib.nullcontext()
