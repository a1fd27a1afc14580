"""`OODSets`: the out-distribution sets beside a data set, read when they are asked for."""

import functools
import textwrap
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from keras_acet._checks import UnknownNameError, as_float
from keras_acet.datasets.checks import check_images


class OODSets(Mapping[str, np.ndarray | str]):
    """Out-distribution sets by name, each read when first asked for.

    A value is a float32 array `(n, *image_shape)` in [0, 1], or a `str` of less than 90 characters that says why the
    set is not available, so that one missing set does not stop an evaluation.

    Args:
        loaders: Mapping from name to a function that returns such an array, or raises `OSError`, `ImportError` or
            `ValueError`, whose text becomes the value.
        also: Mapping from other names to those of `loaders`: "folder:/data/photos" for "photos", say. They are found
            and not listed.

    Raises:
        KeyError: If there is no set of a name; it lists those that there are.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], np.ndarray]], *, also: Mapping[str, str] | None = None
    ) -> None:
        self._loaders = dict(loaders)
        self._also = dict(also or {})
        self._values: dict[str, np.ndarray | str] = {}

    def __getitem__(self, name: str) -> np.ndarray | str:
        name = self._also.get(name, name)
        if name not in self._loaders:
            raise UnknownNameError("out-distribution set", name, self._loaders)
        if name not in self._values:
            try:
                self._values[name] = self._loaders[name]()
            except (OSError, ImportError, ValueError) as error:
                self._values[name] = textwrap.shorten(str(error), 89, placeholder=" ...")
        return self._values[name]

    @classmethod
    def of(cls, sets: "Mapping[str, np.ndarray | str]", image_shape: tuple[int, ...], *, name: str) -> "OODSets":
        """Returns sets whose images are checked: uint8 in 0..255 or floats in [0, 1], of one shape, float32 then.

        Arrays are checked at once; `OODSets` when a set is first asked for, and what is wrong becomes its text.

        Args:
            sets: Mapping from name to images, or to a `str` saying why there are none.
            image_shape: The shape that the images must have.
            name: What they are beside, for messages.

        Raises:
            TypeError: If `sets` is no mapping from names.
            ValueError: If images are not as described.
        """
        if not isinstance(sets, Mapping) or not all(isinstance(key, str) and key.strip() for key in sets):
            raise TypeError(f"{name}: `ood` must be a mapping from names to images. Received: {sets!r:.200}.")
        if isinstance(sets, OODSets):
            read = {key: functools.partial(_checked, sets, key, image_shape, name) for key in sets}
            return cls(read, also=sets._also)
        checked = {key: _checked(sets, key, image_shape, name) for key in sets}
        return cls({key: functools.partial(_read, checked, key) for key in checked})

    def joined(self, others: "OODSets") -> "OODSets":
        """Returns these sets and other `OODSets`; a set of the others replaces one of the same name."""
        return OODSets(
            {name: functools.partial(_read, sets, name) for sets in (self, others) for name in sets},
            also={**self._also, **others._also},
        )

    def __contains__(self, name: object) -> bool:
        return name in self._loaders or name in self._also

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def _read(sets, name):
    return sets[name]


def _checked(sets, key, image_shape, name):
    images = sets[key]
    if isinstance(images, str):
        return images
    what = f"{name}: images of the out-distribution set {key!r}"
    images = check_images(what, images)
    if images.shape[1:] != image_shape:
        raise ValueError(
            f"{what} must have the shape of the training images, {image_shape}. Received: {images.shape[1:]}. "
            "`datasets.fit_images(images, image_shape)` gives images another size or number of channels."
        )
    return as_float(images)
