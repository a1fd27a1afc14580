"""Out-of-distribution sets: those that the paper puts beside a named set, and those that the user names."""

import collections
import functools

import numpy as np

from keras_acet.datasets import embedded, files, tfds
from keras_acet.datasets.checks import check_images, did_you_mean
from keras_acet.datasets.data import OODSets

_GRAY, _RGB = (28, 28, 1), (32, 32, 3)
_SHAPES = {  # as read; photographs come in any shape
    "cifar10": _RGB,
    "cifar100": _RGB,
    "cifar10_gray": _GRAY,
    "emnist_letters": _GRAY,
    "fashion_mnist": _GRAY,
    "kmnist": _GRAY,
    "lsun_classroom": _RGB,
    "mnist": _GRAY,
    "svhn": _RGB,
}
# Those of MNIST, SVHN, CIFAR-10 and CIFAR-100 are the paper's.
_BESIDE = {
    "mnist": ("fashion_mnist", "emnist_letters", "cifar10_gray"),
    "fashion_mnist": ("mnist", "emnist_letters", "cifar10_gray"),
    "kmnist": ("mnist", "fashion_mnist", "emnist_letters", "cifar10_gray"),
    "emnist_letters": ("mnist", "fashion_mnist", "cifar10_gray"),
    "svhn": ("cifar10", "cifar100", "lsun_classroom", "imagenet_minus"),
    "cifar10": ("svhn", "cifar100", "lsun_classroom", "imagenet_minus"),
    "cifar100": ("svhn", "cifar10", "lsun_classroom", "imagenet_minus"),
}


def ood_names():
    """Returns the sorted list of what `ood_sets` takes; the capital `PATH` stands for a path of yours.

    >>> ood_names()[-3:]
    ['npz:PATH', 'photos', 'svhn']
    """
    return sorted([*_SHAPES, "imagenet_minus", "photos", "folder:PATH", "npz:PATH"])


def ood_sets(names, image_shape, *, data_dir=None, resize=False):
    """Looks up out-of-distribution sets by name, for images of one shape.

    * `mnist`, `fashion_mnist`, `kmnist`, `emnist_letters` (upright), `svhn`, `cifar10`, `cifar100`: the test images,
      from TensorFlow Datasets.
    * `cifar10_gray`: CIFAR-10's test images, resized from 32x32 to 28x28, then the unweighted mean of red, green and
      blue.
    * `lsun_classroom`: the 300 validation images of LSUN's classrooms, resized to 32x32.
    * `imagenet_minus`: stands for the paper's "ImageNet-", which cannot be had.
    * `photos`: see `photo_patches`.
    * `folder:PATH`: all images (bmp, gif, jpg, png) in a folder, at any depth. If all are gray there is one channel,
      else three.
    * `npz:PATH`: key `images`, else `x_test`; uint8 in 0..255 or floats in [0, 1].

    Your own files are read at once, the other sets when first asked for. Nothing is ever downloaded: a set that is not
    there is a value that says so, see `OODSets`.

    Args:
        names: List of such names; they become the keys, in this order.
        image_shape: Tuple such as `(28, 28, 1)`, or `(2,)` for vectors, which the images must have.
        data_dir: Where TensorFlow Datasets keeps its sets. Default: the environment variable `TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`.
        resize: Whether images of another shape are made to fit (see `fit_images`) or refused.

    Returns:
        `OODSets`: float32 arrays `(n, *image_shape)` in [0, 1], or `str`.

    Raises:
        ValueError: If a name is none of the above or there twice; if a set has other images than `image_shape` says
            and they may not or cannot be made to fit; if a file of yours does not exist or cannot be read.

    Example:

    >>> sets = ood_sets(["photos", "imagenet_minus"], (32, 32, 3))
    >>> sets["photos"].shape, sets["imagenet_minus"]
    ((1000, 32, 32, 3), 'the list of its classes (ImageNet without those like CIFAR-10) is unpublished')

    Source: sets and their making as in Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code, which resizes
        with Pillow's bilinear filter too.
    """
    if isinstance(names, str):
        raise TypeError(f"`names` must be a list of str. Received: {names!r}.")
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Each out-of-distribution set can be named once only. Received: {twice[0]!r} twice.")
    return OODSets({name: _loader(name, tuple(image_shape), data_dir, resize) for name in names})


