"""Mean, standard deviation and channels first before a classifier of others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import ProvableClassifier, classifiers, datasets, detectors, networks
from keras_acet._checks import Notice
from keras_acet.classifiers import Preprocessing, preprocessed
from keras_acet.networks import Interface

SHAPE = (4, 5, 3)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
IMAGES = np.random.default_rng(0).uniform(size=(12, *SHAPE)).astype(np.float32)
FOREIGN = ((IMAGES - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)  # as PyTorch has them


@pytest.fixture(scope="module")
def foreign():
    """Takes channels first; ends in a softmax."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3, 4, 5)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    return keras.Sequential(layers)


def save_onnx(path, network):
    onnx = pytest.importorskip("onnx")
    kernel, bias = network.get_weights()
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Flatten", ["x"], ["flat"]),
            node("Gemm", ["flat", "kernel", "bias"], ["z"]),
            node("Softmax", ["z"], ["p"], axis=1),
        ],
        "foreign",
        [value("x", 1, ["n", 3, 4, 5])],
        [value("p", 1, ["n", 4])],
        [onnx.numpy_helper.from_array(kernel, "kernel"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


@pytest.mark.parametrize("kind", ["keras", "function", "onnx"])
def test_what_stands_before_a_classifier(kind, foreign, tmp_path):
    model = foreign if kind == "keras" else foreign.__call__
    if kind == "onnx":
        save_onnx(tmp_path / "foreign.onnx", foreign)
        model = tmp_path / "foreign.onnx"
    classifier = classifiers.as_classifier(model)
    made = preprocessed(classifier, Preprocessing(mean=MEAN, std=STD, channels_first=True))
    expected = foreign(FOREIGN).numpy()
    assert made.logits(IMAGES) == pytest.approx(expected, abs=1e-5)
    assert made.image_shape == (None if kind == "function" else SHAPE)
    assert made.interface is None
    if kind != "onnx":
        assert np.asarray(made.network(tf.constant(IMAGES))) == pytest.approx(expected, abs=1e-5)
    assert preprocessed(classifier, Preprocessing()) is classifier


def test_channels_first_are_found_by_the_shape(foreign):
    labels = foreign(IMAGES.transpose(0, 3, 1, 2)).numpy().argmax(axis=1)
    data = datasets.Data(name="toy", train=(IMAGES, np.arange(12) % 4), test=(IMAGES, labels), batch_size=4)
    with pytest.warns(Notice) as told:
        checked = classifiers.check(classifiers.as_classifier(foreign), data)
    assert str(told[0].message) == f"{foreign.name} takes the channels first: its images are transposed"
    assert (checked.logits(IMAGES).argmax(axis=1) == labels).all()


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_a_foreign_classifier_is_protected_saved_and_loaded(kind, foreign, tmp_path):
    path = tmp_path / f"foreign.{kind}"
    foreign.save(path) if kind == "keras" else save_onnx(path, foreign)
    inner = preprocessed(classifiers.load(path), Preprocessing(mean=MEAN, std=STD, channels_first=True))
    inner = classifiers.loading.wrap(inner, Interface(outputs="probabilities"))
    provable = ProvableClassifier(inner, detectors.build("negative_head", SHAPE))
    provable.save(tmp_path / "protected")
    path.unlink()
    loaded = classifiers.load(tmp_path / "protected")
    probs = foreign(FOREIGN).numpy()
    assert (loaded.labels(IMAGES) == probs.argmax(axis=1)).all()
    assert loaded.logits(IMAGES) == pytest.approx(provable.logits(IMAGES), abs=1e-6)
    p_in = detectors.probability_in(loaded.detector.logits(IMAGES)).numpy()
    assert loaded.confidences(IMAGES) == pytest.approx(p_in * probs.max(axis=1) + (1 - p_in) / 4, abs=1e-5)


def test_refusals():
    with pytest.raises(TypeError, match="`mean` must be numbers"):
        Preprocessing(mean=0.5)
    with pytest.raises(ValueError, match="`std` must be positive and finite"):
        Preprocessing(std=(0.0,))
    with pytest.raises(ValueError, match="`mean` must be finite"):
        Preprocessing(mean=(float("nan"),))
    classifier = classifiers.as_classifier(networks.mlp(SHAPE, 4))
    with pytest.raises(ValueError, match="one number, or one for each of the 3 channels. Received: 2 of them"):
        preprocessed(classifier, Preprocessing(mean=(0.1, 0.2)))
