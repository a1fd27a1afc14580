"""From logits to confidences and probabilities, in float64."""

import numpy as np
import numpy.typing as npt

from keras_acet import _checks


def log_softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Computes log-probabilities in float64, without overflow: `z_k - max z - log(sum_j exp(z_j - max z))`.

    Args:
        logits: Float array of shape `(n, num_classes)`, `num_classes >= 2`, each below 1e100 in size.

    Returns:
        float64 array of the same shape; no value is above 0.

    Raises:
        ValueError: If `logits` is not as described.

    Example:

    >>> log_softmax([[1e6, 0.0], [5.0, 5.0]]).round(4).tolist()
    [[0.0, -1000000.0], [-0.6931, -0.6931]]
    """
    gaps = logit_gaps(logits)
    return gaps - np.log(np.exp(gaps).sum(axis=1, keepdims=True))


def logit_gaps(logits: npt.ArrayLike) -> np.ndarray:
    """Returns `z_k - max_j z_j`, a float64 array of the shape of `logits`, after the checks of `log_softmax`."""
    logits = np.asarray(logits)
    if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2 or logits.dtype.kind not in "fiu":
        raise ValueError(
            "`logits` must be numbers of shape (n, num_classes), one row per image and at least two classes. "
            f"Received: dtype {logits.dtype}, shape {logits.shape}. Stack the batches' logits with np.concatenate."
        )
    logits = logits.astype(np.float64)
    bad = ~(np.abs(logits) < 1e100)  # NaN too
    if bad.any():
        raise ValueError(
            f"`logits` must be finite, below 1e100 in size. Received: {bad.sum()} others of {logits.size}, the first "
            f"{logits[bad][0]} in row {np.argwhere(bad)[0, 0]}. Look at the images of these rows, or at the training "
            "loss."
        )
    return logits - logits.max(axis=1, keepdims=True)


def max_confidence(logits: npt.ArrayLike) -> np.ndarray:
    """Computes the confidence of each image: its maximal softmax probability.

    `out[i] = max_k softmax(logits[i])[k]`, in `[1/num_classes, 1]`; it is exactly 1, hence tied with others, once the
    second largest logit lies about 37 below the largest.

    Args:
        logits: As in `log_softmax`.

    Returns:
        float64 array of shape `(n,)`.

    Example:

    >>> max_confidence([[0.0, np.log(3.0)]]).round(6).tolist()
    [0.75]
    """
    return 1 / np.exp(logit_gaps(logits)).sum(axis=1)


def confidence_and_correctness(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(max_confidence(logits), bool array)`, the second true where the largest logit is the label's."""
    gaps = logit_gaps(logits)
    labels = check_labels(labels, gaps.shape)
    return 1 / np.exp(gaps).sum(axis=1), gaps.argmax(axis=1) == labels


def check_labels(labels: npt.ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Returns labels as an integer array that fits logits of `shape = (n, num_classes)`, or raises a ValueError."""
    return _checks.check_labels("`labels`", labels, *shape, hint="Does the model know all classes of the data?")
