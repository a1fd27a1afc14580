import json

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import tensorflow as tf

from keras_acet import calibration, metrics, scores
from keras_acet.typed_json import from_json, to_json


def sample(temperature, *, n=4000, num_classes=10, seed=0):
    """Logits whose labels are drawn from `softmax(logits / temperature)`: the best temperature lies near it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.5, size=(n, num_classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * temperature, labels


def scipy_temperature(logits, labels, bounds):
    def nll(log_temperature):
        log_probs = scipy.special.log_softmax(logits * np.exp(-log_temperature), axis=1)
        return -log_probs[np.arange(len(labels)), labels].mean()

    found = scipy.optimize.minimize_scalar(nll, bounds=np.log(bounds), method="bounded", options={"xatol": 1e-12})
    assert found.success
    return np.exp(found.x), nll


@pytest.mark.parametrize("temperature", [0.002, 0.05, 0.6, 1.0, 3.0, 20.0, 600.0])
def test_temperature_equals_scipy(temperature):
    logits, labels = sample(temperature)
    found = calibration.fit_temperature(logits, labels)
    # Fisher information of log T per image is of order 1: 4000 images give it to about 2 %.
    assert found == pytest.approx(temperature, rel=0.1)
    assert found == pytest.approx(scipy_temperature(logits, labels, (1e-3, 1e3))[0], rel=1e-6)


def test_all_predictions_right():
    # Small gaps: at the lower bound the NLL is still falling, and SciPy ends there too.
    rng = np.random.default_rng(0)
    logits = rng.uniform(0, 2e-3, size=(200, 5))
    labels = logits.argmax(axis=1)
    found = calibration.fit_temperature(logits, labels)
    assert found == 1e-3
    assert found == pytest.approx(scipy_temperature(logits, labels, (1e-3, 1e3))[0], rel=1e-6)
    assert calibration.fit_temperature(logits, labels, bounds=(0.05, 20)) == 0.05
    # Large gaps: the NLL is 0 on a whole stretch in float64, where SciPy may stop anywhere; ours is none the worse.
    logits = logits * 1e6
    theirs, nll = scipy_temperature(logits, labels, (1e-3, 1e3))
    assert calibration.fit_temperature(logits, labels) == 1e-3
    assert nll(np.log(1e-3)) <= nll(np.log(theirs))


def test_worse_than_chance_ends_at_the_upper_bound():
    logits, _ = sample(1.0)
    labels = logits.argmin(axis=1)
    found = calibration.fit_temperature(logits, labels)
    assert found == 1e3
    assert found == pytest.approx(scipy_temperature(logits, labels, (1e-3, 1e3))[0], rel=1e-6)


def test_equal_logits_leave_the_temperature_at_one():
    assert calibration.fit_temperature(np.full((5, 3), 7.0), [0, 1, 2, 0, 1]) == 1.0
    assert calibration.fit_temperature(np.full((5, 3), 7.0), [0, 1, 2, 0, 1], bounds=(2.0, 3.0)) == 2.0


@pytest.mark.parametrize("seed", range(5))
def test_temperature_scales_with_the_logits_and_ignores_shifts(seed):
    logits, labels = sample(1.5, n=100, seed=seed)
    found = calibration.fit_temperature(logits, labels)
    assert calibration.fit_temperature(logits * 8, labels) == pytest.approx(8 * found, rel=1e-10)
    shifts = np.random.default_rng(seed).normal(size=(100, 1))
    assert calibration.fit_temperature(logits + shifts, labels) == pytest.approx(found, rel=1e-9)


def test_temperature_of_extreme_logits_is_finite():
    # Gaps of 1e30, three of four right: the optimum is far above the upper bound.
    assert calibration.fit_temperature([[1e30, -1e30]] * 4, [0, 0, 0, 1]) == 1e3
    # Gaps of 1e-30, worse than chance or better: no temperature in the bracket brings the optimum.
    assert calibration.fit_temperature([[1e-30, 0.0]] * 4, [0, 0, 0, 1]) == 1e-3


def test_reliability_by_hand():
    # Confidences .75 (right), .75 (wrong), .9 (right): bin 12 of 15 is (11/15, 12/15], bin 14 is (13/15, 14/15].
    logits = [[np.log(3), 0.0], [np.log(3), 0.0], [np.log(9), 0.0]]
    bins = calibration.reliability(logits, [0, 1, 0])
    assert len(bins) == 15
    assert bins[11] == pytest.approx((0.75, 0.5, 2)) and bins[13] == pytest.approx((0.9, 1.0, 1))
    assert all(bins[b] == (None, None, 0) for b in set(range(15)) - {11, 13})
    ece = sum(count * abs(accuracy - confidence) for confidence, accuracy, count in bins if count) / 3
    assert ece == pytest.approx(metrics.expected_calibration_error(logits, [0, 1, 0]), abs=1e-15)


def test_risk_coverage_by_hand():
    # .9 right; .8 wrong and .8 right together; .5 wrong. Coverage 1/4, 3/4, 1 at risk 0, 1/3, 1/2.
    found = calibration.risk_coverage([0.8, 0.5, 0.9, 0.8], [0, 0, 1, 1])
    assert found.coverage == [0.25, 0.75, 1.0]
    assert found.risk == pytest.approx([0, 1 / 3, 1 / 2])
    assert found.aurc == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 / 2)


def test_risk_coverage_properties():
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(size=1000), rng.uniform(size=1000) < 0.8
    found = calibration.risk_coverage(confidence, correct)
    wrong = 1 - correct[np.argsort(-confidence)]
    risks = np.cumsum(wrong) / np.arange(1, 1001)
    assert found.aurc == pytest.approx(risks.mean(), abs=1e-12)
    assert found.coverage == pytest.approx(np.arange(1, 101) / 100)
    assert found.risk == pytest.approx(risks[9::10])
    order = rng.permutation(1000)
    tied = np.round(confidence, 1)
    assert calibration.risk_coverage(tied, correct) == calibration.risk_coverage(tied[order], correct[order])
    constant = calibration.risk_coverage(np.ones(1000), correct)
    assert constant.coverage == [1.0] and constant.risk == [pytest.approx(1 - correct.mean())]
    assert constant.aurc == pytest.approx(risks[-1])


def test_accepting_threshold():
    confidence = np.random.default_rng(0).permutation(np.arange(1, 101) / 100)
    assert calibration.accepting_threshold(confidence, 0.95) == 0.06  # .06 to 1.00 are 95
    assert calibration.accepting_threshold(confidence, 0.99) == 0.02
    assert calibration.accepting_threshold(confidence, 1.0) == 0.01
    for n in range(1, 200):
        threshold = calibration.accepting_threshold(np.arange(n) / n, 0.95)
        accepted = int((np.arange(n) / n >= threshold).sum())
        assert 100 * accepted >= 95 * n > 100 * (accepted - 1)


def test_conformal_threshold_by_hand():
    # n = 18: floor(.05 * 19) = 0, nothing can be promised but to accept all. n = 19: the smallest. n = 99: the fifth.
    assert calibration.conformal_threshold(np.arange(18) / 18 + 0.01, 0.05) == 0.0
    assert calibration.conformal_threshold(np.arange(1, 20) / 20, 0.05) == 0.05
    assert calibration.conformal_threshold(np.arange(1, 100) / 100, 0.05) == 0.05
    # .29 * 100 is 28.999999999999996 in floats; k is 29.
    assert calibration.conformal_threshold(np.arange(1, 100) / 100, 0.29) == 0.29


@pytest.mark.parametrize("decimals", [1, 16])
def test_conformal_guarantee_holds(decimals):
    # 59 images: k = floor(.05 * 60) = 3, so without ties exactly 1 - 3/60 = .95 are accepted, with ties more. Over
    # 4000 draws the standard error is .0034; 4 of them are .014.
    rng = np.random.default_rng(0)
    draws = np.round(rng.beta(5, 1, size=(4000, 60)), decimals)
    accepted = np.mean([row[0] >= calibration.conformal_threshold(row[1:], 0.05) for row in draws])
    if decimals == 16:
        assert accepted == pytest.approx(0.95, abs=0.014)
    else:
        assert accepted > 0.95 - 0.014


def test_thresholds():
    rng = np.random.default_rng(0)
    found = calibration.thresholds(rng.uniform(size=999), rng.uniform(size=500), worst_noise_confidence=[0.1, 0.01])
    assert [x.name for x in found] == [
        "95 % of in-distribution images accepted",
        "99 % of in-distribution images accepted",
        "split conformal",
    ]
    assert [x.threshold for x in found] == pytest.approx([0.05, 0.01, 0.05], abs=0.03)
    assert [x.accepted_test for x in found] == pytest.approx([0.95, 0.99, 0.95], abs=0.04)
    assert found[0].accepted_worst_noise == 0.5
    assert "probability of at least 95 %" in found[2].guarantee and "999 held-out" in found[2].guarantee
    few = calibration.thresholds([0.5] * 18, [0.4])
    assert few[2].threshold == 0.0 and few[2].accepted_test == 1.0 and few[2].accepted_worst_noise is None
    assert few[2].guarantee == "Every image is accepted: 18 held-out images are too few for 95 %, which takes 19."
    assert few[0].threshold == 0.5 and few[0].accepted_test == 0.0


def test_calibrate():
    held_out, test = sample(3.0, n=2000, seed=1), sample(3.0, n=2000, seed=2)
    noise = np.random.default_rng(0).normal(size=(50, 10))
    found = calibration.calibrate(*held_out, *test, worst_noise_logits=noise)
    assert found.num_images == 2000
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    for name in ("ece", "ece_equal_mass", "nll", "brier"):
        assert getattr(found.after, name) < getattr(found.before, name)
    # 2000 images in 15 bins: each bin's |accuracy - confidence| is about .8 * .4 / sqrt(133) = .03 if calibrated.
    assert found.after.ece < 0.045
    scaled = test[0] / found.temperature
    assert found.after.nll == pytest.approx(metrics.negative_log_likelihood(scaled, test[1]))
    assert found.reliability.before == calibration.reliability(*test)
    assert sum(count for _, _, count in found.reliability.after) == 2000
    assert found.risk_coverage.risk[-1] == metrics.classification_error(*test)["value"]
    # Thresholds are those of the scaled confidence, from the 1000 images that did not give the temperature.
    assert [x.num_images for x in found.thresholds] == [1000] * 3
    for row, share in zip(found.thresholds, (0.95, 0.99, 0.95), strict=True):
        assert row.accepted_test == np.mean(metrics.max_confidence(scaled) >= row.threshold)
        # Two samples, of 1000 and 2000: standard error sqrt(.05 * .95 * (1/1000 + 1/2000)) = .0084; 4 of them.
        assert row.accepted_test == pytest.approx(share, abs=0.034)
        confidence = metrics.max_confidence(noise / found.temperature)
        assert row.accepted_worst_noise == np.mean(confidence >= row.threshold)
    assert from_json(calibration.CalibrationResult, json.loads(json.dumps(to_json(found), allow_nan=False))) == found
    assert calibration.calibrate(*held_out, *test, worst_noise_logits=noise) == found


@pytest.mark.parametrize("labels", ["argmax", "argmin"])
def test_calibrate_keeps_temperature_one_where_the_data_set_none(labels):
    logits, _ = sample(1.0, n=100)
    labels = getattr(logits, labels)(axis=1)
    found = calibration.calibrate(logits, labels, logits, labels)
    assert found.temperature == 1.0 and found.before == found.after
    assert all(x.accepted_worst_noise is None for x in found.thresholds)


@pytest.mark.parametrize(("n", "says"), [(15, "15 held-out images are too few"), (400, "only 1 of the 200 images")])
def test_calibrate_does_not_sharpen_on_little_evidence(n, says):
    logits, labels = np.tile([1.0, 0.0], (n, 1)), np.zeros(n, int)
    first = np.random.default_rng(0).permutation(n)[0]  # of the half for the temperature
    logits[first], labels[first] = [0.05, 0.0], 1  # the only wrong prediction, nearly a tie
    found = calibration.calibrate(logits, labels, logits, labels)
    assert found.temperature == 1.0 and found.before == found.after
    assert says in found.temperature_note and found.remarks[0] == f"The temperature is 1: {found.temperature_note}."
    assert [("conformal threshold accepts every image: 8" in one) for one in found.remarks[1:]] == [True] * (n < 38)
    labels = np.where(np.arange(n) % 10, 0, 1)  # right in 9 of 10 images: T = 1 / log(9) once there are enough
    logits = np.tile([1.0, 0.0], (n, 1))
    assert (calibration.calibrate(logits, labels, logits, labels).temperature < 1) == (n == 400)


def test_arguments_are_checked():
    logits, labels = sample(1.0, n=4)
    with pytest.raises(ValueError, match=r"`bounds` must be 0 < lower < upper\. Received: bounds=\(0, 1\)"):
        calibration.fit_temperature(logits, labels, bounds=(0, 1))
    with pytest.raises(ValueError, match="`labels`: each image needs one. Received: 4 images"):
        calibration.fit_temperature(logits, labels[:3])
    with pytest.raises(ValueError, match=r"`logits` must be finite"):
        calibration.fit_temperature(logits * np.nan, labels)
    with pytest.raises(ValueError, match=r"`correct` must have the shape of `confidence`, \(4,\)\. Received: .*\(3,\)"):
        calibration.risk_coverage(labels / 10, [1, 1, 1])
    with pytest.raises(ValueError, match=r"`share` must be in \(0, 1\]\. Received: share=95\. For 95 % use 0\.95"):
        calibration.accepting_threshold([0.5], 95)
    with pytest.raises(ValueError, match=r"`alpha` must be in \(0, 1\)\. Received: alpha=5\. To accept 95 % use 0\.05"):
        calibration.conformal_threshold([0.5], 5)
    with pytest.raises(ValueError, match=r"At least 2 held-out images are needed.*Received: 1"):
        calibration.calibrate(logits[:1], labels[:1], logits, labels)


class MaxLogit(scores.Score):
    name = "max_logit"

    def __call__(self, logits):
        return tf.reduce_max(logits, axis=1)


def test_thresholds_are_those_of_the_score():
    held_out, test = sample(3.0, n=400, seed=1), sample(3.0, n=400, seed=2)
    noise = np.random.default_rng(0).normal(size=(50, 10))
    usual = calibration.calibrate(*held_out, *test, worst_noise_logits=noise)
    assert calibration.calibrate(*held_out, *test, worst_noise_logits=noise, score=scores.MaxSoftmax()) == usual
    found = calibration.calibrate(*held_out, *test, worst_noise_logits=noise, score=MaxLogit())
    differs = {name for name, value in vars(found).items() if value != getattr(usual, name)}
    assert differs == {"thresholds", "risk_coverage"}
    largest = np.float32(test[0]).max(axis=1)
    for row in found.thresholds:
        assert row.accepted_test == np.mean(largest >= row.threshold)
        assert row.accepted_worst_noise == np.mean(np.float32(noise).max(axis=1) >= row.threshold)
    # Confidences of 200 images give a conformal threshold, 9 do not: every score reaches the lowest number.
    few = calibration.calibrate(held_out[0][:18], held_out[1][:18], *test, score=MaxLogit()).thresholds[2]
    assert few.threshold == np.finfo(np.float32).min and few.accepted_test == 1.0
    assert few.guarantee.startswith("Every image is accepted: 9 held-out images are too few")


def test_a_score_may_see_something_else_than_logits():
    held_out, test = sample(3.0, n=100, seed=1), sample(3.0, n=100, seed=2)
    observed = np.random.default_rng(3).normal(size=(3, 100, 4)).astype(np.float32)
    found = calibration.calibrate(
        *held_out, *test, worst_noise_logits=test[0], score=MaxLogit(), observed=tuple(observed)
    )
    assert found.temperature == calibration.calibrate(*held_out, *test).temperature
    for row in found.thresholds:
        assert row.threshold in observed[0].max(axis=1)
        assert row.accepted_test == np.mean(observed[1].max(axis=1) >= row.threshold)
        assert row.accepted_worst_noise == np.mean(observed[2].max(axis=1) >= row.threshold)
