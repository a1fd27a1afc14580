"""Out-distribution sets that are not attacked."""

import dataclasses
from collections.abc import Sequence
from typing import Self

from keras_acet.datasets import Data
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutDistribution(Measurement):
    """Confidence and detection on images that show none of the classes.

    Args:
        set: Name of an out-distribution set of the data; None for each of them.
    """

    name = "out_distribution"
    set: str = OPEN

    @property
    def title(self) -> str:
        return f"ood: {self.set}"

    @property
    def sets(self) -> Sequence[str]:
        return () if self.set is None else (self.set,)

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        return [self] if self.set is not None else [dataclasses.replace(self, set=name) for name in data.ood]

    def reason(self, subject: Subject) -> str | None:
        return missing_set(subject, self.set) or super().reason(subject)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return subject.outputs_with_examples(subject.some(subject.ood_images(self.set)))

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        finding = Finding()
        finding.add_row(subject, arrays, kind="ood", set=self.set, label=self.set)
        return finding

    def finding_without(self, subject: Subject, reason: str) -> Finding:
        finding = Finding()
        finding.add_missing_row(kind="ood", set=self.set, label=self.set, note=reason)
        return finding


def missing_set(subject: Subject, name: str) -> str | None:
    """Returns why there are no images of an out-distribution set, None if there are."""
    if name not in subject.data.ood:
        return f"{subject.data.name} has no out-distribution set of this name"
    images = subject.data.ood[name]
    return images if isinstance(images, str) else None
