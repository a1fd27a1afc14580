"""Tests of networks.rbf and theory.rbf: values, training, saving, and Theorem 3.2 against draws."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

import keras_acet as ka
from keras_acet import networks, theory
from keras_acet.attack_mode import attack_mode


def numpy_rbf(network, x):
    """Logits of an RBF network in float64, one centre after the other."""
    layer, kernel = network.get_layer("rbf"), network.get_layer("logits").kernel.numpy().astype(np.float64)
    gamma = math.exp(layer.log_gamma.numpy())
    logits = np.zeros((len(x), kernel.shape[1]))
    for center, alpha in zip(layer.centers.numpy().astype(np.float64), kernel, strict=True):
        distance = np.linalg.norm(x.reshape(len(x), -1) - center, axis=1)
        logits += np.exp(-gamma * distance[:, None] ** 2) * alpha
    return logits


def random_rbf(draw, image_shape=(2,), num_classes=3, num_centers=5, size=3.0, gamma=2.0):
    network = networks.rbf(
        image_shape, num_classes, centers=draw.uniform(size=(num_centers, *image_shape)), gamma=gamma
    )
    network.get_layer("logits").set_weights([draw.normal(scale=size, size=(num_centers, num_classes))])
    return network


@pytest.fixture(scope="module")
def trained():
    """An RBF network trained on moons until it makes no mistake there."""
    keras.utils.set_random_seed(0)
    data = ka.datasets.load("moons", batch_size=500)
    network = networks.rbf((2,), 2, num_centers=50)
    network.compile(
        keras.optimizers.Adam(0.03), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    network.fit(data.train, epochs=40, verbose=0, shuffle=False)
    assert network.evaluate(data.test, verbose=0)[1] > 0.995
    return network


# --- the network -----------------------------------------------------------------------------


def test_rbf_by_hand():
    network = networks.rbf((1,), 2, centers=[[0.0], [2.0]], gamma=0.5)
    network.get_layer("logits").set_weights([np.array([[1.0, 0.0], [3.0, -1.0]])])
    # At 1: both features exp(-1/2) = 0.6065; at 2: exp(-2) = 0.1353 and 1.
    expected = [[4 * 0.606531, -0.606531], [0.135335 + 3, -1.0]]
    np.testing.assert_allclose(network(np.array([[1.0], [2.0]])), expected, rtol=1e-5)


def test_rbf_equals_float64():
    draw = np.random.default_rng(0)
    network = random_rbf(draw, (4, 4, 2), 5, 30, gamma=0.4)
    x = draw.uniform(size=(20, 4, 4, 2))
    np.testing.assert_allclose(network(x), numpy_rbf(network, x), atol=1e-5)


def test_distances_do_not_cancel():
    # 1000 away from the origin ||x||^2 has 1e6 * 2^-24 = 0.06 of rounding; differences have none.
    network = networks.rbf((1,), 2, centers=[[1000.0]], gamma=100.0)
    network.get_layer("logits").set_weights([np.array([[1.0, 0.0]])])
    np.testing.assert_allclose(network(np.array([[1000.0], [1000.125]]))[:, 0], [1, math.exp(-100 / 64)], rtol=1e-6)


@pytest.mark.parametrize("size", [1, 10, 784])
def test_the_relative_error_of_a_squared_distance_is_at_most_size_plus_2_roundings(size):
    draw = np.random.default_rng(0)
    scale = math.sqrt(20 / size)  # for squared distances of about 40, and an exponential that is no subnormal
    centers, x = (draw.normal(scale=scale, size=(count, size)).astype(np.float32) for count in (20, 200))
    layer = networks.RBF(20, gamma=1.0)  # times 1 nothing is rounded
    layer.build((None, size))
    layer.centers.assign(centers)
    exact = ((x.astype(np.float64)[:, None] - centers) ** 2).sum(axis=2)
    chosen = (exact > 1) & (exact < 80)
    assert chosen.sum() > 1000
    found = -np.log(layer(x).numpy().astype(np.float64)[chosen])
    # Besides, the exponential is rounded: by some units in the last place, which moves its logarithm by as many 2^-24.
    error = np.abs(found - exact[chosen]) / 2.0**-24
    assert (error <= (size + 2) * exact[chosen] + 4).all()
    assert error.max() > 4  # so there is rounding to be seen


@pytest.mark.parametrize("size", [2, 64])
def test_uniform_points_are_size_6th_apart_where_a_feature_is_exp_of_minus_4(size):
    points, weights = np.polynomial.legendre.leggauss(2)  # exact for polynomials of degree 3
    points, weights = (points + 1) / 2, weights / 2  # on [0, 1]
    apart = size * (weights @ (points[:, None] - points) ** 2 @ weights)
    np.testing.assert_allclose(apart, size / 6)
    layer = networks.rbf((size,), 2, centers=np.zeros((1, size))).get_layer("rbf")
    x = np.full((1, size), math.sqrt(apart / size))
    np.testing.assert_allclose(layer(x), [[math.exp(-4)]], rtol=1e-5)


def test_distances_are_float32_in_a_bfloat16_attack():
    draw = np.random.default_rng(1)
    network = random_rbf(draw, (64,), 3, 20, gamma=0.2)
    features = keras.Model(network.input, network.get_layer("rbf").output)
    x = tf.constant(draw.uniform(size=(8, 64)), tf.bfloat16)  # what Keras makes of the images
    expected = features(tf.cast(x, tf.float32))
    with attack_mode(features, precision="bfloat16"):
        found = features(x)
    assert found.dtype == tf.bfloat16
    # One rounding to 8 binary digits; a distance in bfloat16 would be off by 64 of them.
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, rtol=2**-8)


def test_features_in_float64():
    layer = networks.RBF(2, 1.0, dtype="float64")
    assert layer(np.full((1, 3), 1e-9)).dtype == tf.float64


def test_gradient_against_finite_differences():
    network = random_rbf(np.random.default_rng(2), (3,), 2, 4)
    x = np.array([[0.2, 0.7, 0.4]])
    with tf.GradientTape() as tape:
        inputs = tf.constant(x, tf.float32)
        tape.watch(inputs)
        logit = network(inputs)[0, 0]
    expected = [
        (numpy_rbf(network, x + step) - numpy_rbf(network, x - step))[0, 0] / 2e-5 for step in 1e-5 * np.eye(3)[:, None]
    ]
    np.testing.assert_allclose(tape.gradient(logit, inputs)[0], expected, rtol=1e-4, atol=1e-5)


def test_gradient_at_a_centre_is_zero():
    network = networks.rbf((2,), 2, centers=[[0.5, 0.5]])
    with tf.GradientTape() as tape:
        inputs = tf.fill((1, 2), 0.5)
        tape.watch(inputs)
        logits = network(inputs)
    np.testing.assert_array_equal(tape.gradient(logits, inputs), [[0, 0]])


def test_centers_start_in_the_box_or_at_the_data_and_gamma_by_the_size():
    network = networks.rbf((4, 4, 1), 3, num_centers=200)
    layer = network.get_layer("rbf")
    centers = layer.centers.numpy()
    assert centers.shape == (200, 16)
    # 3,200 uniform values: the mean has a standard error of sqrt(1/12/3200) = 0.005; five of them.
    assert 0 <= centers.min() < centers.max() <= 1 and abs(centers.mean() - 0.5) < 0.026
    np.testing.assert_allclose(layer.log_gamma.numpy(), math.log(24 / 16), rtol=1e-6)
    data = np.random.default_rng(0).uniform(size=(7, 4, 4, 1))
    layer = networks.rbf((4, 4, 1), 3, centers=data).get_layer("rbf")
    np.testing.assert_allclose(layer.centers, data.reshape(7, 16), rtol=1e-6)


def test_gamma_and_centers_train_unless_told_otherwise():
    assert {w.name for w in networks.rbf((2,), 2).trainable_variables} == {"centers", "log_gamma", "kernel"}
    fixed = networks.rbf((2,), 2, centers=[[0.0, 0.0]], train_centers=False)
    assert {w.name for w in fixed.trainable_variables} == {"log_gamma", "kernel"}


def test_weight_decay_is_on_the_coefficients_alone():
    network = networks.rbf((1,), 2, centers=[[7.0], [8.0]], weight_decay=0.5)
    network.get_layer("logits").set_weights([np.array([[1.0, 2.0], [0.0, 3.0]])])
    assert float(sum(network.losses)) == pytest.approx(0.5 * (1 + 4 + 9))


def test_saved_and_loaded_in_safe_mode(tmp_path):
    network = random_rbf(np.random.default_rng(3), (2, 2, 1))
    network.save(tmp_path / "rbf.keras")
    x = np.random.default_rng(0).uniform(size=(5, 2, 2, 1)).astype(np.float32)
    loaded = keras.saving.load_model(tmp_path / "rbf.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), network(x))
    layer = network.get_layer("rbf")
    assert networks.RBF.from_config(layer.get_config()).get_config() == layer.get_config()


def test_acet_trains_it():
    data = ka.datasets.load("moons", batch_size=500)
    keras.utils.set_random_seed(0)
    network = networks.rbf((2,), 2, num_centers=30)
    pgd = ka.attack.PGD(epsilon=0.025, num_steps=2, step_size=0.02, seed=0)
    model = ka.ACETModel(network, ka.penalties.ConfidencePenalty(ka.noise.UniformNoise(seed=0), pgd))
    model.compile(keras.optimizers.Adam(0.03), metrics=["accuracy"])
    model.fit(data.train, epochs=15, verbose=0, shuffle=False)
    assert model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"] > 0.99


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_centers": 0}, ValueError, "`num_centers` must be at least 1. Received: 0"),
        ({"num_centers": 2.5}, TypeError, "`num_centers` must hold integers"),
        ({"gamma": 0.0}, ValueError, r"`gamma` must be a positive finite number. Received: gamma=0.0"),
        ({"gamma": math.nan}, ValueError, "Received: gamma=nan"),
        ({"centers": np.zeros((3, 5))}, ValueError, r"`centers` must be finite, of shape \(num_centers, 2\)"),
        ({"centers": np.zeros((0, 2))}, ValueError, r"Received: shape \(0, 2\)"),
        ({"centers": [[math.inf, 0.0]]}, ValueError, "`centers` must be finite"),
        ({"weight_decay": -1.0}, ValueError, "`weight_decay` must be a finite number"),
    ],
)
def test_rbf_errors(arguments, error, match):
    with pytest.raises(error, match=match):
        networks.rbf((2,), 2, **arguments)


# --- Theorem 3.2 -----------------------------------------------------------------------------


def bound_violation(network, x):
    """By how much probabilities in float64 leave the bound, at most; 0 or less if nowhere."""
    probs = softmax(numpy_rbf(network, x), axis=1)
    bound = theory.rbf_confidence_bound(network, x)
    return max((bound.lower[:, None] - probs).max(), (probs - bound.upper[:, None]).max())


def test_bound_in_100_000_random_draws():
    draw = np.random.default_rng(0)
    tight = []
    for _ in range(200):
        size, num_classes, num_centers = draw.integers(1, 6), draw.integers(2, 6), draw.integers(1, 8)
        gamma, coefficient = np.exp(draw.uniform(-2, 3)), np.exp(draw.uniform(-3, 4))
        network = random_rbf(draw, (int(size),), int(num_classes), int(num_centers), coefficient, gamma)
        x = draw.normal(0.5, np.exp(draw.uniform(-2, 2, (500, 1))), size=(500, size))
        # The last digit of float64 where a bound is reached, as with one centre.
        assert bound_violation(network, x) <= 1e-15
        bound = theory.rbf_confidence_bound(network, x)
        tight.append((bound.upper - softmax(numpy_rbf(network, x), axis=1).max(axis=1)).min())
    assert min(tight) < 1e-12  # so the bound was put to the test
    assert min(tight) >= -1e-15


def test_bound_is_reached():
    # One centre, alpha = (4, 0): |f_1 - f_2| = A exp(-gamma r^2) everywhere.
    network = networks.rbf((2,), 2, centers=[[0.5, 0.5]], gamma=3.0)
    network.get_layer("logits").set_weights([np.array([[4.0, 0.0]])])
    x = np.random.default_rng(0).normal(size=(100, 2))
    probs, bound = softmax(numpy_rbf(network, x), axis=1), theory.rbf_confidence_bound(network, x)
    np.testing.assert_allclose(probs, np.stack([bound.upper, bound.lower], axis=1), rtol=1e-12)


def test_bound_along_1000_rays_from_a_trained_network(trained):
    draw = np.random.default_rng(1)
    start, direction = draw.uniform(size=(1000, 1, 2)), draw.normal(size=(1000, 1, 2))
    along = np.concatenate([np.linspace(0, 1, 30), np.geomspace(1, 1e6, 30)])[None, :, None]
    x = (start + along * direction).reshape(-1, 2)
    assert bound_violation(trained, x) <= 1e-15
    # The network itself, in float32, misses it by its rounding, "about 1e-6" (2.6e-7 was seen).
    probs = softmax(trained.predict(x, batch_size=4096, verbose=0).astype(np.float64), axis=1)
    bound = theory.rbf_confidence_bound(trained, x)
    assert (probs <= bound.upper[:, None] + 1e-6).all() and (probs >= bound.lower[:, None] - 1e-6).all()
    ends = probs.reshape(1000, 60, 2)[:, -1]
    np.testing.assert_array_equal(ends, 0.5)


def test_distance_is_that_to_the_nearest_centre(trained):
    x = np.random.default_rng(2).uniform(-1, 2, (50, 2))
    centers = trained.get_layer("rbf").centers.numpy()
    expected = np.sqrt(((x[:, None] - centers) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(theory.rbf_confidence_bound(trained, x).distance, expected, rtol=1e-6)


def test_bound_of_images_and_of_an_image_in_float32():
    network = random_rbf(np.random.default_rng(3), (2, 3, 1))
    x = np.random.default_rng(4).uniform(size=(10, 2, 3, 1)).astype(np.float32)
    assert bound_violation(network, x) <= 1e-15


def test_bound_of_an_empty_batch():
    bound = theory.rbf_confidence_bound(networks.rbf((2, 3, 1), 2), np.zeros((0, 2, 3, 1)))
    assert [part.shape for part in bound] == [(0,)] * 3


@pytest.mark.parametrize("epsilon", [1e-6, 0.01, 0.3])
def test_beyond_the_safe_radius_probabilities_are_within_epsilon(trained, epsilon):
    draw = np.random.default_rng(5)
    for network in [trained, *(random_rbf(draw, (3,), num_classes) for num_classes in (2, 3, 10))]:
        radius, size = theory.rbf_safe_radius(network, epsilon), network.input_shape[1]
        direction = draw.normal(size=(200, size))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        center = network.get_layer("rbf").centers.numpy()
        x = center[draw.integers(0, len(center), 200)] + radius * draw.uniform(1, 3, (200, 1)) * direction
        x = x[theory.rbf_confidence_bound(network, x).distance >= radius]
        assert len(x) > 20
        off = np.abs(softmax(numpy_rbf(network, x), axis=1) - 1 / network.output_shape[1])
        assert off.max() <= epsilon
        # The bound from which the radius follows keeps epsilon as well.
        bound = theory.rbf_confidence_bound(network, x)
        assert (bound.upper - 1 / network.output_shape[1]).max() <= epsilon
        assert (1 / network.output_shape[1] - bound.lower).max() <= epsilon


def test_safe_radius_by_hand():
    network = networks.rbf((1,), 2, centers=[[0.0], [1.0]], gamma=2.0)
    network.get_layer("logits").set_weights([np.array([[2.0, 0.0], [0.0, 2.0]])])
    # A = 4; epsilon = (e - 1) / 2 makes log(1 + K epsilon) = 1, so r^2 = log(4) / 2.
    assert theory.rbf_safe_radius(network, (math.e - 1) / 2) == pytest.approx(math.sqrt(math.log(4) / 2))
    network.get_layer("logits").set_weights([np.array([[0.1, 0.1], [0.2, 0.0]])])
    assert theory.rbf_safe_radius(network, 0.25) == 0.0  # A = 0.2 < log(1.5)


def test_bound_follows_the_trained_gamma():
    network = random_rbf(np.random.default_rng(6), gamma=1.0)
    before = theory.rbf_safe_radius(network, 0.01)
    network.get_layer("rbf").log_gamma.assign(math.log(4.0))
    assert theory.rbf_safe_radius(network, 0.01) == pytest.approx(before / 2)


def test_equal_coefficients_are_unsure_everywhere():
    network = networks.rbf((2,), 2, num_centers=3)
    network.get_layer("logits").set_weights([np.ones((3, 2))])
    bound = theory.rbf_confidence_bound(network, np.zeros((1, 2)))
    assert (bound.lower, bound.upper) == (0.5, 0.5)


def rbf_with_bias():
    return keras.Sequential([keras.Input((2,)), networks.RBF(3, 1.0), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("network", "error", "match"),
    [
        (lambda: networks.mlp((2,), 2), ValueError, r"must be a layer networks.RBF and a Dense without bias.*mlp of"),
        (
            lambda: keras.Sequential([keras.Input((2,)), networks.RBF(3, 1.0), keras.layers.Dense(2)]),
            ValueError,
            "bias",
        ),
        (lambda: abs, TypeError, "`network` must be a keras.Model. Received: builtin_function"),
    ],
)
def test_bound_needs_an_rbf_network(network, error, match):
    with pytest.raises(error, match=match):
        theory.rbf_confidence_bound(network(), np.zeros((1, 2)))


def test_bound_checks_its_arguments():
    network = networks.rbf((2,), 2)
    with pytest.raises(ValueError, match=r"`x` must have shape \(n, 2\). Received: shape \(4, 3\)"):
        theory.rbf_confidence_bound(network, np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"`epsilon` must be positive. Received: epsilon=0"):
        theory.rbf_safe_radius(network, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "largest_error"), [("moons", 0.0), ("digits", 0.05)])
def test_train_py_trains_it(train, tmp_path, dataset, largest_error):
    done = train([f"--dataset={dataset}", "--method=plain", "--network=rbf"], tmp_path)
    assert done.code == 0, done.stderr
    run = ka.classifiers.load(tmp_path / f"runs/{dataset}-plain")
    data = ka.datasets.load(dataset)
    assert np.mean(run.logits(data.test_images).argmax(axis=1) != data.test_labels) <= largest_error


def test_networks_that_only_look_like_one():
    size, classes = 2, 2

    def joined(join):
        inputs = keras.Input((size,))
        rbf, dense = networks.RBF(size, 1.0), keras.layers.Dense(classes, use_bias=False)
        return keras.Model(inputs, join(inputs, rbf, dense))

    class Louder(networks.RBF):
        def call(self, x):
            return 10 * super().call(x)

    inputs = keras.Input((size,))
    louder = keras.Model(inputs, keras.layers.Dense(classes, use_bias=False)(Louder(size, 1.0)(inputs)))
    for network in (
        joined(lambda x, rbf, dense: dense(rbf(x)) + 3 * x),
        joined(lambda x, rbf, dense: 1000 * dense(rbf(x))),
        joined(lambda x, rbf, dense: dense(rbf(rbf(x)))),
        joined(lambda x, rbf, dense: dense(dense(rbf(x)))),
        louder,
    ):
        with pytest.raises(ValueError, match="`network` must"):
            theory.rbf_confidence_bound(network, np.zeros((1, size)))


def test_weights_that_are_not_finite():
    network = networks.rbf((2,), 2, num_centers=3, gamma=1.0)
    network.get_layer("logits").set_weights([np.full((3, 2), np.nan, np.float32)])
    with pytest.raises(ValueError, match="with finite weights"):
        theory.rbf_safe_radius(network, 0.1)
