import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.toys import data_of, evaluate, hidden_rise, linear_network, small, softmax_of

from keras_acet import attack, datasets, evaluation
from keras_acet._checks import Notice
from keras_acet._prediction import as_float, confidence_of
from keras_acet.classifiers import FunctionClassifier, KerasClassifier
from keras_acet.typed_json import from_json, to_json


def test_table_by_hand():
    # Logit 4 x: confidence sigmoid(4 x). At 0, .5, 1: .5, .881, .982; class 0 throughout but for the tie at 0, which
    # argmax gives to class 0.
    images = np.array([[0.0], [0.5], [1.0]], np.float32)
    # Confidence sigmoid(1) = .731 lies below two of the three test images: AUROC 2/3.
    ood = {"near": np.array([[0.25]], np.float32), "far": "not in the data directory"}
    table = evaluate(linear_network(), data_of(images, np.array([0, 1, 0]), ood))
    test = table["toy (test)"]
    assert table.result.test_error.value == pytest.approx(1 / 3)
    assert test.mmc.value == pytest.approx(np.mean(softmax_of(4 * images)), abs=1e-6)
    assert test.share_above_half.value == pytest.approx(2 / 3)
    assert table["near"].mmc.value == pytest.approx(softmax_of(1.0), abs=1e-6)
    assert table["near"].auroc.value == pytest.approx(2 / 3)
    assert table["far"].mmc is None
    assert table["far"].note == "not in the data directory"
    text = str(table)
    assert "test error 33.33%" in text
    assert "not available: not in the data directory" in text
    json.dumps(to_json(table.result), allow_nan=False)


def test_worst_case_noise_reaches_the_corner_of_the_ball():
    images = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    table = evaluate(linear_network(), data_of(images, np.zeros(50, int)), epsilon=0.2, num_noise=50)
    noise = evaluation.evaluation_noise(images, 50)
    corner = softmax_of(4 * np.minimum(noise + 0.2, 1))
    assert table["noise"].mmc.value == pytest.approx(softmax_of(4 * noise).mean(), abs=1e-6)
    assert table["worst-case noise"].mmc.value == pytest.approx(corner.mean(), abs=1e-5)


def test_projected_starts_find_what_a_flat_network_hides():
    noise, others = np.full((4, 1), 0.15, np.float32), np.ones((6, 1), np.float32)
    attacker = evaluation.Attacker(hidden_rise(), noise, others)
    own = attacker.run(evaluation.worst_case_attacks(0.4))
    np.testing.assert_allclose(own.confidence, 0.5, atol=1e-3)  # starts below .5 stay below, but for a random few
    assert attacker.flat_share() == 1.0
    every = attacker.run(evaluation.full_suite(0.4))
    np.testing.assert_allclose(every.confidence, softmax_of(40 * 0.05), atol=1e-4)
    found = {trial.name: trial.mmc for trial in every.trials}
    assert found["test image"] == pytest.approx(softmax_of(40 * 0.05), abs=1e-4)
    assert found["200 steps, as published"] == pytest.approx(0.5, abs=1e-3)


def test_transferred_points_are_tried_and_kept_where_they_are_worse():
    noise = np.full((3, 1), 0.15, np.float32)
    attacker = evaluation.Attacker(hidden_rise(), noise, noise)
    outside = np.ones((3, 1), np.float32)  # projected into the ball: .55
    found = attacker.run(
        evaluation.worst_case_attacks(0.4)[:1], known_points=[evaluation.KnownPoints("transferred: other", outside)]
    )
    np.testing.assert_allclose(found.images, 0.55, atol=1e-6)
    np.testing.assert_allclose(found.confidence, softmax_of(40 * 0.05), atol=1e-5)
    assert [trial.name for trial in found.trials] == ["transferred: other", "40 steps"]


