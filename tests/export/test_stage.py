import hashlib
import io
import json
import random
import re
import shlex
import shutil
import subprocess
import threading
import time

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image

from keras_acet import classifiers, datasets, evaluation, networks
from keras_acet.cli import export as command
from keras_acet.export import metadata as schema
from keras_acet.export import onnx_graph, stage, verification
from keras_acet.export.artifacts import savedmodel
from keras_acet.export.measuring import ImageSet
from keras_acet.serving import OUTPUTS, ServingModel

K = 10
SHAPE = (8, 8, 1)
PROTOCOL = evaluation.Protocol(num_noise=8, num_images=200)


def one_attack(epsilon, *, seed=0):
    return [evaluation.Trial("short", keras_attack(epsilon, seed))]


def keras_attack(epsilon, seed):
    from keras_acet.attack import PGD

    return PGD(epsilon=epsilon, num_steps=5, seed=seed)


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits", batch_size=64, calibration_fraction=0.3)


@pytest.fixture(scope="session")
def network_file(tmp_path_factory, digits):
    keras.utils.set_random_seed(0)
    network = networks.build("lenet", SHAPE, K)
    model = keras.Model(network.inputs, network.outputs)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits.train, epochs=3, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("model") / "digits.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def version(tmp_path_factory, network_file, digits):
    """A whole export, with an int8 variant."""
    directory = tmp_path_factory.mktemp("export")
    return stage.export_model(
        classifiers.load(network_file).replace(trained_on=digits),
        digits,
        directory,
        name="digits",
        formats=["savedmodel", "onnx", "int8"],
        protocol=PROTOCOL,
        suite=one_attack,
    )


@pytest.fixture(scope="session")
def metadata(version):
    return json.loads((version / "metadata.json").read_text())


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def runtimes(version):
    """Name -> function of images that returns a dict of outputs."""
    saved = tf.saved_model.load(str(version))
    served = saved.signatures["serving_default"]

    def by_tensorflow(images):
        return {name: tensor.numpy() for name, tensor in served(images=tf.constant(images)).items()}

    by_tensorflow.model = saved
    found = {"savedmodel": by_tensorflow}
    for name in ("model", "model.int8"):
        loaded = session(version / f"{name}.onnx")
        found[name] = lambda images, loaded=loaded: dict(
            zip(OUTPUTS, loaded.run(list(OUTPUTS), {"images": images}), strict=True)
        )
    return found


RUNTIMES = pytest.mark.parametrize("runtime", ["savedmodel", "model", "model.int8"])


def test_a_version_holds_everything(version):
    names = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert version.name == "1" and version.parent.name == "digits"
    assert names == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets/metadata.json",
        "assets.extra/tf_serving_warmup_requests",
        "model.onnx",
        "model.int8.onnx",
        "metadata.json",
        "MODEL_CARD.md",
        "verification.json",
    }
    assert [path.name for path in version.parent.parent.iterdir()] == ["digits"], "nothing hidden is left"


def test_weights_are_stored_once(version, network_file):
    weights = sum(variable.numpy().nbytes for variable in keras.saving.load_model(network_file).variables)
    assert (version / "variables" / "variables.data-00000-of-00001").stat().st_size < 1.05 * weights
    assert (version / "model.int8.onnx").stat().st_size < 0.35 * weights < (version / "model.onnx").stat().st_size / 2


def test_verification_covers_every_artifact(version):
    verified = json.loads((version / "verification.json").read_text())
    runs = {(entry["file"], entry["runtime"]): entry["cases"] for entry in verified["artifacts"]}
    assert set(runs) == {
        ("saved_model.pb", "tensorflow"),
        ("saved_model.pb", "tensorflow session"),
        ("model.onnx", "onnxruntime"),
        ("model.int8.onnx", "onnxruntime"),
    }
    always = {f"test images, batch of {size}" for size in (0, 1, 7, 64, 200)}
    always |= {"test set", "noise", "worst-case noise", "guard cases among test images", "a threshold of the request"}
    only_savedmodel = {"8-bit images", "encoded images, two of them broken"}
    for (file, _), cases in runs.items():
        assert set(cases) == always | (only_savedmodel if file == "saved_model.pb" else set())
        assert all(case["probabilities"] <= 1e-5 and case["confidence"] <= 1e-5 for case in cases.values())
        assert cases["guard cases among test images"]["images"] == 32
        assert cases["test set"]["images"] == 200 and ("test_error" in cases["test set"])
    assert all(entry["empty_batch"] for entry in verified["artifacts"] if entry["runtime"] == "onnxruntime")


