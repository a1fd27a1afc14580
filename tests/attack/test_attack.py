import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet.attack import PGD, AutoPGD, ConstantStep, LinearDecay, LinfAttack, LogUniformDecay, Objective
from keras_acet.attack.auto_pgd import _windows as attack_windows
from keras_acet.losses import log_max_confidence


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.fixture(scope="module")
def objective(network):
    return lambda x: log_max_confidence(network(x, training=False) * 20.0)


def random_images(n=8, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, 6, 6, 1)).astype(np.float32)


def published_loop(objective, images, start, epsilon, num_steps, step_size):
    """The inner maximisation as published, written plainly: two forward passes and one backward pass per step."""
    best, best_value = images, objective(tf.constant(images)).numpy()

    def consider(x):
        nonlocal best, best_value
        value = objective(tf.constant(x)).numpy()
        better = value > best_value
        best = np.where(better[:, None, None, None], x, best)
        best_value = np.where(better, value, best_value)

    x = start
    consider(x)
    iterates = [x]
    for _ in range(num_steps):
        with tf.GradientTape() as tape:
            point = tf.constant(x)
            tape.watch(point)
            value = objective(point)
        x = x + np.float32(step_size) * np.sign(tape.gradient(value, point).numpy())
        x = np.clip(x, 0, 1)
        x = images + np.clip(x - images, -np.float32(epsilon), np.float32(epsilon))
        consider(x)
        iterates.append(x)
    return best, best_value, iterates


def test_iterates_and_best_equal_the_published_loop(objective):
    images = random_images()
    attack = PGD(epsilon=0.3, num_steps=12, seed=1)
    start = PGD(epsilon=0.3, num_steps=12, seed=1).start_images(images).numpy()
    best, best_value, iterates = published_loop(objective, images, start, 0.3, 12, 0.3 / 12)
    for num_steps in (1, 2, 5, 12):
        ours = PGD(epsilon=0.3, num_steps=num_steps, step_size=0.3 / 12).maximize(objective, images, start=start)
        np.testing.assert_allclose(ours.last, iterates[num_steps], atol=1e-6)
    ours = attack.maximize(objective, images)
    np.testing.assert_allclose(ours.images, best, atol=1e-6)
    np.testing.assert_allclose(ours.value, best_value, atol=1e-5)
    np.testing.assert_allclose(ours.value, objective(ours.images), atol=1e-6)
    np.testing.assert_allclose(ours.clean_value, objective(images), atol=1e-6)


def test_reaches_the_closed_form_corner_of_a_linear_two_class_model():
    # Logits (w x, 0) with w x > 0 in the whole ball: confidence grows with w x, so the maximum is at the corner
    # x + epsilon sign(w), cut with the box.
    rng = np.random.default_rng(2)
    weights = rng.normal(size=5).astype(np.float32)
    images = rng.uniform(size=(10, 5)).astype(np.float32)

    def objective(x):
        score = tf.linalg.matvec(x, weights) + 10.0
        return log_max_confidence(tf.stack([0.1 * score, tf.zeros_like(score)], axis=1))

    corner = np.clip(images + 0.2 * np.sign(weights), 0, 1)
    # Twenty steps of epsilon / 10 cross the whole ball, wherever the attack starts.
    result = PGD(epsilon=0.2, num_steps=20, step_size=0.02, seed=0).maximize(objective, images)
    np.testing.assert_allclose(result.images, corner, atol=1e-6)


def test_momentum_step_by_hand():
    # Objective x - x^2/2 with slope 1 - x > 0 on [0, 1): the sign is always +1. Step .1, momentum .5, from x = .2:
    # x1 = .2 + .1 = .3 (no step before); x2 = .3 + .1 + .5 * (.3 - .2) = .45;
    # x3 = .45 + .1 + .5 * .15 = .625, beyond the ball: .5.
    attack = PGD(epsilon=0.3, num_steps=3, step_size=0.1, momentum=0.5, start="input")
    for num_steps, expected in [(1, 0.3), (2, 0.45), (3, 0.5)]:
        result = attack.maximize(lambda x: tf.reduce_sum(x - x**2 / 2, axis=1), [[0.2]], num_steps=num_steps)
        np.testing.assert_allclose(result.last, [[expected]], atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.75])
