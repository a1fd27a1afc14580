"""Classifiers that take pixels in 0..255, or give probabilities."""

import contextlib
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.toys import small

import keras_acet as ka
from keras_acet import classifiers, evaluation, networks
from keras_acet._checks import Notice
from keras_acet.networks import Interface, wrapped
from keras_acet.networks.interface import kind_of_last_operation, takes_bytes

layers = keras.layers
SHAPE = (4, 4, 1)


def bright(logits=False, scale=1.0, slope=40.0):
    """Two classes, dark and bright: right about images around a mean of half of `1 / scale`."""
    last = layers.Dense(2, activation=None if logits else "softmax")
    front = [layers.Rescaling(scale)] if scale != 1 else []
    network = keras.Sequential([keras.Input(SHAPE), *front, layers.GlobalAveragePooling2D(), last], name="bright")
    last.set_weights([np.array([[-slope, slope]], np.float32), np.array([slope / 2, -slope / 2], np.float32)])
    return network


@pytest.fixture(scope="module")
def data():
    draw = np.random.default_rng(0)
    labels = np.arange(100) % 2
    images = (0.3 + 0.4 * labels)[:, None, None, None] + draw.uniform(-0.1, 0.1, (100, *SHAPE))
    return ka.datasets.Data(name="toy", train=(images.astype("float32"), labels), batch_size=10, ood={})


@contextlib.contextmanager
def told():
    """The lines that the library tells in the meantime."""
    lines = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lines
    lines += [str(one.message) for one in caught]


def checked(model, data, **arguments):
    """The classifier as `check` gives it back, and the lines it tells."""
    with told() as lines:
        found = classifiers.check(classifiers.as_classifier(model), data, **arguments)
    return found, lines


def test_a_softmax_at_the_end_is_undone(data):
    plain, ending = bright(logits=True), bright()
    found, lines = checked(ending, data)
    assert lines == [
        "bright gives probabilities, so their logarithms are taken for logits; `inputs=...` and `outputs=...` would "
        "decide otherwise"
    ]
    # log softmax(z) differs from z by the same number for both classes.
    for images in (data.test_images, (255 * data.test_images).astype(np.uint8)):
        logits, expected = found.logits(images), classifiers.as_classifier(plain).logits(images)
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], atol=1e-3)
    assert isinstance(found, classifiers.KerasClassifier) and found.is_differentiable
    assert checked(found, data) == (found, [])


def test_pixels_in_0_255_are_recognised_by_accuracy(data):
    for front in ([layers.Rescaling(1 / 255)], []):
        bytes_in = bright(logits=True, scale=1 / 255) if front else bright(logits=True, slope=40 / 255)
        if not front:  # the same function, of which nothing but accuracy tells
            bytes_in.layers[-1].set_weights([bytes_in.layers[-1].get_weights()[0], np.array([20.0, -20.0])])
        found, lines = checked(bytes_in, data)
        assert len(lines) == 1 and "takes pixels in 0..255, so they are multiplied by 255" in lines[0]
        expected = classifiers.as_classifier(bright(logits=True)).logits(data.test_images)
        np.testing.assert_allclose(found.logits(data.test_images), expected, rtol=1e-4, atol=1e-4)


def test_what_is_told_decides(data):
    as_logits, lines = checked(bright(), data, outputs="logits")
    assert not lines and as_logits.logits(data.test_images).max() <= 1
    assert checked(as_logits, data) == (as_logits, [])
    scaled = classifiers.as_classifier(bright(logits=True, scale=1 / 255), inputs="unit")
    found, lines = checked(scaled, data)
    logits = found.logits(data.test_images)
    assert np.ptp(logits, axis=0).max() < 1 and not lines
    with pytest.raises(ValueError, match=r"`inputs` must be one of \('unit', 'bytes'\). Received: inputs='0..255'"):
        classifiers.as_classifier(bright(), inputs="0..255")
    with pytest.raises(ValueError, match="must be left out for bright, which is known"):
        classifiers.as_classifier(scaled, outputs="logits")


def test_functions_savedmodels_and_subclassed_models_are_wrapped_too(data, tmp_path):
    network = bright(scale=1 / 255)

    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.inner = network

        def call(self, images):
            return self.inner(images)

    saved = tf.Module()
    saved.network = network
    saved.serve = tf.function(lambda x: network(x, training=False), [tf.TensorSpec((None, *SHAPE), tf.float32)])
    tf.saved_model.save(saved, tmp_path / "model", signatures={"serving_default": saved.serve})
    expected = classifiers.as_classifier(bright(logits=True)).logits(data.test_images)
    for model in (lambda x: network(x), Own(), tmp_path / "model"):
        found, lines = checked(model, data)
        assert "takes pixels in 0..255" in lines[0] and "gives probabilities" in lines[0]
        logits = found.logits(data.test_images)
        np.testing.assert_allclose(np.diff(logits), np.diff(expected), atol=1e-3)
        assert (found.network is None) == (model == tmp_path / "model")


def test_one_output_becomes_two(data):
    for activation in ("sigmoid", None):
        last = layers.Dense(1, activation=activation)
        network = keras.Sequential([keras.Input(SHAPE), layers.GlobalAveragePooling2D(), last], name="one")
        last.set_weights([np.array([[40.0]]), np.array([-20.0])])
        found, lines = checked(network, data)
        logits = found.logits(data.test_images)
        what = "a probability" if activation else "a logit"
        assert lines[0].startswith(f"one gives one number, which is taken for {what} of the second class")
        expected = 40 * data.test_images.mean((1, 2, 3)) - 20
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-3)
        assert (logits.argmax(axis=1) == data.test_labels).all()