def test_the_same_metadata_everywhere(version, metadata, runtimes):
    artifacts = metadata.pop("artifacts") if "artifacts" in metadata else None
    assert json.loads((version / "assets" / "metadata.json").read_text()) == metadata
    constants = runtimes["savedmodel"].model.signatures["metadata"]()
    assert json.loads(constants["json"].numpy()) == metadata
    assert float(constants["temperature"]) == np.float32(metadata["temperature"])
    assert float(constants["threshold"]) == np.float32(metadata["threshold"]["value"])
    assert [name.decode() for name in constants["class_names"].numpy()] == metadata["data"]["class_names"]
    own = {name: value for name, value in metadata["variants"]["int8"].items() if name != "file"}
    for name, expected in (("model.onnx", metadata), ("model.int8.onnx", {**metadata, **own})):
        assert json.loads(session(version / name).get_modelmeta().custom_metadata_map["metadata"]) == expected
    metadata["artifacts"] = artifacts


def test_digests(version, metadata):
    files = {p.relative_to(version).as_posix() for p in version.rglob("*") if p.is_file()} - {"metadata.json"}
    assert set(metadata["artifacts"]) == files
    for name, digest in metadata["artifacts"].items():
        assert hashlib.sha256((version / name).read_bytes()).hexdigest() == digest


def test_the_documented_schema(version, metadata):
    assert metadata["schema_version"] == 1
    assert schema.read(version / "metadata.json").to_json() == metadata
    for place in (metadata, metadata["data"], metadata["input"], metadata["variants"]["int8"]):
        for name in place:
            assert re.search(rf"^ *{name}: .", schema.__doc__, re.MULTILINE), name


@RUNTIMES
def test_metadata_says_what_the_artifact_does(runtime, runtimes, metadata, digits):
    numbers = metadata["variants"]["int8"] if runtime == "model.int8" else metadata
    chosen = np.sort(np.random.default_rng(0).permutation(len(digits.test_labels))[:200])
    images, labels = digits.test_images[chosen].astype(np.float32), digits.test_labels[chosen]
    outputs = runtimes[runtime](images)
    test = next(row for row in numbers["confidence"] if row["kind"] == "test")
    assert test["mmc"] == pytest.approx(outputs["confidence"].mean(), abs=1e-5)
    assert test["accepted"] == pytest.approx(outputs["accepted"].mean(), abs=1 / 200)
    assert numbers["test_error"]["value"] == pytest.approx((outputs["label"] != labels).mean(), abs=1 / 200)
    np.testing.assert_allclose(
        outputs["probabilities"], tf.nn.softmax(outputs["logits"] / numbers["temperature"]), atol=1e-5
    )


@RUNTIMES
def test_temperature_and_thresholds_come_from_the_calibration_images(runtime, runtimes, metadata, digits):
    from keras_acet import calibration

    numbers = metadata["variants"]["int8"] if runtime == "model.int8" else metadata
    images, labels = digits.calibration_images.astype(np.float32), digits.calibration_labels
    logits = runtimes[runtime](images)["logits"]
    expected = calibration.calibrate(logits, labels, logits, labels)
    assert numbers["temperature"] == pytest.approx(expected.temperature, rel=1e-4)
    for row, other in zip(numbers["thresholds"], expected.thresholds, strict=True):
        assert row["threshold"] == pytest.approx(other.threshold, abs=2e-5)
    assert numbers["threshold"] == {"name": "95", "value": numbers["thresholds"][0]["threshold"]}
    accepted = runtimes[runtime](images)["accepted"]
    assert accepted.mean() >= 0.9


