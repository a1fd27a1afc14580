"""`metadata.json`: a description of an exported model, its measurements, and what they do and do not promise.

Schema, version 1. Confidences and shares are in [0, 1], radii in pixel units.

SCHEMA
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

import numpy as np

from keras_acet import metrics
from keras_acet.calibration import CalibrationErrors, CalibrationResult, Threshold
from keras_acet.datasets.sources import without_folders
from keras_acet.files import sha256_of_file
from keras_acet.scores import MaxSoftmax
from keras_acet.serving import BOX_TOLERANCE, ServingModel
from keras_acet.typed_json import from_json, schema, to_json
from keras_acet.version import installed_versions

from .artifacts.base import Live
from .measuring import Measurements, SetOutputs

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """The data.

    Attributes:
        name: Name of the data set.
        fingerprint: First hex digits of a SHA-256 of images and labels.
        num_classes: Number of classes.
        class_names: Names of the classes, in the order of the labels.
        num_test: Number of test images.
    """

    name: str
    fingerprint: str
    num_classes: int
    class_names: list[str]
    num_test: int


@dataclasses.dataclass(frozen=True)
class Input:
    """The input of the model.

    Attributes:
        shape: Shape of one image or vector.
        dtype: "float32".
        low, high: The smallest and the largest allowed value.
        box_tolerance: How far an image may lie outside, see `serving.ServingModel`.
        resize: Whether encoded images of another size are resized, else refused.
    """

    shape: list[int]
    dtype: str
    low: float
    high: float
    box_tolerance: float
    resize: bool


@dataclasses.dataclass(frozen=True)
class Decision:
    """The threshold that decides by default.

    Attributes:
        name: "95", "99", "conformal" or "given".
        value: The smallest confidence, or other score, that is accepted, after the temperature.
    """

    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The images that temperature and thresholds were computed from, and the calibration errors.

    Attributes:
        num_images: Number of these images.
        is_held_out: Whether these images were kept out of training, or given as such; null if not known.
        before, after: Calibration errors on the test set, before and after the temperature.
        source: The images, where a user gave them as kept out of training, which the export cannot check.
        remarks: What these images were too few for, or did not determine; one sentence each.
    """

    num_images: int
    is_held_out: bool | None
    before: CalibrationErrors
    after: CalibrationErrors
    source: str | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """The test error.

    Attributes:
        value: Share of test images whose predicted class is not their label.
        low, high: 95 % interval.
        n: Number of test images, also of those behind "before" and "after".
        is_held_out: Whether these images were kept out of training; absent if that is not known.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    is_held_out: bool | None = None


@dataclasses.dataclass(frozen=True)
class ConfidenceRow:
    """The confidence on one set, by the outputs of the model as it is exported, after the temperature.

    Attributes:
        set: Name of the set.
        kind: "test", "ood", "noise" or "worst_case_noise".
        radius: Radius of the attack, or null.
        note: A remark, such as why a set is missing.
        n: Number of images.
        mmc: Mean confidence; null for n = 0.
        accepted: Share of accepted images; null for n = 0.
    """

    set: str
    kind: str
    radius: float | None
    note: str
    n: int
    mmc: float | None
    accepted: float | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measurements of one model: of the network as it was trained, or of a variant.

    Attributes:
        temperature: Temperature of the softmax.
        threshold: The threshold that decides by default.
        thresholds: The thresholds to choose from.
        calibration: The images that temperature and thresholds were computed from.
        test_error: The error on the test set.
        confidence: A row for each set.
    """

    temperature: float
    threshold: Decision
    thresholds: list[Threshold]
    calibration: Calibration
    test_error: ErrorRate
    confidence: list[ConfidenceRow]


@dataclasses.dataclass(frozen=True)
class VariantInfo(Measured):
    """A variant of the network.

    Attributes:
        temperature, threshold, thresholds, calibration, test_error, confidence: The same for the variant. In the
            metadata inside its file they stand at the top.
        file: The file of the version that holds the variant.
    """

    file: str


