"""Table 2 of the paper: the factor by which an input has to be scaled until the network is confident."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from keras_acet.datasets import Data
from keras_acet.evaluation import scaling
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaScaling(Measurement):
    """`scaling.alpha_scaling` of uniform random inputs, by a scan.

    Args:
        num_trials: Number of inputs; None for the protocol's.
    """

    name = "alpha_scaling"
    num_trials: int = OPEN

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        num_trials = protocol.num_trials if self.num_trials is None else self.num_trials
        return [dataclasses.replace(self, num_trials=num_trials)] if num_trials else []

    def cost(self, subject: Subject) -> float:
        return 150 * self.num_trials

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return scaling.alpha_scaling(
            subject.classifier.logits,
            subject.data.image_shape,
            num_trials=self.num_trials,
            seed=subject.seed,
            progress=lambda share: tell(f"{share:.0%}", share),
        )

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        exact = (one for one in subject.measurements if isinstance(one, ExactAlpha) and one.scan == self)
        if any(one.reason(subject) is None for one in exact):
            return Finding()  # the finding of `ExactAlpha` holds the results of both
        return Finding(results={"alpha_scaling": scaling.summarize_alpha_scaling(arrays)})

    def settings(self) -> dict[str, Any]:
        return {"num_trials": self.num_trials, "alpha": "scan"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactAlpha(Measurement):
    """`scaling.exact_alpha` beside the scan, of the same inputs.

    Args:
        scan: The `AlphaScaling`; None for the protocol's.
    """

    name = "exact_alpha"
    scan: AlphaScaling = OPEN

    @classmethod
    def is_default(cls, protocol: Protocol, data: Data) -> bool:
        return protocol.alpha == "exact"

    @property
    def builds_on(self) -> Sequence[Measurement]:
        return () if self.scan is None else (self.scan,)

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        scans = (self.scan or AlphaScaling()).resolved(protocol, data)
        return [dataclasses.replace(self, scan=scan) for scan in scans]

    def reason(self, subject: Subject) -> str | None:
        try:
            scaling.exact_network(subject.classifier)
        except ValueError as error:
            return str(error)
        return super().reason(subject)

    def cost(self, subject: Subject) -> float:
        return 1000 * self.scan.num_trials  # 200 to 100,000 per input; the number is not known before

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        return scaling.exact_alpha(
            scaling.exact_network(subject.classifier),
            subject.data.image_shape,
            num_trials=self.scan.num_trials,
            seed=subject.seed,
            progress=lambda share: tell(f"{share:.0%}", share),
        )

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        both = scaling.summarize_alpha_scaling(subject.arrays(self.scan), arrays)
        return Finding(results={"alpha_scaling": both})

    def settings(self) -> dict[str, Any]:
        return {"num_trials": self.scan.num_trials, "alpha": "exact"}