def test_int8_is_calibrated_on_its_own(metadata):
    own, other = metadata["variants"]["int8"], metadata
    assert own["temperature"] != other["temperature"]
    assert abs(own["test_error"]["value"] - other["test_error"]["value"]) < 0.05


def test_worst_case_is_at_least_the_noise_it_came_from(metadata):
    rows = {row["kind"]: row for row in metadata["confidence"]}
    assert rows["worst_case_noise"]["n"] == 8 and rows["worst_case_noise"]["radius"] == 0.3
    assert rows["worst_case_noise"]["mmc"] > rows["noise"]["mmc"]


def bad_images(draw, good):
    """One image that must be refused, in one of many ways."""
    bad = good.copy().reshape(-1)
    where = draw.integers(len(bad), size=draw.integers(1, len(bad)))
    values = [np.nan, np.inf, -np.inf, 1.01, -0.01, 255.0, 1e30, -1e30, 3.4e38, -3.4e38, 1e-3 + 1.0005]
    how = draw.integers(4)
    if how == 0:
        bad[where] = draw.choice(values)
    elif how == 1:
        bad[where] = draw.choice(values, len(where))
    elif how == 2:
        bad = np.exp(draw.normal(0, 40, len(bad))) * draw.choice([-1, 1], len(bad))
        bad[0] = -1.0
    else:
        bad = good.reshape(-1) * draw.uniform(2, 1e4) - draw.uniform(0.01, 10)
    if how > 1:  # computed in float64
        bad = np.clip(bad, -3.4e38, 3.4e38).astype(np.float32)
    return bad.reshape(good.shape)


@RUNTIMES
def test_nothing_outside_the_box_is_ever_accepted(runtime, runtimes, digits):
    run, draw = runtimes[runtime], np.random.default_rng(0)
    test = digits.test_images.astype(np.float32)
    for _ in range(150):
        good = test[draw.integers(len(test), size=draw.integers(1, 9))]
        is_bad = draw.random(len(good)) < 0.5
        mixed = np.stack([bad_images(draw, image) if bad else image for image, bad in zip(good, is_bad, strict=True)])
        outputs = run(mixed)
        assert not outputs["accepted"][is_bad].any()
        assert (outputs["confidence"][is_bad] == np.float32(1 / K)).all()
        assert (outputs["probabilities"][is_bad] == np.float32(1 / K)).all()
        same_size, without = run(good), run(good[~is_bad])
        for name in OUTPUTS:
            np.testing.assert_array_equal(outputs[name][~is_bad], same_size[name][~is_bad])  # to the bit
            # A batch of another size may be multiplied in another order. A logit near 0 is a sum of terms of size 10.
            atol = 1e-5 if name == "logits" else 1e-6
            np.testing.assert_allclose(outputs[name][~is_bad], without[name], rtol=1e-5, atol=atol)
    alone = np.stack([bad_images(draw, test[0]) for _ in range(300)])
    assert not run(alone)["accepted"].any()


@RUNTIMES
def test_random_images_inside_the_box_never_pass_the_threshold_below_it(runtime, runtimes, metadata):
    draw = np.random.default_rng(1)
    images = draw.random((256, *SHAPE), np.float32) ** draw.uniform(0.1, 10, (256, 1, 1, 1)).astype(np.float32)
    outputs = runtimes[runtime](images)
    numbers = metadata["variants"]["int8"] if runtime == "model.int8" else metadata
    np.testing.assert_array_equal(
        outputs["accepted"], outputs["confidence"] >= np.float32(numbers["threshold"]["value"])
    )
    np.testing.assert_array_equal(outputs["label"], outputs["logits"].argmax(axis=1))
    np.testing.assert_array_equal(outputs["confidence"], outputs["probabilities"].max(axis=1))


