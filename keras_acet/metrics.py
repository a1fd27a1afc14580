"""What is measured, on arrays: MMC, AUROC, FPR@95, AUPR, ECE, NLL, Brier and their intervals. NumPy, no TensorFlow.

The score is the maximal confidence of an image. A measured number is a dict of floats `{"value", "low", "high"}` with
its 95 % interval; the ends are None where there is none. All sums are float64.
"""

import numpy as np
import scipy.special

_LEVEL = 0.95  # of every interval


def log_softmax(logits):
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


def logit_gaps(logits):
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


def max_confidence(logits):
    """Computes the maximal softmax probability of each image, the score of everything here.

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


def mean_max_confidence(confidence):
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
    margin = scipy.special.ndtri((1 + _LEVEL) / 2) * confidence.std(ddof=1) / np.sqrt(len(confidence))
    return {"value": mean, "low": max(float(mean - margin), 0.0), "high": min(float(mean + margin), 1.0)}


def share_above(confidence, threshold=0.5):
    """Computes the share of images with a confidence strictly above `threshold`, with the interval of `share`."""
    confidence = check_confidence("confidence", confidence)
    return share(int((confidence > threshold).sum()), len(confidence))


def classification_error(logits, labels):
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


def share(count, total):
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
    tail = (1 - _LEVEL) / 2
    low = scipy.special.betaincinv(count, total - count + 1, tail) if count > 0 else 0.0
    high = scipy.special.betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return {"value": count / total, "low": float(low), "high": float(high)}


def negative_log_likelihood(logits, labels):
    """Computes the NLL: the mean over the images of `-log_softmax(logits)[label]`, in nats; >= 0.

    Args:
        logits, labels: As in `classification_error`.

    Example:

    >>> round(negative_log_likelihood([[0.0, 0.0]], [1]), 6)
    0.693147
    """
    log_probs = log_softmax(logits)
    labels = check_labels(labels, log_probs.shape)
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def brier_score(logits, labels):
    """Computes the mean over the images of `sum_k (p_k - [k = label])^2`, summed over all classes; in [0, 2].

    Args:
        logits, labels: As in `classification_error`.

    Example:

    >>> brier_score([[0.0, 0.0]], [1])
    0.5
    """
    probs = np.exp(log_softmax(logits))
    labels = check_labels(labels, probs.shape)
    probs[np.arange(len(labels)), labels] -= 1
    return float(np.square(probs).sum(axis=1).mean())


def expected_calibration_error(logits, labels, *, num_bins=15, bins="equal_width"):
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


def confidence_and_correctness(logits, labels):
    """Returns `(max_confidence(logits), bool array)`, the second true where the largest logit is the label's."""
    gaps = logit_gaps(logits)
    labels = check_labels(labels, gaps.shape)
    return 1 / np.exp(gaps).sum(axis=1), gaps.argmax(axis=1) == labels


def bin_by_confidence(confidence, correct, *, num_bins=15, bins="equal_width"):
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
    sums = [np.bincount(index, weights, num_bins) for weights in (confidence, np.asarray(correct, np.float64))]
    return np.bincount(index, minlength=num_bins), *sums


def ood_metrics(id_confidence, ood_confidence):
    """Measures how well confidence separates in-distribution from out-of-distribution (OOD) images.

    With `c` the confidence of an in-distribution image and `o` that of an OOD image, each drawn at random:

    * `auroc`: `P(c > o) + P(c = o) / 2`.
    * `auroc_ties_against`: `P(c > o)`, a tie is a loss. Outputs that saturate at confidence 1 tie often.
    * `fpr95_id_positive`, the paper's: share of OOD images with `o >= q`, where `q` is the 5th percentile of the
      in-distribution confidences, interpolated linearly as `np.quantile` does.
    * `fpr95_ood_positive`, other libraries': OOD is the positive class, its score `-confidence`. Share of
      in-distribution images with `c <= t`, where `t` is the smallest OOD confidence such that at least 95 % of the OOD
      images have `o <= t`. It is the smallest FPR on the ROC curve with a TPR of at least 95 %, nothing interpolated.
    * `aupr_id_positive`: average precision `sum_j (R_j - R_(j-1)) P_j` over the distinct thresholds, with the
      in-distribution images as positives and the confidence as score.
    * `aupr_ood_positive`: the same with OOD images as positives and `-confidence` as score.

    Args:
        id_confidence: Float array of shape `(n,)`, finite. A log confidence will do as well and does not saturate; only
            the interpolated `q` then lies elsewhere between the same two scores. float32 is sorted faster.
        ood_confidence: Float array of shape `(m,)`, the same quantity.

    Returns:
        dict with these six names; floats in [0, 1].

    Raises:
        ValueError: If an array is empty, not of rank 1, not of a real dtype, or holds NaN or infinity.

    Example:

    >>> ood_metrics([0.9, 0.8], [0.8, 0.1])["auroc"]  # wins 3 of 4 pairs and ties in one
    0.875

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, section 5, for MMC, AUROC and the first FPR@95.
    """
    scores = _distinct_scores(id_confidence, ood_confidence)
    return dict(zip(OOD_METRICS, _from_distinct_scores(*scores), strict=True))


