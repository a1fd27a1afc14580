import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn import metrics as sk

from keras_acet import metrics

# Five against five with ties at .8 and .6.
ID = [0.6, 0.9, 0.8, 0.5, 0.8]
OOD = [0.4, 0.8, 0.2, 0.6, 0.4]


def test_ood_metrics_by_hand():
    found = metrics.ood_metrics(ID, OOD)
    # 25 pairs. .9 wins 5; each .8 wins 4 and ties 1; .6 wins 3 and ties 1; .5 wins 3. Wins 5+8+3+3 = 19, ties 3.
    assert found["auroc"] == pytest.approx((19 + 1.5) / 25, abs=1e-15)
    assert found["auroc_ties_against"] == pytest.approx(19 / 25, abs=1e-15)
    # 5th percentile of .5 .6 .8 .8 .9: position 4 * .05 = .2, so .5 + .2 * .1 = .52. OOD at .52 or more: .8, .6.
    assert found["fpr95_id_positive"] == pytest.approx(2 / 5, abs=1e-15)
    # 95 % of five OOD images are all five: threshold .8. In-distribution at .8 or less: .8 .8 .6 .5.
    assert found["fpr95_ood_positive"] == pytest.approx(4 / 5, abs=1e-15)
    # Falling thresholds .9 .8 .6 .5: recall rises by 1, 2, 1, 1 fifths at precision 1/1, 3/4, 4/6, 5/7.
    assert found["aupr_id_positive"] == pytest.approx((1 + 2 * 3 / 4 + 4 / 6 + 5 / 7) / 5, abs=1e-15)
    # Rising thresholds .2 .4 .6 .8: recall rises by 1, 2, 1, 1 fifths at precision 1/1, 3/3, 4/6, 5/9.
    assert found["aupr_ood_positive"] == pytest.approx((1 + 2 + 4 / 6 + 5 / 9) / 5, abs=1e-15)


def sklearn_metrics(id_confidence, ood_confidence):
    scores = np.concatenate([id_confidence, ood_confidence]).astype(np.float64)
    is_id = np.repeat([1, 0], [len(id_confidence), len(ood_confidence)])
    fpr, tpr, _ = sk.roc_curve(1 - is_id, -scores, drop_intermediate=False)
    wins = np.mean(np.subtract.outer(id_confidence, ood_confidence) > 0)
    return {
        "auroc": sk.roc_auc_score(is_id, scores),
        "auroc_ties_against": wins,
        "fpr95_id_positive": np.mean(ood_confidence >= np.quantile(id_confidence.astype(np.float64), 0.05)),
        "fpr95_ood_positive": fpr[tpr >= 0.95].min(),
        "aupr_id_positive": sk.average_precision_score(is_id, scores),
        "aupr_ood_positive": sk.average_precision_score(1 - is_id, -scores),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [1, 2, 16])  # 1 and 2: nearly all scores tie
@pytest.mark.parametrize(("n", "m"), [(1000, 1000), (1, 7), (20, 1), (41, 340), (2000, 100)])
def test_ood_metrics_equal_scikit_learn(n, m, decimals, dtype):
    rng = np.random.default_rng(n + decimals)
    ours = np.round(rng.uniform(size=n) ** 0.3, decimals).astype(dtype)
    others = np.round(rng.uniform(size=m), decimals).astype(dtype)
    found, expected = metrics.ood_metrics(ours, others), sklearn_metrics(ours, others)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=1e-12)


def test_percentile_ties_as_numpy_does():
    # The percentile itself is among the OOD scores: one rounding apart, and the share would change.
    for n in range(2, 130):
        ours = np.random.default_rng(n).uniform(size=n)
        threshold = np.quantile(ours, 0.05)
        assert metrics.ood_metrics(ours, [threshold, 0.0])["fpr95_id_positive"] == 0.5
        assert metrics.ood_metrics(ours, [np.nextafter(threshold, 0), 0.0])["fpr95_id_positive"] == 0.0


