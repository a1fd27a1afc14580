"""The score of the paper."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet import metrics
from keras_acet._checks import check_temperature
from keras_acet.scores.base import Score


@keras.saving.register_keras_serializable("keras_acet")
class MaxSoftmax(Score):
    """The largest softmax probability, the confidence: `max_k softmax(logits / temperature)[k]`.

    Its values lie in `[1/num_classes, 1]`. `of` computes in float64, which ties fewer images at 1, and returns the
    dtype of its logits, float32 or float64.

    Args:
        temperature: float > 0.

    Raises:
        ValueError, TypeError: If `temperature` is not as described.

    Example:

    >>> MaxSoftmax().of(np.array([[0.0, np.log(3.0)]])).round(6)
    array([0.75])

    Source: Hendrycks and Gimpel, ICLR 2017, arXiv:1610.02136; the score of Hein et al., CVPR 2019, arXiv:1812.05720.
    """

    name = "max_softmax"
    lowest = 0.0
    highest = 1.0

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = check_temperature(temperature)

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.nn.softmax(logits / self.temperature), axis=1)

    def of(self, logits: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits)
        gaps = metrics.logit_gaps(logits)
        confidence = 1 / np.exp(gaps / self.temperature).sum(axis=1)
        return confidence.astype(np.float64 if logits.dtype == np.float64 else np.float32)

    def with_temperature(self, temperature: float) -> "MaxSoftmax":
        return MaxSoftmax(temperature)

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}
