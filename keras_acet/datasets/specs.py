"""The description of a data set, in one object.

`DatasetSpec` is a set with labels, to train on and to test with; `OODSpec` a set that serves as out-distribution only.
Both are taken where a name is: by `load`, `default_network` and `ood_sets`. `datasets.entries` holds the library's own.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_acet.datasets import sources, tfds

AUGMENTATIONS = ("crop", "flip_crop", "none")

Pair = tuple[np.ndarray, np.ndarray]


class Splits(NamedTuple):
    """The parts of a data set: pairs `(images, labels)` as `Data` takes them, and the names of its classes.

    Attributes:
        train: The pair to train on.
        test: The pair to test with; None if there is none: then `Data` holds a fifth of each class out.
        class_names: One `str` per class; None for the numbers from 0.
    """

    train: Pair
    test: Pair | None = None
    class_names: list[str] | None = None


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A set of labelled images.

    Args:
        name: Name of the data set; `load(NAME)` finds it after `register`.
        source: `TFDS`, for a set of TensorFlow Datasets; a `sources.Source`, for files of your own; or a function
            without arguments that returns `Splits`, or a plain tuple with the same parts, read each time it is called.
        image_shape: Shape of an image as read, such as `(28, 28, 1)`; None if it is known only then. With it an
            out-distribution set of another shape is refused before it is read.
        network: Name of the default network, see `networks.names()`; None: by the shape of the images, see
            `default_network`.
        augmentation: Default in training: "none", "crop" or "flip_crop". `load` itself augments only when asked to.
        beside: Names of the out-distribution sets that it is evaluated with, in the order of the report; "photos"
            follows where it is an image set.
        near: Those of `beside` that the literature calls near: images that are much like its own. The others are
            `far`.

    Raises:
        TypeError: If `source` is none of these.
        ValueError: If another argument is not as described.

    Example: a set of one's own, without a file of it in the package.

    >>> def read():
    ...     return (np.zeros((10, 8, 8), "uint8"), np.repeat([0, 1], 5)), None, ["left", "right"]
    >>> DatasetSpec("sides", read, image_shape=(8, 8, 1), beside=("photos",)).far
    ('photos',)
    """

    name: str
    source: "tfds.TFDS | sources.Source | Callable[[], Splits | tuple]"
    image_shape: tuple[int, ...] | None = None
    network: str | None = None
    augmentation: str = "none"
    beside: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    def __post_init__(self):
        _check_name(self.name)
        if not isinstance(self.source, tfds.TFDS | sources.Source) and not callable(self.source):
            raise TypeError(
                f"`source` must be a `TFDS` or a function that returns `Splits`. Received: {self.source!r}. For a set "
                f"of TensorFlow Datasets use TFDS({str(self.source)!r})."
            )
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"`augmentation` must be one of {', '.join(AUGMENTATIONS)}. Received: {self.augmentation!r}. A "
                "callable goes to `load`."
            )
        for field in ("image_shape", "beside", "near"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise ValueError(f"`{field}` must be a tuple. Received: {value!r}. Of one: ({value!r},).")
            if value is not None:
                object.__setattr__(self, field, tuple(value))
        others = [name for name in self.near if name not in self.beside]
        if others:
            raise ValueError(f"`near` must be a part of `beside`, {self.beside}. Received: also {others[0]!r}.")

    @property
    def far(self) -> tuple[str, ...]:
        """Those of `beside` that are not `near`."""
        return tuple(name for name in self.beside if name not in self.near)

    def read(self, data_dir: str | None = None, *, download: bool = True) -> Splits:
        """Reads the set. `data_dir` and `download` are for sets of TensorFlow Datasets, see `load`."""
        if isinstance(self.source, tfds.TFDS):
            return Splits(*tfds.read(self.name, self.source, data_dir, download=download))
        splits = self.source.read_labelled() if isinstance(self.source, sources.Source) else self.source()
        if not isinstance(splits, tuple) or not 1 <= len(splits) <= 3:
            raise TypeError(
                f"{self.name}: `source` must return (training pair, test pair or None, class names or None). Received: "
                f"{type(splits).__name__}. Without a test pair return (images, labels), None."
            )
        return Splits(*splits)

    def read_test_images(self, data_dir: str | None = None) -> np.ndarray:
        """Reads the images to test with, all of them if there is no test pair; never downloads."""
        if isinstance(self.source, tfds.TFDS):
            return tfds.read_test_images(self.name, self.source, data_dir)
        splits = self.read(data_dir)
        return (splits.test or splits.train)[0]


@dataclasses.dataclass(frozen=True)
class OODSpec:
    """A set that serves as out-distribution only: images without labels.

    Args:
        name: Name of the set.
        read: Function `(image_shape, data_dir)` that returns the images, uint8 in 0..255 or floats in [0, 1], of that
            shape or one that `fit_images` can change to it. If it cannot, it raises `OSError`, `ImportError` or
            `ValueError` with a text of less than 90 characters, which stands in the table, see `OODSets`.
        image_shape: Shape of an image as read, None for a set that comes in any shape.
        made_of: Name of the data set whose images these are in another form; None if there is none.

    Raises:
        TypeError: If `read` cannot be called.
        ValueError: If `name` is not as described.
    """

    name: str
    read: Callable[[tuple[int, ...], str | None], np.ndarray]
    image_shape: tuple[int, ...] | None = None
    made_of: str | None = None

    def __post_init__(self):
        _check_name(self.name)
        if not callable(self.read):
            raise TypeError(f"`read` must be a function (image_shape, data_dir) -> images. Received: {self.read!r}.")


def _check_name(name):
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"`name` must be a str that is not empty. Received: {name!r}.")