def test_extremes_of_ood_metrics():
    apart = metrics.ood_metrics([1.0, 0.9], [0.1, 0.2, 0.2])
    assert list(apart.values()) == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    saturated = metrics.ood_metrics(np.ones(4), np.ones(6))  # no ranking at all: AUPR is the class's share
    assert list(saturated.values()) == pytest.approx([0.5, 0.0, 1.0, 1.0, 0.4, 0.6], abs=1e-15)


def test_properties_of_ood_metrics():
    rng = np.random.default_rng(0)
    ours, others = np.round(rng.uniform(size=300) ** 0.5, 2), np.round(rng.uniform(size=200), 2)
    found = metrics.ood_metrics(ours, others)
    assert metrics.ood_metrics(rng.permutation(ours), rng.permutation(others)) == found
    swapped = metrics.ood_metrics(others, ours)
    assert found["auroc"] == pytest.approx(1 - swapped["auroc"], abs=1e-15)
    ties = np.mean(np.equal.outer(ours, others))
    assert found["auroc_ties_against"] + swapped["auroc_ties_against"] == pytest.approx(1 - ties, abs=1e-15)
    mirrored = metrics.ood_metrics(-others, -ours)  # the other class is positive, its score negated
    assert mirrored["auroc"] == pytest.approx(found["auroc"], abs=1e-15)
    assert mirrored["aupr_ood_positive"] == pytest.approx(found["aupr_id_positive"], abs=1e-15)
    doubled = metrics.ood_metrics(np.tile(ours, 2), np.tile(others, 2))
    for name in set(found) - {"fpr95_id_positive"}:  # its percentile is interpolated, and n - 1 does not double
        assert doubled[name] == pytest.approx(found[name], abs=1e-14)


def test_inputs_stay_as_they_are():
    ours, others = np.array(ID), np.array(OOD)
    metrics.bootstrap_ood_metrics(ours, others, num_resamples=2)
    assert ours.tolist() == ID and others.tolist() == OOD


def test_bootstrap_equals_sorting_every_replicate():
    rng = np.random.default_rng(3)
    ours, others = np.round(rng.uniform(size=70) ** 0.5, 2), np.round(rng.uniform(size=30), 2)
    found = metrics.bootstrap_ood_metrics(ours, others, num_resamples=50, seed=5)
    rng = np.random.default_rng(5)
    ours, others = np.sort(ours), np.sort(others)
    replicates = [
        list(metrics.ood_metrics(ours[rng.integers(70, size=70)], others[rng.integers(30, size=30)]).values())
        for _ in range(50)
    ]
    low, high = np.quantile(replicates, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([x["low"] for x in found.values()], low, rtol=0, atol=1e-12)
    np.testing.assert_allclose([x["high"] for x in found.values()], high, rtol=0, atol=1e-12)
    assert {name: x["value"] for name, x in found.items()} == metrics.ood_metrics(ours, others)
    assert found == metrics.bootstrap_ood_metrics(ours, others, num_resamples=50, seed=5)
    assert found != metrics.bootstrap_ood_metrics(ours, others, num_resamples=50, seed=6)


def test_bootstrap_interval_covers_the_truth():
    # Normal scores one standard deviation apart: AUROC = Phi(1 / sqrt 2). 100 sets at 95 %: 95 +- 2.2 intervals hold
    # it; percentile intervals of 80 images and 100 replicates fall a little short of that level, so 86 is about three
    # deviations off.
    truth = scipy.stats.norm.cdf(np.sqrt(0.5))
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        ours, others = rng.normal(1, 1, 80), rng.normal(0, 1, 80)
        auroc = metrics.bootstrap_ood_metrics(ours, others, num_resamples=100, seed=seed)["auroc"]
        hits += auroc["low"] <= truth <= auroc["high"]
    assert 86 <= hits <= 99


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 128), (3, 128), (64, 128), (128, 128), (47, 10_000)])
def test_share_equals_scipy(count, total):
    expected = scipy.stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    found = metrics.share(count, total)
    assert list(found) == ["value", "low", "high"]
    assert list(found.values()) == pytest.approx([count / total, expected.low, expected.high], abs=1e-12)


def test_share_above_is_strict():
    assert metrics.share_above([0.5, 0.5, 0.6, 0.4]) == metrics.share(1, 4)
    assert metrics.share_above([0.5, 0.7], 0.6) == metrics.share(1, 2)


