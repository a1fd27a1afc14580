"""From a classifier to a verified version: measure, write, prove, rename into place."""

import contextlib
import json
import pathlib

import numpy as np
import tensorflow as tf

from keras_acet import evaluation
from keras_acet._prediction import as_float

from . import metadata, model_card, onnx_file, savedmodel, verification
from .measuring import THRESHOLDS, Measurements
from .versions import check_version, new_version
from .warmup import write_warmup_requests

FORMATS = ("savedmodel", "onnx")
_NUM_QUANTIZATION_IMAGES = 512


def export(
    classifier,
    data,
    directory,
    *,
    name,
    formats=FORMATS,
    version=None,
    threshold="95",
    quantize=None,
    resize=False,
    protocol=None,
    suite=evaluation.full_suite,
    store=None,
    progress=None,
):
    """Exports a classifier as `directory/NAME/VERSION`, whole and verified, or not at all.

    The version holds, by format: a SavedModel with warm-up requests (see `savedmodel.write_savedmodel`); `model.onnx`,
    and `model.int8.onnx` (see `onnx_file.wrap`). And always `metadata.json` (see `export.metadata`), `MODEL_CARD.md`,
    and `verification.json`: what fresh processes without this package found, which compared every artifact with the
    live model, on real images, noise, attacked noise and guard cases.

    Args:
        classifier: `classifiers.Classifier` of kind "run" or "keras", that has passed `classifiers.check`.
        data: `datasets.Data`.
        directory: Where the model's folder lies, or will.
        name: What the model is called, in the path too.
        formats: Some of "savedmodel" and "onnx".
        version: int >= 1, or None for the next one.
        threshold: What decides by default: "95", "99" (share of in-distribution images accepted), "conformal", or a
            float.
        quantize: None, or "int8" for a quantised ONNX file beside the other one.
        resize: Whether encoded images of another size are resized instead of refused.
        protocol: `evaluation.Protocol` for the measurements.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise, as `evaluation.full_suite`.
        store: `evaluation.Store`, to go on with what was computed before.
        progress: None, or a function of a text, told what goes on.

    Returns:
        `pathlib.Path` of the version.

    Raises:
        ValueError: If an argument is not as described, the version exists, or ONNX lacks an operation of the network.
        VerificationError: If an artifact says something else than the live model.
        OSError: If a file cannot be written.
    """
    _check_arguments(classifier, name, formats, quantize, threshold)
    directory = pathlib.Path(directory) / name
    check_version(directory, version)
    tell = progress or (lambda text: None)
    protocol = (protocol or evaluation.Protocol()).for_data(data)
    # Before the attacks, which take longest: the network may have an operation that ONNX lacks.
    proto = onnx_file.convert_network(classifier.network, data.image_shape) if "onnx" in formats else None
    measurements = Measurements(classifier, data, protocol, suite, store or evaluation.Store(), tell)
    model = measurements.serving_model(measurements.calibration, threshold)
    about = metadata.build(name, measurements, model, measurements.calibration, threshold=threshold, resize=resize)
    cases = verification.cases(model, measurements.sets(), resize=resize)
    artifacts = []
    if "savedmodel" in formats:
        artifacts.append(_SavedModel(model, cases, resize))
    if "onnx" in formats:
        artifacts.append(_ONNX("model.onnx", onnx_file.wrap(proto, model), model, cases))
    if quantize:
        tell("int8: quantising")
        about["variants"]["int8"], quantized, live = _quantized(proto, measurements, threshold)
        cases = verification.cases(live, measurements.sets())
        artifacts.append(_ONNX("model.int8.onnx", quantized, live, cases))
    with new_version(directory, version) as new:
        _write(new.folder, about, artifacts, tell)
    return new.path


def _check_arguments(classifier, name, formats, quantize, threshold):
    if classifier.kind not in ("run", "keras"):
        raise ValueError(
            f"An export needs a Keras model: a run directory or a .keras file. Received: {classifier.name}, of kind "
            f"{classifier.kind}."
        )
    if not formats or set(formats) - set(FORMATS):
        raise ValueError(
            f"`formats` must be some of {', '.join(sorted(FORMATS))}. Received: {', '.join(formats) or 'none'}."
        )
    if quantize not in (None, "int8"):
        raise ValueError(f"`quantize` must be None or 'int8'. Received: quantize={quantize!r}.")
    if quantize and "onnx" not in formats:
        raise ValueError("`quantize` is for ONNX files. Received: formats without 'onnx'.")
    if isinstance(threshold, str) and threshold not in THRESHOLDS:
        raise ValueError(f"`threshold` must be '95', '99', 'conformal' or a number. Received: threshold={threshold!r}.")
    if not name or name.startswith(".") or any(letter in "/\\:" or not letter.isprintable() for letter in name):
        raise ValueError(
            f"`name` must be usable as the name of a folder: not hidden, without / \\ and :. Received: name={name!r}."
        )


