"""Temperature and thresholds."""

import dataclasses

import numpy as np

from keras_acet import calibration
from keras_acet.calibration import CalibrationResult
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import Measurement
from keras_acet.evaluation.measurements.worst_case_noise import AttackedNoise
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell
from keras_acet.scores import Score

_MOST_IMAGES = 5000  # of the training set, where none were kept out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration(Measurement):
    """Temperature and thresholds from images kept out of training, else from up to 5000 training images.

    Args:
        images: Digest of the images, where they are not those of the data; it is filled in.
    """

    name = "calibration"
    images: str | None = None

    def as_done_on(self, subject: Subject) -> "Calibration":
        return dataclasses.replace(self, images=subject.data.calibration_digest)

    def cost(self, subject: Subject) -> float:
        return len(subject.test_images) // 2

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return subject.outputs(calibration_images(subject)[0])

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        if len(arrays["logits"]) < 2:
            return Finding()
        attacked = next((one for one in subject.measurements if isinstance(one, AttackedNoise)), None)
        test, worst = subject.test_arrays(), None
        if attacked is not None and attacked.reason(subject) is None:
            worst = subject.arrays(attacked)
        observed = None
        if not subject.score_sees_logits:
            observed = arrays["observed"], test["observed"], None if worst is None else worst["observed"]
        result = calibrate(
            subject,
            arrays["logits"],
            test["logits"],
            worst_noise_logits=None if worst is None else worst["logits"],
            score=subject.score,
            observed=observed,
        )
        return Finding(results={"calibration": result})


def calibration_images(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels for temperature and thresholds."""
    data = subject.data
    if len(data.calibration_labels):
        return data.calibration_images, data.calibration_labels
    count = min(_MOST_IMAGES, len(data.train_labels))
    chosen = subject.chosen(data.train_labels, count)
    return data.some_images("train", chosen), data.train_labels[chosen]


def calibrate(
    subject: Subject,
    held_out_logits: np.ndarray,
    test_logits: np.ndarray,
    *,
    worst_noise_logits: np.ndarray | None = None,
    score: Score | None = None,
    observed: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None,
) -> CalibrationResult:
    """Fits temperature and thresholds with the labels of the data, and says what they are worth.

    Args:
        subject: Whose images they are.
        held_out_logits, test_logits: At the `calibration_images` and the test images, of whatever network.
        worst_noise_logits, score, observed: As for `calibration.calibrate`.

    Returns:
        `CalibrationResult`; without held-out images no threshold has a guarantee.
    """
    return calibration.calibrate(
        held_out_logits,
        calibration_images(subject)[1],
        test_logits,
        subject.test_labels,
        worst_noise_logits=worst_noise_logits,
        seed=subject.seed,
        is_held_out=is_kept_from_training(subject),
        source=subject.data.calibration_source,
        score=score,
        observed=observed,
    )


def is_kept_from_training(subject: Subject) -> bool | None:
    """Whether the calibration images were kept out of training, or were given as such; None if that is not known."""
    if subject.data.calibration_source is not None:
        return True
    return None if subject.classifier.is_foreign else len(subject.data.calibration_labels) > 0