def test_mean_max_confidence_by_hand():
    # Mean .6; deviations .2, 0, -.2: s = sqrt(.08 / 2) = .2; margin 1.959964 * .2 / sqrt 3.
    found = metrics.mean_max_confidence([0.8, 0.6, 0.4])
    margin = 1.959963984540054 * 0.2 / np.sqrt(3)
    assert list(found.values()) == pytest.approx([0.6, 0.6 - margin, 0.6 + margin], abs=1e-12)
    assert metrics.mean_max_confidence(np.float32([0.25])) == {"value": 0.25, "low": None, "high": None}
    assert metrics.mean_max_confidence([1.0, 0.99])["high"] == 1.0


# Confidences 3/4, 3/4, 9/10, 1/2; right, wrong, right, wrong. A third class as good as impossible changes nothing.
LOGITS = [
    [np.log(3), 0.0, -800.0],
    [np.log(3), 0.0, -800.0],
    [0.0, np.log(9), -800.0],
    [50.0, 50.0 - 1e-12, -800.0],
]
LABELS = [0, 1, 1, 1]


def test_logit_metrics_by_hand():
    assert metrics.max_confidence(LOGITS) == pytest.approx([0.75, 0.75, 0.9, 0.5], abs=1e-12)
    assert metrics.classification_error(LOGITS, LABELS) == metrics.share(2, 4)
    nll = -(np.log(0.75) + np.log(0.25) + np.log(0.9) + np.log(0.5)) / 4
    assert metrics.negative_log_likelihood(LOGITS, LABELS) == pytest.approx(nll, abs=1e-12)
    # Two classes: twice the square of what the label lacks. .25, .75, .1, .5.
    assert metrics.brier_score(LOGITS, LABELS) == pytest.approx(2 * (0.0625 + 0.5625 + 0.01 + 0.25) / 4, abs=1e-12)
    # Three bins. (1/3, 2/3]: .5, wrong: |0 - .5|. (2/3, 1]: .75 .75 .9, sum 2.4, two right: |2 - 2.4|. Over 4 images.
    assert metrics.expected_calibration_error(LOGITS, LABELS, num_bins=3) == pytest.approx(0.9 / 4, abs=1e-12)
    # Two bins of equal mass by rank: .5 .75 .75 have 0, 1, 1 below them -> bin 0; .9 has 3 -> bin 1.
    # |1 - 2.0| + |1 - .9|, over 4.
    found = metrics.expected_calibration_error(LOGITS, LABELS, num_bins=2, bins="equal_mass")
    assert found == pytest.approx(1.1 / 4, abs=1e-12)


