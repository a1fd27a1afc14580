"""The base class of all scores."""

import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import in_batches, logits_of, traced

Network: TypeAlias = keras.Model | Callable[[tf.Tensor], tf.Tensor]


class Score:
    """One number per image that says how much it looks like the data: larger means more in-distribution.

    A score of your own needs `name` and `__call__`, in operations that TensorFlow can trace, differentiate and save:
    then it can be measured, attacked, served and exported. Arguments of its `__init__` it returns in `get_config`, and
    its class is registered with Keras. A score is a value: nothing changes it, `fit` and `with_temperature` return
    another one.

    Call arguments:
        logits: Float tensor `(n, num_classes)`, or what `observe` gives in its place.

    Returns:
        Float tensor `(n,)`.

    Attributes:
        name: Name of the score in results and on the command line.
        lowest, highest: Range of its values, infinite where it has none.

    Example:

    >>> class MaxLogit(Score):
    ...     name = "max_logit"
    ...
    ...     def __call__(self, logits):
    ...         return tf.reduce_max(logits, axis=1)
    >>> MaxLogit().of(np.array([[3.0, 1.0], [0.0, -1.0]]))
    array([3., 0.], dtype=float32)
    """

    name: ClassVar[str]
    lowest: ClassVar[float] = -math.inf
    highest: ClassVar[float] = math.inf

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError(
            f"{type(self).__name__} must define `__call__(logits)`, one number per row of logits."
        )

    def of(self, logits: np.ndarray) -> np.ndarray:
        """Computes the score of arrays, in batches.

        Args:
            logits: Float array `(n, num_classes)`, or what `observe` gives in its place.

        Returns:
            Float array `(n,)`: float32, as a call computes it. A score may compute float64 logits in float64.

        Raises:
            ValueError: If `logits` is not of rank 2, or the score does not give one number per row.
        """
        logits = np.asarray(logits)
        if logits.ndim != 2:
            raise ValueError(f"`logits` must have shape (n, num_classes), a row per image. Received: {logits.shape}.")
        logits = logits.astype(np.float32)
        scores = in_batches(traced(self, logits), logits)
        if scores.shape != logits.shape[:1]:
            raise ValueError(
                f"The score {self.name} must give one number per row of logits, shape {logits.shape[:1]}. Received: "
                f"shape {scores.shape}. Reduce over axis 1."
            )
        return scores

    def observe(self, network: Network) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Returns a function from images to the logits and to the input of the score, by one forward pass.

        A score of a network's features overrides it and returns the features as the input of the score.

        Args:
            network: `keras.Model`, or a function that TensorFlow can trace, from images to logits.

        Returns:
            Function from float32 images `(n, ...)` in [0, 1] to the logits `(n, num_classes)` and to what the score is
            called with, `(n, ...)`; float32, in inference mode. Here both are the logits.
        """

        def logits_twice(images):
            logits = logits_of(network, images)
            return logits, logits

        return logits_twice

    def fit(self, network: Network, images: np.ndarray, labels: np.ndarray) -> "Score":
        """Returns the score fitted to training images; itself where there is nothing to fit, as here.

        Args:
            network: As for `observe`.
            images: Array `(n, ...)`: float in [0, 1], or uint8.
            labels: Integer array `(n,)`.
        """
        return self

    def with_temperature(self, temperature: float) -> "Score":
        """Returns the score of a network whose confidence is `softmax(logits / temperature)`; itself if it is the same.

        Args:
            temperature: float > 0.
        """
        return self

    @property
    def accepts_all(self) -> float:
        """The largest threshold that certainly accepts every image: `lowest`, or the lowest finite float32."""
        return max(self.lowest, float(np.finfo(np.float32).min))

    def check_threshold(self, threshold: float) -> None:
        """Raises ValueError unless a threshold is in `[lowest, highest)`; from `highest` on it refuses every image."""
        if not self.lowest <= threshold < self.highest:  # false for nan
            raise ValueError(
                f"`threshold` must be in [{self.lowest:g}, {self.highest:g}), the range of the score {self.name}. "
                f"Received: threshold={threshold}."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`, values that JSON can hold."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the score of a `get_config`."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"