def test_evaluate_wraps_and_tells_in_one_line(data):
    measurements = [ka.evaluation.measurements.TestSet(), ka.evaluation.measurements.Noise()]
    with told() as lines:
        evaluation = ka.evaluate(bright(scale=1 / 255), data, small(num_noise=4), measurements=measurements)
    assert len(lines) == 1 and "takes pixels in 0..255" in lines[0] and "\n" not in lines[0]
    expected = ka.evaluate(bright(logits=True), data, small(num_noise=4), measurements=measurements)
    assert evaluation["noise"].mmc.value == pytest.approx(expected["noise"].mmc.value, abs=1e-3)
    assert evaluation.result.test_error == expected.result.test_error


def test_zeros_stay_finite_and_have_a_finite_gradient():
    interface = Interface(outputs="probabilities")
    probabilities = tf.constant([[0.0, 1.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        logits = interface.to_logits(probabilities)
        # log of the smallest normal float32, 2^-126: -126 log 2 = -87.34.
        np.testing.assert_allclose(logits, [[-87.336, 0.0, -87.336]], rtol=1e-4)
        loss = tf.reduce_sum(tf.nn.log_softmax(logits))
    assert np.isfinite(tape.gradient(loss, probabilities)).all()
    np.testing.assert_allclose(tf.nn.softmax(interface.to_logits(tf.constant([[0.25, 0.75]]))), [[0.25, 0.75]])


def test_a_wrapped_network_is_made_of_stock_layers_and_shares_its_weights(tmp_path):
    network = bright(scale=1 / 255)
    model = wrapped(network, inputs="bytes", outputs="probabilities")
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.random.default_rng(0).random((3, *SHAPE), "float32")
    np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))
    assert model.name == "bright" and not takes_bytes(model)
    network.layers[-1].set_weights([np.zeros((1, 2)), np.zeros(2)])
    np.testing.assert_allclose(model.predict(x, verbose=0), np.log(0.5), rtol=1e-6)


def functional(*ends):
    x = inputs = keras.Input(SHAPE)
    for end in (layers.Flatten(), layers.Dense(3), *ends):
        x = end(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (functional(layers.Softmax()), "softmax"),
        (functional(layers.Activation("softmax")), "softmax"),
        (functional(layers.Dense(3, activation=tf.nn.softmax)), "softmax"),
        (functional(keras.ops.softmax), "softmax"),
        (functional(layers.Reshape((3,)), keras.Sequential([layers.Activation("softmax")])), "softmax"),
        (functional(layers.Activation("sigmoid")), "sigmoid"),
        (functional(keras.ops.sigmoid), "sigmoid"),
        (functional(layers.Dense(3, activation="hard_sigmoid")), "sigmoid"),
        (functional(), None),
        (functional(layers.ReLU()), None),
        (functional(layers.Activation("relu")), None),
        (functional(layers.Activation("log_softmax")), None),
        (functional(layers.Activation("tanh")), None),
        (functional(lambda x: x + 1), None),
        (networks.lenet((8, 8, 1), 3), None),
        (networks.rbf((2,), 3), None),
    ],
)
def test_a_last_softmax_or_sigmoid_is_recognised_by_its_values(network, kind):
    assert kind_of_last_operation(network) == kind


def front(*first, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *first, layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (front(), False),
        (front(layers.Rescaling(1 / 255)), True),
        (front(layers.Rescaling(1 / 127.5, offset=-1)), True),
        (front(layers.RandomFlip(), layers.Rescaling(1 / 255)), True),
        (front(keras.Sequential([layers.RandomFlip()]), keras.Sequential([layers.Rescaling(1 / 255)])), True),
        (front(layers.Normalization(mean=[123.7] * 3, variance=[3400.0] * 3)), True),
        (front(layers.Normalization(mean=[0.485] * 3, variance=[0.05] * 3)), False),
        (front(layers.Rescaling(255.0), layers.Normalization(mean=[123.7] * 3, variance=[3400.0] * 3)), False),
        (front(layers.Rescaling(2.0, offset=-1)), False),
        (front(layers.Rescaling(255.0), layers.Rescaling(1 / 255)), False),
        (lambda x: x, False),
    ],
)
def test_layers_that_scale_bytes_are_recognised(network, expected):
    assert takes_bytes(network) is expected


def test_networks_of_keras_applications_go_from_0_to_1():
    assert not takes_bytes(networks.build("MobileNetV3Small", (32, 32, 3), 2))
    assert takes_bytes(keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), classes=2))


def test_what_cannot_be_wrapped():
    with pytest.raises(TypeError, match="`network` must be a keras.Model. Received: function"):
        wrapped(lambda x: x)
    x, y = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(ValueError, match=re.escape("must have one input. Received: 2 of them. Build a model around")):
        wrapped(keras.Model([x, y], x + y))
    with pytest.raises(ValueError, match="Take the one with the logits: keras.Model.network.inputs, network.outputs"):
        wrapped(keras.Model(x, [x, x]))
    own = keras.Sequential([layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match="`image_shape` must be given for a network that does not know it"):
        wrapped(own)
    assert wrapped(own, image_shape=SHAPE).output_shape == (None, 2)


def test_a_notice_points_to_the_line_of_the_caller(data):
    """Past the context manager that decorates `evaluate`, and past the package."""
    with pytest.warns(Notice, match="gives probabilities") as caught:
        evaluation.evaluate(bright(), data, evaluation.Protocol(num_bootstrap=5), measurements=["test_set"])
    assert caught[0].filename == __file__
