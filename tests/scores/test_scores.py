"""Every score of the package, then max softmax by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.toys import softmax_of

from keras_acet import scores
from keras_acet._prediction import confidence_of
from keras_acet.metrics import max_confidence

LOGITS = np.random.default_rng(0).normal(0, 3, (600, 5)).astype(np.float32)  # batches of 256, 256 and 88


@pytest.fixture(params=scores.names())
def score(request):
    """Each score of the package, fitted to two clusters of images that the network tells apart."""
    return scores.build(request.param).fit(network, np.eye(5, dtype=np.float32).repeat(8, 0), np.arange(5).repeat(8))


def network(images):
    """Images of five pixels; logits that are large for the class of a bright pixel, and equal for a gray image."""
    return 8 * images


def observed(score, images):
    return score.observe(network)(tf.constant(images))[1].numpy()


def test_one_number_per_image_whatever_runs_it(score):
    images = np.random.default_rng(1).uniform(size=(600, 5)).astype(np.float32)
    logits, rows = score.observe(network)(tf.constant(images))
    np.testing.assert_array_equal(logits, network(images))
    eager = score(rows).numpy()
    assert eager.shape == (600,) and eager.dtype == np.float32
    signature = [tf.TensorSpec((None, *rows.shape[1:]), tf.float32)]
    np.testing.assert_allclose(tf.function(score, input_signature=signature)(rows), eager, rtol=1e-5, atol=1e-6)
    arrays = score.of(rows.numpy())
    assert arrays.shape == (600,) and arrays.dtype == np.float32
    np.testing.assert_allclose(arrays, eager, rtol=1e-5, atol=1e-6)
    assert score(rows[:1]).shape == (1,)


def test_larger_means_more_in_distribution(score):
    of_a_class, of_none = (
        observed(score, np.eye(5, dtype=np.float32)),
        observed(score, np.full((5, 5), 0.5, np.float32)),
    )
    assert score.of(of_a_class).min() > score.of(of_none).max()


def test_values_keep_to_the_range(score):
    values = score.of(observed(score, np.random.default_rng(2).uniform(size=(200, 5)).astype(np.float32)))
    assert score.lowest < score.highest
    assert score.lowest <= values.min() and values.max() <= score.highest


def test_has_a_gradient(score):
    images = tf.constant(np.random.default_rng(3).uniform(size=(4, 5)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = score(score.observe(network)(images)[1])
    gradient = tape.gradient(value, images)
    assert gradient.shape == images.shape and np.abs(gradient).max() > 0


def test_config_round_trip(score):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(score))
    assert again == score and hash(again) == hash(score) and again.name == score.name
    assert type(score).from_config(score.get_config()) == score
    rows = observed(score, np.eye(5, dtype=np.float32))
    np.testing.assert_array_equal(again.of(rows), score.of(rows))


def test_max_softmax_by_hand():
    # exp(log 9) = 9 against 1: 9/10. At temperature log 9 / log 3 = 2 it is 3/4.
    logits = np.array([[np.log(9.0), 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(scores.MaxSoftmax().of(logits), [0.9, 0.5], rtol=1e-15)
    np.testing.assert_allclose(scores.MaxSoftmax(2.0).of(logits), [0.75, 0.5], rtol=1e-15)
    np.testing.assert_allclose(scores.MaxSoftmax(2.0)(tf.constant(logits, tf.float32)), [0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(scores.MaxSoftmax().of([[3.0, 0.0]]), [softmax_of(3.0)], rtol=1e-15)


def test_max_softmax_has_the_digits_of_the_confidence():
    np.testing.assert_array_equal(scores.MaxSoftmax().of(LOGITS), confidence_of(LOGITS))
    np.testing.assert_array_equal(scores.MaxSoftmax().of(LOGITS.astype(np.float64)), max_confidence(LOGITS))


def test_temperature_belongs_to_the_score():
    score = scores.MaxSoftmax().with_temperature(2.0)
    assert score == scores.MaxSoftmax(temperature=2.0) != scores.MaxSoftmax()
    assert score.get_config() == {"temperature": 2.0} and repr(score) == "MaxSoftmax(temperature=2.0)"


class MaxLogit(scores.Score):
    name = "max_logit"

    def __call__(self, logits):
        return tf.reduce_max(logits, axis=1)


def test_a_score_of_ones_own_needs_a_name_and_a_call():
    score = MaxLogit()
    np.testing.assert_array_equal(score.of(LOGITS), LOGITS.max(axis=1))
    assert score.with_temperature(2.0) is score and score.fit(network, LOGITS, np.zeros(600, int)) is score
    assert score.of(LOGITS[:0]).shape == (0,)
    score.check_threshold(-3.0)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, np.nan])
def test_a_threshold_lies_in_the_range(threshold):
    scores.MaxSoftmax().check_threshold(0.0)
    message = r"`threshold` must be in \[0, 1\), the range of the score max_softmax. Received: threshold="
    with pytest.raises(ValueError, match=message):
        scores.MaxSoftmax().check_threshold(threshold)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="Received: 'max_sofmax'. Did you mean 'max_softmax'"):
        scores.build("max_sofmax")
    with pytest.raises(ValueError, match="`temperature` must be above 0 and finite. Received: temperature=0"):
        scores.MaxSoftmax(0)
    with pytest.raises(TypeError, match="`temperature` must be a number. Received: temperature='2'"):
        scores.MaxSoftmax("2")
    with pytest.raises(ValueError, match=r"`logits` must have shape \(n, num_classes\), a row per image. Received: "):
        MaxLogit().of(LOGITS[0])

    class NotReduced(scores.Score):
        name = "not_reduced"

        def __call__(self, logits):
            return logits

    with pytest.raises(ValueError, match=r"not_reduced must give one number per row of logits, shape \(600,\)"):
        NotReduced().of(LOGITS)
    with pytest.raises(NotImplementedError, match="Score must define `__call__"):
        scores.Score()(LOGITS)
