"""`metadata.json`: what an exported model is, what was measured on it, and what that does and does not promise.

Schema, version 1. Confidences and shares are in [0, 1], radii in pixel units.

* "schema_version": 1; "name"; "created", UTC, ISO 8601; "method": "plain", "ceda", "acet" or null.
* "data": "name", "fingerprint", "num_classes", "class_names" (texts, in the order of the labels), "num_test".
* "input": "shape", "dtype", "low" and "high" (the box), "box_tolerance" (see `serving.ServingModel`), "resize" (whether
  encoded images of another size are resized, else refused).
* "temperature"; "threshold": "name" ("95", "99", "conformal" or "given") and "value", the one that decides by default.
* "thresholds": list of "name", "threshold", "num_images" (behind it), "accepted_test" and "accepted_worst_noise"
  (shares; null if not measured), "guarantee" (a sentence). A threshold applies to the confidence after the temperature.
* "calibration": "num_images", "is_held_out" (whether training was kept from them; null if not known), "before" and
  "after" the temperature, on the test set: "ece", "ece_equal_mass", "nll", "brier".
* "test_error": "value", "low", "high" (95 % interval), "n" (test images; those behind "before" and "after" too).
* "confidence": list of "set", "kind" ("test", "ood", "noise", "worst_case_noise"), "radius" (of the attack, or null),
  "n", "mmc" (mean confidence) and "accepted" (share; both null for n = 0), "note". Measured on the outputs of the model
  as it is exported, after the temperature.
* "epsilon": radius of the attacks; "flags": of the training run, or null; "seed": of the training, or null;
  "measured_with": "num_images" (of each set, 0: all), "num_noise" (attacked) and "seed" of the measurements;
  "network_sha256"; "versions".
* "notes": texts, what the numbers promise and what they do not.
* "variants": name ("int8") -> "file", and what differs: "temperature", "threshold", "thresholds", "calibration",
  "test_error", "confidence". Inside that file they stand at the top.
* "artifacts": file -> SHA-256. Only in the file beside the artifacts: none of them can hold its own digest.
"""

import time

from keras_acet.files import sha256_of_file
from keras_acet.serving import BOX_TOLERANCE
from keras_acet.version import installed_versions

from .measuring import confidence_rows

SCHEMA_VERSION = 1


def build(name, measurements, model, calibrated, *, threshold, resize):
    """Measures a model and returns its metadata, without variants and artifacts.

    Args:
        name: What the exported model is called.
        measurements: `measuring.Measurements`.
        model: `ServingModel`.
        calibrated: Dict of `Measurements.calibrated` behind it.
        threshold: "95", "99", "conformal" or a float.
        resize: See `savedmodel.write_savedmodel`.
    """
    classifier, data = measurements.classifier, measurements.data
    flags = classifier.flags
    numbers = measured(measurements, model, calibrated, threshold=threshold)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "method": (flags or {}).get("method"),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "num_classes": data.num_classes,
            "class_names": [str(name).encode("utf-8", "replace").decode() for name in data.class_names],
            "num_test": len(data.test_labels),
        },
        "input": {
            "shape": list(data.image_shape),
            "dtype": "float32",
            "low": 0.0,
            "high": 1.0,
            "box_tolerance": BOX_TOLERANCE,
            "resize": resize,
        },
        **numbers,
        "epsilon": measurements.protocol.epsilon,
        "measured_with": {name: getattr(measurements.protocol, name) for name in ("num_images", "num_noise", "seed")},
        "flags": flags,
        "seed": int(flags["seed"]) if flags and "seed" in flags else None,
        "network_sha256": classifier.sha256,
        "versions": installed_versions(),
        "notes": _notes(measurements, calibrated, numbers),
        "variants": {},
    }


def measured(measurements, model, calibrated, *, threshold):
    """The part of the metadata that is measured on one model, a variant of the network say."""
    outputs = measurements.outputs(model)
    named = isinstance(threshold, str)
    return {
        "temperature": model.temperature,
        "threshold": {"name": threshold if named else "given", "value": model.threshold},
        "thresholds": measurements.threshold_rows(calibrated, outputs),
        "calibration": {name: calibrated[name] for name in ("num_images", "is_held_out", "before", "after")},
        "test_error": measurements.test_error(outputs),
        "confidence": confidence_rows(outputs),
    }


def digests(directory):
    """SHA-256 of every file in a directory, by its path in there."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_of_file(path) for path in paths}


def _notes(measurements, calibrated, numbers):
    data, epsilon = measurements.data, measurements.protocol.epsilon
    notes = [
        f"An image with a pixel outside [0, 1], beyond rounding, or not finite, is refused with confidence "
        f"1/{data.num_classes}; its label means nothing. That holds for every input, by construction of the graph.",
        f"Inside [0, 1] nothing is proven. Confidences under attack are the largest that were found within epsilon "
        f"{epsilon:g}; a stronger attack may find more.",
        f"Temperature and thresholds describe images like those of {data.name}; they promise nothing under a shift of "
        "the images, and nothing about images from elsewhere.",
    ]
    if not calibrated["is_held_out"]:
        known = (
            "were part of the training" if calibrated["is_held_out"] is False else "may have been part of the training"
        )
        notes.append(
            f"The {calibrated['num_images']:,} images behind temperature and thresholds {known}: both are optimistic."
        )
    if calibrated["temperature"] == 1:
        notes.append("The temperature is 1: the calibration images set none.")
    if not any(row["kind"] == "worst_case_noise" for row in numbers["confidence"]):
        notes.append("The network gives no gradients, so nothing was attacked.")
    return notes