def test_confident_images_are_skipped_and_keep_their_confidence():
    noise = np.array([[0.2], [0.6]], np.float32)
    attacker = evaluation.Attacker(linear_network(200.0, -100.0), noise, noise)  # logit 200 x - 100
    found = attacker.run(evaluation.worst_case_attacks(0.1)[:2])
    assert [trial.num_skipped for trial in found.trials] == [2, 2]  # class 1 is sure at .2, class 0 at .6
    np.testing.assert_allclose(found.images, noise)


def test_the_last_attack_goes_on_where_the_others_stopped():
    # Logit 20 x - 6: .995 at x = .565; the corner of the ball at .7 has .9997, above which test images may lie.
    noise = np.full((3, 1), 0.4, np.float32)
    found = evaluation.Attacker(linear_network(20.0, -6.0), noise, noise).run(evaluation.full_suite(0.3))
    assert found.trials[-1].num_skipped == 0
    np.testing.assert_allclose(found.images, 0.7, atol=0.02)
    assert found.confidence.min() > 0.9995


def test_an_ood_set_of_other_images_is_scored_anew(tmp_path):
    images = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    rows = []
    for value in (0.1, 0.9):
        classifier = KerasClassifier(linear_network(), sha256="fixed")
        data = data_of(images, np.zeros(6, int), {"mine": np.full((4, 1), value, np.float32)})
        store = evaluation.Store(tmp_path)
        (found,) = evaluation.evaluate_all([classifier], data, small(), suite=evaluation.published_attack, store=store)
        rows.append(found["mine"].mmc.value)
    assert rows == pytest.approx([softmax_of(0.4), softmax_of(3.6)], abs=1e-6)


def test_sets_may_have_the_names_of_stages():
    images = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    data = data_of(images, np.zeros(6, int), {"noise": images[:2], "test set": images[:3]})
    rows = evaluate(linear_network(), data).rows
    assert [(row.set, row.kind, row.n) for row in rows[:4]] == [
        ("toy", "test", 6),
        ("noise", "ood", 2),
        ("test set", "ood", 3),
        ("noise", "noise", 6),
    ]


def test_library_evaluation_checks_the_model():
    data = data_of(np.array([[0.0], [1.0]], np.float32), np.array([0, 1]))
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    with pytest.warns(Notice, match="gives probabilities, so their logarithms are taken for logits"):
        assert evaluate(network, data)["toy (test)"].mmc.value < 1


def test_a_model_without_gradients_is_not_attacked():
    data = data_of(np.array([[0.0], [1.0]], np.float32), np.array([0, 1]))
    network = linear_network()
    found = evaluate(lambda x: tf.round(network(x)), data)
    assert found.result.left_out == ["worst-case noise: model, a function, gives no gradients"]


def test_suites_without_strongest_points_take_transferred_ones():
    data = data_of(np.linspace(0, 1, 6, dtype=np.float32)[:, None], np.zeros(6, int))
    found = evaluation.evaluate(
        linear_network(), data, small(), suite=evaluation.published_attack, transfer_from=[hidden_rise(), hidden_rise()]
    )
    names = [trial.name for trial in found.result.attacks]
    assert len([name for name in names if name.startswith("transferred from")]) == 2
    assert len(set(names)) == len(names)


def test_curves_begin_at_the_start_and_end_at_the_result():
    noise = np.linspace(0.1, 0.4, 7, dtype=np.float32)[:, None]  # at 0 both classes tie, and there is no way up
    trial = evaluation.Trial("one", attack.PGD(epsilon=0.2, num_steps=10, start="input"), precision="float32")
    (summary,) = evaluation.Attacker(linear_network(), noise, noise).run([trial]).trials
    assert summary.curve[0] == (0, pytest.approx(softmax_of(4 * noise).mean(), abs=1e-6))
    assert summary.curve[5] == (5, pytest.approx(softmax_of(4 * (noise + 0.1)).mean(), abs=1e-6))
    assert summary.curve[-1] == (10, pytest.approx(summary.mmc, abs=1e-6))


