"""From a classifier to a verified version: measure, write, prove, rename into place."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from keras_acet import evaluation
from keras_acet._prediction import as_float

from . import metadata, model_card, onnx_file, savedmodel, verification
from .measuring import Measurements
from .versions import check_version, new_version, next_version
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
    with new_version(directory, version) as folder:
        try:
            quantized = None
            if quantize:
                tell("int8: quantising")
                about["variants"]["int8"], quantized = _quantized(proto, measurements, threshold)
            _write(folder, about, model, proto, quantized, formats=formats, resize=resize, tell=tell, sets=measurements)
        except (OSError, tf.errors.OpError) as error:  # a full disk, as Python and as TensorFlow tell it
            raise OSError(f"{directory} cannot be written: {getattr(error, 'message', error)}") from error
        number = version or next_version(directory)
    return directory / str(number)


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
    if isinstance(threshold, str) and threshold not in ("95", "99", "conformal"):
        raise ValueError(f"`threshold` must be '95', '99', 'conformal' or a number. Received: threshold={threshold!r}.")
    if not name or name.startswith(".") or any(letter in "/\\:" or not letter.isprintable() for letter in name):
        raise ValueError(f"`name` must be usable as the name of a folder, not hidden. Received: name={name!r}.")


def _quantized(proto, measurements, threshold):
    """The metadata of the quantised network, with a temperature and thresholds of its own, and its ONNX model."""
    images = as_float(measurements.data.train_images[:_NUM_QUANTIZATION_IMAGES])
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
    return {"file": "model.int8.onnx", **numbers}, wrapped


_NOT_CALIBRATED = {"temperature": 1.0, "thresholds": []}


def _write(folder, about, model, proto, quantized, *, formats, resize, tell, sets):
    text = json.dumps(about)
    path = folder / "metadata.json"
    path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")  # becomes an asset; written again below
    found = verification.cases(model, sets.sets(), resize=resize)
    entries = []
    threshold = np.float32(about["threshold"]["value"])
    if "savedmodel" in formats:
        tell("writing the SavedModel")
        savedmodel.write_savedmodel(model, folder, metadata=about, metadata_path=path, resize=resize)
        _write_warmup(folder, about, found)
        calls = [*found, verification.with_threshold(found, model, np.array([0.5], np.float32))]
        for runtime in ("tensorflow", "c_api"):
            tell(f"verifying the SavedModel ({runtime})")
            outputs = verification.run_savedmodel(folder, calls, runtime)
            entries.append(verification.report(runtime, "saved_model.pb", calls, outputs, threshold))
    if "onnx" in formats:
        entries.append(
            _onnx(folder / "model.onnx", onnx_file.wrap(proto, model, metadata=text), model, found, threshold, tell)
        )
    if quantized is not None:
        onnx_file.set_metadata(quantized, text)
        live = onnx_file.Predictor(quantized, model)
        own = verification.cases(live, sets.sets(), resize=resize)
        threshold = np.float32(about["variants"]["int8"]["threshold"]["value"])
        entries.append(_onnx(folder / "model.int8.onnx", quantized, live, own, threshold, tell))
    verified = {"schema_version": 1, "tolerance": verification.TOLERANCE, "passed": True, "artifacts": entries}
    (folder / "verification.json").write_text(json.dumps(verified, indent=2) + "\n", encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(model_card.render(about, verified), encoding="utf-8")
    path.unlink()
    complete = {**about, "artifacts": metadata.digests(folder)}
    path.write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")


def _onnx(path, proto, model, found, threshold, tell):
    tell(f"writing and verifying {path.name}")
    path.write_bytes(proto.SerializeToString())
    calls = [case for case in found if case.signature == "serving_default"]
    calls.append(verification.with_threshold(found, model, np.float32(0.5)))
    outputs = verification.run_onnx(path, calls)
    return verification.report("onnxruntime", path.name, calls, outputs, threshold)


def _write_warmup(folder, about, found):
    """One request for each signature; `metadata` asks for one output, so that a server that batches takes it."""
    requests = {
        case.signature: ({name: array[:1] for name, array in case.inputs.items()}, None)
        for case in found
        if len(case.expected["label"])
    }
    images = requests["serving_default"][0]["images"]
    requests["serving_threshold"] = ({"images": images, "threshold": np.array([0.5], np.float32)}, None)
    requests["metadata"] = ({}, ["json"])
    extra = folder / "assets.extra"
    extra.mkdir()
    write_warmup_requests(extra / "tf_serving_warmup_requests", about["name"], requests)
