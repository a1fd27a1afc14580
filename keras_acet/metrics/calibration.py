"""Metrics of how far confidences are from the share of right predictions."""

import numpy as np
import numpy.typing as npt

from keras_acet.metrics.checks import check_confidence
from keras_acet.metrics.logits import check_labels, confidence_and_correctness, log_softmax


def negative_log_likelihood(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Computes the NLL: the mean over the images of `-log_softmax(logits)[label]`, in nats; >= 0.

    Args:
        logits, labels: As in `classification_error`.

    Example:

    >>> round(negative_log_likelihood([[0.0, 0.0]], [1]), 6)
    0.693147
    """
    log_probabilities = log_softmax(logits)
    labels = check_labels(labels, log_probabilities.shape)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def brier_score(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Computes the mean over the images of `sum_k (p_k - [k = label])^2`, summed over all classes; in [0, 2].

    Args:
        logits, labels: As in `classification_error`.

    Example:

    >>> brier_score([[0.0, 0.0]], [1])
    0.5
    """
    probabilities = np.exp(log_softmax(logits))
    labels = check_labels(labels, probabilities.shape)
    probabilities[np.arange(len(labels)), labels] -= 1
    return float(np.square(probabilities).sum(axis=1).mean())


def expected_calibration_error(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, num_bins: int = 15, bins: str = "equal_width"
) -> float:
    """Computes the ECE: `sum_b count_b / n * |accuracy_b - mean confidence_b|` over bins of confidence; in [0, 1].

    Args:
        logits, labels: As in `classification_error`.
        num_bins: int >= 1.
        bins: "equal_width" or "equal_mass", see `bin_by_confidence`.

    Example: two images at confidence 3/4 and one of them right: |1/2 - 3/4|.

    >>> round(expected_calibration_error([[0.0, np.log(3.0)], [np.log(3.0), 0.0]], [1, 1]), 6)
    0.25

    Source: Guo et al., ICML 2017, arXiv:1706.04599, equation 3; equal mass: Nguyen and O'Connor, EMNLP 2015.
    """
    confidence, correct = confidence_and_correctness(logits, labels)
    _, confidence_sums, correct_sums = bin_by_confidence(confidence, correct, num_bins=num_bins, bins=bins)
    return float(np.abs(correct_sums - confidence_sums).sum() / len(correct))


def bin_by_confidence(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, num_bins: int = 15, bins: str = "equal_width"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts images into bins of confidence and sums over each bin.

    Args:
        confidence: Float array of shape `(n,)`, values in [0, 1].
        correct: Array of shape `(n,)`: 1 or true where the prediction is right.
        num_bins: int >= 1.
        bins: "equal_width": bin `b` holds the confidences in `(b / num_bins, (b + 1) / num_bins]`, the first also 0.
            "equal_mass": an image with `r` others below it goes to bin `floor(num_bins * r / n)`; so bins differ by
            at most one image, except that equal confidences stay together, which may leave later bins empty.

    Returns:
        Tuple of three arrays of shape `(num_bins,)`: the number of images, the sum of their confidences, the number of
        right ones.

    Raises:
        ValueError: If `bins` or `num_bins` is not as described.

    Example:

    >>> [x.tolist() for x in bin_by_confidence([0.5, 0.5, 1.0], [0, 1, 1], num_bins=2)]
    [[2, 1], [1.0, 1.0], [1.0, 1.0]]
    """
    if num_bins < 1:
        raise ValueError(f"`num_bins` must be at least 1. Received: num_bins={num_bins}. 15 is usual.")
    confidence = check_confidence("confidence", confidence).astype(np.float64)
    if bins == "equal_width":
        index = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], confidence, side="left")
    elif bins == "equal_mass":
        index = np.searchsorted(np.sort(confidence), confidence, side="left") * num_bins // len(confidence)
    else:
        raise ValueError(f"`bins` must be one of ['equal_mass', 'equal_width']. Received: bins={bins!r}.")
    confidences, corrects = (np.bincount(index, x, num_bins) for x in (confidence, np.asarray(correct, np.float64)))
    return np.bincount(index, minlength=num_bins), confidences, corrects
