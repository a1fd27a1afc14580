"""Whatever measures, exports or calls a network leaves it as it was, to the bit, and sees it in inference mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.toys import small

import keras_acet as ka
from keras_acet import classifiers
from keras_acet.penalties import ConfidencePenalty

layers = keras.layers
SHAPE = (6, 6, 1)
PROTOCOL = small(num_noise=2).replace(suite=lambda epsilon, *, seed=0: [TRIAL])
TRIAL = ka.evaluation.Trial("3 steps", ka.attack.PGD(epsilon=0.3, num_steps=3, seed=0))
MEASURED = ka.evaluation.measurements
MEASUREMENTS = [MEASURED.TestSet(), MEASURED.WorstCaseNoise(), MEASURED.Calibration()]


@pytest.fixture(scope="module")
def data():
    levels = np.random.default_rng(0).integers(0, 256, (60, *SHAPE), np.uint8)
    brightness = levels.mean((1, 2, 3))
    return ka.datasets.Data(
        name="mine",
        train=(levels, (brightness > np.median(brightness)).astype("int64")),
        batch_size=16,
        ood={},
        calibration_fraction=0.2,
    )


@keras.saving.register_keras_serializable("test_inference_mode")
class Own(keras.Model):
    """A network of one's own that leaves the mode to Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.RandomFlip(), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def sequential():
    """Random layers in front, as Keras' guides have it, and averages behind them."""
    front = [keras.Input(SHAPE), layers.RandomFlip(), layers.RandomRotation(0.2), layers.GaussianNoise(0.1)]
    behind = [layers.BatchNormalization(), layers.Flatten(), layers.Dropout(0.3), layers.Dense(2)]
    return keras.Sequential([*front, layers.Conv2D(4, 3), *behind])


def functional():
    inputs = keras.Input(SHAPE)
    x = keras.Sequential([layers.RandomContrast(0.5), layers.RandomTranslation(0.2, 0.2)])(inputs, training=True)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x), training=True)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


NETWORKS = {"sequential": sequential, "functional": functional, "own": Own}


def built(kind):
    keras.utils.set_random_seed(0)
    network = NETWORKS[kind]()
    network(np.zeros((1, *SHAPE), np.float32), training=False)
    return network


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network; at the end its weights and the seeds of its random layers must be what they were."""
    network = built(request.param)
    before = [np.array(variable) for variable in network.variables]
    yield network
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value, err_msg=variable.path)


def test_evaluate_and_check(network, data):
    function = classifiers.as_classifier(lambda images: network(images))  # tells the layers nothing
    expected = network(data.test_images, training=False)
    for model in (network, ka.ACETModel(network), function):
        found = classifiers.check(classifiers.as_classifier(model), data)
        np.testing.assert_allclose(found.logits(data.test_images), expected, atol=1e-5)
        ka.evaluate(model, data, PROTOCOL, measurements=MEASUREMENTS)


def test_attack_calibration_scores_and_serving(network, data):
    images = data.test_images
    penalty = ConfidencePenalty(ka.noise.PaperNoise(seed=1), ka.attack.PGD(num_steps=2, seed=2))
    penalty.sample(tf.constant(images), network)
    ka.attack.PGD(num_steps=2, seed=2).maximize(lambda x: penalty.attacked_logits(network, x)[:, 0], images)
    ka.evaluation.Attacker(network, images, images).run(ka.evaluation.published_attack(0.3))
    ka.scores.MaxSoftmax().observe(network)(tf.constant(images))
    for served in (network, lambda x: network(x)):
        model = ka.serving.ServingModel(served, image_shape=SHAPE, num_classes=2)
        first, again = (model.predict(data.test_images)["logits"] for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_interval_bounds_and_theory(data):
    parts = [layers.GaussianNoise(0.1), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.3)]
    network = keras.Sequential([keras.Input(SHAPE), *parts, layers.ReLU(), layers.Flatten(), layers.Dense(2)])
    before = [np.array(variable) for variable in network.variables]
    ka.theory.confidence_upper_bound(network, data.test_images[:2], 0.01)
    ka.theory.confidence_growth(network, num_directions=2)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


def test_calls_of_a_training_model(network, data):
    model = ka.ACETModel(network, ConfidencePenalty(ka.noise.PaperNoise(seed=1)))
    model.compile("adam")
    images = data.test_images
    np.testing.assert_array_equal(model(images), model(images))
    model.evaluate(images, data.test_labels, verbose=0)
    model.predict(images, verbose=0)


def test_export(network, data, tmp_path, monkeypatch):
    stage = pytest.importorskip("keras_acet.export.stage")
    monkeypatch.setattr(stage.verification, "verify", lambda *arguments: [])  # processes of its own
    version = ka.export_model(
        network, data, tmp_path, name="mine", formats=["savedmodel"], protocol=PROTOCOL, suite=PROTOCOL.suite
    )
    images = data.test_images
    served = tf.saved_model.load(version).signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(served["logits"], network(images, training=False), atol=1e-4)


def test_a_network_that_is_always_in_training_mode_is_refused_and_left_as_it_was(data):
    class Random(keras.Model):
        def __init__(self):
            super().__init__(name="random")
            self.noise, self.parts = layers.GaussianNoise(0.5), [layers.Flatten(), layers.Dense(2)]

        def call(self, x):
            return self.parts[1](self.parts[0](self.noise(x, training=True)))

    class Moving(keras.Model):
        def __init__(self):
            super().__init__(name="moving")
            self.norm, self.parts = layers.BatchNormalization(), [layers.Flatten(), layers.Dense(2)]

        def call(self, x):
            return self.parts[1](self.parts[0](self.norm(x, training=True)))

    for kind, message in ((Random, "random must "), (Moving, "moving must stay as it is when it classifies")):
        network = kind()
        network(np.zeros((1, *SHAPE), np.float32))
        before = [np.array(variable) for variable in network.variables]
        for model in (network, lambda x, network=network: network(x)):
            with pytest.raises(ValueError, match="training=True is the usual reason"):
                classifiers.check(classifiers.as_classifier(model), data)
        with pytest.raises(ValueError, match=message):
            ka.evaluate(network, data, small())
        for variable, value in zip(network.variables, before, strict=True):
            np.testing.assert_array_equal(np.array(variable), value)


def test_a_savedmodel_that_changes_its_weights_is_refused(data, tmp_path):
    norm, dense = layers.BatchNormalization(), layers.Dense(2)
    network = keras.Sequential([keras.Input(SHAPE), norm, layers.Flatten(), dense])
    module = tf.Module()
    module.network = network
    module.serve = tf.function(lambda x: network(x, training=True), [tf.TensorSpec((None, *SHAPE), tf.float32)])
    tf.saved_model.save(module, tmp_path / "model", signatures={"serving_default": module.serve})
    classifier = classifiers.load(tmp_path / "model")
    before = [variable.numpy() for variable in classifier.variables(SHAPE)]
    with pytest.raises(ValueError, match="model must stay as it is .* Received: a model that changes 2"):
        classifiers.check(classifier, data)
    for variable, value in zip(classifier.variables(SHAPE), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
