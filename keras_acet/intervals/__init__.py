"""Bounds of a network over boxes of inputs, and the walk through its layers that they are computed on."""

# isort: off
from keras_acet.intervals.bounds import confidence_upper_bound
from keras_acet.intervals.bounds import difference_upper_bounds
from keras_acet.intervals.bounds import interval_bounds
from keras_acet.intervals.network import PiecewiseAffine
from keras_acet.intervals.network import Step
from keras_acet.intervals.operations import Affine
from keras_acet.intervals.operations import Maximum
from keras_acet.intervals.operations import ReLU
# isort: on

__all__ = [
    "Affine",
    "Maximum",
    "PiecewiseAffine",
    "ReLU",
    "Step",
    "confidence_upper_bound",
    "difference_upper_bounds",
    "interval_bounds",
]