@pytest.mark.parametrize("step_size", [None, 0.2, LinearDecay(0.2), LogUniformDecay(0.01, 0.3)])
def test_properties(objective, momentum, step_size):
    images = random_images(16, seed=4)
    attack = PGD(epsilon=0.3, num_steps=10, step_size=step_size, momentum=momentum, seed=0)
    result = attack.maximize(objective, images)
    for x in (result.images, result.last):
        assert x.numpy().min() >= 0
        assert x.numpy().max() <= 1
        assert np.abs(x.numpy() - images).max() <= 0.3 + 1e-6
    assert np.all(result.value.numpy() >= objective(images).numpy() - 1e-6)
    assert result.value.numpy().mean() > objective(images).numpy().mean() + 0.01


def test_no_steps_without_random_start_give_the_images_back(objective):
    images = random_images()
    result = PGD(num_steps=0, start="input").maximize(objective, images)
    for x in (result.images, result.last):
        np.testing.assert_array_equal(x, images)
    np.testing.assert_allclose(result.clean_value, objective(images), atol=1e-6)
    np.testing.assert_allclose(result.value, objective(images), atol=1e-6)


def test_start_input_reports_the_value_at_the_images(objective):
    images = random_images()
    result = PGD(num_steps=3, start="input").maximize(objective, images)
    np.testing.assert_allclose(result.clean_value, objective(images), atol=1e-6)


def test_tie_keeps_the_earlier_point():
    images = random_images()
    result = PGD(num_steps=5, seed=0).maximize(lambda x: 0.0 * tf.reduce_sum(x, axis=[1, 2, 3]), images)
    np.testing.assert_array_equal(result.images, images)


def test_an_example_does_not_depend_on_its_batch_mates(objective):
    images = random_images(8)
    attack = PGD(num_steps=8, start="input", momentum=0.75, step_size=LinearDecay(0.1))
    together = attack.maximize(objective, images).images
    np.testing.assert_allclose(attack.maximize(objective, images[2:4]).images, together[2:4], atol=1e-5)


def test_random_start_lies_within_a_random_share_of_the_ball():
    images = np.full((2000, 3), 0.5, np.float32)
    start = PGD(epsilon=0.4, seed=0).start_images(images).numpy()
    offset = np.abs(start - 0.5)
    assert offset.max() <= 0.4 + 1e-6
    # |u * v| / epsilon with u ~ U(0, 1) and |v| ~ U(0, 1) independent: mean 1/4, standard deviation .22 / sqrt(2000).
    assert offset[:, 0].mean() / 0.4 == pytest.approx(0.25, abs=0.025)
    # One u per image: the coordinates of an image are positively correlated in size.
    assert np.corrcoef(offset[:, 0], offset[:, 1])[0, 1] > 0.3


def test_three_step_counts_give_one_trace(objective):
    traces = []
    attack = PGD(start="input")

    @tf.function
    def run(images, num_steps):
        traces.append(1)
        return attack.maximize(objective, images, num_steps=num_steps).value

    values = [run(random_images(), tf.constant(n)).numpy().mean() for n in (0, 3, 9)]
    assert len(traces) == 1
    assert values == sorted(values)


def test_cost_is_one_forward_and_one_backward_pass_per_step(network):
    # Every evaluation of the objective is one forward pass; the eager loop calls it as often as a graph runs it.
    calls = []

    def objective(x):
        calls.append(1)
        return log_max_confidence(network(x, training=False))

    PGD(num_steps=7, start="input").maximize(objective, random_images())
    assert len(calls) == 7 + 1  # the last iterate
    calls.clear()
    PGD(num_steps=7, seed=0).maximize(objective, random_images())
    assert len(calls) == 7 + 2  # and the noise point, which is not the start


