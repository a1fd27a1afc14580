"""The library's own data sets: one entry each. To add one, add its entry here."""

import string

import numpy as np

from keras_acet.datasets import embedded, tfds
from keras_acet.datasets.fitting import fit_images
from keras_acet.datasets.specs import DatasetSpec, OODSpec, Splits
from keras_acet.datasets.tfds import TFDS

_GRAY, _RGB = (28, 28, 1), (32, 32, 3)


def _upright(images, labels):
    """EMNIST is stored transposed, and labelled from 1."""
    return images.transpose(0, 2, 1, 3), labels - 1


def _read_digits():
    return Splits(embedded.digits())


def _read_moons():
    return Splits(embedded.moons(0), embedded.moons(1))


def _read_cifar10_gray(image_shape, data_dir):
    images = _CIFAR10.read_test_images(data_dir)
    return np.repeat(fit_images(images, (*image_shape[:2], 1)), image_shape[2], axis=3)


def _read_lsun_classroom(image_shape, data_dir):
    return fit_images(tfds.read_lsun_classroom(data_dir), image_shape)


def _read_imagenet_minus(image_shape, data_dir):
    raise FileNotFoundError("the list of its classes (ImageNet without those like CIFAR-10) is unpublished")


def _read_photos(image_shape, data_dir):
    if len(image_shape) != 3:
        raise ValueError("there are no photographs of vectors")
    return embedded.photo_patches(image_shape)


# The sets beside MNIST, SVHN, CIFAR-10 and CIFAR-100 are the paper's, which calls none of them near; so do we.
_CIFAR10 = DatasetSpec(
    "cifar10",
    TFDS("cifar10"),
    _RGB,
    network="resnet20",
    augmentation="flip_crop",
    beside=("svhn", "cifar100", "lsun_classroom", "imagenet_minus"),
)
BUILT_IN = (
    _CIFAR10,
    DatasetSpec(
        "cifar100",
        TFDS("cifar100"),
        _RGB,
        network="resnet20",
        augmentation="flip_crop",
        beside=("svhn", "cifar10", "lsun_classroom", "imagenet_minus"),
    ),
    DatasetSpec("digits", _read_digits, (8, 8, 1), network="lenet"),
    DatasetSpec(
        "emnist_letters",
        TFDS("emnist/letters", prepare=_upright, class_names=tuple(string.ascii_uppercase)),
        _GRAY,
        network="lenet",
        augmentation="crop",
        beside=("mnist", "fashion_mnist", "cifar10_gray"),
    ),
    DatasetSpec(
        "fashion_mnist",
        TFDS("fashion_mnist"),
        _GRAY,
        network="lenet",
        augmentation="crop",
        beside=("mnist", "emnist_letters", "cifar10_gray"),
    ),
    DatasetSpec(
        "kmnist",
        TFDS("kmnist"),
        _GRAY,
        network="lenet",
        augmentation="crop",
        beside=("mnist", "fashion_mnist", "emnist_letters", "cifar10_gray"),
    ),
    DatasetSpec(
        "mnist",
        TFDS("mnist"),
        _GRAY,
        network="lenet",
        augmentation="crop",
        beside=("fashion_mnist", "emnist_letters", "cifar10_gray"),
    ),
    DatasetSpec("moons", _read_moons, (2,), network="mlp"),
    DatasetSpec(
        "svhn",
        TFDS("svhn_cropped"),
        _RGB,
        network="resnet20",
        augmentation="crop",
        beside=("cifar10", "cifar100", "lsun_classroom", "imagenet_minus"),
    ),
    OODSpec("cifar10_gray", _read_cifar10_gray, _GRAY, made_of="cifar10"),
    OODSpec("imagenet_minus", _read_imagenet_minus),
    OODSpec("lsun_classroom", _read_lsun_classroom, _RGB),
    OODSpec("photos", _read_photos),
)
