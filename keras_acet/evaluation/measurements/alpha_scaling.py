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
        # Not at the top: `exact_alpha` imports `AlphaScaling` from here.
        from keras_acet.evaluation.measurements.exact_alpha import ExactAlpha

        exact = (one for one in subject.measurements if isinstance(one, ExactAlpha) and one.scan == self)
        if any(one.reason(subject) is None for one in exact):
            return Finding()  # the finding of `ExactAlpha` holds the results of both
        return Finding(results={"alpha_scaling": scaling.summarize_alpha_scaling(arrays)})

    def settings(self) -> dict[str, Any]:
        return {"num_trials": self.num_trials, "alpha": "scan"}
