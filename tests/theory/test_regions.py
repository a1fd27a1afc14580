import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.piecewise_networks import CLOSE, NETWORKS, make
from keras import layers

from keras_acet import theory

each_network = pytest.mark.parametrize("name", NETWORKS)


@each_network
def test_the_walker_computes_the_network(name):
    network, double = make(NETWORKS[name])
    walked = theory.PiecewiseAffine(network)
    x = np.random.default_rng(1).normal(size=(20, *walked.input_shape))
    np.testing.assert_allclose(walked(x), double(x), **CLOSE)
    assert walked.num_classes == network.outputs[0].shape[1]


@each_network
def test_a_region_is_where_its_affine_map_is_the_network(name):
    network, double = make(NETWORKS[name])
    walked = theory.PiecewiseAffine(network)
    rng = np.random.default_rng(2)
    x = rng.normal(size=walked.input_shape)
    slopes, offsets = theory.affine_map(walked, x)
    found = theory.region(walked, x)
    normals, distances = found.halfspaces()
    assert ((normals @ x.ravel() + distances) > 0).all()

    # From x in 1000 directions as far as the half-spaces go, at most 3.
    directions = rng.normal(size=(1000, x.size))
    with np.errstate(divide="ignore"):
        far = (normals @ x.ravel() + distances) / -(directions @ normals.T)
    far = np.where(far > 0, far, np.inf).min(axis=1, initial=3.0)
    inside = x.ravel() + directions * (far * rng.uniform(0, 1 - 1e-6, size=1000))[:, None]
    points = inside.reshape(-1, *x.shape)
    assert found.contains(points).all()
    np.testing.assert_allclose(inside @ slopes.T + offsets, double(points), **CLOSE)
    pattern = theory.activation_pattern(walked, np.concatenate([x[None], points]))
    assert (pattern == pattern[0]).all()

    # Beyond the half-spaces, and anywhere: another pattern where the region says no, the same where it says yes.
    beyond = x.ravel() + directions * np.where(far < 3, far * (1 + 1e-6), far)[:, None]
    anywhere = x.ravel() + directions * rng.choice([1e-3, 1e-2, 1e-1, 1], size=(1000, 1))
    points = np.concatenate([beyond, anywhere]).reshape(-1, *x.shape)
    is_inside = found.contains(points)
    assert is_inside[:1000].sum() == (far == 3).sum()
    np.testing.assert_array_equal(is_inside, (theory.activation_pattern(walked, points) == pattern[0]).all(axis=1))
    if name != "linear":
        assert not is_inside.all()


def test_max_pooling_in_three_dimensions():
    # TensorFlow has none in float64 to compare with; a maximum of float32 numbers is one of them.
    network = _with(layers.MaxPooling3D((2, 3, 2), strides=(1, 2, 2), padding="same"), (3, 5, 4, 2))
    network = keras.Model(network.inputs, network.layers[1].output)  # up to Flatten
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(theory.PiecewiseAffine(network)(x), network(tf.constant(x)))


def test_affine_maps_of_a_batch():
    network, double = make(NETWORKS["pools"])
    x = np.random.default_rng(0).normal(size=(4, 7, 7, 2))
    slopes, offsets = theory.affine_map(network, x)
    assert slopes.shape == (4, 3, 98) and offsets.shape == (4, 3)
    np.testing.assert_allclose(np.einsum("nkd,nd->nk", slopes, x.reshape(4, -1)) + offsets, double(x), **CLOSE)
    for i in range(4):
        one = theory.affine_map(network, x[i])
        np.testing.assert_allclose(slopes[i], one[0], **CLOSE)
        np.testing.assert_allclose(offsets[i], one[1], **CLOSE)


def test_an_empty_batch():
    network, _ = make(NETWORKS["pools"])
    none = np.zeros((0, 7, 7, 2))
    slopes, offsets = theory.affine_map(network, none)
    assert slopes.shape == (0, 3, 98) and offsets.shape == (0, 3)
    one = theory.activation_pattern(network, np.zeros((1, 7, 7, 2)))
    assert theory.activation_pattern(network, none).shape == (0, one.shape[1])
    assert theory.region(network, np.zeros((7, 7, 2))).contains(none).shape == (0,)
    assert theory.rays(network, none) == [] and theory.smallest_alpha(network, none).shape == (0,)