def test_a_threshold_of_the_request(version, runtimes, digits):
    images = digits.test_images[:20].astype(np.float32)
    loaded = session(version / "model.onnx")
    assert [tensor.name for tensor in loaded.get_inputs()] == ["images"]
    assert [tensor.name for tensor in loaded.get_overridable_initializers()] == ["threshold"]
    confidence = runtimes["model"](images)["confidence"]
    middle = np.float32(np.median(confidence))
    accepted = loaded.run(["accepted"], {"images": images, "threshold": np.asarray(middle)})[0]
    np.testing.assert_array_equal(accepted, confidence >= middle)
    signature = runtimes["savedmodel"].model.signatures["serving_threshold"]
    for threshold in ([middle], np.full(20, middle)):
        got = signature(images=tf.constant(images), threshold=tf.constant(threshold, tf.float32))["accepted"]
        np.testing.assert_array_equal(got, accepted)


def test_names_and_dynamic_batch(version):
    for name in ("model.onnx", "model.int8.onnx"):
        proto = onnx.load(version / name)
        sizes = {
            tensor.name: [size.dim_param or size.dim_value for size in tensor.type.tensor_type.shape.dim]
            for tensor in (*proto.graph.input, *proto.graph.output)
        }
        assert sizes == {
            "images": ["batch", 8, 8, 1],
            "threshold": [],
            "label": ["batch"],
            "confidence": ["batch"],
            "probabilities": ["batch", 10],
            "logits": ["batch", 10],
            "accepted": ["batch"],
        }
        assert [opset.version for opset in proto.opset_import if opset.domain == ""] == [18]
        assert list(sizes)[2:] == list(OUTPUTS)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return stream.getvalue()


def test_encoded_images(runtimes, digits):
    levels = np.round(digits.test_images[:3] * 255).astype(np.uint8)
    files = [
        encoded(levels[0, ..., 0]),
        b"",
        encoded(np.repeat(levels[1], 3, axis=-1)),  # a gray picture stored in colour
        encoded(np.zeros((9, 8), np.uint8)),  # of another size
        encoded(levels[2, ..., 0], "JPEG"),
        encoded(levels[0, ..., 0])[:-30],
        b"GIF89a not really",
    ]
    signatures = runtimes["savedmodel"].model.signatures
    outputs = signatures["serving_bytes"](image_bytes=tf.constant(files))
    expected = signatures["serving_uint8"](images=tf.constant(levels))
    refused = np.array([False, True, False, True, False, True, True])
    np.testing.assert_array_equal(outputs["confidence"].numpy() == np.float32(1 / K), refused)
    assert not outputs["accepted"].numpy()[refused].any()
    np.testing.assert_allclose(outputs["logits"].numpy()[[0, 2]], expected["logits"].numpy()[[0, 1]], atol=1e-4)
    np.testing.assert_allclose(outputs["probabilities"].numpy()[4], expected["probabilities"].numpy()[2], atol=0.05)
    for batch in ([], [b"broken"] * 3):
        got = signatures["serving_bytes"](image_bytes=tf.constant(batch, tf.string))
        assert got["label"].shape == (len(batch),) and not got["accepted"].numpy().any()


def test_vectors_have_no_image_signatures(tmp_path):
    network = networks.build("mlp", (2,), 2)
    model = ServingModel(network, image_shape=(2,), num_classes=2)
    (tmp_path / "metadata.json").write_text("{}")
    about = {"data": {"class_names": ["a", "b"]}}
    savedmodel.write_savedmodel(
        model, tmp_path / "saved", metadata=about, metadata_path=tmp_path / "metadata.json", resize=False
    )
    assert set(tf.saved_model.load(str(tmp_path / "saved")).signatures) == {
        "serving_default",
        "serving_threshold",
        "metadata",
    }
    onnx_graph.wrap(onnx_graph.convert_network(network, (2,)), model)


def layers_that_tf2onnx_lacks():
    """What ONNX has and tf2onnx alone does not convert."""
    convolution = keras.layers.Conv2D
    return {
        "gelu": [convolution(6, 3, activation="gelu")],
        "celu": [convolution(6, 3, activation="celu")],
        "groups": [convolution(6, 3, groups=3)],
        "dilated groups": [convolution(6, 3, groups=3, dilation_rate=2, padding="same")],
        "groups in one dimension": [keras.layers.Reshape((64, 3)), keras.layers.Conv1D(6, 3, groups=3)],
        "gelu of groups": [convolution(6, 3, groups=3, strides=2, activation="gelu"), keras.layers.Activation("gelu")],
    }


