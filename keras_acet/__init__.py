"""Keras classifiers that know when they don't know: CEDA and ACET training for TensorFlow 2 and Keras 3.

Each name is loaded when it is first used, so that the command line answers `--help` without TensorFlow.

Source: Hein, Andriushchenko, Bitterwolf, CVPR 2019, arXiv:1812.05720.
"""

import importlib
import typing

from keras_acet.version import __version__

if typing.TYPE_CHECKING:
    # isort: off
    from keras_acet import adversary
    from keras_acet import attack
    from keras_acet import calibration
    from keras_acet import classifiers
    from keras_acet import datasets
    from keras_acet import detectors
    from keras_acet import evaluation
    from keras_acet import export
    from keras_acet import intervals
    from keras_acet import losses
    from keras_acet import metrics
    from keras_acet import networks
    from keras_acet import noise
    from keras_acet import penalties
    from keras_acet import projections
    from keras_acet import published_weights
    from keras_acet import report
    from keras_acet import schedules
    from keras_acet import scores
    from keras_acet import serving
    from keras_acet import theory
    from keras_acet import training
    from keras_acet.adversary import Adversary
    from keras_acet.adversary import PersistentAdversary
    from keras_acet.classifiers import ProvableClassifier
    from keras_acet.evaluation import evaluate
    from keras_acet.export import export_model
    from keras_acet.report import write_report
    from keras_acet.training import ACETModel
    from keras_acet.training import DetectorModel
    from keras_acet.training import Recipe
    from keras_acet.training import train
    # isort: on

__all__ = [
    "ACETModel",
    "Adversary",
    "DetectorModel",
    "PersistentAdversary",
    "ProvableClassifier",
    "Recipe",
    "__version__",
    "adversary",
    "attack",
    "calibration",
    "classifiers",
    "datasets",
    "detectors",
    "evaluate",
    "evaluation",
    "export",
    "export_model",
    "intervals",
    "losses",
    "metrics",
    "networks",
    "noise",
    "penalties",
    "projections",
    "published_weights",
    "report",
    "schedules",
    "scores",
    "serving",
    "theory",
    "train",
    "training",
    "write_report",
]
_PLACES = {  # of the names that are no modules
    "ACETModel": "training",
    "DetectorModel": "training",
    "Adversary": "adversary",
    "PersistentAdversary": "adversary",
    "ProvableClassifier": "classifiers",
    "Recipe": "training",
    "evaluate": "evaluation",
    "export_model": "export",
    "write_report": "report",
    "train": "training",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("keras_acet._backend")  # first: it looks at the backend before anything imports Keras
    try:
        module = importlib.import_module(f"keras_acet.{_PLACES.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name != "keras_acet.export":
            raise
        raise ImportError(
            "keras_acet.export lies beside the package in a checkout. Run `pip install -e .` there once to use it."
        ) from error
    value = getattr(module, name) if name in _PLACES else module
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
