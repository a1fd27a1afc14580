"""The user's own images: a folder of class folders, or an `.npz` file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from keras_acet.datasets.images import read_image as read_image
from keras_acet.datasets.images import read_images as read_images

Pair = tuple[np.ndarray, np.ndarray]
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_WHOLE_KEYS = ("images", "labels")


def read_folder(path: str, image_size: int | tuple[int, int] | None = None) -> tuple[Pair, Pair | None, list[str]]:
    """Reads a folder of images in one sub-folder per class.

    If it holds just `train` and `test`, these are the sets, each with class sub-folders. If all files are gray there
    is one channel, else three; transparency is dropped, animations give their first frame. `image_size` (pixels a
    side, or `(height, width)`) resizes all. Returns `(training pair, test pair or None, class names)`.
    """
    size = None if image_size is None else _height_and_width(image_size)
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of class folders. Received: {path!r}.")
    has_splits = [folder.name for folder in _subfolders(root)] == ["test", "train"]
    class_names, files, labels = _list_files(root / "train" if has_splits else root)
    if not has_splits:
        return (read_images(files, size), labels), None, class_names
    _, test_files, test_labels = _list_files(root / "test", class_names)
    images = read_images(files + test_files, size)
    return (images[: len(files)], labels), (images[len(files) :], test_labels), class_names


def _height_and_width(image_size):
    size = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
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


def list_images(path: str) -> list[Path]:
    """Returns the sorted paths of all images in a folder, at any depth; hidden files and folders are left out."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of images. Received: {path!r}.")
    paths = sorted(p for p in root.rglob("*") if _is_image(p) and not _is_hidden(p.relative_to(root)))
    if not paths:
        raise ValueError(f"folder:PATH must name a folder of images ({', '.join(_ENDINGS)}). Received: {path!r}: none.")
    return paths


def _is_image(path):
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".")


def _is_hidden(path):
    return any(part.startswith(".") for part in path.parts)


def read_npz(path: str) -> tuple[Pair, Pair | None]:
    """Reads keys `x_train, y_train, x_test, y_test`, or `images, labels`, of a file written by `np.savez`.

    Returns `(training pair, test pair or None)`, as they stand in the file.
    """
    arrays = _read_arrays(path, (_SPLIT_KEYS, _WHOLE_KEYS))
    train, test = arrays[:2], arrays[2:]
    return (train[0], train[1]), (test[0], test[1]) if test else None


def read_npz_images(path: str) -> np.ndarray:
    """Returns what lies under the key `images`, else under `x_test`, of a file written by `np.savez`."""
    return _read_arrays(path, (("images",), ("x_test",)))[0]


def _read_arrays(path, choices):
    """The arrays under the first tuple of keys that is in the file as a whole."""
    try:
        # np.load leaves a damaged file open when it gets a path.
        with open(Path(path).expanduser(), "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            received = sorted(archive.files)
            keys = next((keys for keys in choices if set(keys) <= set(received)), ())
            arrays = [archive[key] for key in keys]
    # TypeError: a single array (.npy) cannot be entered.
    except (OSError, EOFError, TypeError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"npz:PATH must name a file of arrays of numbers written by `np.savez`. Received: {path!r} ({error})."
        ) from error
    if not arrays:
        needed = ", or ".join(str(keys) if len(keys) > 1 else repr(keys[0]) for keys in choices)
        raise ValueError(f"{path} must hold the keys {needed}. Received: {tuple(received)}.")
    return arrays