@pytest.mark.parametrize("name", layers_that_tf2onnx_lacks())
def test_what_onnx_has_is_converted(name):
    layers = [keras.Input((8, 8, 3)), *layers_that_tf2onnx_lacks()[name], keras.layers.Flatten(), keras.layers.Dense(2)]
    network = keras.Sequential(layers)
    proto = onnx_graph.convert_network(network, (8, 8, 3))
    predictor = onnx_graph.Predictor(
        onnx_graph.wrap(proto, ServingModel(network, image_shape=(8, 8, 3), num_classes=2)),
        ServingModel(network, image_shape=(8, 8, 3), num_classes=2),
    )
    images = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    np.testing.assert_allclose(predictor.predict(images)["logits"], network.predict(images, verbose=0), atol=1e-5)
    assert not tf.config.functions_run_eagerly()


@keras.saving.register_keras_serializable("test_export")
class Bessel(keras.layers.Layer):
    """An operation that ONNX does not have."""

    def call(self, x):
        return tf.math.bessel_i0(x)


def test_an_operation_that_onnx_lacks_is_named():
    network = keras.Sequential([keras.Input((4,)), Bessel(), keras.layers.Dense(2)])
    with pytest.raises(onnx_graph.UnsupportedOpError, match="Received: BesselI0, which tf2onnx cannot convert"):
        onnx_graph.convert_network(network, (4,))


def test_half_precision_is_refused_in_words():
    layers = [keras.Input((2,)), keras.layers.Dense(2, dtype="mixed_bfloat16")]
    with pytest.raises(onnx_graph.UnsupportedOpError, match="must compute in float32 .* Received: layers of bfloat16."):
        onnx_graph.convert_network(keras.Sequential(layers), (2,))


def test_captured_constants_are_no_inputs():
    constant = tf.constant([[1.0, 2.0]])
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    proto = onnx_graph.convert_network(lambda x, training: network(x) + constant, (2,))
    assert [tensor.name for tensor in proto.graph.input] == ["images"]
    model = ServingModel(network, image_shape=(2,), num_classes=2)
    predictor = onnx_graph.Predictor(onnx_graph.wrap(proto, model), model)
    np.testing.assert_allclose(predictor.predict([[0.5, 0.5]])["logits"], network(np.full((1, 2), 0.5)) + constant)


def test_an_artifact_that_says_something_else_is_found(version, network_file, digits, metadata):
    proto = onnx.load(version / "model.onnx")
    temperature = next(tensor for tensor in proto.graph.initializer if tensor.name == "serving/temperature")
    value = onnx.numpy_helper.to_array(temperature)
    network = keras.saving.load_model(network_file)
    live = ServingModel(
        network,
        image_shape=SHAPE,
        num_classes=K,
        temperature=metadata["temperature"],
        threshold=metadata["threshold"]["value"],
    )
    sets = [ImageSet(kind, kind, [digits.test_images[:count]]) for kind, count in (("test", 64), ("noise", 4))]
    found = [
        case for case in verification.cases(live, sets, digits.test_labels[:64]) if case.signature == "serving_default"
    ]
    for wrong in (value * 1.1, -value):
        temperature.CopyFrom(onnx.numpy_helper.from_array(np.asarray(wrong, np.float32), temperature.name))
        predictor = onnx_graph.Predictor(proto, live)
        outputs = [predictor.predict(case.inputs["images"]) for case in found]
        with pytest.raises(verification.VerificationError, match=r"model.onnx \(here\) .* probabilities differ by"):
            verification.report("here", "model.onnx", found, outputs, live.threshold)