@dataclasses.dataclass(frozen=True)
class MeasuredWith:
    """The numbers of the measurements.

    Attributes:
        num_images: Number of images of each set, 0 for all.
        num_noise: Number of noise images that were attacked.
        seed: Seed of noise, attacks and choices of images.
    """

    num_images: int
    num_noise: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Metadata:
    """All of `metadata.json`.

    Attributes:
        schema_version: 1.
        name: Name of the model.
        created: UTC, ISO 8601.
        method: "plain", "ceda" or "acet"; null if not known.
        data: The data that it was trained for.
        input: The input of the model.
        temperature: The number that logits are divided by before the softmax.
        threshold: The threshold that decides by default.
        thresholds: The thresholds to choose from.
        calibration: The images that temperature and thresholds were computed from.
        test_error: The error on the test set.
        confidence: A row for each set.
        epsilon: Radius of the attacks.
        measured_with: The settings of the measurements.
        flags: Flags of the training run, or null.
        seed: Seed of the training, or null.
        network_sha256: SHA-256 of the network's file, or null.
        versions: Versions of the packages.
        notes: What the numbers promise and what they do not.
        variants: Name of the artifact, such as "int8" -> what differs there.
        score: Name of the score that thresholds apply to; absent where that is the confidence.
        artifacts: File -> SHA-256. Only in the file beside the artifacts, because no artifact can hold its own digest.
    """

    schema_version: int
    name: str
    created: str
    method: str | None
    data: DataInfo
    input: Input
    temperature: float
    threshold: Decision
    thresholds: list[Threshold]
    calibration: Calibration
    test_error: ErrorRate
    confidence: list[ConfidenceRow]
    epsilon: float
    measured_with: MeasuredWith
    flags: dict[str, str] | None
    seed: int | None
    network_sha256: str | None
    versions: dict[str, str]
    notes: list[str]
    variants: dict[str, VariantInfo]
    score: str | None = None
    artifacts: dict[str, str] | None = None

    def of_variant(self, name: str) -> "Metadata":
        """Returns the metadata inside the file of a variant: its own numbers at the top."""
        own = self.variants[name]
        return dataclasses.replace(self, **{field.name: getattr(own, field.name) for field in _FIELDS})

    def to_json(self) -> dict[str, Any]:
        """Returns what `metadata.json` holds."""
        return to_json(self)


_FIELDS = dataclasses.fields(Measured)
if __doc__:  # python -OO has none
    __doc__ = __doc__.replace("SCHEMA", schema(Metadata))


def read(path: str | pathlib.Path) -> Metadata:
    """Reads `metadata.json`.

    Raises:
        ValueError: If it is not as the schema says.
    """
    return from_json(Metadata, json.loads(pathlib.Path(path).read_text(encoding="utf-8")))


def build(
    name: str,
    measurements: Measurements,
    model: ServingModel,
    calibrated: CalibrationResult,
    *,
    threshold: str | float,
    resize: bool,
) -> Metadata:
    """Measures a model and returns its metadata, without variants and artifacts.

    Args:
        name: Name of the exported model.
        measurements: `measuring.Measurements`.
        model: `ServingModel`.
        calibrated: `CalibrationResult` behind it.
        threshold: "95", "99", "conformal" or a float.
        resize: See `savedmodel.write_savedmodel`.
    """
    classifier, data = measurements.classifier, measurements.data
    flags = classifier.flags
    numbers = measured(measurements, model, calibrated, threshold=threshold)
    protocol = measurements.protocol
    return Metadata(
        schema_version=SCHEMA_VERSION,
        name=name,
        created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        method=(flags or {}).get("method"),
        data=DataInfo(
            name=data.name,
            fingerprint=data.fingerprint,
            num_classes=data.num_classes,
            class_names=[str(name).encode("utf-8", "replace").decode() for name in data.class_names],
            num_test=len(data.test_labels),
        ),
        input=Input(
            shape=list(data.image_shape),
            dtype="float32",
            low=0.0,
            high=1.0,
            box_tolerance=BOX_TOLERANCE,
            resize=resize,
        ),
        **vars(numbers),
        epsilon=protocol.epsilon,
        measured_with=MeasuredWith(protocol.num_images, protocol.num_noise, protocol.seed),
        flags=None if flags is None else without_folders(flags),
        seed=int(flags["seed"]) if flags and "seed" in flags else None,
        network_sha256=classifier.sha256,
        versions=installed_versions(),
        notes=_notes(measurements, calibrated, numbers),
        variants={},
        score=None if isinstance(protocol.score, MaxSoftmax) else protocol.score.name,
    )