def test_both_objectives_have_the_confidence_as_value():
    objectives = evaluation.attacks.objectives(linear_network(), "float32")
    x = tf.constant([[0.25], [1.0]])
    values = [objectives[name].value_and_gradient(x) for name in ("log confidence", "logit gap")]
    for value, _ in values:
        np.testing.assert_allclose(value, np.log(softmax_of(4 * x.numpy()[:, 0])), atol=1e-6)
    # d log sigmoid(4 x) / dx = 4 (1 - sigmoid(4 x)); d gap / dx = 4.
    np.testing.assert_allclose(values[0][1][:, 0], 4 * (1 - softmax_of(4 * x.numpy()[:, 0])), atol=1e-5)
    np.testing.assert_allclose(values[1][1][:, 0], 4.0, atol=1e-6)


def test_suites_scale_with_epsilon_and_go_from_short_to_long_steps():
    suite = evaluation.worst_case_attacks(0.3)
    sizes = [t.attack.step_size.sequence(t.attack.num_steps, None).numpy() for t in suite if t.attack.step_size]
    assert suite[0].attack.step_size is None  # epsilon / num_steps = .0075
    assert [float(s[0]) for s in sizes] == pytest.approx([0.003, 0.01, 0.06, 0.2])
    assert [t.attack.momentum for t in suite] == [0, 0, 0.75, 0.75, 0.75]
    half = evaluation.worst_case_attacks(0.15)[1:]
    sizes = [t.attack.step_size.sequence(200, None).numpy()[0] for t in half]
    assert sizes == pytest.approx([0.0015, 0.005, 0.03, 0.1])
    for make in (evaluation.full_suite, evaluation.short_suite):
        assert {t.attack.epsilon for t in make(0.2)} == {0.2}
        assert len({t.name for t in make(0.2)}) == len(make(0.2))


def test_the_full_suite_has_every_start_and_auto_pgd():
    starts = {trial.start if trial.start != "attack" else trial.attack.start for trial in evaluation.full_suite(0.3)}
    assert starts == {"random", "corner", "decontrasted", "test images", "strongest"}
    assert any(isinstance(trial.attack, attack.AutoPGD) for trial in evaluation.full_suite(0.3))


def test_every_part_of_a_whole_evaluation():
    images = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    labels = (images[:, 0] > 0.5).astype(int)
    data = data_of(images, labels, {"more": images[:9]})
    network = linear_network(-8.0, 4.0)  # class 1 above .5
    protocol = small(epsilon=0.3, larger_epsilon=None, num_adversarial=8, num_trials=20)
    found = evaluation.evaluate(network, data, protocol, transfer_from=[hidden_rise()])
    assert [row.label for row in found.rows] == [
        "toy (test)",
        "more",
        "noise",
        "adversarial noise",
        "worst-case noise",
        "worst-case noise, 0.4",
        "worst-case more",
        "adversarial samples (changed)",
        "adversarial samples (all)",
    ]
    assert {row.kind for row in found.rows} == {
        "test",
        "ood",
        "noise",
        "adversarial_noise",
        "worst_case_noise",
        "worst_case_ood",
        "adversarial_samples",
    }
    # An image within .3 of the boundary at .5 can be pushed across it.
    changed = found["adversarial samples (changed)"]
    draw = np.sort(np.random.default_rng(0).permutation(40)[:8])
    assert changed.success_rate.value == np.mean(np.abs(images[draw, 0] - 0.5) < 0.3)
    assert changed.n == np.sum(np.abs(images[draw, 0] - 0.5) < 0.3)
    larger, smaller = found["worst-case noise, 0.4"].mmc.value, found["worst-case noise"].mmc.value
    assert larger >= smaller >= found["adversarial noise"].mmc.value
    names = [trial.name for trial in found.result.attacks]
    assert any(name.startswith("transferred from") for name in names)
    assert found.result.alpha_scaling.num_trials == 20
    assert found.result.calibration.is_held_out is None  # nobody knows
    results = evaluation.results([found], "python evaluate.py")
    assert from_json(evaluation.Results, json.loads(json.dumps(to_json(results), allow_nan=False))) == results