def test_the_papers_formula():
    """V = W3 S2 W2 S1 W1, a = W3 S2 (W2 S1 b1 + b2) + b3, S = diag(1[f > 0]); Q(x): sign(f_i) (V_i z + a_i) >= 0."""
    network, _ = make(NETWORKS["dense"])
    (w1, b1, w2, b2, w3, b3) = (np.asarray(w, np.float64) for w in network.get_weights())
    x = np.random.default_rng(0).normal(size=6)
    f1 = x @ w1 + b1
    s1 = np.diag(f1 > 0).astype(float)
    f2 = f1 @ s1 @ w2 + b2
    s2 = np.diag(f2 > 0).astype(float)
    slopes, offsets = theory.affine_map(network, x)
    np.testing.assert_allclose(slopes, (w1 @ s1 @ w2 @ s2 @ w3).T, **CLOSE)
    np.testing.assert_allclose(offsets, (b1 @ s1 @ w2 + b2) @ s2 @ w3 + b3, **CLOSE)
    normals, distances = theory.region(network, x).halfspaces()
    signs = np.sign(np.concatenate([f1, f2]))
    expected = np.concatenate([w1, w1 @ s1 @ w2], axis=1).T * signs[:, None]
    np.testing.assert_allclose(normals, expected, **CLOSE)
    np.testing.assert_allclose(distances, np.concatenate([b1, b1 @ s1 @ w2 + b2]) * signs, **CLOSE)


def test_where_regions_meet_one_of_them_is_taken():
    # max(x, 2 x, 0 x) and relu(x) at x = 0: the first winner, and the ReLU inactive.
    inputs = keras.Input((1,))
    x = layers.Reshape((3, 1))(layers.Dense(3, use_bias=False)(inputs))
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(x), layers.ReLU()(inputs)])
    network = keras.Model(inputs, x)
    network.set_weights([np.array([[1.0, 2.0, 0.0]])])
    slopes, offsets = theory.affine_map(network, np.zeros(1))
    assert slopes.tolist() == [[1.0], [0.0]] and offsets.tolist() == [0.0, 0.0]
    found = theory.region(network, np.zeros(1))
    # x - 2 x >= 0, x - 0 >= 0, -x >= 0: nothing but 0.
    assert sorted(found.halfspaces()[0].tolist()) == [[-1.0], [-1.0], [1.0]]
    assert found.contains([[-1e-3], [0.0], [1e-3]]).tolist() == [False, True, False]
    assert found.contains([[-1e-3], [0.0], [1e-3]], tolerance=1e-2).tolist() == [True, True, True]


def test_weights_are_read_at_each_call_and_have_gradients():
    network, _ = make(NETWORKS["dense"])
    walked = theory.PiecewiseAffine(network)
    x = np.ones((1, 6))
    before = walked(x).numpy()
    network.set_weights([2 * w for w in network.get_weights()])
    assert not np.allclose(walked(x), before)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(walked(x))
    gradients = tape.gradient(total, network.trainable_variables)
    np.testing.assert_allclose(gradients[-1], np.ones(3))


def _with(layer, shape=(4,)):
    return keras.Sequential([keras.Input(shape), layer, layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (layers.Dense(2, "softmax", name="last"), r"`last` \(Dense with activation softmax\)"),
        (layers.Activation("gelu", name="act"), r"`act` \(Activation with activation gelu\)"),
        (layers.Softmax(name="soft"), r"`soft` \(Softmax\)"),
        (layers.LayerNormalization(name="norm"), r"`norm` \(LayerNormalization\)"),
        (layers.ReLU(6.0, name="six"), r"`six` \(ReLU with max_value or threshold\)"),
    ],
)
def test_other_layers_are_named(layer, named):
    with pytest.raises(ValueError, match=named):
        theory.PiecewiseAffine(_with(layer))


def test_bad_arguments():
    network, _ = make(NETWORKS["dense"])
    with pytest.raises(TypeError, match=r"`network` must be a keras.Model. Received: function"):
        theory.affine_map(lambda x: x, np.zeros(6))
    with pytest.raises(ValueError, match=r"must have the shape \(6,\).*Received: \(5,\)"):
        theory.affine_map(network, np.zeros(5))
    with pytest.raises(ValueError, match=r"must have the shape \(6,\)"):
        theory.region(network, np.zeros((2, 6)))
    with pytest.raises(ValueError, match="must take inputs of a fixed shape"):
        theory.PiecewiseAffine(networks_without_size())
    with pytest.raises(ValueError, match=r"a built Sequential .* without inputs. Begin a Sequential with keras.Input"):
        theory.PiecewiseAffine(keras.Sequential([layers.Dense(2)]))
    pair = keras.Input((4,)), keras.Input((4,))
    two = keras.Model(pair, layers.Dense(2)(layers.Add()(pair)), name="two")
    with pytest.raises(ValueError, match="must have one input and one output. Received: two with 2 and 1"):
        theory.PiecewiseAffine(two)
    with pytest.raises(ValueError, match="channels first"):
        theory.PiecewiseAffine(_with(layers.MaxPooling2D(2, data_format="channels_first"), (1, 4, 4)))
    inputs = keras.Input((4,))
    training = keras.Model(inputs, layers.Dense(2)(layers.BatchNormalization(name="bn")(inputs, training=True)))
    with pytest.raises(ValueError, match=r"`bn` \(BatchNormalization\) must run in inference mode"):
        theory.PiecewiseAffine(training)


