"""Named image sets with their out-distribution sets, held in memory and served by `tf.data`.

`load` reads a set; `Data` is what it returns, and takes arrays of your own as well; `ood_sets` looks up further
out-distribution sets. What is known of a set is one entry, a `DatasetSpec`; `register` adds one of your own. Pixels
leave here as float32 in [0, 1], channels last, labels as int64.
"""

# isort: off
from keras_acet.datasets.augmentation import random_crop
from keras_acet.datasets.augmentation import random_flip
from keras_acet.datasets.augmentation import random_flip_crop
from keras_acet.datasets.data import Data
from keras_acet.datasets.data import OODSets
from keras_acet.datasets.embedded import photo_patches
from keras_acet.datasets.fitting import fit_images
from keras_acet.datasets.loading import default_network
from keras_acet.datasets.loading import load
from keras_acet.datasets.loading import names
from keras_acet.datasets.loading import spec
from keras_acet.datasets.ood import ood_names
from keras_acet.datasets.ood import ood_sets
from keras_acet.datasets.registry import register
from keras_acet.datasets.specs import DatasetSpec
from keras_acet.datasets.specs import OODSpec
from keras_acet.datasets.specs import Splits
from keras_acet.datasets.tfds import TFDS
# isort: on

__all__ = [
    "TFDS",
    "Data",
    "DatasetSpec",
    "OODSets",
    "OODSpec",
    "Splits",
    "default_network",
    "fit_images",
    "load",
    "names",
    "ood_names",
    "ood_sets",
    "photo_patches",
    "random_crop",
    "random_flip",
    "random_flip_crop",
    "register",
    "spec",
]