def test_calibration_takes_the_images_kept_out_of_training():
    images = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    data = data_of(images, (images[:, 0] > 0.5).astype(int), calibration_fraction=0.5)
    numbers = evaluate(linear_network(-8.0, 4.0), data).result.calibration
    assert numbers.num_images == 4


def test_a_classifier_without_gradients_is_scored_all_the_same():
    images = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    network = linear_network()
    live = KerasClassifier(network)
    other = FunctionClassifier(network, name="other").replace(is_differentiable=False)
    data = data_of(images, np.zeros(6, int), {"more": images[:2]})
    a, b = evaluation.evaluate_all([live, other], data, small(), suite=evaluation.worst_case_attacks)
    assert [row.label for row in b.rows] == ["toy (test)", "more", "noise"]
    assert a.rows[:3] == b.rows
    assert b.result.left_out == ["worst-case noise: other, a function, gives no gradients"]


def test_logits_that_are_not_finite_are_an_error():
    network = linear_network(np.inf)
    images = np.array([[0.1], [0.5], [1.0]], np.float32)
    with pytest.raises(ValueError, match=r"must be finite. Received: 3 of 3 test images"):
        evaluate(network, data_of(images, np.zeros(3, int)))
    steep = linear_network(3e38, 1e38)  # finite on the test images, not on others
    data = data_of(images / 2, np.zeros(3, int))  # half of those to calibrate with are 1
    with pytest.raises(evaluation.NonFiniteLogitsError, match=r"must be finite. Received: 4 of 8 images"):
        evaluate(steep, data)


def test_store_gives_back_what_it_has_and_makes_damaged_files_anew(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(3), "text": "words"}

    key = {"stage": "one/two", "seed": 1}
    for _ in range(2):
        arrays = evaluation.Store(tmp_path).get(key, make)
        assert arrays["a"].tolist() == [0, 1, 2] and str(arrays["text"]) == "words"
    assert len(made) == 1 and key in evaluation.Store(tmp_path)
    again = evaluation.Store(tmp_path)
    assert set(again.get(key, make)) == set(arrays)
    assert 0 < again.seconds < 10  # what it took to make them, and not to read them
    assert {"stage": "one/two", "seed": 2} not in evaluation.Store(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    evaluation.Store(tmp_path).get(key, make)
    assert len(made) == 2


def test_a_second_evaluation_takes_everything_from_the_store(tmp_path):
    images = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    network, calls = linear_network(), []

    def counted(x):
        calls.append(1)
        return network(x)

    def run():
        classifier = FunctionClassifier(counted, sha256="fixed")
        data = data_of(images, np.zeros(12, int), {"more": images})
        protocol = small(num_adversarial=4, num_trials=5, larger_epsilon=None)
        (found,) = evaluation.evaluate_all([classifier], data, protocol, store=evaluation.Store(tmp_path))
        return found

    first, num_calls = run(), len(calls)
    second = run()
    assert len(calls) == num_calls
    assert dataclasses.replace(second.result, seconds=0) == dataclasses.replace(first.result, seconds=0)
    for name, array in first.arrays.confidence.items():
        np.testing.assert_array_equal(array, second.arrays.confidence[name])


def test_alpha_scaling_of_a_linear_network():
    # Logit gap 2 x: confidence .999 at alpha x = log(999) / 2, so alpha = max(log(999) / (2 x), 1).
    def predict(x):
        return np.concatenate([2 * x, np.zeros_like(x)], axis=1)

    found = evaluation.alpha_scaling(predict, (1,), num_trials=300, seed=3)
    x = np.random.default_rng(3).uniform(size=(300, 1)).astype(np.float32)[:, 0]
    np.testing.assert_allclose(found["alpha"], np.maximum(np.log(999) / (2 * x), 1), rtol=1e-3)
    assert not found["is_confident"].any()  # sigmoid(2) = .88 at most

    found = evaluation.alpha_scaling(lambda x: 2 * predict(x), (1,), num_trials=300, seed=3)
    assert found["is_confident"].all()  # sigmoid(4) = .98 at a pixel of 1


def test_alpha_is_infinite_where_nothing_suffices():
    found = evaluation.alpha_scaling(lambda x: np.zeros((len(x), 2), np.float32), (2,), num_trials=5)
    assert np.isinf(found["alpha"]).all()
    summary = evaluation.scaling.summarize_alpha_scaling(found)
    assert summary.median_alpha is None and summary.share_reached == 0


def test_noise_is_reproducible_and_no_larger_than_the_test_set():
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    noise = evaluation.evaluation_noise(images, 100, seed=3)
    assert noise.shape == (5, 8, 8, 1)
    np.testing.assert_array_equal(noise, evaluation.evaluation_noise(images, 100, seed=3))
    assert not np.array_equal(noise, evaluation.evaluation_noise(images, 100, seed=4))


def test_as_float_and_confidence():
    np.testing.assert_array_equal(as_float(np.array([0, 255], np.uint8)), np.float32([0, 1]))
    assert as_float(np.array([0.5])).dtype == np.float32
    np.testing.assert_allclose(confidence_of(np.array([[0.0, 0.0], [1e4, 0.0]])), [0.5, 1.0])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_networks_of_any_precision(policy):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, dtype=policy)])
    network.layers[0].set_weights([np.array([[4.0, 0.0]]), np.zeros(2)])
    images = np.array([[0.0], [0.5], [1.0]], np.float32)
    table = evaluate(network, data_of(images, np.array([0, 0, 0])))
    expected = np.mean(softmax_of(4 * images))
    assert table["toy (test)"].mmc.value == pytest.approx(expected, abs=0.01)  # bfloat16: 8 bits


