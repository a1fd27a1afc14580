"""Metrics of how well a score separates in-distribution from out-of-distribution (OOD) images."""

import numpy as np
import numpy.typing as npt

from keras_acet.metrics.checks import check_confidence
from keras_acet.metrics.measured import LEVEL, Measured


def ood_metrics(id_confidence: npt.ArrayLike, ood_confidence: npt.ArrayLike) -> dict[str, float]:
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


def bootstrap_ood_metrics(
    id_confidence: npt.ArrayLike, ood_confidence: npt.ArrayLike, *, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Measured]:
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
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).tolist()
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
