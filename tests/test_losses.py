import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from keras_acet.losses import log_max_confidence, logit_gap


def test_log_max_confidence_by_hand():
    # Two logits that differ by log 3: probabilities 3/4 and 1/4. Equal logits: 1/2.
    logits = tf.constant([[np.log(3.0), 0.0], [7.0, 7.0]], tf.float32)
    np.testing.assert_allclose(log_max_confidence(logits), np.log([0.75, 0.5]), rtol=1e-6)


def test_log_max_confidence_equals_scipy_in_float64():
    logits = np.random.default_rng(0).normal(scale=20, size=(50, 7))
    expected = scipy.special.log_softmax(logits, axis=1).max(axis=1)
    np.testing.assert_allclose(log_max_confidence(tf.constant(logits)), expected, rtol=1e-12, atol=1e-14)


def test_adding_a_constant_to_the_logits_changes_nothing():
    logits = tf.constant([[0.5, -1.0, 2.0]])
    np.testing.assert_allclose(log_max_confidence(logits + 64.0), log_max_confidence(logits), atol=1e-6)
    np.testing.assert_allclose(logit_gap(logits + 64.0), logit_gap(logits), atol=1e-6)


def test_extreme_logits_stay_finite():
    logits = tf.constant([[1e30, -1e30], [-3e38, -3e38]])
    np.testing.assert_allclose(log_max_confidence(logits), [0.0, np.log(0.5)], atol=1e-6)


@pytest.mark.parametrize("loss", [log_max_confidence, logit_gap])
def test_gradient_equals_finite_differences(loss):
    logits = tf.Variable(np.random.default_rng(1).normal(size=(3, 5)))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loss(logits))
    gradient = tape.gradient(value, logits).numpy()
    step = 1e-6
    for i in range(3):
        for k in range(5):
            shift = np.zeros((3, 5))
            shift[i, k] = step
            slope = tf.reduce_sum(loss(logits + shift) - loss(logits - shift)).numpy() / (2 * step)
            assert gradient[i, k] == pytest.approx(slope, abs=1e-8)


def test_logit_gap_by_hand():
    np.testing.assert_array_equal(logit_gap([[1.0, 4.0, 2.5], [3.0, 3.0, 0.0]]), [1.5, 0.0])


@pytest.mark.parametrize("loss", [log_max_confidence, logit_gap])
def test_rank_is_checked(loss):
    with pytest.raises(ValueError, match=r"`logits` must have shape \(batch, num_classes\).*Received: shape \(3,\)"):
        loss(tf.zeros(3))
