"""Detectors: values by hand, bounds that no point exceeds, and the far field."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import expit, log_softmax, softmax

from keras_acet import detectors, intervals, metrics
from keras_acet.attack import PGD
from keras_acet.detectors import NegativeHead, bounds
from keras_acet.detectors.base import pixel_box
from keras_acet.detectors.negative_head import assemble, excess_weight_for

SHAPES = [(5, 6, 2), (3,)]


def dense(kernel, bias, activation="relu"):
    layer = layers.Dense(len(bias), activation=activation)
    layer.build((None, len(kernel)))
    layer.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return layer


def by_hand(bias=0.0, excess_weight=None):
    """`g(x) = b - relu(x_1 - x_2) - relu(x_2 - x_1)`, less the excess: `b - |x_1 - x_2|` in the box."""
    chain = [dense([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0])]
    return NegativeHead(assemble((2,), chain, np.ones(2), bias, excess_weight))


def small(shape, seed=0, scale=2.0):
    """A detector with random weights and biases of some size, and open ReLUs."""
    draw = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    if len(shape) == 3:
        convolution = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", data_format="channels_last")
        chain = [convolution, layers.Flatten(), layers.Dense(7), layers.ReLU()]
    else:
        chain = [layers.Dense(6, activation="relu"), layers.Dense(5, activation="relu")]
    size = 7 if len(shape) == 3 else 5
    network = assemble(shape, chain, draw.uniform(0.1, 2, size), 2.0)
    for layer in chain:
        layer.set_weights([scale * w + draw.normal(scale=0.3, size=w.shape) for w in layer.get_weights()])
    return NegativeHead(network)


def exact(detector, images):
    """`g` in float64, by an implementation of its own."""
    network = intervals.PiecewiseAffine(detector.network)
    return np.concatenate([network(images[i : i + 5000]).numpy()[:, 0] for i in range(0, len(images), 5000)])


def corners(detector, image, radius, count=2000, seed=0):
    """Points of the ball that lie on corners of it, some of them up the gradient; also points inside."""
    draw = np.random.default_rng(seed)
    low, high = (end.numpy()[0] for end in pixel_box(tf.constant(image[None]), tf.constant(radius)))
    choice = draw.uniform(size=(count, *image.shape)) < draw.uniform(size=(count, *[1] * image.ndim))
    points = np.concatenate([np.where(choice, low, high), draw.uniform(low, high, choice.shape).astype(np.float32)])
    with tf.GradientTape() as tape:
        x = tf.constant(points.astype(np.float32))
        tape.watch(x)
        g = detector.logit(x)
    up = tape.gradient(g, x).numpy()
    return np.concatenate([points, np.where(up > 0, high, low)]).astype(np.float32)


def test_the_oracle_of_the_head():
    # b = 0, w = 0, h = (1, 2): g = -1 - 2 = -3, sigma(-3) = .0474, and .1 + .9 * .0474 = .1427.
    chain = [dense([[1.0, 2.0]], [0.0, 0.0])]
    detector = NegativeHead(assemble((1,), chain, np.exp([0.0, 0.0]), 0.0))
    g = detector.logits(np.array([[1.0]]))
    assert g.tolist() == [-3.0]
    assert detectors.probability_in(g).numpy() == pytest.approx([0.0474], abs=5e-5)
    assert detectors.confidence_bound_of(g, 10).numpy() == pytest.approx([0.1427], abs=5e-5)


@pytest.mark.parametrize("method", ["intervals", "linear"])
def test_the_bound_of_a_network_by_hand(method):
    # Around (.5, .5) within .1 each unit is at least 0: intervals know no more, and the bound is b, reached there.
    # Around (.9, .1) the difference is at least .8 - 2 * .1 = .6: the bound is b - .6, reached in a corner.
    bound = by_hand(bias=1.0).logit_bounds(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32), 0.1, method=method)
    assert bound == pytest.approx([1.0, 0.4], abs=1e-4)
    assert (bound >= [1.0, 0.4]).all()


def test_the_bias_adds_to_the_logit():
    x = np.array([[0.2, 0.7]], np.float32)
    assert by_hand(bias=3.0).logits(x) - by_hand(bias=1.0).logits(x) == pytest.approx([2.0], abs=1e-6)


def test_no_exact_allowance_in_training():
    # The training form bounds without an allowance: exact on the network by hand, and g itself at radius 0.
    form = by_hand(bias=1.0).training_form()
    low, high = tf.constant([[0.75, 0.0]]), tf.constant([[1.0, 0.25]])
    assert form.upper_bound(low, high).numpy().tolist() == [0.5]
    assert form.upper_bound(low, low).numpy().tolist() == form(low).numpy().tolist() == [0.25]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_point_exceeds_the_bound(shape):
    # Of each of 24 boxes 8,000 points, half of them corners: 192,000 in all.
    detector = small(shape)
    images = np.random.default_rng(0).uniform(size=(8, *shape)).astype(np.float32)
    for radius in (0.0, 0.1, 1.0):
        loose = detector.logit_bounds(images, radius)
        tight = detector.logit_bounds(images, radius, method="linear")
        assert (tight <= loose).all()
        assert (loose <= detector.limit + 1e-3).all()
        for image, bound in zip(images, tight, strict=True):
            points = corners(detector, image, radius)
            assert max(detector.logits(points).max(), exact(detector, points).max()) <= bound


def test_the_linear_bound_is_tighter_where_that_pays():
    detector, images = small((5, 6, 2)), np.random.default_rng(1).uniform(size=(50, 5, 6, 2)).astype(np.float32)
    gain = detector.logit_bounds(images, 0.05) - detector.logit_bounds(images, 0.05, method="linear")
    assert np.median(gain) > 0.1


def test_no_attack_exceeds_the_bound():
    detector, images = small((5, 6, 2), seed=5), np.random.default_rng(2).uniform(size=(40, 5, 6, 2))
    images = images.astype(np.float32)
    attack = PGD(epsilon=0.2, num_steps=60, step_size=0.02, seed=0)
    points = attack.maximize(detector.logit, tf.constant(images)).images.numpy()
    assert (detector.logits(points) <= detector.logit_bounds(images, 0.2, method="linear")).all()


@pytest.mark.parametrize("method", ["intervals", "linear"])
def test_the_allowance_covers_float32(method):
    # A box of one point: what is between bound and g in float64 is the allowance alone. The terms of the sums nearly
    # cancel, and in no order that would make them cancel exactly.
    draw = np.random.default_rng(0)
    half, order = draw.normal(size=(200, 30)) * 100, draw.permutation(400)
    kernel = np.concatenate([half, -half])[order].astype(np.float32)
    detector = NegativeHead(assemble((400,), [dense(kernel, np.zeros(30))], draw.uniform(size=30), 1.0))
    images = np.tile(draw.uniform(size=(500, 200)), 2)[:, order].astype(np.float32)
    point = tf.constant(images)
    bound = detector.upper_bound(point, point, method=method).numpy()
    computed, true = detector.logits(images), exact(detector, images)
    assert np.abs(computed - true).max() > 1e-4  # the rounding is there
    assert (bound >= computed).all()
    assert (bound >= true).all()
    # It is no larger than its formula says: 2 * 4 (n + 8) u sum |w| |x|, of the layer, and the head's weights on top.
    weights = -detector.network.get_layer("head").kernel.numpy()[:, 0]
    assert (bound - true <= 8 * 408 * 2.0**-24 * (images @ np.abs(kernel) @ weights) + 1e-2).all()


def test_the_interval_bound_agrees_with_float64():
    detector, images = small((5, 6, 2)), np.random.default_rng(3).uniform(size=(20, 5, 6, 2)).astype(np.float32)
    low, high = (end.numpy() for end in pixel_box(tf.constant(images), tf.constant(0.1)))
    other = intervals.interval_bounds(detector.network, low, high, unit_roundoff=0)[1].numpy()[:, 0]
    bound = detector.upper_bound(tf.constant(low), tf.constant(high)).numpy()
    assert (bound >= other).all()
    assert bound == pytest.approx(other, abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_closed_bound_holds_along_rays(shape):
    detector = small(shape)
    draw = np.random.default_rng(4)
    size = int(np.prod(shape))
    axes = np.concatenate([np.eye(size), -np.eye(size)]).reshape(-1, *shape)
    directions = np.concatenate([draw.uniform(-1, 1, (300, *shape)), draw.normal(size=(300, *shape)), axes])
    for alpha in (0.5, 1.0, 1.5, 3.0, 1e2, 1e4, 1e8):
        images = (alpha * directions).astype(np.float32)
        closed = detector.closed_bound(images)
        assert (detector.logits(images) <= closed).all()
        assert (exact(detector, images) <= closed).all()
    assert (closed < -1e6).all()


def test_an_excess_of_one_is_refused():
    for bias in (-5.0, 0.0, 3.0, 9.0):
        detector = by_hand(bias, None)
        assert detector.excess_weight == np.float32(excess_weight_for(bias))
        g = detector.closed_bound(np.array([[1.5, -0.5], [2.0, 1.0]]))
        assert (0.1 + 0.9 * expit(g) <= 0.12).all()


def test_boxes_outside_the_pixels_get_the_excess():
    detector = by_hand(bias=1.0, excess_weight=2.0)
    low, high = tf.constant([[1.5, -0.5], [0.5, 0.5]]), tf.constant([[2.0, -0.25], [3.0, 0.5]])
    # At (1.5, -.25): 1 - 1.75 - 2 * (.5 + .25) = -2.25, where every term of the bound is largest. The second box
    # touches the pixels.
    assert detector.upper_bound(low, high).numpy() == pytest.approx([-2.25, 1.0], abs=1e-3)


def test_the_joint_model_is_a_distribution_and_keeps_the_label():
    draw = np.random.default_rng(0)
    logits = draw.normal(scale=5, size=(200, 7)).astype(np.float32)
    for g in (-1e9, -80.0, -30.0, -18.0, 0.0, 5.0, 100.0):
        joint = detectors.joint_logits(tf.constant(logits), tf.fill((200,), g)).numpy()
        p_in = expit(g)
        expected = p_in * softmax(logits.astype(np.float64), axis=1) + (1 - p_in) / 7
        assert np.exp(log_softmax(joint, axis=1)) == pytest.approx(expected, abs=1e-6)
        assert (joint.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_confidence_is_never_above_its_bound():
    g = np.linspace(-40, 40, 20001).astype(np.float32)
    for num_classes in (2, 3, 7, 10, 100, 1000):
        logits = np.zeros((len(g), num_classes), np.float32)
        logits[:, 1] = 500
        joint = detectors.joint_logits(logits, tf.constant(g))
        bound = detectors.confidence_bound_of(tf.constant(g), num_classes).numpy()
        assert (metrics.max_confidence(joint.numpy()) <= bound).all()  # in float64
        assert (tf.reduce_max(tf.nn.softmax(joint), axis=1).numpy() <= bound + 2.0**-23 * (bound == 1)).all()
        true = 1 / num_classes + (1 - 1 / num_classes) * expit(g.astype(np.float64))
        assert (true <= bound).all() and (bound - true).max() < 5e-6


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (65, 40, 3), (2,)])
def test_the_built_network_is_plain_and_kept(shape, tmp_path):
    detector = detectors.build("negative_head", shape)
    assert {type(layer).__module__.split(".")[0] for layer in detector.network.layers} == {"keras"}
    images = np.random.default_rng(0).uniform(-0.2, 1.2, (3, *shape)).astype(np.float32)
    detector.save(tmp_path / "detector.keras")
    loaded = NegativeHead.load(tmp_path / "detector.keras")
    assert (loaded.logits(images) == detector.logits(images)).all()
    assert (loaded.bias, loaded.excess_weight) == (detector.bias, detector.excess_weight)


def test_it_stays_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        detector = detectors.build("negative_head", (8, 8, 1))
        of_layers = [layer for layer in detector.network.layers if not isinstance(layer, layers.InputLayer)]
        assert {layer.compute_dtype for layer in of_layers} == {"float32"}
        assert detector.logit(tf.zeros((1, 8, 8, 1))).dtype == tf.float32
        assert detector.training_form()(tf.zeros((1, 8, 8, 1))).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(before)


def test_the_training_form_is_the_network():
    detector = small((5, 6, 2))
    images = np.random.default_rng(0).uniform(size=(6, 5, 6, 2)).astype(np.float32)
    form = detector.training_form()
    assert form(tf.constant(images)).numpy() == pytest.approx(detector.logits(images), abs=1e-4)
    trained = form.trained()
    assert trained.logits(images) == pytest.approx(detector.logits(images), abs=1e-4)
    assert trained.excess_weight == np.float32(excess_weight_for(trained.bias))


def test_refusals(tmp_path):
    detector = by_hand()
    with pytest.raises(ValueError, match="`radius` must be at least 0"):
        detector.logit_bounds(np.zeros((1, 2)), -0.1)
    with pytest.raises(TypeError, match="`radius` must be a number"):
        detector.logit_bounds(np.zeros((1, 2)), "0.1")
    with pytest.raises(ValueError, match="`method` must be one of"):
        detector.logit_bounds(np.zeros((1, 2)), 0.1, method="crown")
    with pytest.raises(ValueError, match="A detector must be one of"):
        detectors.build("positive_head", (2,))
    with pytest.raises(ValueError, match="needs images of shape"):
        detectors.build("negative_head", (2, 3))
    with pytest.raises(TypeError, match="`network` must be a keras.Model"):
        NegativeHead("model")
    with pytest.raises(ValueError, match="with the layers `head` and `excess`"):
        NegativeHead(keras.Sequential([keras.Input((2,)), layers.Dense(1)]))
    with pytest.raises(ValueError, match="must be the .keras file of a detector"):
        NegativeHead.load(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="`num_classes` must be at least 2"):
        detectors.confidence_bound_of(tf.zeros(1), 1)
    detector.network.get_layer("head").set_weights([np.array([[1.0], [-1.0]]), np.zeros(1)])
    with pytest.raises(ValueError, match="weights of at most 0"):
        NegativeHead(detector.network)


def test_another_graph_of_the_same_layers_is_refused():
    network = by_hand(1.0).network
    layers_of = {layer.name: layer for layer in network.layers}
    (hidden,) = (layer for name, layer in layers_of.items() if name.startswith("dense"))
    inputs = keras.Input((2,))
    g = layers_of["head"](hidden(layers.Dense(2, name="excess_hidden")(inputs)))
    excess = layers_of["excess"](layers_of["excess_sides"]([inputs, inputs]))
    with pytest.raises(ValueError, match="in order, less `excess`"):
        NegativeHead(keras.Model(inputs, layers.Add()([g, excess])))


def test_unknown_layers_are_refused():
    for layer in (layers.Dense(2, "tanh"), layers.LeakyReLU()):
        layer.build((None, 2))
        with pytest.raises(ValueError, match="A detector must be a chain of Conv2D"):
            bounds.links([layer])


def test_all_corners_of_a_small_box():
    # Every corner of a box in R^3, among which the largest value of a function that is convex somewhere lies.
    for seed in range(4):
        detector = small((3,), seed)
        image = np.random.default_rng(seed).uniform(size=(1, 3)).astype(np.float32)
        low, high = (end.numpy()[0] for end in pixel_box(tf.constant(image), tf.constant(0.2)))
        points = np.array(list(itertools.product(*zip(low, high, strict=True))), np.float32)
        assert detector.logits(points).max() <= detector.logit_bounds(image, 0.2, method="linear")[0]