def _joined(join):
    inputs = keras.Input((4,))
    return keras.Model(inputs, join(inputs))


@pytest.mark.parametrize(
    ("join", "named"),
    [
        (lambda x: x - layers.ReLU()(x), r"`subtract\w*` \(Subtract\) of \(None, 4\), \(None, 4\)"),
        (lambda x: 2 * x, r"`multiply\w*` \(Multiply\).* layers.Rescaling\(2.0\) for `2 \* x`"),
        (lambda x: x[:, :2], r"`get_item\w*` \(GetItem\).*Use a layer in its place"),
        (
            lambda x: layers.GlobalMaxPooling1D()(layers.RepeatVector(4)(x) + x),
            r"of tensors of one rank. Received: .*\(Add\) of \(None, 4, 4\), \(None, 4\)",
        ),
        (lambda x: x + 1.5, r"\(Add\) must be called on outputs of layers alone. Received: also 1.5.*offset=constant"),
        (lambda x: layers.Add(name="sum")([x, np.ones((1, 4))]), r"`sum` \(Add\) must be .* Received: also array"),
        (lambda x: keras.activations.relu(x, max_value=6), "with max_value or threshold"),
        (lambda x: layers.Concatenate(axis=0)([x, x]), r"\(Concatenate along the batch axis\)"),
    ],
)
def test_operations_that_are_not_known_are_named(join, named):
    with pytest.raises(ValueError, match=named):
        theory.PiecewiseAffine(_joined(join))


def test_an_operation_of_ones_own_is_not_taken_for_that_of_keras():
    class Add(keras.Operation):
        def call(self, x):
            return 3 * x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape)

    with pytest.raises(ValueError, match=r"may hold of keras.ops only .*\(Add\)"):
        theory.PiecewiseAffine(_joined(Add()))


def test_layers_that_the_docstring_calls_unknown():
    for layer in (layers.AveragePooling3D(1), layers.UpSampling2D(), layers.UpSampling3D()):
        shape = (2, 2, 1) if type(layer) is layers.UpSampling2D else (2, 2, 2, 1)
        with pytest.raises(ValueError, match=type(layer).__name__):
            theory.PiecewiseAffine(_with(layer, shape))
    for layer in (layers.Subtract(), layers.Maximum()):
        with pytest.raises(ValueError, match=type(layer).__name__):
            theory.PiecewiseAffine(_joined(lambda x, layer=layer: layer([x, x])))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(bad):
    network = keras.Sequential([keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(2, name="last")])
    walked = theory.PiecewiseAffine(network)  # weights are checked when they are used
    kernel, bias = network.layers[1].get_weights()
    network.layers[1].set_weights([kernel, np.array([0.0, bad])])
    calls = [
        lambda f: theory.ray(f, np.ones(2)),
        lambda f: theory.affine_map(f, np.ones(2)),
        lambda f: theory.confidence_growth(f, num_directions=1),
        lambda f: theory.interval_bounds(f, np.zeros((1, 2)), np.ones((1, 2))),
        tf.function(lambda f: theory.interval_bounds(f, np.zeros((1, 2)), np.ones((1, 2)))),
    ]
    for call in calls:
        for either in (network, walked):
            with pytest.raises(ValueError, match="must be finite, and variances at least 0.* of the layer `last`"):
                call(either)
    network.layers[1].set_weights([kernel, bias])
    assert np.isfinite(theory.ray(walked, np.ones(2)).slope).all()


def test_a_negative_variance_is_named():
    network = _with(layers.BatchNormalization(name="norm"))
    network.layers[0].moving_variance.assign(-np.ones(4))
    with pytest.raises(ValueError, match="variances at least 0.* of the layer `norm`"):
        theory.region(network, np.ones(4))


def networks_without_size():
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))))


def test_a_wrapper_is_told_apart():
    from keras_acet import ACETModel

    with pytest.raises(ValueError, match=r"such as ACETModel pass the inner `.network`"):
        theory.PiecewiseAffine(ACETModel(NETWORKS["dense"]()))
