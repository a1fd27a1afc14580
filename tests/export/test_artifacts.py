"""The protocol of artifacts: one conformance test for all of them, and one of a user's own."""

import dataclasses
import inspect
import json
import pathlib
import sys
import types

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

import keras_acet as ka
from keras_acet import classifiers, datasets, evaluation
from keras_acet.attack import PGD
from keras_acet.export import artifacts, stage, verification
from keras_acet.export.artifacts import Artifact
from keras_acet.export.metadata import read
from keras_acet.scores import Score


def load_dense(path):
    """Two layers, guard and decision in NumPy alone."""
    import numpy as np

    with np.load(path) as archive:
        arrays = dict(archive)

    def run(signature, inputs):
        images = inputs["images"].reshape(-1, len(arrays["w0"]))
        inside = np.clip(images, 0, 1)
        usable = np.abs(images - inside).sum(axis=1) <= 1e-3  # false for nan
        logits = np.maximum(np.nan_to_num(inside) @ arrays["w0"] + arrays["b0"], 0) @ arrays["w1"] + arrays["b1"]
        logits = np.where(usable[:, None], logits, 0).astype(np.float32)
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / arrays["temperature"])
        probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        confidence = probabilities.max(axis=1)
        accepted = usable & (confidence >= inputs.get("threshold", arrays["threshold"]))
        found = {"label": logits.argmax(axis=1), "confidence": confidence, "probabilities": probabilities}
        return {**found, "logits": logits, "accepted": accepted}

    return run


class DenseWeights(Artifact):
    """Weights of a network of two dense layers as .npz, which NumPy runs."""

    name = "npz"
    file = "dense.npz"
    runtimes = {"numpy": load_dense}  # noqa: RUF012
    signatures = ("serving_default", "serving_threshold")

    def limits(self, source):
        kinds = [type(layer).__name__ for layer in source.classifier.network.layers]
        if kinds != ["Flatten", "Dense", "Dense"]:
            raise ValueError(f"npz holds networks of two dense layers. Received: {', '.join(kinds)}.")

    def write(self, folder, subject):
        names = ("w0", "b0", "w1", "b1")
        weights = dict(zip(names, subject.model.network.get_weights(), strict=True))
        numbers = {"temperature": subject.model.temperature, "threshold": np.float32(subject.model.threshold)}
        np.savez(folder / self.file, **weights, **numbers)


