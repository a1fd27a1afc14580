"""Named image sets with their out-distribution sets, held in memory and served by `tf.data`.

`load` reads a set; `Data` is what it returns, and takes arrays of your own as well; `ood_sets` looks up further
out-distribution sets. What is known of a set is one entry, a `DatasetSpec`; `register` adds one of your own. Pixels
leave here as float32 in [0, 1], channels last, labels as int64. Each name is loaded when it is first used, so that
recipes can ask which sets there are without TensorFlow.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    # isort: off
    from keras_acet.datasets.augmentation import random_crop
    from keras_acet.datasets.augmentation import random_flip
    from keras_acet.datasets.augmentation import random_flip_crop
    from keras_acet.datasets.beside import OODSets
    from keras_acet.datasets.data import Data
    from keras_acet.datasets.embedded import photo_patches
    from keras_acet.datasets.fitting import fit_images
    from keras_acet.datasets.held_out import with_calibration
    from keras_acet.datasets.loading import default_network
    from keras_acet.datasets.loading import load
    from keras_acet.datasets.loading import names
    from keras_acet.datasets.loading import spec
    from keras_acet.datasets.noise_sets import noise_names
    from keras_acet.datasets.noise_sets import noise_set
    from keras_acet.datasets.ood import ood_names
    from keras_acet.datasets.ood import ood_sets
    from keras_acet.datasets.out_distributions import OutDistribution
    from keras_acet.datasets.out_distributions import is_among
    from keras_acet.datasets.out_distributions import out_distribution
    from keras_acet.datasets.out_distributions import out_names
    from keras_acet.datasets.out_distributions import out_sources
    from keras_acet.datasets.out_distributions import parse_out
    from keras_acet.datasets.out_distributions import write_out
    from keras_acet.datasets.registry import register
    from keras_acet.datasets.specs import DatasetSpec
    from keras_acet.datasets.specs import OODSpec
    from keras_acet.datasets.specs import Splits
    from keras_acet.datasets.tfds import TFDS
    # isort: on

_PLACES = {
    "Data": "data",
    "DatasetSpec": "specs",
    "OODSets": "beside",
    "OODSpec": "specs",
    "OutDistribution": "out_distributions",
    "Splits": "specs",
    "TFDS": "tfds",
    "default_network": "loading",
    "fit_images": "fitting",
    "is_among": "out_distributions",
    "load": "loading",
    "names": "loading",
    "noise_names": "noise_sets",
    "noise_set": "noise_sets",
    "ood_names": "ood",
    "ood_sets": "ood",
    "out_distribution": "out_distributions",
    "out_names": "out_distributions",
    "out_sources": "out_distributions",
    "parse_out": "out_distributions",
    "photo_patches": "embedded",
    "random_crop": "augmentation",
    "random_flip": "augmentation",
    "random_flip_crop": "augmentation",
    "register": "registry",
    "spec": "loading",
    "with_calibration": "held_out",
    "write_out": "out_distributions",
}

__all__ = [
    "TFDS",
    "Data",
    "DatasetSpec",
    "OODSets",
    "OODSpec",
    "OutDistribution",
    "Splits",
    "default_network",
    "fit_images",
    "is_among",
    "load",
    "names",
    "noise_names",
    "noise_set",
    "ood_names",
    "ood_sets",
    "out_distribution",
    "out_names",
    "out_sources",
    "parse_out",
    "photo_patches",
    "random_crop",
    "random_flip",
    "random_flip_crop",
    "register",
    "spec",
    "with_calibration",
    "write_out",
]


def __getattr__(name: str) -> typing.Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
