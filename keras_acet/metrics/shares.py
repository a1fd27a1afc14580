"""Means and shares of images, with their intervals."""

import numpy as np
import numpy.typing as npt
import scipy.special

from keras_acet.metrics.checks import check_confidence
from keras_acet.metrics.logits import check_labels, logit_gaps
from keras_acet.metrics.measured import LEVEL, Measured


def mean_max_confidence(confidence: npt.ArrayLike) -> Measured:
    """Computes the MMC: the mean confidence, with the normal interval `mean +- 1.96 s / sqrt(n)` clipped to [0, 1].

    Args:
        confidence: Float array of shape `(n,)`, values in [0, 1].

    Returns:
        Measured number. `s` has the denominator `n - 1`; for one image the ends are None.

    Raises:
        ValueError: If `confidence` is empty, not of rank 1, not finite or not within [0, 1].

    Example:

    >>> mean_max_confidence([0.25, 0.75])["value"]
    0.5
    """
    confidence = check_confidence("confidence", confidence).astype(np.float64)
    if confidence.min() < -1e-5 or confidence.max() > 1 + 1e-5:  # float32 softmax may end a little above 1
        raise ValueError(
            "`confidence` must be probabilities in [0, 1]. Received: values from "
            f"{confidence.min():.6g} to {confidence.max():.6g}. From logits: `max_confidence(logits)`."
        )
    mean = float(confidence.mean())
    if len(confidence) == 1:
        return {"value": mean, "low": None, "high": None}
    margin = scipy.special.ndtri((1 + LEVEL) / 2) * confidence.std(ddof=1) / np.sqrt(len(confidence))
    return {"value": mean, "low": max(float(mean - margin), 0.0), "high": min(float(mean + margin), 1.0)}


def share_above(confidence: npt.ArrayLike, threshold: float = 0.5) -> Measured:
    """Computes the share of images with a confidence strictly above `threshold`, with the interval of `share`."""
    confidence = check_confidence("confidence", confidence)
    return share(int((confidence > threshold).sum()), len(confidence))


def classification_error(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Measured:
    """Computes the share of images whose largest logit is not their label's, with the interval of `share`.

    Args:
        logits: As in `log_softmax`. Among equal logits the first counts.
        labels: Integer array of shape `(n,)`, values in `[0, num_classes)`.

    Returns:
        Measured number.

    Raises:
        ValueError: If `logits` or `labels` are not as described.

    Example:

    >>> classification_error([[2.0, 1.0], [0.0, 3.0]], [0, 0])["value"]
    0.5
    """
    gaps = logit_gaps(logits)
    labels = check_labels(labels, gaps.shape)
    return share(int((gaps.argmax(axis=1) != labels).sum()), len(labels))


def share(count: int, total: int) -> Measured:
    """Returns `count / total` with its exact 95 % interval (Clopper and Pearson, 1934).

    Args:
        count: int in `[0, total]`.
        total: int >= 1.

    Returns:
        Measured number. The interval holds the true share with a probability of at least 95 %, whatever it is.

    Raises:
        ValueError: If the numbers are outside their ranges.

    Example:

    >>> {name: round(x, 3) for name, x in share(0, 10).items()}
    {'value': 0.0, 'low': 0.0, 'high': 0.308}
    """
    if not (0 <= count <= total and total >= 1):
        raise ValueError(
            f"`count` must be in [0, total] and `total` at least 1. Received: count={count}, total={total}. "
            "A share of no images has no value."
        )
    tail = (1 - LEVEL) / 2
    low = scipy.special.betaincinv(count, total - count + 1, tail) if count > 0 else 0.0
    high = scipy.special.betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return {"value": count / total, "low": float(low), "high": float(high)}
