"""From the name of a set to `Data`."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_acet._checks import notify
from keras_acet._limits import MAX_IMAGE_PIXELS
from keras_acet.datasets import registry, sources
from keras_acet.datasets.augmentation import random_crop, random_flip_crop
from keras_acet.datasets.data import Data
from keras_acet.datasets.ood import sets_beside
from keras_acet.datasets.specs import DatasetSpec

_AUGMENTATIONS = {"none": None, "crop": random_crop, "flip_crop": random_flip_crop}


def names() -> list[str]:
    """Returns the sorted list of what `load` takes; the capital `PATH` stands for a path of yours.

    >>> names()[:3]
    ['cifar10', 'cifar100', 'digits']
    """
    return sorted([*registry.labelled(), *sources.names()])


def spec(name: str | DatasetSpec) -> DatasetSpec:
    """Returns the entry of a set.

    Args:
        name: One of `names()`, with a path of yours for `PATH`; or a `DatasetSpec`, which is returned as it is.

    Raises:
        TypeError: If `name` is neither.
        ValueError: If there is none of that name; it says how to add it.

    >>> spec("cifar10").beside
    ('svhn', 'cifar100', 'lsun_classroom', 'imagenet_minus')
    """
    if isinstance(name, DatasetSpec):
        return name
    if not isinstance(name, str):
        raise TypeError(f"The data set must be a name or a DatasetSpec. Received: {type(name).__name__}.")
    source = sources.parse(name)
    if source is not None:
        return registry.of_source(source)
    entry = registry.labelled().get(name)
    if entry is None:
        raise ValueError(
            f"The data set must be one of {', '.join(names())}. Received: {name!r}.{registry.how_to_add(name, names())}"
        )
    return entry


def default_network(name: str | DatasetSpec, image_shape: tuple[int, ...] | None = None) -> str:
    """Returns the name of the network that suits a set, as published where the paper has the set.

    For `folder:`, `npz:` and an entry that names none it depends on `image_shape`, as in `Data.image_shape`: "mlp" for
    vectors, "lenet" for gray images up to 64 pixels a side (its first dense layer has 17 million weights there), else
    "resnet20". That halves an image twice; where height or width is no multiple of 4 it is "lenet" up to 64 pixels a
    side, else "MobileNetV2".

    >>> default_network("cifar10"), default_network("npz:my.npz", (28, 28, 1))
    ('resnet20', 'lenet')
    """
    entry = spec(name)
    if entry.network is not None:
        return entry.network
    image_shape = image_shape or entry.image_shape
    if image_shape is None:
        raise ValueError(f"The default network of {entry.name!r} depends on `image_shape`. Received: None.")
    if len(image_shape) == 1:
        return "mlp"
    is_small = max(image_shape[:2]) <= 64
    if is_small and image_shape[2] == 1:
        return "lenet"
    if image_shape[0] % 4 == image_shape[1] % 4 == 0:
        return "resnet20"
    return "lenet" if is_small else "MobileNetV2"


def load(
    name: str | DatasetSpec,
    *,
    data_dir: str | None = None,
    batch_size: int = 128,
    augmentation: str | Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = "none",
    crop_padding: int = 4,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    download: bool = True,
    calibration_fraction: float = 0.0,
) -> Data:
    """Reads a set into memory.

    * `digits`: scikit-learn's 8x8 digits; a fifth of each class is the test set.
    * `moons`: two moons in the unit box, 2000 training points and as many others to test.
    * `mnist`, `fashion_mnist`, `kmnist`, `emnist_letters`, `svhn`, `cifar10`, `cifar100`: from TensorFlow Datasets. A
      set already under `data_dir` is read without touching the network.
    * `folder:PATH`: one sub-folder of images (bmp, gif, jpg, png; at any depth) per class, or `train` and `test`, each
      with class sub-folders. Without these a fifth of each class is held out as the test set. The data are called as
      the folder.
    * `npz:PATH`: keys `x_train, y_train, x_test, y_test`, or `images, labels` with a fifth held out. Images uint8 in
      0..255 or floats in [0, 1]. The data are called as the file.
    * Sets that `register` added.

    Args:
        name: One of the above, or a `DatasetSpec`.
        data_dir: Where TensorFlow Datasets keeps its sets. Default: the environment variable `TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`.
        batch_size: Images per batch.
        augmentation: "none", "crop" (`random_crop`), "flip_crop" (`random_flip_crop`), or a callable
            `(images, seed) -> images`.
        crop_padding: Zero pixels added on each side before a crop; 4 is published.
        seed: int >= 0; governs order and augmentation, never the split.
        image_size: For `folder:` only: pixels a side, or `(height, width)`, to which every image is resized (bilinear,
            aspect not kept).
        download: Whether a set that is not under `data_dir` may be downloaded.
        calibration_fraction: Share of the training images that is kept out of training, see `Data`.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: If a set of TensorFlow Datasets is not there and cannot be downloaded.
        ImportError: If TensorFlow Datasets is needed and missing.
        ValueError: As `Data`; and if an argument is none of the above, or a file cannot be read.

    Warns:
        Notice: If files or arrays of your own are passed over, with counts and an example.

    Source: sets, augmentation and moons as in Hein et al., CVPR 2019, arXiv:1812.05720.
    """
    entry = spec(name)
    if not callable(augmentation) and augmentation not in _AUGMENTATIONS:
        raise ValueError(
            f"`augmentation` must be one of {', '.join(sorted(_AUGMENTATIONS))}, or a callable (images, seed) -> "
            f"images. Received: {augmentation!r}."
        )
    if image_size is not None:
        if not isinstance(entry.source, sources.Source) or not entry.source.takes_image_size:
            raise ValueError(
                f"`image_size` is for folder:PATH only. Received: image_size={image_size!r} with {entry.name!r}."
            )
        entry = dataclasses.replace(entry, source=functools.partial(entry.source.read_labelled, image_size))
    train, test, class_names = entry.read(data_dir, download=download)
    _check_padding(crop_padding, np.shape(train[0])[1:3])
    if np.ndim(train[0]) == 2 and augmentation in ("crop", "flip_crop"):
        raise ValueError(
            f"{entry.name}: vectors cannot be cropped or flipped. Received: augmentation={augmentation!r}."
        )
    data = Data(
        name=entry.name,
        train=train,
        test=test,
        class_names=class_names,
        batch_size=batch_size,
        seed=seed,
        augmentation=augmentation if callable(augmentation) else _augmentation(augmentation, crop_padding),
        calibration_fraction=calibration_fraction,
    )
    if entry.beside:
        data.ood = sets_beside(entry, data.image_shape, data_dir)
    if isinstance(spec(name).source, sources.Source) and (shared := data.num_shared()):
        text = (
            f"{data.name}: {shared} of {len(data.test_labels)} test images are among the training images too, so the "
        )
        notify(f"{text}test error looks better than it is")
    return data


def _check_padding(padding, size):
    padded = math.prod(length + 2 * padding for length in size)
    if padded > MAX_IMAGE_PIXELS:
        raise ValueError(
            f"`crop_padding` must leave padded images of at most {MAX_IMAGE_PIXELS} pixels. Received: "
            f"crop_padding={padding}, {padded} pixels."
        )


def _augmentation(name, crop_padding):
    function = _AUGMENTATIONS[name]
    return None if function is None else functools.partial(function, padding=crop_padding)