def measured(
    measurements: Measurements, model: Live, calibrated: CalibrationResult, *, threshold: str | float
) -> Measured:
    """Measures one model: a `ServingModel`, or the same for a variant of the network."""
    outputs = measurements.outputs(model)
    labels = outputs[0].label
    share = metrics.share(int((labels != measurements.test_labels).sum()), len(labels))
    return Measured(
        temperature=model.temperature,
        threshold=Decision(threshold if isinstance(threshold, str) else "given", model.threshold),
        thresholds=_thresholds(measurements, calibrated, outputs),
        calibration=Calibration(
            num_images=calibrated.num_images,
            is_held_out=calibrated.is_held_out,
            before=calibrated.before,
            after=calibrated.after,
            source=calibrated.source,
            remarks=calibrated.remarks,
        ),
        test_error=ErrorRate(**share, n=len(labels), is_held_out=None if measurements.classifier.is_foreign else True),
        confidence=[_confidence_row(one) for one in outputs],
    )


def _thresholds(
    measurements: Measurements, calibrated: CalibrationResult, outputs: list[SetOutputs]
) -> list[Threshold]:
    """The thresholds as served, with what they accept by a model's own outputs."""
    scores = {one.of.kind: one.score for one in outputs}
    rows = []
    for row, value in zip(calibrated.thresholds, measurements.served_thresholds(calibrated), strict=True):
        reached = {kind: float((array >= np.float32(value)).mean()) for kind, array in scores.items() if len(array)}
        rows.append(
            dataclasses.replace(
                row,
                threshold=value,
                accepted_test=reached["test"],
                accepted_worst_noise=reached.get("worst_case_noise"),
            )
        )
    return rows


def _confidence_row(outputs: SetOutputs) -> ConfidenceRow:
    n = len(outputs.confidence)
    return ConfidenceRow(
        set=outputs.of.name,
        kind=outputs.of.kind,
        radius=outputs.of.radius,
        note=outputs.of.note,
        n=n,
        mmc=float(outputs.confidence.mean(dtype=np.float64)) if n else None,
        accepted=float(outputs.accepted.mean()) if n else None,
    )


def digests(directory: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file in a directory, by its path in there."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_of_file(path) for path in paths}


def _notes(measurements: Measurements, calibrated: CalibrationResult, numbers: Measured) -> list[str]:
    data, epsilon = measurements.data, measurements.protocol.epsilon
    notes = [
        f"An image with a pixel outside [0, 1], beyond rounding, or not finite, is refused with confidence "
        f"1/{data.num_classes}; its label means nothing. That holds for every input, by construction of the graph.",
        f"Inside [0, 1] nothing is proven. Confidences under attack are the largest that the attacks reached within "
        f"epsilon {epsilon:g}; a stronger attack may reach higher ones.",
        f"Temperature and thresholds describe images like those of {data.name}; they promise nothing under a shift of "
        "the images, and nothing about images from elsewhere.",
    ]
    if not calibrated.is_held_out:
        known = "were part of the training" if calibrated.is_held_out is False else "may have been part of the training"
        notes.append(
            f"The {calibrated.num_images:,} images behind temperature and thresholds {known}: both are optimistic."
        )
    elif calibrated.source is not None:
        notes.append(
            f"The {calibrated.num_images:,} images behind temperature and thresholds are {calibrated.source}, given as "
            "kept out of training. Nothing here can check that: all that is said of new images depends on it."
        )
    if measurements.classifier.is_foreign:
        split = f", of a fifth of each class of {data.name} that was chosen here," if data.test_is_split_off else ""
        notes.append(
            f"Nothing says what the network was trained on. The {len(measurements.test_labels):,} test images{split} "
            "may have been part of it: then the test error, the calibration errors and the share of test images "
            "accepted look better than they are."
        )
    notes.extend(calibrated.remarks)
    if not any(row.kind == "worst_case_noise" for row in numbers.confidence):
        notes.append("The network gives no gradients, so nothing was attacked.")
    return notes