def test_a_function_is_scored_like_a_network():
    network = linear_network()
    data = data_of(np.array([[0.0], [0.5], [1.0]], np.float32), np.array([0, 1, 0]))
    assert evaluate(lambda x: network(x), data).rows == evaluate(network, data).rows


def test_noise_for_vectors_is_not_the_random_start_of_the_first_attack():
    noise = evaluation.evaluation_noise(np.full((2000, 2), 0.5, np.float32), 2000, seed=3)
    first = evaluation.worst_case_attacks(0.1, seed=3)[0].attack
    offset = first.start_images(noise) - noise
    # Correlation of 4000 independent pairs: standard deviation 1 / sqrt(4000) = .016.
    assert abs(np.corrcoef(offset.numpy().ravel(), noise.ravel())[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"epsilon": 8}, "`epsilon` must be in (0, 1], in pixel units. Received: epsilon=8."),
        ({"ood_epsilon": 0}, "`ood_epsilon` must be in (0, 1]"),
        ({"num_noise": 0}, "`num_noise` must be a whole number, at least 1. Received: num_noise=0."),
        ({"num_trials": -1}, "`num_trials` must be a whole number, at least 0."),
    ],
)
def test_bad_protocols(numbers, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("]", r"\]")):
        evaluation.Protocol(**numbers)


def test_radii_by_the_data():
    gray = data_of(np.zeros((3, 1), np.float32), np.zeros(3, int))
    protocol = evaluation.Protocol(epsilon=0.3).for_data(gray)
    assert (protocol.larger_epsilon, protocol.ood_epsilon) == (pytest.approx(0.4), 0.3)
    assert protocol.num_noise == 3
    assert evaluation.Protocol(epsilon=0.9).for_data(gray).larger_epsilon == 1.0
    assert evaluation.Protocol(epsilon=1.0).for_data(gray).larger_epsilon == 0.0


def test_interval_bounds_enclose_what_attacks_find():
    # A linear network of two classes: the bound is the worst case itself, sigmoid(8 |x - 1/2| + 8 radius), and the
    # attack climbs all the way. Noise is the one thing that is random.
    images = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    data = data_of(images, (images[:, 0] < 0.5).astype(int))
    found = evaluate(linear_network(8.0, -4.0), data, epsilon=0.3, num_bounded=9).result.interval_bounds
    noise = evaluation.evaluation_noise(images, 16)[:9].astype(np.float64)
    assert (found.num_images, found.level) == (9, 0.95)
    radii = [row.radius for row in found.radii]
    np.testing.assert_allclose(radii, [0.001, 0.003, 0.01, 0.03, 0.1, 0.3])
    for row in found.radii:
        ends = np.clip(noise + [[-row.radius, row.radius]], 0, 1)
        worst = softmax_of(np.abs(8 * ends - 4)).max(axis=1)
        assert row.bound == pytest.approx(worst.mean(), abs=1e-6)
        assert row.attacked == pytest.approx(worst.mean(), abs=1e-4)
        assert row.attacked <= row.bound
        assert row.share_below == np.mean(worst < 0.95)


