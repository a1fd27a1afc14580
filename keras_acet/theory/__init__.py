"""The theorems of the paper, computed for a given network: linear regions, rays, bounds."""

# isort: off
from keras_acet.theory.growth import Growth
from keras_acet.theory.growth import confidence_growth
from keras_acet.intervals import confidence_upper_bound
from keras_acet.intervals import difference_upper_bounds
from keras_acet.intervals import interval_bounds
from keras_acet.theory.paths import Ray
from keras_acet.theory.paths import ray
from keras_acet.theory.paths import rays
from keras_acet.theory.paths import smallest_alpha
from keras_acet.intervals import Affine
from keras_acet.intervals import Maximum
from keras_acet.intervals import PiecewiseAffine
from keras_acet.intervals import ReLU
from keras_acet.theory.rbf import RBFBound
from keras_acet.theory.rbf import rbf_confidence_bound
from keras_acet.theory.rbf import rbf_safe_radius
from keras_acet.theory.regions import Region
from keras_acet.theory.regions import activation_pattern
from keras_acet.theory.regions import affine_map
from keras_acet.theory.regions import region
# isort: on

__all__ = [
    "Affine",
    "Growth",
    "Maximum",
    "PiecewiseAffine",
    "RBFBound",
    "Ray",
    "ReLU",
    "Region",
    "activation_pattern",
    "affine_map",
    "confidence_growth",
    "confidence_upper_bound",
    "difference_upper_bounds",
    "interval_bounds",
    "ray",
    "rays",
    "rbf_confidence_bound",
    "rbf_safe_radius",
    "region",
    "smallest_alpha",
]
