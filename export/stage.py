"""From a classifier to a verified version: measure, write, prove, rename into place."""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_acet import _keras_settings, classifiers, evaluation
from keras_acet.classifiers import Classifier, KerasClassifier
from keras_acet.datasets import Data
from keras_acet.files import sha256
from keras_acet.scores import Score

from . import artifacts, metadata, model_card, verification
from .artifacts import Artifact, Source, Subject
from .measuring import THRESHOLDS, Measurements
from .metadata import VariantInfo
from .versions import check_version, new_version

DEFAULT_FORMATS = ("savedmodel", "onnx")


@_keras_settings.standard()
def export_model(
    model: keras.Model | Classifier | str | os.PathLike[str],
    data: Data,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    formats: Iterable[str | Artifact] = DEFAULT_FORMATS,
    version: int | None = None,
    threshold: str | float = "95",
    resize: bool = False,
    protocol: evaluation.Protocol | None = None,
    suite: Callable = evaluation.full_suite,
    store: evaluation.Store | None = None,
    progress: Callable[[str], None] | None = None,
) -> pathlib.Path:
    """Exports a trained model as `directory/NAME/VERSION`, whole and verified, or not at all.

    The version holds what each format writes: a SavedModel with warm-up requests (see `artifacts.savedmodel`);
    `model.onnx` and `model.int8.onnx` (see `onnx_graph.wrap`). And always `metadata.json` (see `export.metadata`),
    `MODEL_CARD.md`, and `verification.json`: the comparison of every artifact with the live model, in fresh processes
    without this package, on real images, noise, attacked noise and guard cases.

    Args:
        model: `keras.Model` from images in [0, 1] to logits, an `ACETModel` too; the path of a `.keras` file or a
            run; or a `classifiers.Classifier` of one. Of a run it is known what it was trained on; of another model say
            it by `classifiers.as_classifier(model).replace(trained_on=data)`, or nothing counts as held out.
        data: `datasets.Data`: the data that it was trained for.
        directory: Parent of the model's folder; made if missing.
        name: Name of the exported model, also in the path; None for the name of the model.
        formats: List of names, some of "savedmodel", "onnx" and "int8" (a quantised ONNX file), or of `Artifact`
            objects, of your own say.
        version: int >= 1, or None for the next one.
        threshold: The default threshold: "95", "99" (share of in-distribution images accepted), "conformal", or a
            float in the range of the score, [0, 1) for the confidence.
        resize: Whether encoded images of another size are resized instead of refused.
        protocol: `evaluation.Protocol` for the measurements; its score decides what is accepted.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise, as `evaluation.full_suite`.
        store: `evaluation.Store`, to go on with what was computed before.
        progress: None, or a function of a text, told what goes on.

    Returns:
        `pathlib.Path` of the version.

    Raises:
        TypeError: If a format is neither a name nor an artifact.
        ValueError: If an argument is not as described, `model` does not fit the data or gives no logits, the version
            exists, or a format cannot hold the network.
        VerificationError: If the outputs of an artifact, or its test error, differ from those of the live model, or
            the weights of the model changed meanwhile.
        OSError: If a file cannot be written.

    Example, in two lines:

        path = ka.export_model(model, data, "models", formats=["savedmodel", "onnx", "int8"])
        print((path / "MODEL_CARD.md").read_text())
    """
    chosen = artifacts.chosen(formats)
    classifier = _keras_classifier(model)
    name = classifier.name if name is None else name
    protocol = protocol or evaluation.Protocol()
    _check_arguments(name, threshold, protocol.score)
    directory = pathlib.Path(directory) / name
    check_version(directory, version)
    weights = _weights(classifier)
    tell = progress or (lambda text: None)
    with new_version(directory, version) as new:  # at once: another process may be at this version
        classifier = _keras_classifier(classifiers.check(classifier, data))
        source = Source(classifier, data, protocol.score)
        for artifact in chosen:  # before the attacks, which take longest
            artifact.limits(source)
        measurements = Measurements(classifier, data, protocol.for_data(data), suite, store or evaluation.Store(), tell)
        subject = _subject(name, source, measurements, threshold, resize)
        about, subjects = _with_variants(subject, chosen, tell)
        _write(new.folder, about, chosen, subjects, tell)
        if any(sha256(np.asarray(weight)) != before for weight, before in weights):
            raise verification.VerificationError(
                f"The weights of {classifier.name} changed while it was measured and written: it holds something that "
                "learns when it is called"
            )
    assert new.path is not None
    return new.path


export = export_model  # deprecated name, kept for one version