def _quantized(proto, measurements, threshold):
    """The metadata of the quantised network, calibrated on its own; its ONNX model; and that in ONNX Runtime."""
    images = measurements.data.train_images
    chosen = np.random.default_rng(measurements.protocol.seed).permutation(len(images))[:_NUM_QUANTIZATION_IMAGES]
    images = as_float(images[np.sort(chosen)])
    network = onnx_file.quantize(proto, images)  # training images, as ranges should not depend on test images
    uncalibrated = measurements.serving_model(_NOT_CALIBRATED, 0.0)
    plain = onnx_file.Predictor(onnx_file.wrap(network, uncalibrated), uncalibrated)
    test_images = measurements.sets()[0]["images"][0]
    calibrated = measurements.calibrated(
        plain.predict(measurements.calibration_images)["logits"], plain.predict(test_images)["logits"]
    )
    model = measurements.serving_model(calibrated, threshold)
    wrapped = onnx_file.wrap(network, model)
    predictor = onnx_file.Predictor(wrapped, model)
    numbers = metadata.measured(measurements, predictor, calibrated, threshold=threshold)
    return {"file": "model.int8.onnx", **numbers}, wrapped, predictor


_NOT_CALIBRATED = {"temperature": 1.0, "thresholds": []}


def _write(folder, about, artifacts, tell):
    path = folder / "metadata.json"
    with _disk_errors(folder.parent):
        path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")  # becomes an asset; written again below
    entries = []
    for artifact in artifacts:
        tell(f"writing {artifact.name}")
        with _disk_errors(folder.parent):
            artifact.write(folder, about)
        entries += artifact.verify(folder, tell)
    verified = {"schema_version": 1, "tolerance": verification.TOLERANCE, "passed": True, "artifacts": entries}
    with _disk_errors(folder.parent):
        (folder / "verification.json").write_text(json.dumps(verified, indent=2) + "\n", encoding="utf-8")
        (folder / "MODEL_CARD.md").write_text(model_card.render(about, verified), encoding="utf-8")
        path.unlink()
        complete = {**about, "artifacts": metadata.digests(folder)}
        path.write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _disk_errors(directory):
    """Names the place where nothing can be written: a full disk, as Python and as TensorFlow tell it."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise OSError(f"{directory} cannot be written: {getattr(error, 'message', error)}") from error


class _SavedModel:
    name = "saved_model.pb"

    def __init__(self, model, cases, resize):
        self._model = model
        self._cases = [*cases, verification.with_threshold(cases, model, np.array([0.5], np.float32))]
        self._resize = resize

    def write(self, folder, about):
        savedmodel.write_savedmodel(
            self._model, folder, metadata=about, metadata_path=folder / "metadata.json", resize=self._resize
        )
        (folder / "assets.extra").mkdir()
        write_warmup_requests(
            folder / "assets.extra" / "tf_serving_warmup_requests", about["name"], self._warmup_requests()
        )

    def _warmup_requests(self):
        """One for each signature; `metadata` asks for one output, so that a server that batches takes it."""
        images = next(case.inputs["images"] for case in self._cases if len(case.expected["label"]))[:1]
        requests = {"metadata": ({}, ["json"])}
        for case in self._cases:
            requests[case.signature] = ({name: array[:1] for name, array in case.inputs.items()}, None)
        requests["serving_default"] = ({"images": images}, None)
        return requests

    def verify(self, folder, tell):
        entries = []
        for runtime in ("tensorflow", "tensorflow session"):
            tell(f"verifying {self.name} ({runtime})")
            outputs = verification.run_savedmodel(folder, self._cases, runtime)
            entries.append(verification.report(runtime, self.name, self._cases, outputs, self._model.threshold))
        return entries


class _ONNX:
    """An ONNX file.

    Args:
        name: Of the file.
        proto: `onnx.ModelProto` from `onnx_file.wrap`.
        live: What it has to agree with: the `ServingModel`, or for a quantised network the `Predictor`.
        cases: List of `verification.cases` of `live`.
    """

    def __init__(self, name, proto, live, cases):
        self.name = name
        self._proto = proto
        self._threshold = live.threshold
        cases = [case for case in cases if case.signature == "serving_default"]
        self._empty = [case for case in cases if not len(case.expected["label"])]
        self._cases = [case for case in cases if len(case.expected["label"])]
        self._cases.append(verification.with_threshold(cases, live, np.float32(0.5)))

    def write(self, folder, about):
        own = next((variant for variant in about["variants"].values() if variant["file"] == self.name), {})
        numbers = {name: value for name, value in own.items() if name != "file"}
        onnx_file.set_metadata(self._proto, json.dumps({**about, **numbers}))
        (folder / self.name).write_bytes(self._proto.SerializeToString())

    def verify(self, folder, tell):
        tell(f"verifying {self.name}")
        path, threshold = folder / self.name, self._threshold
        outputs = verification.run_onnx(path, self._cases)
        entry = verification.report("onnxruntime", self.name, self._cases, outputs, threshold)
        try:  # ONNX Runtime cannot run every network on none, and may break off the process
            outputs = verification.run_onnx(path, self._empty)
            empty = verification.report("onnxruntime", self.name, self._empty, outputs, threshold)
            return [{**entry, "cases": {**empty["cases"], **entry["cases"]}, "empty_batch": True}]
        except verification.VerificationError:
            return [{**entry, "empty_batch": False}]
