"""The measurements before an export: temperature, thresholds, and the outputs of the deployable model on every set."""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_acet import evaluation
from keras_acet.calibration import CalibrationResult
from keras_acet.classifiers import Classifier
from keras_acet.datasets import Data
from keras_acet.evaluation.measurements.calibration import Calibration, calibrate, calibration_images
from keras_acet.evaluation.measurements.worst_case_noise import AttackedNoise
from keras_acet.serving import ServingModel, deciding

from .artifacts.base import Live

# Thresholds are lowered by this, so that rounding in another runtime does not turn away the very image that set one.
ROUNDING = 1e-6
THRESHOLDS = {"95": 0, "99": 1, "conformal": 2}  # the order of `calibration.thresholds`


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one set.

    Attributes:
        name: Name of the set.
        kind: "test", "ood", "noise" or "worst_case_noise".
        images: List of arrays `(n, ...)`. Entry `i` of the set is the most confident of the images `i` of these arrays.
            The list is empty if there are no images.
        radius: Radius of the attack, or None.
        note: A remark, such as why there are no images.
    """

    name: str
    kind: str
    images: list[np.ndarray]
    radius: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class SetOutputs:
    """The outputs of a model on one set, for each image at its most confident point; arrays `(n,)`, n may be 0.

    Attributes:
        of: `ImageSet`.
        confidence, accepted, label: As `serving.ServingModel` gives them.
        score: The score that thresholds are compared with: the confidence, unless the protocol names another score.
    """

    of: ImageSet
    confidence: np.ndarray
    accepted: np.ndarray
    label: np.ndarray
    score: np.ndarray


class Measurements:
    """The sets that a classifier is measured on before it is exported, and the attacks that noise went through.

    Args:
        classifier: `classifiers.KerasClassifier`.
        data: `datasets.Data`.
        protocol: `evaluation.Protocol` for these data; `epsilon`, `num_noise`, `num_images` and `seed` matter.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise.
        store: `evaluation.Store`. That of an evaluation of the same classifier spares the attacks.
        progress: None, or a function of a text, told what goes on.

    Attributes:
        calibration: `calibration.CalibrationResult`.
        test_images, test_labels: The test images that are scored, and their labels.
        test_logits: The logits of the classifier at these images.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Data,
        protocol: evaluation.Protocol,
        suite: Callable,
        store: evaluation.Store,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.classifier = classifier
        self.data = data
        self.protocol = protocol
        self._tell = progress or (lambda text: None)
        self._subject = evaluation.Subject(classifier, data, protocol, store)
        self._suite = suite
        self._tell("temperature and thresholds")
        self._held_out = self._subject.arrays(Calibration())["logits"]
        self._sets: list[ImageSet] = []
        self.test_images, self.test_labels = self._subject.test_images, self._subject.test_labels
        self.test_logits = self._subject.test_arrays()["logits"]
        self.calibration = self.calibrated(self._held_out, self.test_logits)

    @property
    def calibration_images(self) -> np.ndarray:
        """The images behind `calibration`, float32."""
        return calibration_images(self._subject)[0]

    def calibrated(self, held_out_logits: np.ndarray, test_logits: np.ndarray) -> CalibrationResult:
        """Fits temperature and thresholds for logits at the calibration and test images, of a quantised network say.

        Raises:
            ValueError: If there are fewer than two calibration images.
        """
        count = len(self._held_out)
        if count < 2:
            raise ValueError(
                f"A temperature and thresholds need at least 2 images of {self.data.name} besides the test set. "
                f"Received: {count}."
            )
        return calibrate(self._subject, held_out_logits, test_logits, score=self.protocol.score)

    def serving_model(self, calibrated: CalibrationResult | None, threshold: str | float) -> ServingModel:
        """Returns the `ServingModel` with a temperature and a threshold.

        Args:
            calibrated: `CalibrationResult`, or None for the temperature 1 and a threshold of its own.
            threshold: "95", "99" or "conformal", or a float.
        """
        temperature = 1.0 if calibrated is None else calibrated.temperature
        if calibrated is not None and threshold in THRESHOLDS:
            threshold = self.served_thresholds(calibrated)[THRESHOLDS[str(threshold)]]
        return ServingModel(
            self.classifier.network,
            image_shape=self.data.image_shape,
            num_classes=self.data.num_classes,
            temperature=temperature,
            threshold=float(threshold),
            score=self.protocol.score.with_temperature(temperature),
        )

    def sets(self) -> list[ImageSet]:
        """Returns the images of every set; the test set comes first."""
        if not self._sets:
            sets = [ImageSet(f"{self.data.name} (test)", "test", [self.test_images])]
            for name, images in self.data.ood.items():
                if isinstance(images, str):
                    sets.append(ImageSet(name, "ood", [], note=images))
                else:
                    sets.append(ImageSet(name, "ood", [self._subject.some(images)]))
            sets.append(ImageSet("noise", "noise", [self._subject.noise_images()]))
            if self.classifier.is_differentiable:
                sets.append(self._worst_case())
            self._sets = sets
        return self._sets

    def _worst_case(self) -> ImageSet:
        radius = self.protocol.epsilon

        def tell(detail="", share=0.0):
            self._tell(f"worst-case noise: {detail} ({share:.0%})")

        of_suite = AttackedNoise(trials=tuple(self._suite(radius, seed=self.protocol.seed)))
        (attacked,) = of_suite.resolved(self.protocol, self.data)
        arrays = self._subject.arrays(attacked, tell)
        points = list(arrays["points"])  # first the worst case of each image, then the points of single attacks
        if self.calibration.temperature != 1:
            points.append(self._attacked_after_temperature(arrays))
        note = f"the most confident image found within radius {radius:g} of each of {len(arrays['noise'])} noise images"
        return ImageSet("worst-case noise", "worst_case_noise", points, radius, note)

    def _attacked_after_temperature(self, arrays):
        """Continues the strongest attack after the temperature, which may change which point is the most confident."""
        network, temperature = self.classifier.network, self.calibration.temperature
        attacker = evaluation.Attacker(
            lambda images: network(images, training=False) / temperature,
            arrays["noise"],
            self.test_images,
            seed=self.protocol.seed,
        )
        known = [evaluation.KnownPoints("before the temperature", arrays["images"])]
        strongest = self._suite(self.protocol.epsilon, seed=self.protocol.seed)[-1:]
        return attacker.run(strongest, known_points=known).images

    def outputs(self, model: Live) -> list[SetOutputs]:
        """Runs a model, a `ServingModel` or a variant of it, on all `sets`."""
        results = []
        for images in self.sets():
            if not images.images:
                results.append(SetOutputs(images, *(np.empty(0) for _ in range(4))))
                continue
            self._tell(f"confidence on {images.name}")
            candidates = [model.predict(points) for points in images.images]
            results.append(
                SetOutputs(
                    images,
                    confidence=np.max([outputs["confidence"] for outputs in candidates], axis=0),
                    accepted=np.any([outputs["accepted"] for outputs in candidates], axis=0),
                    label=candidates[0]["label"],
                    score=np.max([deciding(outputs) for outputs in candidates], axis=0),
                )
            )
        return results

    def served_thresholds(self, calibrated: CalibrationResult) -> list[float]:
        """Returns the three thresholds as floats that float32 holds, lowered by `ROUNDING`; what accepts all stays."""
        least = self.protocol.score.accepts_all
        values = [row.threshold - ROUNDING * max(1.0, abs(row.threshold)) for row in calibrated.thresholds]
        return [max(float(np.float32(value)), least) for value in values]