def bootstrap_ood_metrics(id_confidence, ood_confidence, *, num_resamples=1000, seed=0):
    """Computes `ood_metrics` with 95 % percentile intervals of the bootstrap.

    Each replicate draws `n` of the in-distribution and `m` of the OOD scores with replacement. The scores are sorted
    once: a replicate is a pair of count vectors over their distinct values. A perfect separation stays perfect in every
    replicate: then the interval is a point, and says nothing about rare OOD images that were not seen.

    Args:
        id_confidence, ood_confidence: As in `ood_metrics`.
        num_resamples: int >= 1, the number of replicates.
        seed: int >= 0.

    Returns:
        dict from the names of `ood_metrics` to measured numbers; "value" is that of `ood_metrics`.

    Raises:
        ValueError: As `ood_metrics`, or if `num_resamples` is below 1.

    Example:

    >>> bootstrap_ood_metrics([0.9, 0.8], [0.8, 0.1], num_resamples=50)["auroc"]["value"]
    0.875

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` must be at least 1. Received: {num_resamples}. 1000 is usual.")
    values, *counts = _distinct_scores(id_confidence, ood_confidence)
    point = _from_distinct_scores(values, *counts)
    rng = np.random.default_rng(seed)
    # owners[side][i]: which distinct value the i-th smallest score of that side has.
    owners = [np.repeat(np.arange(len(values)), count) for count in counts]
    replicates = np.empty((num_resamples, len(point)))
    for replicate in replicates:
        drawn = (owner[rng.integers(len(owner), size=len(owner))] for owner in owners)
        replicate[:] = _from_distinct_scores(values, *(np.bincount(draw, minlength=len(values)) for draw in drawn))
    low, high = np.quantile(replicates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0).tolist()
    numbers = zip(OOD_METRICS, point, low, high, strict=True)
    return {name: {"value": v, "low": a, "high": b} for name, v, a, b in numbers}


OOD_METRICS = (
    "auroc",
    "auroc_ties_against",
    "fpr95_id_positive",
    "fpr95_ood_positive",
    "aupr_id_positive",
    "aupr_ood_positive",
)


def _distinct_scores(id_confidence, ood_confidence):
    """Returns the distinct scores, rising, in float64, and how many images of either side have each of them."""
    ours = check_confidence("id_confidence", id_confidence)
    everything = np.concatenate([ours, check_confidence("ood_confidence", ood_confidence)])
    everything.sort()
    last = np.append(everything[1:] != everything[:-1], True).nonzero()[0]  # the last of each run of equal scores
    values = everything[last]
    id_below = np.searchsorted(np.sort(ours), values, side="right")
    id_counts = np.diff(id_below, prepend=0)
    return values.astype(np.float64), id_counts, np.diff(last, prepend=-1) - id_counts


def _from_distinct_scores(values, id_counts, ood_counts):
    """Returns the numbers of `ood_metrics` in their order; a value may have no image on either side."""
    id_counts, ood_counts = id_counts.astype(np.float64), ood_counts.astype(np.float64)  # sums exact up to 2**53
    id_below, ood_below = np.cumsum(id_counts), np.cumsum(ood_counts)  # images at each value or below it
    n, m = id_below[-1], ood_below[-1]
    wins = id_counts @ (ood_below - ood_counts)
    ties = id_counts @ ood_counts

    # Threshold of the paper's FPR: order statistics `rank` and `rank + 1`, then np.quantile's interpolation.
    position = (n - 1) * 0.05
    rank = int(position)
    lower, upper = values[np.searchsorted(id_below, [rank + 1, min(rank + 2, n)])]
    first = np.searchsorted(values, _interpolate(lower, upper, position - rank))
    rejected = ood_below[first - 1] if first else 0.0

    accepting = np.searchsorted(ood_below, -(-95 * int(m) // 100))  # the ceiling, in whole numbers: .95 m is inexact

    # Above: images at each value or above it. 1 guards 0/0 where a replicate has none, with weight 0.
    id_above, ood_above = n - id_below + id_counts, m - ood_below + ood_counts
    id_precision = id_above / np.maximum(id_above + ood_above, 1)
    ood_precision = ood_below / np.maximum(id_below + ood_below, 1)
    return [
        float(x)
        for x in (
            (wins + ties / 2) / (n * m),
            wins / (n * m),
            (m - rejected) / m,
            id_below[accepting] / n,
            id_counts @ id_precision / n,
            ood_counts @ ood_precision / m,
        )
    ]


def _interpolate(lower, upper, weight):
    """Linear interpolation, rounded as in np.quantile: a threshold must tie with a score when NumPy's does."""
    if weight < 0.5:
        return lower + (upper - lower) * weight
    return upper - (upper - lower) * (1 - weight)


def check_confidence(name, confidence):
    """Returns scores as a float32 or float64 array of shape `(n,)`, n >= 1, all finite, or raises a ValueError."""
    confidence = np.asarray(confidence)
    if confidence.ndim != 1 or not len(confidence) or confidence.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be numbers of shape (n,), one score per image and at least one. Received: dtype "
            f"{confidence.dtype}, shape {confidence.shape}. From logits: `max_confidence(logits)`."
        )
    if confidence.dtype not in (np.float32, np.float64):
        confidence = confidence.astype(np.float64)
    finite = np.isfinite(confidence)
    if not finite.all():
        raise ValueError(
            f"`{name}` must be finite. Received: {(~finite).sum()} of {len(confidence)} are not, the first "
            f"{confidence[~finite][0]} at index {finite.argmin()}. Look at the logits of these images."
        )
    return confidence


def check_labels(labels, shape):
    """Returns labels as an integer array that fits logits of `shape = (n, num_classes)`, or raises a ValueError."""
    labels = np.asarray(labels)
    n, num_classes = shape
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be integers of shape ({n},), one per row of the logits. Received: dtype {labels.dtype}, "
            f"shape {labels.shape}. From one-hot rows: labels.argmax(axis=1)."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"`labels` must be in [0, {num_classes}), the number of logits. Received: {labels.min()} to "
            f"{labels.max()}. Does the model know all classes of the data?"
        )
    return labels
