"""Classifiers from images to logits: LeNet, ResNet-20 v2, MLP, RBF, and any `keras.applications` model.

Every network but the RBF network is a functional `keras.Model` made of stock Keras layers, so a saved
`.keras` file loads with `safe_mode=True` in a process that does not have `keras_acet`. Images are
float32 in `[0, 1]`, channels last; the four networks of this module use them as they are, without mean
and standard deviation scaling (as published).

Weights are drawn from Keras' global generator: `keras.utils.set_random_seed` makes them repeatable.
"""

# isort: off
from keras_acet.networks.applications import application_names
from keras_acet.networks.building import build
from keras_acet.networks.building import names
from keras_acet.networks.interface import Interface
from keras_acet.networks.interface import wrapped
from keras_acet.networks.published import lenet
from keras_acet.networks.published import mlp
from keras_acet.networks.published import resnet20
from keras_acet.networks.rbf import RBF
from keras_acet.networks.rbf import rbf
# isort: on

__all__ = [
    "RBF",
    "Interface",
    "application_names",
    "build",
    "lenet",
    "mlp",
    "names",
    "rbf",
    "resnet20",
    "wrapped",
]