def test_result_is_a_constant_to_an_outer_tape(network):
    images = tf.constant(random_images())
    with tf.GradientTape() as tape:
        tape.watch(images)
        found = PGD(num_steps=2, seed=0).maximize(lambda x: log_max_confidence(network(x, training=False)), images)
        total = tf.reduce_sum(found.images) + tf.reduce_sum(found.value)
    assert tape.gradient(total, images) is None


def test_step_sizes_by_hand():
    np.testing.assert_allclose(ConstantStep(0.2).sequence(2, None), [0.2, 0.2])
    np.testing.assert_allclose(LinearDecay(0.4).sequence(4, None), [0.4, 0.3, 0.2, 0.1], atol=1e-7)
    seed = keras.random.SeedGenerator(0)
    drawn = np.array([LogUniformDecay(0.01, 1.0).sequence(2, seed).numpy() for _ in range(400)])
    np.testing.assert_allclose(drawn[:, 1], drawn[:, 0] / 2, rtol=1e-6)
    # log10 uniform on [-2, 0]: mean -1, standard deviation .577 / 20.
    assert np.log10(drawn[:, 0]).mean() == pytest.approx(-1, abs=0.15)
    assert drawn[:, 0].min() >= 0.01
    assert drawn[:, 0].max() <= 1.0