def test_logit_metrics_equal_scipy_and_are_shift_invariant():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=30, size=(200, 7)), rng.integers(0, 7, 200)
    expected = scipy.special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(metrics.log_softmax(logits), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(metrics.max_confidence(logits), np.exp(expected.max(axis=1)), rtol=1e-12)
    assert metrics.negative_log_likelihood(logits, labels) == pytest.approx(-expected[range(200), labels].mean())
    one_hot = np.eye(7)[labels]
    assert metrics.brier_score(logits, labels) == pytest.approx(((np.exp(expected) - one_hot) ** 2).sum(1).mean())
    for measure in (metrics.negative_log_likelihood, metrics.brier_score, metrics.expected_calibration_error):
        assert measure(logits + 512.0, labels) == pytest.approx(measure(logits, labels), abs=1e-12)


def test_extreme_logits_stay_finite():
    logits = np.array([[1e30, -1e30, 0.0], [3e38, 3e38, -3e38]])
    np.testing.assert_array_equal(metrics.max_confidence(logits), [1.0, 0.5])
    assert metrics.negative_log_likelihood(logits, [0, 1]) == pytest.approx(np.log(2) / 2)
    assert metrics.negative_log_likelihood(logits, [1, 1]) == pytest.approx(1e30)
    assert metrics.max_confidence(np.float16([[60000.0, -60000.0]])).tolist() == [1.0]


def test_equal_width_bins_are_closed_above():
    counts, _, _ = metrics.bin_by_confidence([0.0, 0.25, 0.5, 0.51, 1.0], np.ones(5), num_bins=4)
    assert counts.tolist() == [2, 1, 1, 1]


def test_equal_mass_bins():
    rng = np.random.default_rng(0)
    counts, sums, right = metrics.bin_by_confidence(rng.uniform(size=100), np.ones(100), bins="equal_mass")
    assert set(counts.tolist()) == {6, 7} and counts.sum() == 100
    assert np.all(np.diff(sums / counts) > 0) and right.tolist() == counts.tolist()
    # Ranks 0, 1, 1, 1, 1, 5 of six in three bins: 0, 0, 0, 0, 0, 2. Equal confidences stay together.
    tied, correct = np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.9]), np.array([1, 0, 1, 0, 0, 1])
    counts, sums, right = metrics.bin_by_confidence(tied, correct, num_bins=3, bins="equal_mass")
    assert counts.tolist() == [5, 0, 1] and right.tolist() == [2, 0, 1]
    assert sums == pytest.approx([2.1, 0, 0.9], abs=1e-15)
    order = rng.permutation(6)
    shuffled = metrics.bin_by_confidence(tied[order], correct[order], num_bins=3, bins="equal_mass")
    assert shuffled[0].tolist() == [5, 0, 1] and shuffled[2].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("ours", "others", "message"),
    [
        ([], OOD, r"`id_confidence` must be numbers of shape \(n,\).*Received: dtype float64, shape \(0,\)"),
        (ID, [[0.5]], r"`ood_confidence` must be numbers of shape \(n,\).*Received: .*shape \(1, 1\)\. From logits"),
        (ID, ["a"], r"`ood_confidence` must be numbers.*Received: dtype <U1"),
        ([0.5, np.nan, np.nan], OOD, r"`id_confidence` must be finite\. Received: 2 of 3 .* first nan at index 1"),
        (ID, [np.inf], r"`ood_confidence` must be finite\. Received: 1 of 1 .* first inf at index 0"),
    ],
)
@pytest.mark.parametrize("measure", [metrics.ood_metrics, metrics.bootstrap_ood_metrics])
def test_scores_are_checked(measure, ours, others, message):
    with pytest.raises(ValueError, match=message):
        measure(ours, others)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            [1.0, 2.0],
            [0],
            r"`logits` must be numbers of shape \(n, num_classes\).*Received: dtype float64, shape \(2,\)",
        ),
        (np.zeros((0, 3)), [], r"`logits` must be numbers of shape .*Received: .*shape \(0, 3\)"),
        ([[1.0], [2.0]], [0, 0], r"at least two classes.*shape \(2, 1\)"),
        (
            [[0.0, 1.0], [np.nan, 1.0]],
            [0, 0],
            r"`logits` must be finite.*Received: 1 others of 4, the first nan in row 1",
        ),
        ([[0.0, 1.0]], [[0]], r"`labels` must be integers of shape \(1,\).*Received: int64 of shape \(1, 1\)"),
        ([[0.0, 1.0]], [0.0], r"`labels` must be integers.*Received: float64"),
        (
            [[0.0, 1.0]],
            [2],
            r"`labels` must count classes .* up to 1 .*Received: 2 at position 0\. Does the model know",
        ),
    ],
)
def test_logits_and_labels_are_checked(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.negative_log_likelihood(logits, labels)


def test_other_arguments_are_checked():
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]\. Received: values from -1 to 7\. From logits"):
        metrics.mean_max_confidence([-1.0, 7.0])
    with pytest.raises(ValueError, match=r"`count` must be in \[0, total\].*Received: count=0, total=0"):
        metrics.share(0, 0)
    with pytest.raises(ValueError, match=r"one of \['equal_mass', 'equal_width'\]\. Received: bins='wide'"):
        metrics.expected_calibration_error(LOGITS, LABELS, bins="wide")
    with pytest.raises(ValueError, match=r"`num_bins` must be at least 1\. Received: num_bins=0"):
        metrics.expected_calibration_error(LOGITS, LABELS, num_bins=0)
    with pytest.raises(ValueError, match=r"`num_resamples` must be at least 1\. Received: 0"):
        metrics.bootstrap_ood_metrics(ID, OOD, num_resamples=0)