def _keras_classifier(model: keras.Model | Classifier | str | os.PathLike[str]) -> KerasClassifier:
    classifier = classifiers.as_classifier(model)
    if isinstance(classifier, classifiers.ProvableClassifier):
        raise ValueError(
            f"An export of a classifier with a detector is not there yet. Received: {classifier.name}. Its classifier "
            "can be exported alone, and its detector by export.write_certificate."
        )
    if not isinstance(classifier, KerasClassifier):
        raise ValueError(
            f"An export needs a Keras model, a run directory or a .keras file. Received: {classifier.name}, "
            f"{classifier.description}."
        )
    return classifier


def _weights(classifier: KerasClassifier) -> list[tuple[keras.Variable, str]]:
    """Each weight with a digest of its values; nothing of an export may change them."""
    return [(weight, sha256(np.asarray(weight))) for weight in getattr(classifier.network, "weights", [])]


def _check_arguments(name, threshold, score):
    if type(score).observe is not Score.observe:
        raise ValueError(
            f"An export decides by a score of the logits. Received: {score.name}, which looks at something else. Leave "
            "`protocol.score` out to decide by the confidence."
        )
    if isinstance(threshold, str) and threshold not in THRESHOLDS:
        raise ValueError(f"`threshold` must be '95', '99', 'conformal' or a number. Received: threshold={threshold!r}.")
    if not isinstance(threshold, str):
        if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.floating | np.integer):
            raise TypeError(
                f"`threshold` must be '95', '99', 'conformal' or a number. Received: threshold={threshold!r}."
            )
        score.check_threshold(float(threshold))
    is_odd = any(letter in "/\\:" or not letter.isprintable() for letter in name)
    if not name or name.startswith(".") or is_odd or len(os.fsencode(name)) > 255:
        raise ValueError(
            "`name` must be usable as the name of a folder: not hidden, without / \\ and :, at most 255 bytes. "
            f"Received: name={name!r}."
        )


def _subject(name, source, measurements, threshold, resize):
    calibration = measurements.calibration
    model = measurements.serving_model(calibration, threshold)
    served, labels = model.predict(measurements.test_images)["label"], measurements.test_labels
    verification.check_test_error(measurements.test_logits, served, labels)
    return Subject(
        source=source,
        measurements=measurements,
        model=model,
        metadata=metadata.build(name, measurements, model, calibration, threshold=threshold, resize=resize),
        cases=verification.cases(model, measurements.sets(), labels),
        threshold=threshold,
        resize=resize,
    )


def _with_variants(subject, chosen, tell):
    """The metadata with all variants in it; what each artifact is written of, the subject or its variant, a list."""
    variants, numbers = {}, {}
    for artifact in chosen:
        tell(f"preparing {artifact.file}")
        if variant := artifact.variant(subject):
            variants[artifact.name] = variant
            numbers[artifact.name] = metadata.measured(
                subject.measurements, variant.live, variant.calibration, threshold=subject.threshold
            )
    entries = {a.name: VariantInfo(file=a.file, **vars(numbers[a.name])) for a in chosen if a.name in numbers}
    subject = dataclasses.replace(subject, metadata=dataclasses.replace(subject.metadata, variants=entries))
    return subject.metadata, [
        subject
        if artifact.name not in variants
        else dataclasses.replace(
            subject,
            model=variants[artifact.name].live,
            metadata=subject.metadata.of_variant(artifact.name),
            cases=verification.cases(
                variants[artifact.name].live, subject.measurements.sets(), subject.measurements.test_labels
            ),
        )
        for artifact in chosen
    ]


def _write(folder, about, chosen, subjects, tell):
    path = folder / "metadata.json"
    with _disk_errors(folder.parent):  # it becomes an asset, and is written again below
        path.write_text(json.dumps(about.to_json(), indent=2) + "\n", encoding="utf-8")
    entries = []
    for artifact, subject in zip(chosen, subjects, strict=True):
        tell(f"writing {artifact.file}")
        with _disk_errors(folder.parent):
            artifact.write(folder, subject)
        entries += verification.verify(artifact, folder, subject.cases, subject.model.threshold, tell)
    verified = {"schema_version": 1, "tolerance": verification.TOLERANCE, "passed": True, "artifacts": entries}
    with _disk_errors(folder.parent):
        (folder / "verification.json").write_text(json.dumps(verified, indent=2) + "\n", encoding="utf-8")
        (folder / "MODEL_CARD.md").write_text(model_card.render(about, verified), encoding="utf-8")
        path.unlink()
        complete = dataclasses.replace(about, artifacts=metadata.digests(folder))
        path.write_text(json.dumps(complete.to_json(), indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _disk_errors(directory: pathlib.Path) -> Iterator[None]:
    """Names the place where nothing can be written: a full disk, as Python and as TensorFlow tell it."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise OSError(f"{directory} cannot be written: {getattr(error, 'message', error)}") from error
