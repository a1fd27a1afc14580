"""Scores: functions from logits or features of a network to one number per image; larger means more in-distribution.

Each score has a file of this folder and a line below. A score of your own is a subclass of `Score`; use it wherever one
of these can be used.
"""

from typing import Any

from keras_acet._checks import did_you_mean
from keras_acet._registry import members

# isort: off
from keras_acet.scores.base import Score as Score
from keras_acet.scores.max_softmax import MaxSoftmax as MaxSoftmax
# isort: on

_SCORES = members(vars(), Score)


def names() -> list[str]:
    """Lists the names of the scores of this package, sorted.

    >>> names()
    ['max_softmax']
    """
    return sorted(_SCORES)


def build(name: str, **config: Any) -> Score:
    """Makes a score by its name.

    Args:
        name: One of `names()`.
        **config: Arguments of its class.

    Raises:
        ValueError: If there is no score of this name.

    Example:

    >>> build("max_softmax", temperature=2.0)
    MaxSoftmax(temperature=2.0)
    """
    if name not in _SCORES:
        raise ValueError(f"The score must be one of {names()}. Received: {name!r}.{did_you_mean(name, names())}")
    return _SCORES[name](**config)
