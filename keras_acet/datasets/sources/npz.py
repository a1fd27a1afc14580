"""`npz:PATH`: a file written by `np.savez`."""

import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from keras_acet.datasets.sources.base import Source

Pair = tuple[np.ndarray, np.ndarray]
_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_WHOLE_KEYS = ("images", "labels")


class NpzSource(Source):
    """A file written by `np.savez`."""

    kind = "npz"

    def read_labelled(
        self, image_size: int | tuple[int, int] | None = None
    ) -> tuple[Pair, Pair | None, list[str] | None]:
        """Reads keys `x_train, y_train, x_test, y_test`, or `images, labels`, as they stand in the file."""
        arrays = self._read((_SPLIT_KEYS, _WHOLE_KEYS))
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

    def _read(self, choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """The arrays under the first tuple of keys that is in the file as a whole."""
        try:
            # np.load leaves a damaged file open when it gets a path.
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                received = sorted(archive.files)
                keys = next((keys for keys in choices if set(keys) <= set(received)), ())
                arrays = [archive[key] for key in keys]
        # TypeError: a single array (.npy) cannot be entered.
        except (OSError, EOFError, TypeError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"npz:PATH must name a file of arrays of numbers written by `np.savez`. Received: {self.given!r} "
                f"({error})."
            ) from error
        if not arrays:
            needed = ", or ".join(str(tuple(keys)) if len(keys) > 1 else repr(keys[0]) for keys in choices)
            raise ValueError(f"{self.given} must hold the keys {needed}. Received: {tuple(received)}.")
        return arrays
