"""Keras classifiers that know when they don't know: CEDA and ACET training for TensorFlow 2 and Keras 3.

Source: Hein, Andriushchenko, Bitterwolf, CVPR 2019, arXiv:1812.05720.
"""

# isort: off
from keras_acet import _backend as _backend  # first: it looks at the backend before anything imports Keras
from keras_acet import adversary
from keras_acet import attack
from keras_acet import calibration
from keras_acet import classifiers
from keras_acet import datasets
from keras_acet import evaluation
from keras_acet import losses
from keras_acet import metrics
from keras_acet import networks
from keras_acet import noise
from keras_acet import projections
from keras_acet import published_weights
from keras_acet import runs
from keras_acet import schedules
from keras_acet import serving
from keras_acet import theory
from keras_acet import trainer
from keras_acet.adversary import Adversary
from keras_acet.adversary import PersistentAdversary
from keras_acet.evaluation import evaluate
from keras_acet.trainer import ACETModel
from keras_acet.version import __version__
# isort: on

__all__ = [
    "ACETModel",
    "Adversary",
    "PersistentAdversary",
    "__version__",
    "adversary",
    "attack",
    "calibration",
    "classifiers",
    "datasets",
    "evaluate",
    "evaluation",
    "losses",
    "metrics",
    "networks",
    "noise",
    "projections",
    "published_weights",
    "runs",
    "schedules",
    "serving",
    "theory",
    "trainer",
]