def sets_beside(name, image_shape, data_dir=None):
    """Returns the `OODSets` of a set of TensorFlow Datasets: the paper's where the paper has the set, then "photos"."""
    return ood_sets([*_BESIDE[name], "photos"], image_shape, data_dir=data_dir)


def fit_images(images, image_shape):
    """Gives images another size and number of channels, and makes them float32 in [0, 1].

    Resizes with Pillow's bilinear filter, which averages where it shrinks (antialias); the aspect is not kept. Then
    three channels become one by their unweighted mean, and one becomes three by repetition.

    Args:
        images: Sequence of arrays `(height, width, 1 or 3)`, all uint8 in 0..255 or all float32 in [0, 1]; sizes may
            differ.
        image_shape: Tuple `(height, width, 1 or 3)`.

    Returns:
        float32 array `(n, *image_shape)` in [0, 1].

    Example:

    >>> fit_images(np.array([[[[0, 30, 255]]]], "uint8"), (2, 1, 1)).ravel() * 255  # (0 + 30 + 255) / 3
    array([95., 95.], dtype=float32)
    """
    fitted = np.empty((len(images), *image_shape), np.float32)
    for i, image in enumerate(images):
        pixels = _resized(image, *image_shape[:2]).astype(np.float32)
        fitted[i] = pixels.mean(axis=2, keepdims=True) if image_shape[2] == 1 else pixels
    return fitted / np.float32(255) if images[0].dtype == np.uint8 else fitted.clip(0, 1)


def _resized(image, height, width):
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    # Eight-bit images channel by channel give what the image in one gives; floats Pillow takes only so.
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0)]
    resized = [channel.resize((width, height), Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1)


def _loader(name, image_shape, data_dir, resize):
    """A function without arguments that returns the images of a set; raises on all that is the user's mistake."""
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        images = _read_folder(path, image_shape, resize)
        return lambda: images
    if kind == "npz" and path:
        images = check_images(f"{name}: images", files.read_npz_images(path))
        images = _fitted(name, images, image_shape, resize)
        return lambda: images
    if name not in ood_names() or path:
        raise ValueError(
            f"An out-of-distribution set must be one of {', '.join(ood_names())}. Received: {name!r}."
            + did_you_mean(name, ood_names())
        )
    _check_shape(name, _SHAPES.get(name, image_shape), image_shape, resize)
    if name == "photos":
        return functools.partial(_photos, image_shape)
    return functools.partial(_read_named, name, image_shape, data_dir)


def _photos(image_shape):
    if len(image_shape) != 3:
        raise ValueError("there are no photographs of vectors")
    return embedded.photo_patches(image_shape)


def _read_named(name, image_shape, data_dir):
    if name == "imagenet_minus":
        raise FileNotFoundError("the list of its classes (ImageNet without those like CIFAR-10) is unpublished")
    if name == "lsun_classroom":
        return fit_images(tfds.read_lsun_classroom(data_dir), image_shape)
    if name == "cifar10_gray":
        gray = fit_images(tfds.read_test_images("cifar10", data_dir), (*image_shape[:2], 1))
        return np.repeat(gray, image_shape[2], axis=3)
    return _fitted(name, tfds.read_test_images(name, data_dir), image_shape, resize=True)


def _read_folder(path, image_shape, resize):
    name = f"folder:{path}"
    paths = files.list_images(path)
    first = files.read_image(paths[0]).shape  # one look before thousands are read
    _check_shape(name, (*first[:2], *image_shape[2:]), image_shape, resize)
    images = files.read_images(paths, image_shape[:2] if resize else None, mend="Give `resize=True` (--resize)")
    return _fitted(name, images, image_shape, resize)


def _fitted(name, images, image_shape, resize):
    _check_shape(name, images.shape[1:], image_shape, resize)
    if images.shape[1:] != image_shape:
        return fit_images(images, image_shape)
    return images if images.dtype == np.float32 else images.astype(np.float32) / np.float32(255)


def _check_shape(name, shape, image_shape, resize):
    if shape == image_shape:
        return
    expected = f"{name}: the images must have the shape {image_shape}. Received: {shape}."
    if not len(shape) == len(image_shape) == 3:
        raise ValueError(f"{expected} Vectors and images do not turn into each other; name another set.")
    if shape[2] != image_shape[2] and {shape[2], image_shape[2]} != {1, 3}:
        raise ValueError(f"{expected} Only 1 channel and 3 turn into each other; name another set.")
    if not resize:
        raise ValueError(f"{expected} To make them fit give `resize=True` (--resize).")
