"""A classifier protected by a detector: the same classes, and a confidence with a proven bound."""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_acet._checks import check_temperature
from keras_acet._prediction import as_float, logits_of
from keras_acet.classifiers.base import Classifier, one_line
from keras_acet.classifiers.checking import fits, recognised
from keras_acet.classifiers.onnx_weights import external_files
from keras_acet.classifiers.preprocessing import PreprocessedClassifier, Preprocessing, preprocessed
from keras_acet.classifiers.wrapping import WrappedClassifier, wrap
from keras_acet.detectors import Detector, NegativeHead, confidence_bound_of, joint_logits
from keras_acet.files import sha256_of_files, write_text
from keras_acet.networks import Interface
from keras_acet.training.runs import RunDirectory
from keras_acet.typed_json import from_json, to_json

_DETECTOR, _FACTS = "detector.keras", "provable.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What `provable.json` holds.

    Attributes:
        classifier: Name of the file or folder of the classifier, beside it.
        temperature: Temperature of the classifier's softmax.
        trained_on: Fingerprint of the data that the classifier was trained on; null if nothing says so.
        interface: What the classifier's file takes and gives; null where the file itself goes from [0, 1] to logits.
        preprocessing: What stands before it; null for nothing.
    """

    classifier: str
    temperature: float
    trained_on: str | None
    interface: Interface | None = None
    preprocessing: Preprocessing | None = None


class ProvableClassifier(Classifier):
    """A classifier and a detector beside it, with the confidence of the joint model and its bound.

    With `p_in = sigma(g)` of the detector and the classifier's probabilities `s = softmax(logits / temperature)`,

    `p(y|x) = p_in(x) s_y(x) + (1 - p_in(x)) / K`, so everywhere `confidence <= 1/K + (1 - 1/K) p_in(x)`.

    The label is that of the classifier, image by image, and so is the test error. The bound does not look at the
    classifier: neither its temperature nor its quantisation touches it. A detector goes with every classifier of the
    same data.

    Args:
        classifier: What `as_classifier` takes; it need not give gradients. What it takes and gives is found where it
            shows without images of the data, see `inputs`; `load` of a run with a detector knows it.
        detector: `detectors.Detector`, for images of the same shape.
        temperature: Of the classifier's softmax, above 0.
        num_classes: For a classifier that does not say.
        inputs: What the classifier takes: `"unit"` for pixels in [0, 1], `"bytes"` for 0..255. None to look at the
            first layers of a Keras model. Of any other classifier, and of a Keras model without layers that scale
            pixels, it cannot be known here, and pixels in [0, 1] are assumed: give it if yours takes 0..255.
        outputs: What it gives: `"logits"` or `"probabilities"`. None to find out from what it gives for made images:
            probabilities are not negative and sum to 1.
        path, name, sha256: See `Classifier`.

    Attributes:
        classifier, detector, temperature: As given; the classifier as a `Classifier`.

    Raises:
        TypeError: If the detector is none, or the classifier none.
        ValueError: If the shapes of images differ, the classifier fails on them, the number of classes is not known,
            the temperature is out of range, `inputs` or `outputs` is another word or given for a classifier of which
            it is known, or the classifier gives those of a sigmoid for each class.

    Warns:
        Notice: Tells what was found of the classifier, or that it may take pixels in 0..255: it has one class for all
            made images in [0, 1], and several for them in 0..255.

    Example: sure of the first class, and of nothing at pixels that are not there.

    >>> from keras_acet import detectors
    >>> detector = detectors.NegativeHead.build((2,))
    >>> classifier = ProvableClassifier(lambda images: 9 * images, detector, num_classes=2)
    >>> images = np.array([[1.0, 0.0], [100.0, -100.0]], np.float32)
    >>> classifier.labels(images).tolist()
    [0, 0]
    >>> bool(classifier.confidences(images)[1] <= 0.501), bool(classifier.confidence_bound(images[:1], 0.3)[0] < 0.997)
    (True, True)

    Source: Meinke, Bitterwolf, Hein, NeurIPS 2022 (ProoD), with the detector trained apart.
    """

    description = "a classifier with a detector"
    kind = "provable"
    interface = Interface()

    def __init__(
        self,
        classifier: Any,
        detector: Detector,
        *,
        temperature: float = 1.0,
        num_classes: int | None = None,
        inputs: str | None = None,
        outputs: str | None = None,
        path: pathlib.Path | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        from keras_acet.classifiers.loading import as_classifier  # it imports this module

        classifier = as_classifier(classifier)
        if not isinstance(detector, Detector):
            raise TypeError(
                "`detector` must be a detector, such as model.detector() of a DetectorModel. Received: "
                f"{type(detector).__name__}."
            )
        temperature = check_temperature(temperature)
        if not fits(detector.image_shape, classifier.image_shape):
            raise ValueError(
                f"`detector` must take images of the shape of the classifier's, {classifier.image_shape}. Received: a "
                f"detector for {detector.image_shape}. Train one on the classifier's data."
            )
        if inputs is not None or outputs is not None or classifier.interface is None:
            classifier = recognised(classifier, detector.image_shape, inputs=inputs, outputs=outputs)
        super().__init__(
            image_shape=detector.image_shape,
            num_classes=num_classes or classifier.num_classes,
            path=path,
            name=name or classifier.name,
            sha256=sha256,
        )
        self.classifier = classifier
        self.detector = detector
        self.temperature = temperature
        self.flags, self.history = classifier.flags, classifier.history
        self.trained_on = classifier.trained_on
        self.is_differentiable = classifier.is_differentiable
        if classifier.network is not None:
            self.network = self._joint

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(joint_logits(self._own_logits(images), self.detector.logits(images)))

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Returns the class of each image, that of the classifier's own logits: int array `(n,)`."""
        return self.classifier.logits(images).argmax(axis=1)

    def confidences(self, images: np.ndarray) -> np.ndarray:
        """Computes `max_y p(y|x)` of each image: float32 array `(n,)`, at most 1."""
        return np.minimum(np.asarray(tf.reduce_max(tf.nn.softmax(self.logits(images)), axis=1)), np.float32(1))

    def confidence_bound(self, images: np.ndarray, radius: float, *, method: str = "linear") -> np.ndarray:
        """Bounds the confidence at all `z` in the pixel box with `|z - x| <= radius`, for every classifier.

        Sound in float32: no confidence that this object computes in that ball is larger.

        Args:
            images: Array `(n, ...)`: float in [0, 1], or uint8.
            radius: l_inf, in pixel units, at least 0.
            method: "intervals"; or "linear", never above it and slower.

        Returns:
            float32 array `(n,)`, in `[1/K, 1]`.

        Raises:
            TypeError, ValueError: If the radius or the method is not as described, or images are not in [0, 1].
        """
        images = as_float(images)
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError(
                "`images` must be in [0, 1]. Received: values outside. Divide 8-bit images by 255; for images outside "
                "there is `closed_bound`."
            )
        bounds = self.detector.logit_bounds(images, radius, method=method)
        return np.asarray(confidence_bound_of(tf.constant(bounds), self._known_classes()))

    def closed_bound(self, images: np.ndarray) -> np.ndarray:
        """Bounds the confidence at images of any finite values by their distance from the pixel range alone.

        `1/K + (1 - 1/K) sigma(b - c dist_1(x, [0, 1]^d))`, see `detectors.NegativeHead`; as `confidence_bound`.

        Raises:
            TypeError: If the detector is of a kind without a closed bound.
        """
        if not isinstance(self.detector, NegativeHead):
            raise TypeError(f"A closed bound needs a NegativeHead. Received: {type(self.detector).__name__}.")
        bounds = self.detector.closed_bound(as_float(images)).astype(np.float32)
        return np.asarray(confidence_bound_of(tf.constant(bounds), self._known_classes()))

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `detector.keras`, the classifier's own file and `provable.json` into a directory; `load` reads them.

        Raises:
            ValueError: If the classifier is a function, which has no file.
        """
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        stored = _write_classifier(self.classifier, directory)
        self.detector.save(directory / _DETECTOR)
        interface, preprocessing = _stands_around(self.classifier)
        facts = Facts(
            classifier=stored,
            temperature=self.temperature,
            trained_on=self.trained_on,
            interface=interface,
            preprocessing=preprocessing,
        )
        write_text(directory / _FACTS, json.dumps(to_json(facts), indent=2) + "\n")

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        return (path / _FACTS).is_file()

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Self:
        from keras_acet.classifiers.loading import load  # it imports this module

        try:
            facts = from_json(Facts, json.loads((path / _FACTS).read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path / _FACTS} is damaged: {one_line(error)}. Train or save it again.") from error
        stored = pathlib.PurePath(facts.classifier)
        if stored.is_absolute() or ".." in stored.parts:
            raise ValueError(f"{path / _FACTS} must name a file beside it. Received: {facts.classifier!r}.")
        is_run = (path / "flags.flags").exists()
        if is_run and not RunDirectory(path).is_finished:
            raise ValueError(
                f"{path} must hold a finished run. Received: one without results.json. Train it to the end: give its "
                "training command again."
            )
        if is_run:
            RunDirectory(path).check_files()
        inner = load(path / facts.classifier, trusted=trusted)
        if facts.preprocessing is not None:
            inner = preprocessed(inner, facts.preprocessing)
        inner = wrap(inner, facts.interface or Interface())
        detector = NegativeHead.load(path / _DETECTOR)
        files = [path / _FACTS, path / _DETECTOR, *_files_of(path / facts.classifier)]
        made = cls(inner, detector, temperature=facts.temperature, path=path, sha256=sha256_of_files(path, files))
        made.name = path.resolve().name
        made.trained_on = facts.trained_on
        if is_run:
            run = RunDirectory(path)
            made.flags, made.history, made.trained_on = run.flags(), run.history(), run.fingerprint()
        return made

    def _joint(self, images: tf.Tensor) -> tf.Tensor:
        """The joint logits of a tensor of images, where the classifier has a network."""
        assert self.classifier.network is not None
        return joint_logits(logits_of(self.classifier.network, images) / self.temperature, self.detector.logit(images))

    def _own_logits(self, images: np.ndarray) -> np.ndarray:
        return self.classifier.logits(images) / np.float32(self.temperature)

    def _known_classes(self) -> int:
        if self.num_classes is None:
            raise ValueError(
                f"`num_classes` must be given for {self.classifier.name}, which does not say how many it has. "
                "Received: num_classes=None."
            )
        return self.num_classes


def _stands_around(classifier: Classifier) -> tuple[Interface | None, Preprocessing | None]:
    """What has to be put around the file of a classifier again; nothing, where a Keras model with all of it is kept."""
    interface = preprocessing = None
    if isinstance(classifier, WrappedClassifier):
        interface, classifier = classifier.interface, classifier.inner
    if isinstance(classifier, PreprocessedClassifier):
        preprocessing = classifier.preprocessing
    return interface, preprocessing


def _write_classifier(classifier: Classifier, directory: pathlib.Path) -> str:
    """Writes or copies the file of a classifier, returns its name."""
    if isinstance(classifier.network, keras.Model):
        classifier.network.save(directory / "classifier.keras")
        return "classifier.keras"
    path = classifier.path
    if path is None:
        raise ValueError(
            f"A classifier must have a file to be saved with its detector. Received: {classifier.name}, "
            f"{classifier.description}. Save it as a .keras file, a SavedModel or an ONNX file, and load that."
        )
    if path.is_dir():
        shutil.copytree(path, directory / "classifier", dirs_exist_ok=True)
        return "classifier"
    folder = directory / "classifier"  # of its own, for the files that hold its weights may have any names
    for file in external_files(path):
        target = folder / file.relative_to(path.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    folder.mkdir(exist_ok=True)
    shutil.copyfile(path, folder / path.name)
    return f"classifier/{path.name}"


def _files_of(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    return [path, *(external_files(path) if path.suffix == ".onnx" else [])]
