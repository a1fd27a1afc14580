"""The base class of sources: images of the user's own, wherever they lie."""

import abc
import os
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


class Source(abc.ABC):
    """Images of the user's own at a path.

    Args:
        given: The path as the user gave it; one that is not absolute counts from the current folder, `~` is the user's.

    Attributes:
        kind: What stands before the colon of its name on the command line, a class attribute.
        takes_image_size: Whether its images can be resized as they are read, a class attribute.
        given: As in `Args`.
        path: The absolute path. It stays the same when the process goes to another folder.
    """

    kind: ClassVar[str]
    takes_image_size: ClassVar[bool] = False

    def __init__(self, given: str) -> None:
        self.given = given
        self.path = pathlib.Path(os.path.abspath(os.path.expanduser(given)))

    @property
    def name(self) -> str:
        """The last part of its path: what the set is called in tables, pages and cards."""
        return self.path.name or self.kind

    @property
    def absolute(self) -> str:
        """The name on the command line, with the absolute path: what a run stores."""
        return f"{self.kind}:{self.path}"

    @abc.abstractmethod
    def read_labelled(self, image_size: int | tuple[int, int] | None = None) -> tuple[Any, ...]:
        """Reads images to train on and to test with.

        Args:
            image_size: Pixels a side, or `(height, width)`, to which every image is resized; None keeps them. Only
                where `takes_image_size`.

        Returns:
            As `DatasetSpec.source` does: pair to train on, pair to test with or None, names of the classes or None.

        Raises:
            ValueError: If they cannot be read; the message says how to mend it.
        """

    @abc.abstractmethod
    def read_unlabelled(
        self,
        image_size: tuple[int, int] | None = None,
        *,
        to_train: bool = False,
        check: Callable[[tuple[int, ...]], None] | None = None,
    ) -> np.ndarray:
        """Reads images without labels, for an out-distribution.

        Args:
            image_size: As for `read_labelled`.
            to_train: Whether they are to be trained on; then they are those to train on, where there are such.
            check: None, or a function that is called with the shape of an image before many are read, and raises
                `ValueError` if they are of no use.

        Returns:
            uint8 array in 0..255 or float array in [0, 1], `(n, height, width, channels)` or as it stands in a file.

        Raises:
            ValueError: If they cannot be read; the message says how to mend it.
        """