def test_labels_and_decisions_have_to_be_equal_unless_the_live_model_is_undecided():
    def outputs(label, probabilities, accepted):
        p = np.array([probabilities], np.float32)
        return {
            "label": np.array([label]),
            "confidence": p.max(axis=1),
            "probabilities": p,
            "logits": np.log(p),
            "accepted": np.array([accepted]),
        }

    clear, tied = [0.7, 0.3], [0.500001, 0.499999]
    for probabilities, label, accepted, threshold, failures, ties in (
        (clear, 0, True, 0.5, [], 0),
        (clear, 1, True, 0.5, ["1 labels differ"], 0),
        (clear, 0, False, 0.5, ["1 decisions differ"], 0),
        (tied, 1, True, 0.4, [], 1),
        (clear, 0, False, 0.700005, [], 1),
    ):
        case = verification.Case("a case", "serving_default", {}, outputs(0, probabilities, True))
        result = verification.compare(case, outputs(label, probabilities, accepted), threshold)
        assert result["failures"] == failures and result["ties"] == ties


def test_a_failure_leaves_nothing_behind(tmp_path, network_file, digits, monkeypatch):
    def full_disk(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(savedmodel, "write_savedmodel", full_disk)
    with pytest.raises(OSError, match="export cannot be written: No space left on device"):
        stage.export_model(
            classifiers.load(network_file),
            digits,
            tmp_path / "export",
            name="digits",
            protocol=PROTOCOL,
            suite=one_attack,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["tflite"]}, "`formats` must be some of int8, onnx, savedmodel. Received: tflite."),
        ({"formats": []}, "Received: none."),
        ({"formats": ["onnx", "onnx"]}, "`formats` must each have a name of their own. Received: onnx, onnx."),
        ({"threshold": "90"}, "`threshold` must be '95', '99', 'conformal' or a number. Received: threshold='90'."),
        ({"threshold": 1.0}, r"`threshold` must be in \[0, 1\), the range of the score max_softmax. Received: thr"),
        ({"threshold": float("nan")}, "Received: threshold=nan."),
        ({"version": 0}, "`version` must be a whole number from 1 on, or None. Received: version=0."),
        ({"name": "a/b"}, "`name` must be usable as the name of a folder: .* Received: name='a/b'."),
        ({"name": ".hidden"}, "Received: name='.hidden'."),
    ],
)
def test_bad_arguments(tmp_path, network_file, digits, options, message):
    with pytest.raises(ValueError, match=message):
        stage.export_model(classifiers.load(network_file), digits, tmp_path / "x", **{"name": "digits", **options})
    assert not (tmp_path / "x").exists()


def test_an_onnx_file_cannot_be_exported_again(version, tmp_path, digits):
    classifier = classifiers.load(version / "model.onnx")
    with pytest.raises(
        ValueError,
        match="An export needs a Keras model, a run directory or a .keras file. Received: model, an ONNX file",
    ):
        stage.export_model(classifier, digits, tmp_path / "x", name="digits")


# The command line.

QUICK = ["--num_noise=4", "--num_images=100"]


@pytest.fixture(scope="session")
def run_dir(_server, tmp_path_factory):
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    logs = {"stdout": folder / "stdout", "stderr": folder / "stderr"}
    arguments = ["--dataset=digits", "--method=plain", "--epochs=1", "--steps_per_epoch=2", "--run_dir=run"]
    request = {"script": "train.py", "arguments": [*arguments, "--num_noise=4"], "cwd": str(folder)}
    pid = _server({**request, **{name: str(path) for name, path in logs.items()}})
    assert _server({"wait": pid}) == 0, logs["stderr"].read_text()
    return folder / "run"


