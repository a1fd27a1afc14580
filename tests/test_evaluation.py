from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import evaluation
from keras_acet.losses import log_max_confidence


def linear_network(weight=4.0, bias=0.0):
    """Two classes on one pixel: logits (weight * x + bias, 0)."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    network.layers[0].set_weights([np.array([[weight, 0.0]], np.float32), np.array([bias, 0.0], np.float32)])
    return network


def softmax_of(logit):
    return 1 / (1 + np.exp(-logit))


def data_of(images, labels, ood=None):
    return SimpleNamespace(name="toy", test_images=images, test_labels=labels, ood=ood or {})


def test_table_by_hand():
    # Logit 4 x: confidence sigmoid(4 x). At 0, .5, 1: .5, .881, .982; class 0 throughout but for the tie at 0, which
    # argmax gives to class 0.
    images = np.array([[0.0], [0.5], [1.0]], np.float32)
    ood = {"near": np.array([[0.25]], np.float32), "far": "not in the data directory"}
    table = evaluation.evaluate(linear_network(), data_of(images, np.array([0, 1, 0]), ood), num_noise=3)
    test = table["toy (test)"]
    assert test["test_error"] == pytest.approx(1 / 3)
    assert test["mmc"] == pytest.approx(np.mean(softmax_of(4 * images)), abs=1e-6)
    assert test["share_above_half"] == pytest.approx(2 / 3)
    assert table["near"]["mmc"] == pytest.approx(softmax_of(1.0), abs=1e-6)
    assert table["far"]["mmc"] is None
    assert table["far"]["note"] == "not available: not in the data directory"
    text = str(table)
    assert "test error 33.33%" in text
    assert "not available: not in the data directory" in text


def test_adversarial_noise_reaches_the_corner_of_the_ball():
    images = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    network = linear_network()
    table = evaluation.evaluate(network, data_of(images, np.zeros(50, int)), epsilon=0.2, num_noise=50)
    noise = evaluation.evaluation_noise(images, 50)
    corner = softmax_of(4 * np.minimum(noise + 0.2, 1))
    assert table["noise"]["mmc"] == pytest.approx(softmax_of(4 * noise).mean(), abs=1e-6)
    assert table["adversarial noise"]["mmc"] == pytest.approx(corner.mean(), abs=1e-5)


def test_projected_starts_find_what_a_flat_network_hides():
    # Logit 40 relu(x - .5): flat below .5, so no gradient at noise 0 to .3 leads to the rise beyond.
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation="relu"), keras.layers.Dense(2)])
    network.set_weights([np.ones((1, 1)), np.array([-0.5]), np.array([[40.0, 0.0]]), np.zeros(2)])
    noise = np.full((4, 1), 0.25, np.float32)
    arguments = {"epsilon": 0.3, "start_images": np.ones((4, 1), np.float32)}
    found = evaluation.attack_noise(network, noise, **arguments)
    assert found["200 short steps"].min() < 0.51  # a start below .5 stays below
    np.testing.assert_allclose(found["from images, middle"], softmax_of(40 * 0.05), atol=1e-4)


def test_transferred_attacks_are_measured_on_the_victim():
    # The victim's gradient points down where the other's points up; only the transferred points reach the top.
    rising, flat = linear_network(4.0), linear_network(0.0)
    noise = np.full((3, 1), 0.5, np.float32)
    found = evaluation.attack_noise(flat, noise, epsilon=0.1, transfer_from=[rising])
    assert len(found) == 10
    np.testing.assert_allclose(np.max(list(found.values()), axis=0), 0.5, atol=1e-6)
    found = evaluation.attack_noise(rising, noise, epsilon=0.1, transfer_from=[flat])
    np.testing.assert_allclose(found["momentum, long"], softmax_of(2.4), atol=1e-5)


def test_nothing_is_dropped_and_batches_do_not_matter():
    images = np.random.default_rng(0).uniform(size=(evaluation._BATCH_SIZE + 3, 1)).astype(np.float32)
    network = linear_network()
    logits = evaluation.predict_logits(network, images)
    np.testing.assert_allclose(logits, network(images), atol=1e-6)
    np.testing.assert_allclose(
        evaluation.confidences(lambda x: network(x), images), np.exp(log_max_confidence(logits)), atol=1e-6
    )


def test_suite_scales_with_epsilon_and_runs_in_section_6_order():
    suite = evaluation.worst_case_attacks(0.3)
    sizes = [a.step_size.sequence(a.num_steps, None).numpy() if a.step_size else None for a in suite.values()]
    assert sizes[0] is None  # epsilon / num_steps = .0075
    assert [float(s[0]) for s in sizes[1:]] == pytest.approx([0.003, 0.01, 0.06, 0.2])
    assert [a.momentum for a in suite.values()] == [0, 0, 0.75, 0.75, 0.75]
    half = [a.step_size.sequence(200, None).numpy()[0] for a in list(evaluation.worst_case_attacks(0.15).values())[1:]]
    assert half == pytest.approx([0.0015, 0.005, 0.03, 0.1])


def test_noise_is_reproducible_and_no_larger_than_the_test_set():
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    noise = evaluation.evaluation_noise(images, 100, seed=3)
    assert noise.shape == (5, 8, 8, 1)
    np.testing.assert_array_equal(noise, evaluation.evaluation_noise(images, 100, seed=3))
    assert not np.array_equal(noise, evaluation.evaluation_noise(images, 100, seed=4))


def test_as_float():
    np.testing.assert_array_equal(evaluation.as_float(np.array([0, 255], np.uint8)), np.float32([0, 1]))
    assert evaluation.as_float(np.array([0.5])).dtype == tf.float32.as_numpy_dtype


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_networks_of_any_precision(policy):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, dtype=policy)])
    network.layers[0].set_weights([np.array([[4.0, 0.0]]), np.zeros(2)])
    images = np.array([[0.0], [0.5], [1.0]], np.float32)
    table = evaluation.evaluate(network, data_of(images, np.array([0, 0, 0])), num_noise=3)
    assert table["toy (test)"]["mmc"] == pytest.approx(np.mean(softmax_of(4 * images)), abs=0.01)  # bfloat16: 8 bits


def test_a_function_is_scored_like_a_network():
    network = linear_network()
    data = data_of(np.array([[0.0], [0.5], [1.0]], np.float32), np.array([0, 1, 0]))
    assert evaluation.evaluate(lambda x: network(x), data).rows == evaluation.evaluate(network, data).rows


def test_noise_for_vectors_is_not_the_random_start_of_the_first_attack():
    noise = evaluation.evaluation_noise(np.full((2000, 2), 0.5, np.float32), 2000, seed=3)
    attack = evaluation.worst_case_attacks(0.1, seed=3)["40 steps"]
    offset = attack.start_images(noise) - noise
    # Correlation of 4000 independent pairs: standard deviation 1 / sqrt(4000) = .016.
    assert abs(np.corrcoef(offset.numpy().ravel(), noise.ravel())[0, 1]) < 0.08
