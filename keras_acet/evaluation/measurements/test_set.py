"""The test set itself."""

import dataclasses

from keras_acet import metrics
from keras_acet._prediction import confidence_of
from keras_acet.evaluation.finding import Finding, confidence_numbers
from keras_acet.evaluation.measurements.base import Measurement
from keras_acet.evaluation.results import Row, measured
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestSet(Measurement):
    """Error and confidence on the test set; no detection metrics, it is what the other sets are compared with."""

    __test__ = False  # no test of pytest's
    name = "test_set"

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return subject.outputs(subject.test_images)

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        confidence = confidence_of(arrays["logits"])
        error = measured(metrics.classification_error(arrays["logits"], subject.test_labels))
        row = Row(
            set=subject.data.name,
            kind="test",
            radius=None,
            label=f"{subject.data.name} (test)",
            n=len(confidence),
            note=f"test error {error.value:.2%}",
            **confidence_numbers(confidence),
            test_error=error,
        )
        finding = Finding(rows=[row], results={"test_error": error})
        finding.arrays.confidence[row.key] = confidence
        finding.arrays.score[row.key] = subject.scores(arrays)
        return finding
