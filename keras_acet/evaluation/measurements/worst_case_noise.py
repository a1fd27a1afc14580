"""Attacked noise: by attacks on the network itself, and in the worst case also by points found on other networks."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from keras_acet._prediction import confidence_of
from keras_acet.datasets import Data
from keras_acet.evaluation import attacks
from keras_acet.evaluation.arrays import NoisePairs
from keras_acet.evaluation.attacks import KnownPoints, Trial
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement, attack_cost
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import AttackResult, FlatShare
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell
from keras_acet.typed_json import from_json, to_json

_NUM_PAIRS = 8
_NUM_TRANSFERRED = 4  # attacks whose points are tried on other networks, besides the worst of each image


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackedNoise(Measurement):
    """Noise after a suite of attacks on the network itself.

    Args:
        epsilon: Radius in pixel units, in (0, 1]; None for the protocol's.
        num_noise: Number of noise images, at most as many as there are test images; None for the protocol's.
        trials: The attacks, all of radius `epsilon`; None for the protocol's suite.
    """

    name = "attacked_noise"
    needs = ("gradients",)
    epsilon: float = OPEN
    num_noise: int = OPEN
    trials: tuple[Trial, ...] = OPEN

    @property
    def title(self) -> str:
        return "worst-case noise"

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        epsilon = protocol.epsilon if self.epsilon is None else self.epsilon
        trials = protocol.suite(epsilon, seed=protocol.seed) if self.trials is None else self.trials
        num_noise = protocol.num_noise if self.num_noise is None else self.num_noise
        return [dataclasses.replace(self, epsilon=epsilon, num_noise=num_noise, trials=tuple(trials))]

    def cost(self, subject: Subject) -> float:
        return attack_cost(self.trials, self.num_noise)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        attacker, noise = subject.noise_attacker(self.num_noise), subject.noise_images(self.num_noise)
        result = attacker.run(attacks.fresh(self.trials), on_trial=tell)
        return {
            "noise": noise,
            **subject.outputs(noise, "noise_"),
            **subject.outputs(result.points[0], "first_"),
            "flat_share": attacker.flat_share(),
            **arrays_of(subject, result),
            "points": np.stack([result.images, *result.points[:_NUM_TRANSFERRED]]),
        }

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        trials = trials_of(arrays)
        flat_share = FlatShare(float(arrays["flat_share"]), attacks.FLAT_GRADIENT, self.epsilon)
        finding = Finding(attacks=trials, results={"flat_share": flat_share})
        finding.add_row(
            subject,
            arrays,
            prefix="first_",
            kind="adversarial_noise",
            set="noise",
            label="adversarial noise",
            radius=self.epsilon,
            note=f"{trials[0].name}, epsilon {self.epsilon:.4g}",
        )
        finding.add_row(
            subject,
            _without_examples(arrays),
            kind="worst_case_noise",
            set="noise",
            label="worst-case noise",
            radius=self.epsilon,
            note=f"worst of {len(trials)} attacks, epsilon {self.epsilon:.4g}",
        )
        finding.arrays.pairs = _pairs(arrays)
        return finding

    def settings(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "num_noise": self.num_noise}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstCaseNoise(AttackedNoise):
    """Noise after a suite of attacks, and after trying the points that the same attacks found on other networks.

    Each network's own attacks come first; then the points that they found are tried on all others, and the attack from
    the strongest point goes on from there.

    Args:
        epsilon, num_noise, trials: As for `AttackedNoise`.
    """

    name = "worst_case_noise"

    @property
    def title(self) -> str:
        return "transferred noise"

    @property
    def label(self) -> str:
        return self.own.label

    @property
    def own(self) -> AttackedNoise:
        """The network's own attacks."""
        return AttackedNoise(epsilon=self.epsilon, num_noise=self.num_noise, trials=self.trials)

    @property
    def builds_on(self) -> Sequence[Measurement]:
        return (self.own,)

    @property
    def transfers(self) -> Sequence[Measurement]:
        return (self.own,)

    def as_done_on(self, subject: Subject) -> Measurement:
        return self if subject.others else self.own

    def cost(self, subject: Subject) -> float:
        return attack_cost(attacks.full_suite(self.epsilon)[-1:], self.num_noise)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        own = subject.arrays(self.own)
        known = [KnownPoints("own attacks", own["images"])]
        for other in subject.others:
            for points in other.arrays(self.own)["points"]:
                known.append(KnownPoints(f"transferred from {other.name}", points, other.name))
        trials = attacks.full_suite(self.epsilon, seed=subject.seed)[-1:]  # from the strongest point
        result = subject.noise_attacker(self.num_noise).run(trials, known_points=known, on_trial=tell)
        merged = [*trials_of(own), *_merged(result.trials, len(known), [other.name for other in subject.others])]
        return {**own, **arrays_of(subject, result), "trials": json.dumps(to_json(merged))}


def arrays_of(subject: Subject, result: attacks.SuiteResult) -> ArrayDict:
    """Returns what is kept of a suite of attacks; `trials_of` reads it."""
    return {
        "images": result.images,
        **subject.outputs(result.images),
        "trials": json.dumps(to_json(result.trials)),
    }


def trials_of(arrays: ArrayDict) -> list[AttackResult]:
    """Returns what each attack of a suite found, from the arrays that are kept."""
    return from_json(list[AttackResult], json.loads(str(arrays["trials"])))


def _without_examples(arrays: ArrayDict) -> ArrayDict:
    return {name: array for name, array in arrays.items() if name not in ("images", "shown")}


def _merged(trials: list[AttackResult], num_known: int, names: list[str]) -> list[AttackResult]:
    """One line per other network instead of one for each of its attacks, then the attacks that went on from there."""
    merged = []
    for name in names:
        own = [trial for trial in trials if trial.transferred_from == name]
        merged.append(max(own, key=lambda trial: trial.mmc))
    for trial in trials[num_known:]:
        merged.append(dataclasses.replace(trial, name=f"{trial.name}, after the transferred"))
    return merged


def shown_pairs(confidence: np.ndarray, num_pairs: int = _NUM_PAIRS) -> np.ndarray:
    """Returns the places of the noise images that a figure shows before and after the attack.

    Half of them are the most confident after it, the other half is spread evenly over the rest.

    >>> shown_pairs(np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7]), num_pairs=4).tolist()
    [1, 3, 5, 0]
    """
    order = np.argsort(-confidence, kind="stable")
    half = num_pairs // 2
    return np.concatenate([order[:half], order[half :: max(len(order) // half, 1)]])[:num_pairs]


def _pairs(arrays: ArrayDict) -> NoisePairs:
    confidence = confidence_of(arrays["logits"])
    shown = shown_pairs(confidence)
    return NoisePairs(
        arrays["noise"][shown],
        arrays["images"][shown],
        confidence_of(arrays["noise_logits"][shown]),
        confidence[shown],
    )
