"""Which data a classifier was trained on, and whether those at hand are the same."""

import copy
from typing import TypeVar

from keras_acet._checks import notify
from keras_acet.classifiers.base import Classifier
from keras_acet.datasets import Data

AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


def for_data(classifier: AnyClassifier, data: Data) -> AnyClassifier:
    """Returns the classifier; a copy that does not say what it was trained on, where these are other data.

    Then nothing is said to be held out: its training images may be among those to test with, or to calibrate with.

    Args:
        classifier: `Classifier`.
        data: `datasets.Data` that it is measured on.

    Warns:
        Notice: If the data are others than those that it was trained on.
    """
    if classifier.trained_on is None or is_of(classifier, data):
        return classifier
    notify(
        f"{data.name} is not the data that {classifier.name} was trained on, or has changed since: it may have been "
        "trained on test and calibration images, and nothing here counts as held out"
    )
    other = copy.copy(classifier)
    other.trained_on = None
    return other


def is_of(classifier: Classifier, data: Data) -> bool | None:
    """Whether a classifier was trained on just these data; None if nothing says so."""
    if classifier.trained_on is None:
        return None
    fraction = (classifier.flags or {}).get("calibration_fraction")
    return data.is_of(classifier.trained_on, calibration_fraction=None if fraction is None else float(fraction))
