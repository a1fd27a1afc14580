"""Table 2 of the paper with the exact factor, from all linear pieces of the network."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from keras_acet.datasets import Data
from keras_acet.evaluation import scaling
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.alpha_scaling import AlphaScaling
from keras_acet.evaluation.measurements.base import OPEN, Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


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
