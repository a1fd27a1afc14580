"""Worst-case noise at a second radius."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from keras_acet.datasets import Data
from keras_acet.evaluation import attacks
from keras_acet.evaluation.attacks import KnownPoints, Trial
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement, attack_cost
from keras_acet.evaluation.measurements.worst_case_noise import WorstCaseNoise, arrays_of, trials_of
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class LargerRadius(Measurement):
    """Worst-case noise within a larger radius, going on from what was found within the first.

    Args:
        epsilon: The larger radius in pixel units, in (0, 1]; None for the protocol's, which may be none.
        smaller: The `WorstCaseNoise` that it goes on from; None for the protocol's.
        trials: The attacks, all of radius `epsilon`; None for `attacks.short_suite`.
    """

    name = "larger_radius"
    needs = ("gradients",)
    epsilon: float = OPEN
    smaller: WorstCaseNoise = OPEN
    trials: tuple[Trial, ...] = OPEN

    @property
    def title(self) -> str:
        return "worst-case noise, larger"

    @property
    def label(self) -> str:
        return f"worst-case noise, {self.epsilon:.2g}"

    @property
    def builds_on(self) -> Sequence[Measurement]:
        return () if self.smaller is None else (self.smaller,)

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        epsilon = protocol.larger_epsilon if self.epsilon is None else self.epsilon
        if not epsilon:
            return []
        (smaller,) = (self.smaller or WorstCaseNoise()).resolved(protocol, data)
        trials = attacks.short_suite(epsilon, seed=protocol.seed + 100) if self.trials is None else self.trials
        return [dataclasses.replace(self, epsilon=epsilon, smaller=smaller, trials=tuple(trials))]

    def cost(self, subject: Subject) -> float:
        return attack_cost(self.trials, self.smaller.num_noise)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        known = [KnownPoints("transferred: smaller radius", subject.arrays(self.smaller)["images"])]
        attacker = subject.noise_attacker(self.smaller.num_noise)
        return arrays_of(subject, attacker.run(attacks.fresh(self.trials), known_points=known, on_trial=tell))

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        finding = Finding(attacks=trials_of(arrays))
        finding.add_row(
            subject,
            {name: array for name, array in arrays.items() if name != "images"},
            kind="worst_case_noise",
            set="noise",
            label=self.label,
            radius=self.epsilon,
            note=f"epsilon {self.epsilon:.4g}",
        )
        return finding

    def settings(self) -> dict[str, Any]:
        return {"larger_epsilon": self.epsilon}
