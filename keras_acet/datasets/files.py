"""Folders of images: which files they hold, and what is in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_acet.datasets.images import read_image as read_image
from keras_acet.datasets.images import read_images as read_images

Pair = tuple[np.ndarray, np.ndarray]
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")


def read_folder(
    given: str, root: Path, image_size: tuple[int, int] | None = None
) -> tuple[Pair, Pair | None, list[str]]:
    """Returns `(training pair, test pair or None, class names)` of a folder of class folders.

    If it holds just `train` and `test`, these are the sets, each with class sub-folders. `given` is how messages name
    the folder; `image_size`, `(height, width)`, resizes all.
    """
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of class folders. Received: {given!r}.")
    class_names, files, labels = _list_files(root / "train" if has_splits(root) else root)
    if not has_splits(root):
        return (read_images(files, image_size), labels), None, class_names
    _, test_files, test_labels = _list_files(root / "test", class_names)
    images = read_images(files + test_files, image_size)
    return (images[: len(files)], labels), (images[len(files) :], test_labels), class_names


def has_splits(root: Path) -> bool:
    """Whether a folder holds just the sub-folders `train` and `test`."""
    return root.is_dir() and [folder.name for folder in _subfolders(root)] == ["test", "train"]


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns `(height, width)` of pixels a side or such a pair; raises ValueError below 1."""
    size = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image_size` must be at least 1, or such a pair (height, width). Received: {size}.")
    return size


def _subfolders(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_files(folder, class_names=None):
    """`(class names, files, labels)`, sorted by class, then by file name."""
    subfolders = _subfolders(folder)
    if not subfolders:
        raise ValueError(f"{folder} must hold one sub-folder of images per class. Received: no sub-folders.")
    class_names = class_names or [p.name for p in subfolders]
    files, labels = [], []
    for subfolder in subfolders:
        if subfolder.name not in class_names:
            raise ValueError(f"{subfolder}: the training set must have this class too. It has: {class_names}.")
        own = sorted(p for p in subfolder.iterdir() if _is_image(p))
        if not own:
            raise ValueError(
                f"{subfolder}: each class folder must hold images ({', '.join(_ENDINGS)}). Received: none. "
                "Fill it or remove it."
            )
        files += own
        labels += [class_names.index(subfolder.name)] * len(own)
    return class_names, files, np.array(labels)


def list_images(given: str, root: Path) -> list[Path]:
    """Returns the sorted paths of all images in a folder, at any depth; hidden files and folders are left out.

    `given` is how messages name the folder.
    """
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of images. Received: {given!r}.")
    paths = sorted(p for p in root.rglob("*") if _is_image(p) and not _is_hidden(p.relative_to(root)))
    if not paths:
        raise ValueError(
            f"folder:PATH must name a folder of images ({', '.join(_ENDINGS)}). Received: {given!r}: none."
        )
    return paths


def _is_image(path):
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".")


def _is_hidden(path):
    return any(part.startswith(".") for part in path.parts)