@pytest.mark.parametrize("step_size", [None, 0.1, np.float32(0.125), LinearDecay(0.2), LogUniformDecay(0.1, 0.2)])
def test_config_round_trip(objective, step_size):
    attack = PGD(epsilon=0.2, num_steps=4, step_size=step_size, momentum=0.5, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack))
    images = random_images()
    np.testing.assert_array_equal(attack.maximize(objective, images).images, copy.maximize(objective, images).images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 8}, r"`epsilon` must be in \(0, 1\], in pixel units. Received: epsilon=8. .*divide by 255"),
        ({"epsilon": float("nan")}, r"`epsilon` must be in \(0, 1\]"),
        ({"num_steps": -1}, "`num_steps` must be a whole number, at least 0. Received: num_steps=-1"),
        ({"num_steps": 2.5}, "`num_steps` must be a whole number"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\). Received: momentum=1.0"),
        ({"start": "middle"}, "`start` must be 'corner', 'input' or 'random'. Received: start='middle'"),
        ({"step_size": -0.1}, "must be positive, in pixel units. Received: size=-0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PGD(**arguments)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="`low` must not exceed `high`. Received: low=0.3, high=0.1"):
        LogUniformDecay(0.3, 0.1)
    with pytest.raises(ValueError, match=r"objective must depend on the images.*no gradient"):
        PGD(num_steps=1).maximize(lambda x: tf.zeros(tf.shape(x)[0]), random_images())


def auto_pgd_as_published(objective, x0, lower, upper, epsilon, num_steps):
    """Algorithm 1 of arXiv:2003.01690 for one image at a time, written plainly in float64."""

    def gradient(x):
        point = tf.constant(x[None], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = objective(point)
        return float(value[0]), tape.gradient(value, point)[0].numpy()

    checks, p = [0], [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    checks = [int(np.ceil(q * num_steps - 1e-9)) for q in p]
    size, x, x_before = 2 * epsilon, x0, x0
    value, g = gradient(x)
    best, best_value, best_gradient = x, value, g
    values, bests, sizes, iterates = [value], {0: -np.inf}, {0: size}, [x0]
    last = 0
    for k in range(num_steps):
        if k in checks[1:]:
            rises = sum(values[i + 1] > values[i] for i in range(last, k)) + (last == 0)  # the first counts as a rise
            if rises < 0.75 * (k - last) or (bests[last] == best_value and sizes[last] == size):
                sizes[k] = size
                size /= 2
                x, x_before, g = best, best, best_gradient
            else:
                sizes[k] = size
            bests[k], last = best_value, k
        y = np.clip(x + np.float32(size) * np.sign(g), lower, upper)
        share = 1.0 if k == 0 else 0.75
        x, x_before = np.clip(x + share * (y - x) + (1 - share) * (x - x_before), lower, upper), x
        iterates.append(x)
        value, g = gradient(x)
        values.append(value)
        if value > best_value:
            best, best_value, best_gradient = x, value, g
    return best, best_value, iterates


def test_auto_pgd_equals_the_published_algorithm():
    # A rugged objective, so that steps are halved and points go back; one image per call, in plain Python.
    def rugged(x):
        return tf.reduce_sum(tf.sin(9.0 * x) + 0.5 * x, axis=[1, 2, 3])

    images = random_images(3)
    found = AutoPGD(epsilon=0.3, num_steps=40, start="input").maximize(rugged, images)
    for i, image in enumerate(images):
        lower, upper = np.clip(image - np.float32(0.3), 0, 1), np.clip(image + np.float32(0.3), 0, 1)
        best, best_value, iterates = auto_pgd_as_published(rugged, image, lower, upper, 0.3, 40)
        np.testing.assert_allclose(found.value[i], best_value, rtol=1e-4)
        np.testing.assert_allclose(found.images[i], best, atol=1e-3)
        np.testing.assert_allclose(found.last[i], iterates[-1], atol=1e-3)


def test_auto_pgd_checks_at_the_published_steps():
    # p = .22, .41, .57, .70, .80, .87, .93, .99, ...: with 100 steps at 22, 41, 57, 70, 80, 87, 93, 99.
    windows = keras.ops.convert_to_numpy(attack_windows(100))
    assert np.flatnonzero(windows).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert windows[windows > 0].tolist() == [22, 19, 16, 13, 10, 7, 6, 6]


def test_corner_start_is_a_corner():
    images = random_images()
    start = PGD(epsilon=0.2, num_steps=1, start="corner", seed=0).start_images(images).numpy()
    inside = (images > 0.2) & (images < 0.8)
    np.testing.assert_allclose(np.abs(start - images)[inside], 0.2, atol=1e-6)


@pytest.mark.parametrize("kind", [PGD, AutoPGD])
def test_curve_is_the_best_value_so_far(objective, kind):
    images = random_images()
    attack = kind(epsilon=0.2, num_steps=12, seed=0)
    recorded = attack.maximize(objective, images, record=True)
    assert recorded.curve.shape == (13, len(images))
    assert np.all(np.diff(recorded.curve, axis=0) >= 0)
    np.testing.assert_array_equal(recorded.curve[-1], recorded.value)
    assert attack.maximize(objective, images).curve is None


def test_attacks_share_the_graphs_of_one_objective(network):
    traces = []

    def counted(x):
        traces.append(1)
        return log_max_confidence(network(x, training=False))

    shared = Objective(counted)
    spec = tf.TensorSpec((None, 6, 6, 1), tf.float32)
    for attack in (PGD(num_steps=2, seed=0), PGD(num_steps=3, momentum=0.5, seed=0), AutoPGD(num_steps=4, seed=0)):
        maximize = tf.function(lambda x, a=attack: a.maximize(shared, x).value, autograph=False)
        maximize.get_concrete_function(spec)
    assert len(traces) == 2  # the value, and the value with its gradient


class Halving(LinfAttack):
    """An attack of one's own, as `LinfAttack` says to write one: sign steps that halve."""

    def rule(self, x, clip, num_steps):
        def move(t, x, value, gradient, best, is_better, size):
            return clip(x + size * tf.sign(gradient)), size / 2

        return [tf.constant(self.epsilon)], move


def test_an_attack_of_ones_own_defines_one_method():
    found = Halving(epsilon=0.25, num_steps=4, start="input").maximize(
        lambda x: -tf.reduce_sum((x - 0.5) ** 2, axis=1), tf.constant([[0.3, 0.1]]), record=True
    )
    # From .3: .55, then .425, .4875, .51875; the best is .4875. From .1 never above .35,
    # the end of its ball, where it is from the first step on.
    np.testing.assert_allclose(found.images, [[0.4875, 0.35]], atol=1e-6)
    assert found.curve.shape == (5, 1)
    with pytest.raises(NotImplementedError):
        LinfAttack(epsilon=0.25, num_steps=1).maximize(lambda x: x[:, 0], tf.zeros((1, 1)))
