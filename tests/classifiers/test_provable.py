"""A classifier with a detector: the classifier's labels, a bound that no confidence exceeds, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

from keras_acet import ProvableClassifier, classifiers, detectors, networks
from keras_acet._checks import Notice
from keras_acet.detectors.negative_head import NegativeHead

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(3)
    made = detectors.build("negative_head", SHAPE)
    for layer in (made.network.layers[i] for i in range(len(made.network.layers))):
        if layer in made.chain and layer.weights:
            layer.set_weights([3 * weight for weight in layer.get_weights()])
    return NegativeHead(made.network)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(4)
    return networks.mlp(SHAPE, 3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(60, *SHAPE)).astype(np.float32)


def test_the_joint_model(detector, network, images):
    provable = ProvableClassifier(network, detector)
    own = classifiers.as_classifier(network).logits(images)
    p_in = expit(detector.logits(images).astype(np.float64))[:, None]
    expected = p_in * softmax(own.astype(np.float64), axis=1) + (1 - p_in) / 3
    assert softmax(provable.logits(images), axis=1) == pytest.approx(expected, abs=1e-6)
    assert provable.confidences(images) == pytest.approx(expected.max(axis=1), abs=1e-6)
    assert (provable.labels(images) == own.argmax(axis=1)).all()
    assert (provable.logits(images).argmax(axis=1) == own.argmax(axis=1)).all()
    assert provable.image_shape == SHAPE and provable.num_classes == 3


def test_the_label_is_the_classifier_s_where_the_mixture_rounds_to_a_tie(network, images):
    sure_of_nothing = detectors.build("negative_head", SHAPE)
    head = sure_of_nothing.network.get_layer("head")
    head.set_weights([head.get_weights()[0], np.array([-200.0])])
    provable = ProvableClassifier(network, NegativeHead(sure_of_nothing.network))
    assert np.ptp(softmax(provable.logits(images), axis=1)) < 1e-6
    own = classifiers.as_classifier(network).logits(images)
    assert (provable.labels(images) == own.argmax(axis=1)).all()
    assert (provable.logits(images).argmax(axis=1) == own.argmax(axis=1)).all()


@pytest.mark.parametrize("method", ["intervals", "linear"])
def test_no_confidence_exceeds_the_bound(detector, images, method):
    # A classifier that is sure of everything.
    provable = ProvableClassifier(lambda x: tf.one_hot(tf.zeros(tf.shape(x)[0], tf.int32), 3) * 99, detector)
    provable = ProvableClassifier(provable.classifier, detector, num_classes=3)
    draw = np.random.default_rng(1)
    for radius in (0.0, 0.02, 0.3):
        bound = provable.confidence_bound(images, radius, method=method)
        for _ in range(20):
            near = np.clip(images + radius * draw.choice([-1, 1, 0.3], images.shape), 0, 1).astype(np.float32)
            assert (provable.confidences(near) <= bound).all()
    assert (provable.confidences(images) <= provable.confidence_bound(images, 0)).all()


def test_the_bound_survives_temperature(detector, network, images):
    bound = ProvableClassifier(network, detector).confidence_bound(images, 0.1)
    for temperature in (1e-3, 0.5, 40.0):
        provable = ProvableClassifier(network, detector, temperature=temperature)
        assert (provable.confidence_bound(images, 0.1) == bound).all()
        assert (provable.confidences(images) <= bound).all()


def test_the_closed_bound_far_away(detector, network):
    provable = ProvableClassifier(network, detector)
    draw = np.random.default_rng(0)
    directions = np.concatenate([draw.normal(size=(100, *SHAPE)), draw.uniform(-1, 1, (100, *SHAPE))])
    for alpha in (1.0, 2.0, 1e3, 1e8):
        far = (alpha * directions).astype(np.float32)
        assert (provable.confidences(far) <= provable.closed_bound(far)).all()
    assert provable.closed_bound(far) == pytest.approx(np.full(200, 1 / 3), abs=1e-5)


def test_a_network_that_can_be_attacked(detector, network, images):
    provable = ProvableClassifier(network, detector)
    assert provable.is_differentiable
    assert provable.network(tf.constant(images)).numpy() == pytest.approx(provable.logits(images), abs=1e-5)
    assert not ProvableClassifier(_NoGradients(), detector).is_differentiable
    assert ProvableClassifier(_NoGradients(), detector).network is None


class _NoGradients(classifiers.Classifier):
    description = "numbers"
    kind = "keras"

    def __init__(self):
        super().__init__(num_classes=3)

    def logits(self, images):
        return np.tile(images.mean(axis=(1, 2, 3), keepdims=False)[:, None], 3).astype(np.float32)


def test_saved_loaded_and_used_with_another_classifier(detector, network, images, tmp_path):
    provable = ProvableClassifier(network, detector, temperature=2.0)
    provable.save(tmp_path / "protected")
    loaded = classifiers.load(tmp_path / "protected")
    assert isinstance(loaded, ProvableClassifier) and loaded.temperature == 2.0 and loaded.name == "protected"
    assert loaded.sha256 and loaded.sha256 == classifiers.load(tmp_path / "protected").sha256
    assert (loaded.logits(images) == provable.logits(images)).all()
    assert (loaded.confidence_bound(images, 0.1) == provable.confidence_bound(images, 0.1)).all()

    other = ProvableClassifier(networks.mlp(SHAPE, 5), loaded.detector)
    bound = other.confidence_bound(images, 0.1)
    assert bound.min() >= 0.2 and (other.confidences(images) <= bound).all()


def save_onnx(path):
    onnx = pytest.importorskip("onnx")
    kernel = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["images"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "kernel"], ["logits"]),
        ],
        "foreign",
        [value("images", 1, ["batch", *SHAPE])],
        [value("logits", 1, ["batch", 3])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=100,
    )


def test_an_onnx_file_is_protected(detector, images, tmp_path):
    path = tmp_path / "foreign.onnx"
    save_onnx(path)
    provable = ProvableClassifier(path, detector)
    assert provable.network is None
    provable.save(tmp_path / "protected")
    path.unlink()
    (tmp_path / "weights.bin").unlink()
    loaded = classifiers.load(tmp_path / "protected")
    assert loaded.is_foreign
    assert (loaded.labels(images) == provable.labels(images)).all()


def test_a_savedmodel_is_protected(detector, network, images, tmp_path):
    network.export(tmp_path / "foreign", verbose=False)
    ProvableClassifier(tmp_path / "foreign", detector).save(tmp_path / "protected")
    loaded = classifiers.load(tmp_path / "protected")
    own = classifiers.as_classifier(network).logits(images)
    assert (loaded.labels(images) == own.argmax(axis=1)).all()


def test_refusals(detector, network, images, tmp_path):
    with pytest.raises(TypeError, match="`detector` must be a detector"):
        ProvableClassifier(network, network)
    with pytest.raises(TypeError, match="A classifier must be a keras.Model"):
        ProvableClassifier(3, detector)
    with pytest.raises(TypeError, match="`temperature` must be a number"):
        ProvableClassifier(network, detector, temperature="1")
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        ProvableClassifier(network, detector, temperature=0)
    with pytest.raises(ValueError, match="must take images of the shape of the classifier's"):
        ProvableClassifier(networks.mlp((4, 4, 1), 3), detector)
    function = ProvableClassifier(lambda x: x[:, 0, :3, 0], detector)
    with pytest.raises(ValueError, match="`num_classes` must be given"):
        function.confidence_bound(images, 0.1)
    with pytest.raises(ValueError, match="must have a file to be saved"):
        function.save(tmp_path / "function")
    with pytest.raises(ValueError, match=r"`images` must be in \[0, 1\]"):
        ProvableClassifier(network, detector).confidence_bound(2 * images, 0.1)
    ProvableClassifier(network, detector).save(tmp_path / "a")
    facts = tmp_path / "a" / "provable.json"
    facts.write_text(facts.read_text().replace("classifier.keras", "../b.keras"))
    with pytest.raises(ValueError, match="must name a file beside it"):
        classifiers.load(tmp_path / "a")
    facts.write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        classifiers.load(tmp_path / "a")


@pytest.mark.parametrize("scales", [True, False])
def test_of_a_model_of_bytes_and_probabilities(detector, images, scales, tmp_path):
    keras.utils.set_random_seed(5)
    first = [keras.layers.Rescaling(1 / 255)] if scales else []
    last = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input(SHAPE), *first, *last])
    kernel, _ = model.layers[-1].get_weights()
    bias = np.array([0.0, 0.0, 3.0]) if scales else np.array([0.0, 0.0, 90.0])
    model.layers[-1].set_weights([kernel * (9 if scales else 1), bias])
    model.save(tmp_path / "mine.keras")
    own = model.predict(255 * images, verbose=0)
    assert len(set(own.argmax(axis=1))) > 1
    if scales:
        with pytest.warns(Notice, match="takes pixels in 0..255, .* and it gives probabilities"):
            provable = ProvableClassifier(tmp_path / "mine.keras", detector)
    else:
        with (
            pytest.warns(Notice, match="gives probabilities"),
            pytest.warns(Notice, match=r"several for them in 0..255; .* give `inputs='bytes'`"),
        ):
            ProvableClassifier(tmp_path / "mine.keras", detector)
        with pytest.warns(Notice, match="gives probabilities"):
            provable = ProvableClassifier(tmp_path / "mine.keras", detector, inputs="bytes")
    assert (provable.labels(images) == own.argmax(axis=1)).all()
    assert softmax(provable.classifier.logits(images), axis=1) == pytest.approx(own, abs=1e-5)
    provable.save(tmp_path / "both")
    assert (classifiers.load(tmp_path / "both").labels(images) == own.argmax(axis=1)).all()
    with pytest.raises(ValueError, match="must be left out .* known to go from images in 0..255"):
        ProvableClassifier(provable.classifier, detector, outputs="logits")
