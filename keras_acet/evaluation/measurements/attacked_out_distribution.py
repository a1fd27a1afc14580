"""Out-distribution sets under attack."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from keras_acet.datasets import Data
from keras_acet.evaluation import attacks
from keras_acet.evaluation.attacks import Trial
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement, attack_cost
from keras_acet.evaluation.measurements.out_distribution import missing_set
from keras_acet.evaluation.measurements.worst_case_noise import arrays_of
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackedOutDistribution(Measurement):
    """Images of an out-distribution set after attacks: the most confident image found in the ball around each.

    Args:
        set: Name of an out-distribution set of the data; None for each of them.
        epsilon: Radius in pixel units, in (0, 1]; None for the protocol's `ood_epsilon`.
        num_images: Number of images; None for the protocol's `num_adversarial`.
        trials: The attacks, all of radius `epsilon`; None for `attacks.short_suite`.
    """

    name = "attacked_out_distribution"
    needs = ("gradients",)
    set: str = OPEN
    epsilon: float = OPEN
    num_images: int = OPEN
    trials: tuple[Trial, ...] = OPEN

    @property
    def title(self) -> str:
        return f"ood: worst-case {self.set}"

    @property
    def label(self) -> str:
        return f"worst-case {self.set}"

    @property
    def sets(self) -> Sequence[str]:
        return () if self.set is None else (self.set,)

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        epsilon = protocol.ood_epsilon if self.epsilon is None else self.epsilon
        num_images = protocol.num_adversarial if self.num_images is None else self.num_images
        if not num_images:
            return []
        trials = attacks.short_suite(epsilon, seed=protocol.seed + 200) if self.trials is None else self.trials
        return [
            dataclasses.replace(self, set=name, epsilon=epsilon, num_images=num_images, trials=tuple(trials))
            for name in (data.ood if self.set is None else [self.set])
        ]

    def reason(self, subject: Subject) -> str | None:
        return super().reason(subject) or missing_set(subject, self.set)

    def cost(self, subject: Subject) -> float:
        return attack_cost(self.trials, self.num_images)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        images = subject.ood_images(self.set)
        chosen = images[subject.chosen(images, self.num_images)]
        return arrays_of(subject, subject.attacker(chosen).run(attacks.fresh(self.trials), on_trial=tell))

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        finding = Finding()
        finding.add_row(
            subject,
            {name: array for name, array in arrays.items() if name != "images"},
            kind="worst_case_ood",
            set=self.set,
            label=self.label,
            radius=self.epsilon,
            note=f"epsilon {self.epsilon:.4g}",
        )
        return finding

    def finding_without(self, subject: Subject, reason: str) -> Finding:
        if super().reason(subject):
            return super().finding_without(subject, reason)
        finding = Finding()
        finding.add_missing_row(kind="worst_case_ood", set=self.set, label=self.label, radius=self.epsilon, note=reason)
        return finding

    def settings(self) -> dict[str, Any]:
        return {"ood_epsilon": self.epsilon, "num_adversarial": self.num_images}