def test_a_network_without_interval_bounds_says_so():
    inputs = keras.Input((1,))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(2, "tanh", name="curved")(inputs)))
    data = data_of(np.linspace(0, 1, 8, dtype=np.float32)[:, None], np.zeros(8, int))
    numbers = evaluate(network, data, epsilon=0.1, num_bounded=2).result
    assert numbers.interval_bounds is None
    assert any(sentence.startswith("interval bounds: ") and "`curved`" in sentence for sentence in numbers.left_out)


def corner_network():
    """One ReLU that is active where x > 1/2, on it one that is active where 2 (x - 1/2) > y."""
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, "relu", name="first")(inputs)
    x = keras.layers.Dense(1, "relu", name="second")(x)
    network = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    network.get_layer("first").set_weights([np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([-0.5, 100.0])])
    network.get_layer("second").set_weights([np.array([[2.0], [-1.0]]), np.array([100.0])])
    network.get_layer("logits").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    return network


def test_region_maps_by_hand():
    maps = evaluation.maps.region_maps(corner_network())
    assert evaluation.maps.RANGES == ((0, 1), (-2, 3), (-5, 6), (-10, 10))
    for (low, high), found in zip(evaluation.maps.RANGES, maps, strict=True):
        x, y = np.meshgrid(*2 * [np.linspace(low, high, 600, dtype=np.float32)])
        assert found.shape == (600, 600)
        expected = 2 * (x > 0.5) + (2 * np.maximum(x - 0.5, 0) > y)
        assert len(np.unique(found)) == len(np.unique(expected))
        # The same partition: each number goes with one number.
        assert len(np.unique(found * 4 + expected)) == len(np.unique(expected))


def test_that_two_of_a_million_patterns_get_one_number_has_a_chance_of_3e_8():
    """`n (n - 1) / 2` pairs, each with the chance `2^-64`; counted where it is `2^-16`, of the sums' lowest bits."""
    assert 2.5e-8 < 1e6 * (1e6 - 1) / 2 / 2**64 < 3e-8
    patterns = np.unique(np.random.default_rng(1).integers(2, size=(20_000, 100)), axis=0)
    assert len(patterns) == 20_000
    sums = evaluation.maps._random_sums(patterns)
    assert len(np.unique(sums)) == 20_000
    pairs = sum(count * (count - 1) // 2 for count in np.unique(sums % 2**16, return_counts=True)[1].tolist())
    expected = 20_000 * 19_999 / 2 / 2**16  # 3051, with a standard error of its root, 55; four of them
    assert abs(pairs - expected) < 4 * expected**0.5


def test_data_on_the_plane_get_maps_and_regions():
    points, labels = np.random.default_rng(0).uniform(size=(20, 2)).astype(np.float32), np.arange(20) % 2
    data = datasets.Data(name="plane", train=(points, labels), test=(points, labels), batch_size=4)
    found = evaluation.evaluate(corner_network(), data, small(epsilon=0.1), suite=evaluation.worst_case_attacks)
    assert found.arrays.maps.confidence.shape == (4, 200, 200)
    assert found.arrays.maps.regions.shape == (4, 600, 600)
    curved = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "tanh"), keras.layers.Dense(2)])
    found = evaluation.evaluate(curved, data, small(epsilon=0.1), suite=evaluation.worst_case_attacks)
    assert found.arrays.maps.regions is None
    assert any(sentence.startswith("linear regions: ") for sentence in found.result.left_out)
