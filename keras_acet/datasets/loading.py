"""From the name of a set to `Data`."""

import functools

import numpy as np

from keras_acet.datasets import embedded, files, tfds
from keras_acet.datasets.augmentation import random_crop, random_flip_crop
from keras_acet.datasets.checks import did_you_mean
from keras_acet.datasets.data import Data
from keras_acet.datasets.ood import sets_beside

_AUGMENTATIONS = {"none": None, "crop": random_crop, "flip_crop": random_flip_crop}
_NETWORKS = {"moons": "mlp", "svhn": "resnet20", "cifar10": "resnet20", "cifar100": "resnet20"}  # others: lenet


def names():
    """Returns the sorted list of what `load` takes; the capital `PATH` stands for a path of yours.

    >>> names()[:3]
    ['cifar10', 'cifar100', 'digits']
    """
    return sorted([*tfds.TFDS_NAMES, "digits", "moons", "folder:PATH", "npz:PATH"])


def default_network(name, image_shape=None):
    """Returns the name of the network that suits a set, as published where the paper has the set.

    For `folder:` and `npz:` it depends on `image_shape`, as in `Data.image_shape`: "mlp" for vectors, "lenet" for gray
    images up to 64 pixels a side (its first dense layer has 17 million weights there), else "resnet20". That halves an
    image twice; where height or width is no multiple of 4 it is "lenet" up to 64 pixels a side, else "MobileNetV2".

    >>> default_network("cifar10"), default_network("npz:my.npz", (28, 28, 1))
    ('resnet20', 'lenet')
    """
    kind, path = _parse_name(name)
    if path is None:
        return _NETWORKS.get(kind, "lenet")
    if image_shape is None:
        raise ValueError(f"The default network of {name!r} depends on `image_shape`. Received: None.")
    if len(image_shape) == 1:
        return "mlp"
    is_small = max(image_shape[:2]) <= 64
    if is_small and image_shape[2] == 1:
        return "lenet"
    if image_shape[0] % 4 == image_shape[1] % 4 == 0:
        return "resnet20"
    return "lenet" if is_small else "MobileNetV2"


def load(
    name,
    *,
    data_dir=None,
    batch_size=128,
    augmentation="none",
    crop_padding=4,
    seed=0,
    image_size=None,
    download=True,
    calibration_fraction=0.0,
):
    """Reads a set into memory.

    * `digits`: scikit-learn's 8x8 digits; a fifth of each class is the test set.
    * `moons`: two moons in the unit box, 2000 training points and as many others to test.
    * `mnist`, `fashion_mnist`, `kmnist`, `emnist_letters`, `svhn`, `cifar10`, `cifar100`: from TensorFlow Datasets. A
      set already under `data_dir` is read without touching the network.
    * `folder:PATH`: one sub-folder of images (bmp, gif, jpg, png) per class, or `train` and `test`, each with class
      sub-folders. Without these a fifth of each class is held out as the test set.
    * `npz:PATH`: keys `x_train, y_train, x_test, y_test`, or `images, labels` with a fifth held out. Images uint8 in
      0..255 or floats in [0, 1].

    Args:
        name: One of the above.
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

    Source: sets, augmentation and moons as in Hein et al., CVPR 2019, arXiv:1812.05720.
    """
    kind, path = _parse_name(name)
    if not callable(augmentation) and augmentation not in _AUGMENTATIONS:
        raise ValueError(
            f"`augmentation` must be one of {', '.join(sorted(_AUGMENTATIONS))}, or a callable (images, seed) -> "
            f"images. Received: {augmentation!r}."
        )
    if image_size is not None and kind != "folder":
        raise ValueError(f"`image_size` is for folder:PATH only. Received: image_size={image_size!r} with {name!r}.")
    test = class_names = ood = None
    if kind == "digits":
        train = embedded.digits()
    elif kind == "moons":
        train, test = embedded.moons(0), embedded.moons(1)
    elif kind == "folder":
        train, test, class_names = files.read_folder(path, image_size)
    elif kind == "npz":
        train, test = files.read_npz(path)
    else:
        train, test, class_names = tfds.read(kind, data_dir, download=download)
        ood = sets_beside(kind, train[0].shape[1:], data_dir)
    if np.ndim(train[0]) == 2 and augmentation in ("crop", "flip_crop"):
        raise ValueError(f"{name}: vectors cannot be cropped or flipped. Received: augmentation={augmentation!r}.")
    if not callable(augmentation):
        augmentation = _AUGMENTATIONS[augmentation]
        if augmentation is not None:
            augmentation = functools.partial(augmentation, padding=crop_padding)
    return Data(
        name=name,
        train=train,
        test=test,
        class_names=class_names,
        batch_size=batch_size,
        seed=seed,
        augmentation=augmentation,
        ood=ood,
        calibration_fraction=calibration_fraction,
    )


def _parse_name(name):
    """`(name, None)`, or `("folder" or "npz", path)`."""
    kind, _, path = name.partition(":")
    if kind in ("folder", "npz") and path:
        return kind, path
    if name in names() and not path:
        return name, None
    raise ValueError(
        f"The data set must be one of {', '.join(names())}. Received: {name!r}.{did_you_mean(name, names())}"
    )
