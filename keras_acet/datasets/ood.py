"""Out-distribution sets: those that the paper puts beside a named set, and those that the user names."""

import collections
import functools
from collections.abc import Sequence

from keras_acet.datasets import registry, sources
from keras_acet.datasets.beside import OODSets
from keras_acet.datasets.checks import check_images
from keras_acet.datasets.data import Data
from keras_acet.datasets.fitting import check_shape, fitted
from keras_acet.datasets.noise_sets import expanded, noise_names, noise_set
from keras_acet.datasets.specs import DatasetSpec, OODSpec


def ood_names() -> list[str]:
    """Returns the sorted list of what `ood_sets` takes; the capital `PATH` stands for a path of yours.

    >>> ood_names()[-3:]
    ['stripes', 'svhn', 'uniform']
    """
    return sorted({*registry.registered(), *sources.names(), *noise_names()})


def ood_sets(
    names: Sequence[str | DatasetSpec | OODSpec],
    image_shape: tuple[int, ...],
    *,
    data_dir: str | None = None,
    resize: bool = False,
    like: Data | None = None,
    seed: int = 0,
) -> OODSets:
    """Looks up out-distribution sets by name, for images of one shape.

    * `mnist`, `fashion_mnist`, `kmnist`, `emnist_letters` (upright), `svhn`, `cifar10`, `cifar100`: the test images,
      from TensorFlow Datasets.
    * `cifar10_gray`: CIFAR-10's test images, resized from 32x32 to 28x28, then the unweighted mean of red, green and
      blue.
    * `lsun_classroom`: the 300 validation images of LSUN's classrooms, resized to 32x32.
    * `imagenet_minus`: stands for the paper's "ImageNet-", which is not available.
    * `photos`: see `photo_patches`.
    * `folder:PATH`: all images (bmp, gif, jpg, png) in a folder, at any depth. If all are gray there is one channel,
      else three. The set is called as the folder.
    * `npz:PATH`: key `images`, else `x_test`; uint8 in 0..255 or floats in [0, 1]. The set is called as the file.
    * `letters`, `outliers` and the kinds of noise, such as `paper` or `stripes`: 1000 images made from test images, see
      `noise_set`; `kinds` stands for the sixteen kinds of images without content.
    * `digits`, `moons`, and sets that `register` added. A set with labels gives its test images, or all of its images
      if it has no test split.

    Your own files are read at once, the other sets when first asked for. Nothing is ever downloaded: a set that is not
    on disk becomes a text that says so, see `OODSets`.

    Args:
        names: List of such names, or of entries; the names become the keys, in this order. Of two sets of one name at
            different paths more of the path is told, as in "a/photos" and "b/photos".
        image_shape: Tuple such as `(28, 28, 1)`, or `(2,)` for vectors, which the images must have.
        data_dir: Where TensorFlow Datasets keeps its sets. Default: the environment variable `TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`.
        resize: Whether images of another shape are made to fit (see `fit_images`) or refused.
        like: The data that noise is made for, from their test images; only noise needs them.
        seed: Seed of noise.

    Returns:
        `OODSets`: float32 arrays `(n, *image_shape)` in [0, 1], or `str`.

    Raises:
        ValueError: If a name is none of the above or there twice; if a set has other images than `image_shape` says
            and they may not or cannot be made to fit; if a file of yours does not exist or cannot be read; if noise
            is named without `like`.

    Example:

    >>> sets = ood_sets(["photos", "imagenet_minus"], (32, 32, 3))
    >>> sets["photos"].shape, sets["imagenet_minus"]
    ((1000, 32, 32, 3), 'the list of its classes (ImageNet without those like CIFAR-10) is unpublished')

    Source: sets and their making as in Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code, which resizes
        with Pillow's bilinear filter too.
    """
    if isinstance(names, str):
        raise TypeError(f"`names` must be a list of str. Received: {names!r}.")
    image_shape = tuple(image_shape)
    names = [one for name in names for one in _sets_of(name, like, seed)]
    own = _own_names(names)
    entries = [
        name if isinstance(name, DatasetSpec | OODSpec) else _entry(name, own.get(name), image_shape, resize)
        for name in names
    ]
    twice = [name for name, count in collections.Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise ValueError(f"Each out-distribution set can be named once only. Received: {twice[0]!r} twice.")
    for entry in entries:
        check_shape(entry.name, entry.image_shape or image_shape, image_shape, resize)
    return OODSets(
        {entry.name: functools.partial(_read, entry, image_shape, data_dir, resize) for entry in entries}, also=own
    )


def _sets_of(name, like, seed):
    """The sets that a name stands for: of noise entries, else the name itself."""
    if not isinstance(name, str) or name not in noise_names() or name in registry.registered():
        return [name]
    if like is None:
        raise ValueError(f"{name}: noise is made from test images. Give `like`, the `Data` that it is made for.")
    return [noise_set(one, like, seed=seed) for one in expanded(name, like)]


def sets_beside(spec: DatasetSpec, image_shape: tuple[int, ...], data_dir: str | None = None) -> OODSets:
    """Returns the `OODSets` of a set: those that its entry names, then "photos" where it is one of images."""
    names = list(spec.beside)
    if len(image_shape) == 3 and "photos" not in names:
        names.append("photos")
    return ood_sets(names, image_shape, data_dir=data_dir)


def _read(entry, image_shape, data_dir, resize):
    if isinstance(entry, OODSpec):
        images = check_images(f"{entry.name}: images", entry.read(image_shape, data_dir))
    else:
        images = check_images(f"{entry.name}: images", entry.read_test_images(data_dir))
    return fitted(entry.name, images, image_shape, resize)


def _own_names(names):
    """Name as given -> name of the set, for files of the user's own: as much of the path as tells them apart."""
    own = {name: source for name in names if isinstance(name, str) and (source := sources.parse(name)) is not None}
    entries = {name: registry.of_source(source).name for name, source in own.items()}
    for depth in range(2, 100):
        counts = collections.Counter(entries.values())
        alike = [name for name in entries if counts[entries[name]] > 1]
        if len({own[name].path for name in alike}) < 2:
            break
        entries |= {name: "/".join(own[name].path.parts[-depth:]) for name in alike}
    return entries


def _entry(name, own, image_shape, resize):
    """The entry of a name; the user's own files are read at once, so that errors in them appear now."""
    source = sources.parse(name)
    if source is not None:
        images = _read_own(own, source, image_shape, resize)
        return OODSpec(own, lambda image_shape, data_dir: images)
    entry = registry.registered().get(name)
    if entry is None:
        raise ValueError(
            f"An out-distribution set must be one of {', '.join(ood_names())}. Received: {name!r}."
            f"{registry.how_to_add(name, ood_names())}"
        )
    return entry


def _read_own(name, source, image_shape, resize):
    def check(shape):
        check_shape(name, (*shape[:2], *image_shape[2:]), image_shape, resize)

    images = source.read_unlabelled(image_shape[:2] if resize and source.takes_image_size else None, check=check)
    return fitted(name, check_images(f"{name}: images", images), image_shape, resize)
