"""Noise that is not attacked."""

import dataclasses

from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import Measurement
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Measurement):
    """Confidence and detection on as many noise images as there are test images."""

    name = "noise"

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return subject.outputs_with_examples(subject.noise_images())

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        finding = Finding()
        finding.add_row(subject, arrays, kind="noise", set="noise", label="noise")
        return finding
