"""Scores: logits, or what else a network gives, to one number per image; larger means more in-distribution.

A score is a file of this folder and a line below. One of your own is a subclass of `Score` and goes wherever one of
these goes.
"""

from typing import Any

from keras_acet._checks import did_you_mean

# isort: off
from keras_acet.scores.base import Score as Score
from keras_acet.scores.max_softmax import MaxSoftmax as MaxSoftmax
# isort: on

_SCORES: dict[str, type[Score]] = {
    value.name: value
    for value in list(vars().values())
    if isinstance(value, type) and issubclass(value, Score) and value is not Score
}


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
