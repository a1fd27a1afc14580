"""Calibration and selective prediction from logits: temperature, reliability, risk against coverage, thresholds.

Everything is float64 NumPy. Fit on held-out images that neither training nor the report's test numbers have seen.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from keras_acet import metrics
from keras_acet.calibration.results import (
    CalibrationErrors,
    CalibrationResult,
    Reliability,
    RiskCoverage,
    Threshold,
)
from keras_acet.scores import MaxSoftmax, Score

_FEWEST_TO_SHARPEN = 100  # held-out images
_FEWEST_WRONG_TO_SHARPEN = 5
Bin = tuple[float | None, float | None, int]


def fit_temperature(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, bounds: tuple[float, float] = (1e-3, 1e3)
) -> float:
    """Finds the temperature `T` that minimises the NLL of `softmax(logits / T)`.

    The NLL is convex in `b = 1/T`, with the slope `mean_i(sum_k p_ik z_ik - z_i,label)`, `p = softmax(b z)`, which
    never falls as `b` grows. Its root is found by Brent's method in `log T` within `bounds`: it cannot leave them, so
    the result is positive and finite whatever the logits. Where there is no root:

    * The NLL still falls at the lower bound: the lower bound is returned. So it is whenever all predictions are right,
      because the NLL then falls all the way to `T = 0`. Confidences at that temperature are 1 up to rounding, of OOD
      images too: see `calibrate`, which does not use it.
    * The NLL still falls at the upper bound, as when predictions are worse than chance: the upper bound.
    * The logits of every image are all equal, so that the NLL is the same at every temperature: 1, or the bound
      nearest to it.

    Args:
        logits: Float array of shape `(n, num_classes)`, each below 1e100 in size.
        labels: Integer array of shape `(n,)`, values in `[0, num_classes)`.
        bounds: Pair of floats, `0 < lower < upper`.

    Returns:
        float in `bounds`; the solve stops at a relative error of 1e-12.

    Raises:
        ValueError: If an argument is not as described.

    Example: confidence 9/10 and right in 3 of 4 images; `T = log 9 / log 3` makes it 3/4.

    >>> round(fit_temperature([[np.log(9.0), 0.0]] * 4, [0, 0, 0, 1]), 6)
    2.0

    Source: Guo et al., ICML 2017, arXiv:1706.04599, section 4.2.
        Differs: a bracketed solve instead of gradient descent, which may step to a negative temperature.
    """
    lower, upper = bounds
    if not 0 < lower < upper < math.inf:
        raise ValueError(
            f"`bounds` must be 0 < lower < upper. Received: bounds={bounds}. The default is (0.001, 1000)."
        )
    gaps = metrics.logit_gaps(logits)
    labels = metrics.check_labels(labels, gaps.shape)
    mean_label_gap = gaps[np.arange(len(labels)), labels].mean()
    if not gaps.any():
        return float(min(max(1.0, lower), upper))

    def slope(log_temperature):
        weights = np.exp(gaps * math.exp(-log_temperature))
        return (np.einsum("ik,ik->i", weights, gaps) / weights.sum(axis=1)).mean() - mean_label_gap

    if slope(math.log(lower)) <= 0:
        return float(lower)
    if slope(math.log(upper)) >= 0:
        return float(upper)
    return math.exp(brentq(slope, math.log(lower), math.log(upper), xtol=1e-13, rtol=1e-13))


def reliability(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, num_bins: int = 15, bins: str = "equal_width"
) -> list[Bin]:
    """Compares confidence with accuracy bin by bin.

    Args:
        logits, labels: As in `fit_temperature`.
        num_bins, bins: As in `metrics.bin_by_confidence`.

    Returns:
        List of `num_bins` tuples `(mean confidence, accuracy, number of images)`, by rising confidence. Of an empty
        bin: `(None, None, 0)`.

    Example:

    >>> reliability([[0.0, 0.0]], [0], num_bins=2)
    [(0.5, 1.0, 1), (None, None, 0)]
    """
    binned = metrics.bin_by_confidence(
        *metrics.confidence_and_correctness(logits, labels), num_bins=num_bins, bins=bins
    )
    return [
        (confidence / count, right / count, count) if count else (None, None, 0)
        for count, confidence, right in zip(*(x.tolist() for x in binned), strict=True)
    ]


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, num_points: int = 100) -> RiskCoverage:
    """Computes the error among accepted images against the share accepted, as the threshold falls.

    Equal confidences enter together. With the distinct confidences `t_1 > t_2 > ...`, `coverage_j` is the share of
    images with a confidence of at least `t_j` and `risk_j` the share of wrong ones among them. The area under it is
    `aurc = sum_j (coverage_j - coverage_(j-1)) risk_j`: without ties the mean of the risks at 1, 2, ..., n images.

    Args:
        confidence: Float array of shape `(n,)`, finite.
        correct: Array of shape `(n,)`: 1 or true where the prediction is right.
        num_points: int >= 1; the curve is thinned to at most so many points, the last at coverage 1. `aurc` is not.

    Returns:
        `RiskCoverage`: "coverage" and "risk" of equal length in order of rising coverage. All in [0, 1].

    Raises:
        ValueError: If `confidence` is empty, not finite or not of rank 1, or the shapes differ.

    Example: the surest image is right; two tie for the next place, one of them wrong.

    >>> curve = risk_coverage([0.9, 0.6, 0.6], [1, 0, 1])
    >>> [[round(x, 3) for x in values] for values in (curve.coverage, curve.risk)], round(curve.aurc, 3)
    ([[0.333, 1.0], [0.0, 0.333]], 0.222)

    Source: Geifman et al., ICLR 2019, arXiv:1805.08206, for AURC without ties.
    """
    confidence, correct = metrics.check_confidence("confidence", confidence), np.asarray(correct, np.float64)
    if correct.shape != confidence.shape:
        raise ValueError(
            f"`correct` must have the shape of `confidence`, {confidence.shape}. Received: shape {correct.shape}. It "
            "is `logits.argmax(axis=1) == labels`."
        )
    order = np.argsort(-confidence)
    last = np.append(np.diff(confidence[order]) != 0, True).nonzero()[0]  # the last of each run of equal confidences
    coverage = (last + 1) / len(order)
    risk = np.cumsum(1 - correct[order])[last] / (last + 1)
    aurc = float(np.diff(coverage, prepend=0) @ risk)
    shown = np.unique(np.searchsorted(coverage, np.arange(1, num_points + 1) / num_points))
    return RiskCoverage(coverage[shown].tolist(), risk[shown].tolist(), aurc)


def accepting_threshold(confidence: npt.ArrayLike, share: float) -> float:
    """Returns the largest threshold that at least `share` of the images reach: `mean(confidence >= t) >= share`.

    It is the `ceil(share n)`-th largest confidence.

    Args:
        confidence: Float array of shape `(n,)`, finite.
        share: float in (0, 1].

    Returns:
        float, one of the confidences.

    Raises:
        ValueError: If an argument is not as described.

    Example:

    >>> accepting_threshold([0.6, 0.7, 0.8, 0.9], 0.75)
    0.7
    """
    confidence = np.sort(metrics.check_confidence("confidence", confidence))
    if not 0 < share <= 1:
        raise ValueError(f"`share` must be in (0, 1]. Received: share={share}. For 95 % use 0.95.")
    return float(confidence[len(confidence) - math.ceil(_exactly(share) * len(confidence))])


def conformal_threshold(confidence: npt.ArrayLike, alpha: float, *, lowest: float = 0.0) -> float:
    """Returns the split-conformal threshold: a further image of the same kind is accepted with `P >= 1 - alpha`.

    It is the `k`-th smallest of the `n` confidences, `k = floor(alpha (n + 1))`, and `lowest` (accept all) if `k` is 0,
    that is for fewer than `1 / alpha - 1` images. Accept an image if its confidence is `>=` the threshold. If it and
    the `n` images are exchangeable (independent draws from one distribution, say), its rank among all `n + 1` is
    uniform, so `P(confidence < threshold) <= k / (n + 1) <= alpha`; ties can only lower that. The probability is over
    the draw of the `n` images as well. It holds for any network, right or wrong, and says nothing about OOD images.

    Args:
        confidence: Float array of shape `(n,)`, of images that had no part in training or in fitting a temperature.
        alpha: float in (0, 1), the accepted probability of rejection.
        lowest: What every image reaches: 0 for confidences, `Score.accepts_all` for another score.

    Returns:
        float.

    Raises:
        ValueError: If an argument is not as described.

    Example:

    >>> conformal_threshold([0.6, 0.7, 0.8, 0.9], 0.4), conformal_threshold([0.6, 0.7, 0.8, 0.9], 0.05)
    (0.7, 0.0)

    Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005; Angelopoulos and Bates,
        arXiv:2107.07511, section 1.
    """
    confidence = np.sort(metrics.check_confidence("confidence", confidence))
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must be in (0, 1). Received: alpha={alpha}. To accept 95 % use 0.05.")
    k = math.floor(_exactly(alpha) * (len(confidence) + 1))
    return float(confidence[k - 1]) if k else lowest


def _exactly(number):
    """The fraction that the decimal digits of a float say: 0.07 * 100 is above 7 in floats."""
    return Fraction(repr(float(number)))


def thresholds(
    held_out_confidence: npt.ArrayLike,
    test_confidence: npt.ArrayLike,
    *,
    worst_noise_confidence: npt.ArrayLike | None = None,
    lowest: float = 0.0,
) -> list[Threshold]:
    """Computes three decision thresholds and what they accept. An image is accepted if its confidence is `>=`.

    Any other score may stand for the confidence.

    Args:
        held_out_confidence: Float array of shape `(n,)`: in-distribution images that the thresholds are taken from.
        test_confidence: Float array of shape `(m,)`: other in-distribution images.
        worst_noise_confidence: None or a float array of shape `(l,)`: attacked noise images.
        lowest: As for `conformal_threshold`.

    Returns:
        List of three `Threshold`.

    Example:

    >>> [x.threshold for x in thresholds([0.5, 0.75], [0.5, 0.5, 0.5, 0.9])]
    [0.5, 0.5, 0.0]
    """
    n, worst = np.size(held_out_confidence), worst_noise_confidence
    names = ("95 % of in-distribution images accepted", "99 % of in-distribution images accepted", "split conformal")
    values = (
        accepting_threshold(held_out_confidence, 0.95),
        accepting_threshold(held_out_confidence, 0.99),
        conformal_threshold(held_out_confidence, 0.05, lowest=lowest),
    )
    observed = "None beyond these images: {} % of the {:,} held-out images reach the threshold."
    if values[2] > lowest:
        conformal = (
            "A new image from the distribution of the held-out images (exchangeable with them) is accepted with a "
            f"probability of at least 95 %, over the draw of the image and of the {n:,} held-out images. Nothing is "
            "said about images from elsewhere."
        )
    else:
        conformal = f"Every image is accepted: {n:,} held-out images are too few for 95 %, which takes 19."
    guarantees = (observed.format(95, n), observed.format(99, n), conformal)
    return [
        Threshold(
            name=name,
            threshold=value,
            num_images=n,
            accepted_test=_share_accepted(test_confidence, value),
            accepted_worst_noise=None if worst is None else _share_accepted(worst, value),
            guarantee=guarantee,
        )
        for name, value, guarantee in zip(names, values, guarantees, strict=True)
    ]


def _share_accepted(confidence, threshold):
    return float((np.asarray(confidence) >= threshold).mean())


def calibrate(
    held_out_logits: npt.ArrayLike,
    held_out_labels: npt.ArrayLike,
    test_logits: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    worst_noise_logits: npt.ArrayLike | None = None,
    seed: int = 0,
    is_held_out: bool | None = True,
    source: str | None = None,
    score: Score | None = None,
    observed: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None,
) -> CalibrationResult:
    """Fits a temperature and thresholds on held-out images and measures on test images what they do.

    The held-out images are halved at random. One half gives the temperature, the other the thresholds. If the same
    images gave both, they would not be exchangeable with new images, and the conformal guarantee would not hold.
    **Thresholds apply to the score after the temperature**: by default `max softmax(logits / temperature)`. Dividing by
    a temperature may change the order of two images' confidences, never the predicted class.

    If the optimal temperature is a bound of `fit_temperature`, as when all predictions are right, the data do not
    determine a temperature, and 1 is used: at the lower bound all confidences are 1, and no threshold separates images.
    A temperature below 1 makes the network surer everywhere, also where it was trained not to be. Hence it is used only
    if all of the following hold, else it is 1 too, and `temperature_note` says why:

    * The images are known to be held out. A network is nearly always right on what it was trained on, which says
      nothing of how sure it may be elsewhere.
    * There are at least 100 of them.
    * At least 5 of the images that give the temperature are predicted wrongly. Only wrong predictions keep the NLL from
      falling all the way to `T = 0`, so one of them, nearly a tie, would set a temperature near 0 alone. Source for the
      number: Vittinghoff and McCulloch, American Journal of Epidemiology 165, 2007, 5 to 9 events per parameter.

    Args:
        held_out_logits, held_out_labels: Float array `(n, num_classes)` and integer array `(n,)`, `n >= 2`; images
            that the network was not trained on.
        test_logits, test_labels: The same of the test set.
        worst_noise_logits: None or float array `(l, num_classes)`: the logits at attacked noise images.
        seed: int >= 0, of the halves.
        is_held_out: Whether the network was not trained on the held-out images; None if that is not known. Without
            that no threshold has a guarantee.
        source: Where the held-out images come from if a user gave them as held out; then the guarantee says so.
        score: `scores.Score` that thresholds apply to and that "risk_coverage" accepts by; None for
            `scores.MaxSoftmax()`, the confidence. It is taken `with_temperature`.
        observed: What the score is called with at the held-out, test and noise images, see `Score.observe`; None where
            that is the logits.

    Returns:
        `CalibrationResult`, the numbers on the test set.

    Raises:
        ValueError: If an array is not as described.

    Example:

    >>> logits, labels = [[np.log(9.0), 0.0]] * 8, [0, 0, 0, 1] * 2
    >>> result = calibrate(logits, labels, logits, labels)
    >>> result.num_images, round(result.before.ece, 3)
    (8, 0.15)
    """
    held_out_gaps, test_gaps = metrics.logit_gaps(held_out_logits), metrics.logit_gaps(test_logits)
    held_out_labels = metrics.check_labels(held_out_labels, held_out_gaps.shape)
    test_labels = metrics.check_labels(test_labels, test_gaps.shape)
    n = len(held_out_labels)
    if n < 2:
        raise ValueError(
            "At least 2 held-out images are needed: half for the temperature, half for the thresholds. "
            f"Received: {n}. Hold out, for example, a tenth of the training images."
        )
    order = np.random.default_rng(seed).permutation(n)
    first, second = order[: n // 2], order[n // 2 :]
    temperature, note = _trusted_temperature(held_out_gaps[first], held_out_labels[first], n, is_held_out)

    scaled = test_gaps / temperature
    _, correct = metrics.confidence_and_correctness(scaled, test_labels)
    fitted = (MaxSoftmax() if score is None else score).with_temperature(temperature)
    if observed is None:
        noise = None if worst_noise_logits is None else np.asarray(worst_noise_logits, np.float64)
        observed = np.asarray(held_out_logits, np.float64), np.asarray(test_logits, np.float64), noise
    held_out, test, noise = observed
    test_scores = fitted.of(test)
    return CalibrationResult(
        num_images=n,
        is_held_out=is_held_out,
        temperature=temperature,
        before=_errors(test_gaps, test_labels),
        after=_errors(scaled, test_labels),
        reliability=Reliability(before=reliability(test_gaps, test_labels), after=reliability(scaled, test_labels)),
        risk_coverage=risk_coverage(test_scores, correct),
        thresholds=[
            dataclasses.replace(rule, guarantee=_guarantee(rule, is_held_out, source))
            for rule in thresholds(
                fitted.of(held_out[second]),
                test_scores,
                worst_noise_confidence=None if noise is None else fitted.of(noise),
                lowest=fitted.accepts_all,
            )
        ],
        source=source,
        temperature_note=note,
    )


def _trusted_temperature(gaps, labels, num_images, is_held_out):
    """The fitted temperature and None, or 1 and the reason why the fit is not used, see `calibrate`."""
    bounds = 1e-3, 1e3
    fitted = fit_temperature(gaps, labels, bounds=bounds)
    num_wrong = int((gaps.argmax(axis=1) != labels).sum())
    reason = None
    if fitted in bounds and not num_wrong:
        reason = f"the {len(labels):,} images for it are all predicted correctly, which determines none"
    elif fitted in bounds:
        reason = f"the best one for the {len(labels):,} images for it is beyond {fitted:g}"
    elif fitted < 1 and not is_held_out:
        reason = f"the best one, {fitted:.3g}, is below 1, and the images are not known to be held out"
    elif fitted < 1 and num_images < _FEWEST_TO_SHARPEN:
        reason = (
            f"{num_images:,} held-out images are too few to make the network surer (the best one is {fitted:.3g}), "
            f"which takes {_FEWEST_TO_SHARPEN}"
        )
    elif fitted < 1 and num_wrong < _FEWEST_WRONG_TO_SHARPEN:
        reason = (
            f"only {num_wrong} of the {len(labels):,} images for it are predicted wrongly, and to make the network "
            f"surer (the best one is {fitted:.3g}) takes {_FEWEST_WRONG_TO_SHARPEN}"
        )
    return (fitted, None) if reason is None else (1.0, reason)


def _guarantee(rule, is_held_out, source):
    """What a threshold guarantees, given what is known of the images behind it."""
    if not is_held_out:
        was = "may have been" if is_held_out is None else "was"
        return f"None: the network {was} trained on these {rule.num_images:,} images."
    if source is not None:
        return f"If the network was not trained on {source}, as was said: {rule.guarantee}"
    return rule.guarantee


def _errors(logits, labels):
    return CalibrationErrors(
        ece=metrics.expected_calibration_error(logits, labels),
        ece_equal_mass=metrics.expected_calibration_error(logits, labels, bins="equal_mass"),
        nll=metrics.negative_log_likelihood(logits, labels),
        brier=metrics.brier_score(logits, labels),
    )
