"""Detectors: how much an image looks like the data, with a bound over every box of pixels.

Each kind has a file of this folder, with a subclass of `Detector`, and a line below.
"""

from collections.abc import Sequence

from keras_acet._registry import members

# isort: off
from keras_acet.detectors.base import Detector as Detector
from keras_acet.detectors.base import TrainingForm as TrainingForm
from keras_acet.detectors.checking import complaints as complaints
from keras_acet.detectors.mixture import confidence_bound_of as confidence_bound_of
from keras_acet.detectors.mixture import joint_logits as joint_logits
from keras_acet.detectors.mixture import probability_in as probability_in
from keras_acet.detectors.negative_head import NegativeHead as NegativeHead
# isort: on

_DETECTORS = members(vars(), Detector)  # type: ignore[type-abstract]  # mypy takes no abstract class for a type


def names() -> list[str]:
    """Lists the names of the kinds of detectors of this package.

    >>> names()
    ['negative_head']
    """
    return list(_DETECTORS)


def build(name: str, image_shape: Sequence[int]) -> Detector:
    """Makes an untrained detector by the name of its kind.

    Args:
        name: One of `names()`.
        image_shape: Tuple such as `(28, 28, 1)`.

    Raises:
        ValueError: If there is no detector of this name, or the shape is none of an image or a vector.
    """
    if name not in _DETECTORS:
        raise ValueError(f"A detector must be one of {sorted(_DETECTORS)}. Received: {name!r}.")
    return _DETECTORS[name].build(image_shape)