class WrongWeights(DenseWeights):
    """Its runtime computes with another temperature than the live model."""

    name = "wrong"
    file = "wrong.npz"

    def write(self, folder, subject):
        super().write(folder, subject)
        with np.load(folder / self.file) as archive:
            arrays = dict(archive)
        np.savez(folder / self.file, **{**arrays, "temperature": 2 * arrays["temperature"]})


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", batch_size=64, calibration_fraction=0.1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, digits):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(10)]
    network = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(digits.train, epochs=3, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("model") / "dense.keras"
    network.save(path)
    return classifiers.load(path)


QUICK = {
    "protocol": evaluation.Protocol(num_noise=8, num_images=100),
    "suite": lambda epsilon, *, seed=0: [evaluation.Trial("short", PGD(epsilon=epsilon, num_steps=5, seed=seed))],
}


def export(classifier, data, directory, formats, **arguments):
    return ka.export_model(classifier, data, directory, name="dense", formats=formats, **QUICK, **arguments)


def test_an_artifact_of_ones_own(classifier, digits, tmp_path):
    told = []
    version = export(classifier, digits, tmp_path, [DenseWeights()], progress=told.append)
    names = {path.name for path in version.iterdir()}
    assert names == {"dense.npz", "metadata.json", "verification.json", "MODEL_CARD.md"}
    (entry,) = json.loads((version / "verification.json").read_text())["artifacts"]
    assert (entry["runtime"], entry["file"]) == ("numpy", "dense.npz")
    assert {"test images, batch of 0", "worst-case noise", "a threshold of the request"} <= set(entry["cases"])
    assert not {"8-bit images", "encoded images, two of them broken"} & set(entry["cases"])
    test_error = json.loads((version / "metadata.json").read_text())["test_error"]
    assert entry["cases"]["test set"]["test_error"] == test_error["value"] and test_error["n"] == 100
    assert max(case["probabilities"] for case in entry["cases"].values()) <= 1e-5
    assert "dense.npz" in json.loads((version / "metadata.json").read_text())["artifacts"]
    assert "writing dense.npz" in told and "verifying dense.npz (numpy)" in told
    source = inspect.getsource(load_dense) + inspect.getsource(DenseWeights)
    assert len(source.splitlines()) <= 40 + 4, "as short as promised, docstrings and blank lines aside"


def test_a_live_model_in_one_line(classifier, digits, tmp_path, monkeypatch):
    network = keras.Model(classifier.network.inputs, classifier.network.outputs, name="mine")
    seen = []
    monkeypatch.setattr(stage, "new_version", lambda *arguments: seen.append(arguments) or _stop())
    with pytest.raises(_StopError):
        ka.export_model(ka.ACETModel(network, name="mine"), digits, tmp_path, **QUICK)
    assert seen == [(tmp_path / "mine", None)], "named as the model"
    assert ka.export.export is ka.export_model


def test_of_a_live_model_an_export_claims_what_it_knows(classifier, digits, tmp_path):
    network = keras.Sequential(classifier.network.layers, name="mine")
    version = ka.export_model(network, digits, tmp_path, formats=[DenseWeights()], threshold="conformal", **QUICK)
    assert version == tmp_path / "mine" / "1"
    about = read(version / "metadata.json")
    assert about.calibration.is_held_out is None is about.test_error.is_held_out
    assert all(rule.guarantee.startswith("None: the network may have been") for rule in about.thresholds)
    assert any("may have been part of it: then the test error" in note for note in about.notes)
    card = " ".join((version / "MODEL_CARD.md").read_text().split())
    assert "on images that it may have been trained on. At its threshold" in card
    assert "images that may have been part of the training. ##" in card
    known = classifiers.as_classifier(network).replace(trained_on=digits)
    about = read(ka.export_model(known, digits, tmp_path, formats=[DenseWeights()], **QUICK) / "metadata.json")
    assert about.calibration.is_held_out is True is about.test_error.is_held_out
    assert "A new image from the distribution" in about.thresholds[2].guarantee
    images, labels = digits.calibration_images, digits.calibration_labels
    data = datasets.Data(name="digits", train=(digits.train_images, digits.train_labels), batch_size=64)
    data = data.with_calibration(images, labels, source="held.npz")
    about = read(ka.export_model(network, data, tmp_path, formats=[DenseWeights()], **QUICK) / "metadata.json")
    assert (about.calibration.is_held_out, about.calibration.source) == (True, "held.npz")
    assert about.thresholds[2].guarantee.startswith("If the network was not trained on held.npz, as was said: ")
    assert any("are held.npz, given as kept out of training. Nothing here can check" in note for note in about.notes)
    assert any("of a fifth of each class of digits that was chosen here" in note for note in about.notes)


def test_a_model_that_changed_meanwhile_is_not_exported(classifier, digits, tmp_path, monkeypatch):
    network = keras.models.clone_model(classifier.network)
    network.set_weights(classifier.network.get_weights())
    write = stage._write

    def learning(*arguments):
        write(*arguments)
        network.layers[-1].bias.assign_add(1e-6 * np.ones(10))

    monkeypatch.setattr(stage, "_write", learning)
    with pytest.raises(verification.VerificationError, match="changed while it was measured and"):
        ka.export_model(network, digits, tmp_path, formats=[DenseWeights()], **QUICK)
    assert not list(tmp_path.iterdir())


def test_the_deployable_model_must_make_the_test_error_of_the_model():
    logits = np.array([[2.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    labels = np.array([0, 1, 0])
    for served in ([0, 0, 0], [0, 0, 1]):  # the third is at a tie
        verification.check_test_error(logits, np.array(served), labels)
    with pytest.raises(verification.VerificationError, match=r"of 100.00% where the model makes 33.33%, on 3"):
        verification.check_test_error(logits, np.array([1, 0, 1]), labels)


class _StopError(Exception):
    pass


def _stop():
    raise _StopError


def test_what_is_no_model_is_refused(digits, tmp_path):
    with pytest.raises(TypeError, match="must be a keras.Model, a function .*, or a `Classifier`. Received: int"):
        ka.export_model(3, digits, tmp_path)


def test_a_checkout_without_installation_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_acet.export", None)
    for name in ("export", "export_model"):
        monkeypatch.delitem(vars(ka), name, raising=False)
        with pytest.raises(ImportError, match="beside the package in a checkout. Run `pip install -e .` there once"):
            getattr(ka, name)


def test_a_wrong_one_is_refused_and_leaves_nothing(classifier, digits, tmp_path):
    with pytest.raises(verification.VerificationError, match=r"wrong.npz \(numpy\) .* test images.*: probabilities"):
        export(classifier, digits, tmp_path / "export", [DenseWeights(), WrongWeights()])
    assert list(tmp_path.iterdir()) == []


class Margin(Score):
    """The gap between the two largest logits."""

    name = "margin"
    lowest = 0.0

    def __call__(self, logits):
        largest = tf.math.top_k(logits, 2).values
        return largest[:, 0] - largest[:, 1]


def test_a_score_of_ones_own_decides(classifier, digits, tmp_path):
    protocol = dataclasses.replace(QUICK["protocol"], score=Margin())
    about = {"formats": ["onnx"], "name": "margin", **QUICK, "protocol": protocol}
    version = ka.export_model(classifier, digits, tmp_path, **about)
    metadata = read(version / "metadata.json")
    assert metadata.score == "margin" and metadata.threshold.value == metadata.thresholds[0].threshold
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    images = digits.test_images[:100].astype(np.float32)
    logits, score, accepted = session.run(["logits", "score", "accepted"], {"images": images})
    ordered = np.sort(logits, axis=1)
    np.testing.assert_allclose(score, ordered[:, -1] - ordered[:, -2], atol=1e-5)
    np.testing.assert_array_equal(accepted, score >= np.float32(metadata.threshold.value))
    assert 0 < accepted.mean() < 1
    with pytest.raises(ValueError, match="The demo page shows decisions by the confidence. Received: .* by margin"):
        ka.export.write_demo(version, tmp_path / "page")


class OfFeatures(Margin):
    name = "of_features"

    def observe(self, network):
        return lambda images: (network(images), network(images))


@pytest.mark.parametrize(
    ("score", "threshold", "message"),
    [
        (OfFeatures(), "95", "decides by a score of the logits. Received: of_features, which looks at something else"),
        (Margin(), -1.0, r"`threshold` must be in \[0, inf\), the range of the score margin"),
    ],
)
def test_scores_that_cannot_be_exported(classifier, digits, tmp_path, score, threshold, message):
    protocol = dataclasses.replace(QUICK["protocol"], score=score)
    with pytest.raises(ValueError, match=message):
        ka.export_model(classifier, digits, tmp_path, threshold=threshold, **{**QUICK, "protocol": protocol})


def test_limits_come_before_any_work(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "Measurements", lambda *arguments: pytest.fail("measured"))
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    network.save(tmp_path / "flat.keras")
    with pytest.raises(ValueError, match="npz holds networks of two dense layers. Received: Flatten, Dense."):
        export(classifiers.load(tmp_path / "flat.keras"), digits, tmp_path / "export", [DenseWeights()])
    assert not (tmp_path / "export").exists()


class Nameless(DenseWeights):
    name = ""


class WithoutSource(DenseWeights):
    runtimes = {"numpy": eval("lambda path: None")}  # noqa: RUF012


@pytest.mark.parametrize(
    ("formats", "error", "message"),
    [
        ([DenseWeights], TypeError, "must be an `export.artifacts.Artifact`, or the name of one. Received: <class"),
        ([3], TypeError, "Received: 3"),
        ([Nameless()], TypeError, "Nameless must have `name`"),
        ([WithoutSource()], TypeError, "A runtime must be a function whose source can be read"),
        ([DenseWeights(), DenseWeights()], ValueError, "must each have a name of their own. Received: npz, npz"),
        (["tflite"], ValueError, "`formats` must be some of int8, onnx, savedmodel. Received: tflite."),
        ([], ValueError, "Received: none."),
    ],
)
def test_bad_formats(formats, error, message):
    with pytest.raises(error, match=message):
        artifacts.chosen(formats)


@pytest.mark.parametrize("name", artifacts.names())
def test_conformance(name):
    (artifact,) = artifacts.chosen(name)
    assert artifact.name == name and pathlib.Path(artifact.file).name == artifact.file
    assert set(artifact.signatures) <= {"serving_default", "serving_threshold", "serving_uint8", "serving_bytes"}
    for load in artifact.runtimes.values():
        source = artifacts.base.source_of(load)
        compile(source, name, "exec")
        assert "keras_acet" not in source and "from ." not in source
    about = types.SimpleNamespace(name="it", input=types.SimpleNamespace(shape=[8, 8, 1]))
    for command in artifact.usage(pathlib.Path("it") / "1", about, "CLIENTS").values():
        assert command.startswith(("CLIENTS ", "docker "))


def test_what_a_runtime_does_not_define_is_told(tmp_path):
    def load(path):
        return lambda signature, inputs: pathlib.Path(path)  # imported outside

    case = verification.Case("nothing", "serving_default", {}, {})
    with pytest.raises(verification.VerificationError, match=r"\(here\): NameError: name 'pathlib' is not defined"):
        verification.run(tmp_path / "file", [case], "here", load)


def test_a_runtime_must_do_without_the_package(tmp_path):
    def load(path):
        import keras_acet

        return keras_acet

    with pytest.raises(verification.VerificationError, match="keras_acet was imported in a process that must do with"):
        verification.run(tmp_path / "file", [], "here", load)
