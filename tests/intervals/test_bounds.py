"""Interval bounds: values by hand and by corners, and no attack above the bound."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import softmax

from keras_acet import intervals, networks, theory
from keras_acet.attack import PGD, LinearDecay
from keras_acet.evaluation import Attacker, worst_case_attacks
from keras_acet.losses import log_max_confidence


def mlp():
    return networks.mlp((3,), 3, hidden=(8, 8))


def leaky_with_norm():
    inputs = keras.Input((5,))
    x = layers.BatchNormalization()(layers.Dense(9)(inputs))
    x = layers.LeakyReLU(negative_slope=0.3)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Dense(6, "relu")(x)))


def conv_with_max_pool():
    inputs = keras.Input((5, 5, 2))
    x = layers.MaxPooling2D(2, padding="same")(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.Flatten()(layers.Conv2D(3, 2, activation="relu")(layers.ReLU()(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def residual():
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    y = layers.Conv2D(3, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Add()([x, y])
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(x)])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def ends_in_a_mean():
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(3, 3)(layers.Conv2D(4, 2, activation="relu")(inputs))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def ends_in_a_sum():
    inputs = keras.Input((3,))
    return keras.Model(
        inputs, layers.Add()([layers.Dense(3)(layers.Dense(5, "relu")(inputs)), layers.Dense(3)(inputs)])
    )


def ends_in_relu():
    return keras.Sequential([keras.Input((3,)), layers.Dense(6, "relu"), layers.Dense(3, "relu")])


RADII = (0, 0.01, 0.1, 0.5, 1, 9)
NETWORKS = [mlp, leaky_with_norm, conv_with_max_pool, residual, ends_in_a_mean, ends_in_a_sum, ends_in_relu]


def random_network(make, seed):
    """A network with random weights of some size, biases and batch norm statistics included."""
    draw = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    network = make()
    for variable in network.variables:
        if variable.path.endswith("moving_variance"):
            variable.assign(draw.uniform(0.2, 2, variable.shape))
        elif not variable.dtype.startswith("float"):
            continue
        else:
            variable.assign(variable.numpy() * draw.uniform(1, 4) + draw.normal(scale=0.3, size=variable.shape))
    return network


def linear_network(num_inputs, num_classes, seed=0):
    network = networks.mlp((num_inputs,), num_classes, hidden=())
    draw = np.random.default_rng(seed)
    network.set_weights([draw.normal(scale=0.15, size=weight.shape) for weight in network.get_weights()])
    return network


def corners(low, high):
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


# --- exact where it can be -------------------------------------------------------------------


@pytest.mark.parametrize(("unit_roundoff", "tolerance"), [(0.0, 1e-12), (2.0**-24, 1e-6)])
def test_linear_network_equals_its_corners(unit_roundoff, tolerance):
    network, draw = linear_network(6, 3), np.random.default_rng(1)
    weights, bias = (weight.astype(np.float64) for weight in network.get_weights())
    low = draw.uniform(size=(20, 6))
    high = low + draw.uniform(0, 0.5, size=(20, 6))
    found = intervals.interval_bounds(network, low, high, unit_roundoff=unit_roundoff)
    differences = intervals.difference_upper_bounds(network, low, high, unit_roundoff=unit_roundoff)
    for i in range(20):
        logits = corners(low[i], high[i]) @ weights + bias
        np.testing.assert_allclose(found[0][i], logits.min(axis=0), rtol=0, atol=tolerance)
        np.testing.assert_allclose(found[1][i], logits.max(axis=0), rtol=0, atol=tolerance)
        expected = (logits[:, :, None] - logits[:, None, :]).max(axis=0)
        np.testing.assert_allclose(differences[i], expected, rtol=0, atol=tolerance)
        assert (found[0][i] <= logits.min(axis=0) + 1e-14).numpy().all()


@pytest.mark.parametrize(("unit_roundoff", "tolerance"), [(0.0, 1e-12), (2.0**-24, 1e-6)])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_confidence_of_a_linear_network_of_two_classes_equals_its_corners(epsilon, unit_roundoff, tolerance):
    network, images = linear_network(6, 2), np.random.default_rng(2).uniform(size=(20, 6))
    weights, bias = (weight.astype(np.float64) for weight in network.get_weights())
    expected = []
    for image in images:
        ends = corners(np.maximum(image - epsilon, 0), np.minimum(image + epsilon, 1))
        expected.append(softmax(ends @ weights + bias, axis=1).max())
    found = intervals.confidence_upper_bound(network, images, epsilon, unit_roundoff=unit_roundoff)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("make", [mlp, leaky_with_norm])  # of 3 and 4 classes
def test_confidence_is_max_k_1_over_sum_j_exp_of_minus_the_differences(make):
    """`max_k 1 / sum_j exp(-U_kj)`, `U_kj` on the ball in the box."""
    network = random_network(make, 5)
    images = np.random.default_rng(6).uniform(size=(20, *network.input_shape[1:]))
    low, high = np.maximum(images - 0.003, 0), np.minimum(images + 0.003, 1)
    upper = intervals.difference_upper_bounds(network, low, high, unit_roundoff=0).numpy()
    expected = (1 / np.exp(-upper).sum(axis=2)).max(axis=1)
    found = intervals.confidence_upper_bound(network, images, 0.003, unit_roundoff=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert 1 / network.output_shape[1] < expected.min() < 0.99


def test_two_layers_by_hand():
    network = keras.Sequential([keras.Input((2,)), layers.Dense(2, "relu"), layers.Dense(2)])
    network.set_weights(
        [np.array([[1.0, 2], [-1, 1]]), np.array([0.5, -1]), np.array([[1.0, -1], [-2, 1]]), np.ones(2)]
    )
    # x in [0, 1], y in [0, 2]: x - y + 1/2 in [-1.5, 1.5], 2 x + y - 1 in [-1, 3]; after ReLU [0, 1.5] and [0, 3].
    low, high = intervals.interval_bounds(network, [[0.0, 0.0]], [[1.0, 2.0]], unit_roundoff=0)
    np.testing.assert_allclose(low, [[0 - 6 + 1, -1.5 + 0 + 1]])
    np.testing.assert_allclose(high, [[1.5 - 0 + 1, 0 + 3 + 1]])
    # z_1 - z_2 = 2 u - 3 v: at most 3, at least -9. From the logits alone it would be 3 and -9 as well, plus what the
    # ends do not share: 2.5 - -0.5 = 3 and -5 - 4 = -9.
    upper = intervals.difference_upper_bounds(network, [[0.0, 0.0]], [[1.0, 2.0]], unit_roundoff=0)
    np.testing.assert_allclose(upper, [[[0, 3], [9, 0]]])


def test_differences_are_tighter_than_those_of_the_logits():
    network = random_network(mlp, 3)
    low, high = np.full((1, 3), 0.2), np.full((1, 3), 0.6)
    ends = intervals.interval_bounds(network, low, high)
    of_logits = ends[1][0, :, None] - ends[0][0, None, :]
    upper = intervals.difference_upper_bounds(network, low, high)[0]
    off_diagonal = ~np.eye(3, dtype=bool)
    assert (upper.numpy() <= of_logits.numpy() + 1e-9).all()
    assert (upper.numpy() < of_logits.numpy() - 0.01)[off_diagonal].any()
    np.testing.assert_array_equal(np.diagonal(upper), 0)


@pytest.mark.parametrize("make", [mlp, conv_with_max_pool, residual])
def test_monotone_network_is_bounded_by_its_values_at_the_ends(make):
    network = random_network(make, 4)
    network.set_weights([np.abs(weight) for weight in network.get_weights()])  # now each logit rises in each input
    low = np.random.default_rng(5).uniform(0, 0.5, size=(10, *network.input_shape[1:]))
    high = low + 0.3
    exact = intervals.PiecewiseAffine(network)
    found = intervals.interval_bounds(network, low, high, unit_roundoff=0)
    np.testing.assert_allclose(found[0], exact(low), rtol=1e-12)
    np.testing.assert_allclose(found[1], exact(high), rtol=1e-12)


@pytest.mark.parametrize("make", NETWORKS)
def test_point_is_bounded_by_its_logits(make):
    network = random_network(make, 6)
    x = np.random.default_rng(7).uniform(size=(5, *network.input_shape[1:]))
    logits = intervals.PiecewiseAffine(network)(x).numpy()
    for end in intervals.interval_bounds(network, x, x, unit_roundoff=0):
        np.testing.assert_allclose(end, logits, rtol=1e-10, atol=1e-10)
    found = intervals.confidence_upper_bound(network, x, 0.0, unit_roundoff=0)
    np.testing.assert_allclose(found, softmax(logits, axis=1).max(axis=1), rtol=1e-9)


# --- never below what is found ---------------------------------------------------------------


def strongest(network, images, epsilon):
    """Confidences (float64, of float32 logits) and points, by momentum from random starts and at random corners."""
    images = tf.constant(images, tf.float32)
    pgd = PGD(epsilon=epsilon, num_steps=25, step_size=LinearDecay(epsilon / 2), momentum=0.75, seed=0)
    climb = tf.function(lambda x: pgd.maximize(lambda z: log_max_confidence(network(z, training=False)), x).images)
    points = [images, climb(images)]
    draw = np.random.default_rng(8)
    for _ in range(20):
        corner = images + np.float32(epsilon) * draw.choice([-1, 1], images.shape).astype(np.float32)
        points.append(tf.clip_by_value(corner, 0, 1))
    return np.max([softmax(network(x).numpy().astype(np.float64), axis=1).max(axis=1) for x in points], axis=0)


@pytest.mark.parametrize("make", NETWORKS)
def test_no_attack_is_above_the_bound_on_10_000_balls(make):
    for seed, epsilon in enumerate((1e-3, 0.02, 0.1, 0.4)):
        network = random_network(make, seed)
        images = np.random.default_rng(seed).uniform(size=(360, *network.input_shape[1:])).astype(np.float32)
        bound = intervals.confidence_upper_bound(network, images, epsilon).numpy()
        found = strongest(network, images, epsilon)
        assert (bound >= found).all()
        assert (bound - found).mean() < 0.1 or epsilon > 0.01  # the bound says something where the ball is small
        assert bound.min() >= 1 / network.output_shape[1] and bound.max() <= 1


@pytest.mark.slow
def test_no_attack_of_the_suite_is_above_the_bound():
    for seed, make in enumerate([mlp, conv_with_max_pool, residual]):
        network = random_network(make, seed)
        images = np.random.default_rng(seed).uniform(size=(1000, *network.input_shape[1:])).astype(np.float32)
        for epsilon in (0.01, 0.1):
            found = Attacker(network, images, images[::-1]).run(worst_case_attacks(epsilon))
            bound = intervals.confidence_upper_bound(network, images, epsilon).numpy()
            assert (bound.astype(np.float32) >= found.confidence).all()


SIZES = [(networks.lenet, (12, 12, 1)), (networks.mlp, (300,)), (networks.resnet20, (8, 8, 3))]


def test_logits_in_float32_lie_within_the_bounds_of_their_point():
    outside = 0
    for seed, (make, shape) in enumerate(SIZES):
        keras.utils.set_random_seed(seed)
        network = make(shape, 10)
        x = np.random.default_rng(seed).uniform(size=(50, *shape)).astype(np.float32)
        logits = network(x).numpy().astype(np.float64)
        low, high = intervals.interval_bounds(network, x, x)
        assert (low <= logits).numpy().all() and (logits <= high).numpy().all()
        exact_low, exact_high = intervals.interval_bounds(network, x, x, unit_roundoff=0)
        outside += ((logits < exact_low) | (logits > exact_high)).numpy().sum()
    assert outside > 100  # so the allowance for rounding is needed


@pytest.mark.parametrize(("dtype", "unit_roundoff"), [("float32", 2.0**-24), ("bfloat16", 2.0**-8)])
@pytest.mark.parametrize("slope", [0.3, 0.01])
def test_a_lone_leaky_relu_lies_within_the_bounds_of_its_point(slope, dtype, unit_roundoff):
    network = keras.Sequential([keras.Input((1000,), dtype=dtype), layers.LeakyReLU(slope, dtype=dtype)])
    x = tf.cast(np.random.default_rng(0).normal(size=(20, 1000)), dtype)
    logits = tf.cast(network(x), tf.float64).numpy()
    low, high = intervals.interval_bounds(network, x, x, unit_roundoff=unit_roundoff)
    assert (low <= logits).numpy().all() and (logits <= high).numpy().all()
    is_product = tf.cast(x, tf.float32).numpy() < 0
    np.testing.assert_array_equal(low[~is_product], logits[~is_product])
    assert (high - low <= 8.01 * unit_roundoff * np.abs(low)).numpy()[is_product].all()


@pytest.mark.parametrize("size", [3, 300])
def test_an_affine_step_is_widened_by_n_u_of_1_minus_n_u(size):
    """`n u / (1 - n u)` of `sum |w_i x_i|`, then `4 u` of the result; n is at least 8."""
    network = linear_network(size, 2)
    weights, bias = (weight.astype(np.float64) for weight in network.get_weights())
    x = np.random.default_rng(1).normal(size=(5, size))
    for u in (2.0**-24, 2.0**-10):
        n = max(size, 8)
        rounding = n * u / (1 - n * u) * np.abs(x) @ np.abs(weights)
        exact = x @ weights + bias
        rounding += 4 * u * (np.abs(exact) + rounding)
        low, high = intervals.interval_bounds(network, x, x, unit_roundoff=u)
        np.testing.assert_allclose(low, exact - rounding, rtol=1e-12)
        np.testing.assert_allclose(high, exact + rounding, rtol=1e-12)


@pytest.mark.parametrize(("make", "shape"), [(networks.lenet, (28, 28, 1)), (networks.resnet20, (16, 16, 3))])
def test_the_error_of_a_step_is_at_most_16_u(make, shape):
    """Of the sum of absolute values, for LeNet and ResNet-20 and random inputs, with up to 3136 weights per output."""
    keras.utils.set_random_seed(0)
    network = make(shape, 10)
    images = np.random.default_rng(0).uniform(size=(8, *shape)).astype(np.float32)
    steps = [layer for layer in network.layers if isinstance(layer, (layers.Dense, layers.Conv2D))]
    errors = []
    for layer, x in zip(steps, keras.Model(network.inputs, [layer.input for layer in steps])([images]), strict=True):
        one = keras.Sequential([keras.Input(x.shape[1:]), layer, layers.Flatten()])
        exact = intervals.PiecewiseAffine(one)
        sums = tf.reshape(exact.steps[0].operation.absolute(tf.abs(tf.cast(x, tf.float64))), (8, -1))
        errors.append((np.abs(one(x).numpy().astype(np.float64) - exact(x)) / sums).numpy().max() / 2.0**-24)
    assert 0 < max(errors) <= 16


@pytest.mark.parametrize("make", [mlp, residual])
def test_bound_grows_with_the_ball_until_it_is_the_whole_box(make):
    network = random_network(make, 9)
    images = np.random.default_rng(10).uniform(size=(20, *network.input_shape[1:]))
    bounds = [
        intervals.confidence_upper_bound(network, images, epsilon).numpy() for epsilon in (0, 0.01, 0.1, 0.5, 1, 9)
    ]
    for smaller, larger in itertools.pairwise(bounds):
        assert (smaller <= larger).all()
    assert np.ptp(bounds[-2]) == 0
    np.testing.assert_array_equal(*bounds[-2:])


# --- as an objective -------------------------------------------------------------------------


def test_gradient_against_finite_differences():
    network = random_network(residual, 11)
    images = np.random.default_rng(12).uniform(size=(4, 4, 4, 1))
    kernel = network.layers[1].kernel

    def bound():
        return tf.reduce_mean(intervals.difference_upper_bounds(network, images - 0.01, images + 0.01)[:, 0, 1])

    with tf.GradientTape() as tape:
        value = bound()
    gradient, start = tape.gradient(value, kernel.value).numpy(), kernel.numpy()
    for place in [(0, 0, 0, 0), (1, 1, 0, 2), (2, 0, 0, 1)]:
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * 2.0**-12  # exact in float32 but for the last digits of the weight
            kernel.assign(moved)
            ends.append((float(bound()), float(moved[place])))
        slope = (ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1])
        np.testing.assert_allclose(gradient[place], slope, rtol=2e-3, atol=1e-3)
    kernel.assign(start)


def test_gradient_of_the_confidence_bound_in_every_weight_of_a_tiny_network():
    network = random_network(lambda: networks.mlp((2,), 2, hidden=(3,)), 21)
    images = np.array([[0.2, 0.9], [0.5, 0.5]])

    def loss():
        return tf.reduce_mean(tf.math.log(intervals.confidence_upper_bound(network, images, 0.05)))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        start = variable.numpy()
        for place in np.ndindex(start.shape):
            ends = []
            for sign in (1, -1):
                moved = start.copy()
                moved[place] += sign * 2.0**-12
                variable.assign(moved)
                ends.append((float(loss()), float(moved[place])))
            slope = (ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1])
            np.testing.assert_allclose(gradient[place], slope, rtol=2e-3, atol=1e-4)
            variable.assign(start)


def test_theory_gives_the_same_names():
    for name in ("Affine", "Maximum", "PiecewiseAffine", "ReLU", "confidence_upper_bound", "interval_bounds"):
        assert getattr(theory, name) is getattr(intervals, name)


def test_training_lowers_the_bound():
    network = random_network(mlp, 13)
    images = np.random.default_rng(14).uniform(size=(50, 3)).astype(np.float32)
    optimizer = keras.optimizers.Adam(0.02)
    exact = intervals.PiecewiseAffine(network)

    @tf.function(jit_compile=False)
    def step(images):
        with tf.GradientTape() as tape:
            bound = intervals.confidence_upper_bound(exact, images, 0.1)
            loss = tf.reduce_mean(tf.math.log(bound))
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return tf.reduce_mean(bound)

    values = [float(step(images)) for _ in range(150)]
    assert values[0] > 0.95 and values[-1] < 0.4
    assert strongest(network, images, 0.1).mean() < 0.4


@pytest.mark.parametrize("jit_compile", [False, True])
def test_traced_with_an_unknown_batch_size(jit_compile):
    network = random_network(conv_with_max_pool, 15)
    images = np.random.default_rng(16).uniform(size=(6, 5, 5, 2)).astype(np.float32)
    expected = intervals.confidence_upper_bound(network, images, 0.05)
    signature = [tf.TensorSpec((None, 5, 5, 2), tf.float32), tf.TensorSpec((), tf.float32)]
    traced = tf.function(
        lambda x, epsilon: intervals.confidence_upper_bound(network, x, epsilon),
        input_signature=signature,
        jit_compile=jit_compile,
    )
    np.testing.assert_allclose(traced(images, 0.05), expected, rtol=1e-6)
    np.testing.assert_allclose(traced(images[:2], 0.05), expected[:2], rtol=1e-6)


# --- errors ----------------------------------------------------------------------------------


def test_errors():
    network = linear_network(2, 2)
    with pytest.raises(ValueError, match=r"Inputs must have shape \(n, 2\). Received: \(1, 3\)"):
        intervals.interval_bounds(network, np.zeros((1, 3)), np.ones((1, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`low` must not exceed `high`"):
        intervals.interval_bounds(network, np.ones((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="`epsilon` must be at least 0, in pixel units. Received: epsilon=-0.1"):
        intervals.confidence_upper_bound(network, np.zeros((1, 2)), -0.1)
    with pytest.raises(ValueError, match=r"`unit_roundoff` must be in \[0, 0.01\]. Received: unit_roundoff=24"):
        intervals.confidence_upper_bound(network, np.zeros((1, 2)), 0.1, unit_roundoff=24)
    with pytest.raises(ValueError, match="piecewise affine"):
        intervals.interval_bounds(networks.rbf((2,), 2), np.zeros((1, 2)), np.ones((1, 2)))
    assert math.isfinite(intervals.confidence_upper_bound(network, np.zeros((1, 2)), 0.1)[0])
