"""`npz:PATH`: a file written by `np.savez`."""

import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_acet._checks import notify
from keras_acet._limits import MAX_SET_BYTES, readable
from keras_acet.datasets import files
from keras_acet.datasets.sources.base import Source

Pair = tuple[np.ndarray, np.ndarray]
_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_WHOLE_KEYS = ("images", "labels")
_KEYS = (*_SPLIT_KEYS, *_WHOLE_KEYS)


def _unpacked(archive: Any, key: str) -> int:
    """The number of bytes of an array, by its header: a small file may unpack to more than there is memory."""
    member = key if key in archive.zip.namelist() else f"{key}.npy"
    with archive.zip.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return math.prod(shape) * dtype.itemsize


class NpzSource(Source):
    """A file written by `np.savez`."""

    kind = "npz"

    def read_labelled(
        self, image_size: int | tuple[int, int] | None = None
    ) -> tuple[Pair, Pair | None, list[str] | None]:
        """Reads keys `x_train, y_train, x_test, y_test`, or `images, labels`, as they stand in the file."""
        arrays = self._read((_SPLIT_KEYS, _WHOLE_KEYS), is_labelled=True)
        train, test = arrays[:2], arrays[2:]
        return (train[0], train[1]), (test[0], test[1]) if test else None, None

    def read_unlabelled(
        self,
        image_size: tuple[int, int] | None = None,
        *,
        to_train: bool = False,
        check: Callable[[tuple[int, ...]], None] | None = None,
    ) -> np.ndarray:
        """Reads what lies under the key `images`, else, to train on, under `x_train`, else under `x_test`."""
        keys = ("images", "x_train", "x_test") if to_train else ("images", "x_test")
        return self._read([(key,) for key in keys])[0]

    def _read(self, choices: Sequence[Sequence[str]], *, is_labelled: bool = False) -> list[np.ndarray]:
        """The arrays under the first tuple of keys that is in the file as a whole."""
        try:
            if self.path.exists() and not files.is_regular(self.path):
                raise ValueError("it is no regular file")
            # np.load leaves a damaged file open when it gets a path.
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                received = sorted(archive.files)
                keys = next((keys for keys in choices if set(keys) <= set(received)), ())
                size = sum(_unpacked(archive, key) for key in keys)
                if size > MAX_SET_BYTES:
                    raise ValueError(
                        f"it unpacks to {readable(size)}, and {readable(MAX_SET_BYTES)} at most are kept in memory"
                    )
                arrays = [archive[key] for key in keys]
        # TypeError: a single array (.npy) cannot be entered.
        except (OSError, EOFError, TypeError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"npz:PATH must name a file of arrays of numbers written by `np.savez`. Received: {self.given!r} "
                f"({error})."
            ) from error
        others = [key for key in received if key not in keys and (is_labelled or key not in _KEYS)]
        if arrays and others:
            text = f"{self.name}: {', '.join(keys)} are read; passed over: {', '.join(others)}"
            notify(text)
        if not arrays:
            needed = ", or ".join(str(tuple(keys)) if len(keys) > 1 else repr(keys[0]) for keys in choices)
            raise ValueError(f"{self.given} must hold the keys {needed}. Received: {tuple(received)}.")
        return arrays