@pytest.mark.slow
def test_the_command_line_exports_a_run(start_export, run_dir, tmp_path):
    arguments = [f"--run_dir={run_dir}", f"--export_dir={tmp_path}", *QUICK]
    result = start_export([*arguments, "--formats=onnx"], tmp_path).wait()
    assert result.code == 0, result.stderr
    version = tmp_path / "run" / "1"
    assert f"Verified: {version}" in result.stdout and "worst-case noise" in result.stdout
    assert re.search(r"^Test error of the model: (.*)$", result.stdout, re.MULTILINE)
    assert "Test error of model.onnx: " in result.stdout
    about = json.loads((version / "metadata.json").read_text())
    assert about["flags"]["method"] == "plain" and about["method"] == "plain" and about["seed"] == 0
    assert not (version / "saved_model.pb").exists() and (version / "model.onnx").exists()
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("Ask model.onnx:"))
    (tmp_path / "seven.png").write_bytes(encoded(np.zeros((8, 8), np.uint8)))
    line = shlex.split(line.partition(":")[2].replace("IMAGE.png", "seven.png"))
    asked = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"seven.png: \d  confidence 0\.\d+  (not )?accepted\n", asked.stdout), asked.stderr
    again = start_export([*arguments, "--version=1"], tmp_path).wait()
    assert again.code == 2 and again.stderr.startswith("export: error: Version 1 of run exists already")
    assert again.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one of --run_dir=RUN and --model=PATH.keras"),
        (["--run_dir=RUN", "--model=x.keras"], "name one of --run_dir=RUN and --model=PATH.keras"),
        (["--run_dir=empty"], "--run_dir=empty must name a run directory of train.py"),
        (["--run_dir=unfinished"], "unfinished must hold a finished run"),
        (["--run_dir=without"], "without must hold the trained network"),
        (["--model=gone.keras"], "--model needs --dataset"),
        (["--model=gone.keras", "--dataset=digits"], "gone.keras, which does not exist"),
        (["--run_dir=RUN", "--formats=tflite"], "--formats must be some of int8, onnx, savedmodel. Received: tflite."),
        (["--run_dir=RUN", "--threshold=0.9.1"], "--threshold=0.9.1 must be 95, 99, conformal, or a confidence"),
        (["--run_dir=RUN", "--version=0"], "version"),
        (["--run_dir=RUN", "--export_dir=file"], "cannot hold versions: "),
        (["--run_dir=RUN", "extra"], "expected only flags, such as --run_dir=RUN; received 'extra'"),
        (["--run_dir=RUN", "--quantize=int4"], "int8"),
    ],
)
def test_bad_input_gets_one_line(run_dir, tmp_path, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, missing in (("unfinished", "results.json"), ("without", "model.keras")):
        if f"--run_dir={name}" in arguments:
            shutil.copytree(run_dir, tmp_path / name)
            (tmp_path / name / missing).unlink()
    before = sorted(tmp_path.rglob("*"))
    arguments = [f"--run_dir={run_dir}" if argument == "--run_dir=RUN" else argument for argument in arguments]
    assert command.main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("export: error: ") and message in error
    assert sorted(tmp_path.rglob("*")) == before


class Watcher(threading.Thread):
    """Lists a folder every 10 ms and keeps what is wrong with any version it sees."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.wrong, self.seen, self.looks = folder, [], set(), 0
        self._goes_on = True

    def run(self):
        while self._goes_on:
            self.looks += 1
            for version in self.folder.iterdir() if self.folder.is_dir() else []:
                self.seen.add(version.name)
                try:
                    digests = json.loads((version / "metadata.json").read_text())["artifacts"]
                    for name, digest in digests.items():
                        if hashlib.sha256((version / name).read_bytes()).hexdigest() != digest:
                            self.wrong.append((version.name, name))
                except (OSError, ValueError) as error:
                    self.wrong.append((version.name, str(error)))
            time.sleep(0.01)

    def stop(self):
        self._goes_on = False
        self.join()


@pytest.mark.slow
def test_ten_killed_exports_never_show_half_a_version(start_export, run_dir, tmp_path):
    watcher = Watcher(tmp_path / "run")
    watcher.start()
    arguments = [f"--run_dir={run_dir}", f"--export_dir={tmp_path}", *QUICK]
    draw = random.Random(0)
    for _ in range(10):
        command = start_export(arguments, tmp_path)
        time.sleep(draw.uniform(0.5, 24.0))  # it loads, attacks, writes, verifies, or is done
        command.kill()
    finished = start_export(arguments, tmp_path).wait()
    watcher.stop()
    assert finished.code == 0, finished.stderr
    assert watcher.wrong == [] and watcher.looks > 100
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "what the killed ones left is gone"
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert watcher.seen <= set(names) and names == [str(n) for n in range(1, len(names) + 1)]
