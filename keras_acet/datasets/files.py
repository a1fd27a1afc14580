"""Folders of images: which files of them are read, which are passed over, and which are refused.

One rule, in training and out-distributions alike:

* A file is an image by the ending of its name, one of `ENDINGS` in any case. It has to be a regular file: a folder, a
  pipe, a socket or a link that leads nowhere is refused under such a name.
* Links are followed, to files and to folders; a folder that holds itself that way is refused.
* Images at any depth below a class folder are of that class.
* All else is passed over, and a `Notice` says what, how much, and names one of each: files of other endings, hidden
  files and folders, images beside class folders. What file managers leave behind is not worth a word.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_acet._checks import notify
from keras_acet._limits import MAX_IMAGE_PIXELS, MAX_SET_BYTES, MAX_SET_ENTRIES, readable
from keras_acet.datasets.images import read_image as read_image
from keras_acet.datasets.images import read_images as read_images

Pair = tuple[np.ndarray, np.ndarray]
ENDINGS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png")
_OTHER_IMAGES = {".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".tif", ".tiff", ".webp"}
_OF_FILE_MANAGERS = (".ds_store", ".directory", "desktop.ini", "thumbs.db")
_MAX_DEPTH = 64
_NO_CLASSES = {"test", "testing", "train", "training", "val", "valid", "validation"}


def read_folder(
    given: str, root: Path, image_size: tuple[int, int] | None = None
) -> tuple[Pair, Pair | None, list[str]]:
    """Returns `(training pair, test pair or None, class names)` of a folder of class folders.

    If it holds just `train` and `test`, these are the sets, each with class sub-folders. `given` is how messages name
    the folder; `image_size`, `(height, width)`, resizes all.
    """
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of class folders. Received: {given!r}.")
    listing = Listing(root)
    is_split = has_splits(root)
    class_names, files, labels = listing.classes(root / "train" if is_split else root)
    test_files: list[Path] = []
    test_labels = labels
    if is_split:
        listing.beside_folders(root)
        _, test_files, test_labels = listing.classes(root / "test", class_names)
        missing = [name for label, name in enumerate(class_names) if label not in test_labels]
        if missing:
            notify(f"{root.name}: the test set has no images of {', '.join(missing)}")
    listing.tell(len(files + test_files))
    _check_memory(files + test_files, image_size, mend="Give a smaller `image_size`, or fewer images.")
    images = read_images(files + test_files, image_size)
    test = (images[len(files) :], test_labels) if is_split else None
    return (images[: len(files)], labels), test, class_names


def read_all(
    given: str,
    root: Path,
    image_size: tuple[int, int] | None = None,
    *,
    check: Callable[[tuple[int, ...]], None] | None = None,
) -> np.ndarray:
    """Returns all images in a folder, at any depth.

    The arguments are those of `read_folder`; `check` is None, or called with the shape of the first image as stored.
    """
    paths = list_images(given, root)
    if check is not None:
        check(read_image(paths[0]).shape)  # one look before thousands are read
    _check_memory(paths, image_size, mend="Name a folder with fewer images.")
    return read_images(paths, image_size, mend="Give `resize=True`")


def list_images(given: str, root: Path) -> list[Path]:
    """Returns the sorted paths of all images in a folder, at any depth; `given` is how messages name it."""
    if not root.is_dir():
        raise ValueError(f"folder:PATH must name a folder of images. Received: {given!r}.")
    listing = Listing(root)
    paths = sorted(listing.images(root))
    if not paths:
        raise ValueError(
            f"folder:PATH must name a folder of images ({', '.join(ENDINGS)}). Received: {given!r}: none"
            f"{listing.passed_over()}."
        )
    listing.tell(len(paths))
    return paths


def has_splits(root: Path) -> bool:
    """Whether a folder holds just the sub-folders `train` and `test`."""
    return root.is_dir() and [folder.name for folder in _subfolders(root)] == ["test", "train"]


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns `(height, width)` of pixels a side or such a pair; raises ValueError below 1 and above the limit."""
    size = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image_size` must be at least 1, or such a pair (height, width). Received: {size}.")
    if size[0] * size[1] > MAX_IMAGE_PIXELS:
        raise ValueError(f"`image_size` must be at most {MAX_IMAGE_PIXELS} pixels in all. Received: {size}.")
    return size


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file, or a link to one: reading anything else may wait for ever, or never end."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False


class Listing:
    """What a folder holds: images, and what is passed over.

    Args:
        root: The folder, from which the notice names files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._passed_over: dict[str, list[Path]] = {}
        self._count = 0

    def classes(self, folder: Path, class_names: list[str] | None = None) -> tuple[list[str], list[Path], np.ndarray]:
        """Returns `(class names, files, labels)` of a folder of class folders, sorted by class, then by file.

        Args:
            folder: The folder.
            class_names: Names that its classes must be among; None takes the names of its sub-folders.

        Raises:
            ValueError: If there are no class folders, one is empty, or none of `class_names`.
        """
        subfolders = _subfolders(folder)
        if not subfolders:
            raise ValueError(f"{folder} must hold one sub-folder of images per class. Received: no sub-folders.")
        no_classes = [path.name for path in subfolders if path.name.lower() in _NO_CLASSES]
        if "train" in no_classes and len(no_classes) > 1:
            raise ValueError(
                f"{folder} must hold just the folders train and test, or one folder per class. Received: "
                f"{', '.join(path.name for path in subfolders)}. Move all but train and test elsewhere."
            )
        class_names = class_names or [path.name for path in subfolders]
        self.beside_folders(folder)
        files, labels = [], []
        for subfolder in subfolders:
            if subfolder.name not in class_names:
                raise ValueError(f"{subfolder}: the training set must have this class too. It has: {class_names}.")
            own = sorted(self.images(subfolder))
            if not own:
                raise ValueError(
                    f"{subfolder}: each class folder must hold images ({', '.join(ENDINGS)}). Received: none"
                    f"{self.passed_over(subfolder)}. Fill it or remove it."
                )
            files += own
            labels += [class_names.index(subfolder.name)] * len(own)
        return class_names, files, np.array(labels)

    def images(self, folder: Path) -> Iterator[Path]:
        """Yields the images in a folder, at any depth, in no order."""
        yield from self._images(folder, ())

    def beside_folders(self, folder: Path) -> None:
        """Notes what lies beside the sub-folders of a folder as passed over."""
        for path in self._entries(folder):
            if path.name.startswith("."):
                self._pass_over("hidden", path)
            elif not path.is_dir():
                self._pass_over("beside the folders", path)

    def passed_over(self, folder: Path | None = None) -> str:
        """What was passed over, of all or of one folder, in words that follow what was not; "" for nothing."""
        told = []
        for reason, paths in sorted(self._passed_over.items(), key=lambda item: -len(item[1])):
            paths = [path for path in paths if folder is None or path.is_relative_to(folder)]
            if paths:
                told.append(f"{len(paths)} {reason} (such as {str(min(paths).relative_to(self.root))!r})")
        return f"; passed over: {', '.join(told)}" if told else ""

    def tell(self, num_read: int) -> None:
        """Issues a `Notice` if anything was passed over."""
        if told := self.passed_over():
            mend = ". Images are read once they are PNG or JPEG files" if _OTHER_IMAGES & {*self._passed_over} else ""
            notify(f"{self.root.name}: {num_read} images are read{told}{mend}")

    def _images(self, folder, above):
        """`above`: device and number of the folders on the way, so that one which holds itself is seen."""
        found = folder.stat()
        here = (*above, (found.st_dev, found.st_ino))
        if here[-1] in above or len(here) > _MAX_DEPTH:
            raise ValueError(f"{folder} must not lead back to a folder above it. Remove that link.")
        for path in self._entries(folder):
            kind = _kind(path)
            if path.name.startswith("."):
                self._pass_over("hidden", path)
            elif path.suffix.lower() in ENDINGS:
                if kind != "file":
                    raise ValueError(f"{path} must be an image file. Received: {kind}. Remove it.")
                yield path
            elif kind == "a folder":
                yield from self._images(path, here)
            else:
                ending = path.suffix.lower() or "without an ending"
                self._pass_over(ending if kind == "file" else kind.removeprefix("a "), path)

    def _pass_over(self, reason, path):
        if path.name.lower() not in _OF_FILE_MANAGERS:
            self._passed_over.setdefault(reason, []).append(path)

    def _entries(self, folder):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._count += 1
                    if self._count > MAX_SET_ENTRIES:
                        raise ValueError(f"{self.root} must hold at most {MAX_SET_ENTRIES} files. Received: more.")
                    yield folder / entry.name
        except OSError as error:
            raise ValueError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _subfolders(folder):
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _kind(path):
    """ "file", or what else a path is, in words; links are followed."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link that leads nowhere" if path.is_symlink() else error.strerror or str(error)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_memory(paths, image_size, mend):
    """Raises ValueError if the images would take more than the limit, after one look at the first."""
    first = read_image(paths[0], image_size)
    size = first.nbytes * len(paths)
    if size > MAX_SET_BYTES:
        raise ValueError(
            f"Images in memory must take at most {readable(MAX_SET_BYTES)} in all. Received: {len(paths)} images of "
            f"{first.shape}, such as {paths[0]}, {readable(size)}. {mend}"
        )
