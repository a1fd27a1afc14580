"""`folder:PATH`: a folder of image files."""

from collections.abc import Callable

import numpy as np

from keras_acet.datasets import files
from keras_acet.datasets.sources.base import Source

Pair = tuple[np.ndarray, np.ndarray]


class FolderSource(Source):
    """A folder of images: in one sub-folder per class to train on, in any order as an out-distribution."""

    kind = "folder"
    takes_image_size = True

    def read_labelled(
        self, image_size: int | tuple[int, int] | None = None
    ) -> tuple[Pair, Pair | None, list[str] | None]:
        """Reads a folder of images in one sub-folder per class.

        If it holds just `train` and `test`, these are the sets, each with class sub-folders. If all files are gray
        there is one channel, else three; transparency is dropped, animations give their first frame.
        """
        size = None if image_size is None else files.height_and_width(image_size)
        return files.read_folder(self.given, self.path, size)

    def read_unlabelled(
        self,
        image_size: tuple[int, int] | None = None,
        *,
        to_train: bool = False,
        check: Callable[[tuple[int, ...]], None] | None = None,
    ) -> np.ndarray:
        """Reads all images in a folder, at any depth; to train on, those of `train` if there are `train` and `test`."""
        has_splits = to_train and files.has_splits(self.path)
        return files.read_all(self.given, self.path / "train" if has_splits else self.path, image_size, check=check)
