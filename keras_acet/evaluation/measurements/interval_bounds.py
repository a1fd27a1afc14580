"""Interval bounds and attacks on the same noise images, at rising radii: what is proven beside what attacks reach."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from keras_acet import theory
from keras_acet.datasets import Data
from keras_acet.evaluation import attacks
from keras_acet.evaluation.attacks import KnownPoints
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement, attack_cost
from keras_acet.evaluation.measurements.worst_case_noise import AttackedNoise
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import BoundAtRadius, IntervalBoundsResult
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell

_BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntervalBounds(Measurement):
    """Bounds the worst case of noise images at several radii: attacks from below, interval bounds from above.

    Args:
        num_bounded: Number of noise images, the first of those under attack; None for the protocol's.
        noise: The `AttackedNoise` that the images come from, whose radius is the largest one here; None for the
            protocol's.
        shares: The radii, as shares of that radius.
        level: An image counts for `share_below` if its bound is below this confidence.
    """

    name = "interval_bounds"
    needs = ("gradients", "layers")
    version = 2
    num_bounded: int = OPEN
    noise: AttackedNoise = OPEN
    shares: tuple[float, ...] = (1 / 300, 1 / 100, 1 / 30, 1 / 10, 1 / 3, 1)
    level: float = 0.95

    @property
    def builds_on(self) -> Sequence[Measurement]:
        return () if self.noise is None else (self.noise,)

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        (noise,) = (self.noise or AttackedNoise()).resolved(protocol, data)
        num_bounded = protocol.num_bounded if self.num_bounded is None else self.num_bounded
        return [dataclasses.replace(self, num_bounded=num_bounded, noise=noise)] if num_bounded else []

    def cost(self, subject: Subject) -> float:
        return len(self.shares) * attack_cost(attacks.short_suite(self.noise.epsilon)[:1], self.num_bounded)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        attacked = subject.arrays(self.noise)
        images, points = (attacked[name][: self.num_bounded] for name in ("noise", "images"))
        network, attacker = subject.pieces(), subject.attacker(images)
        radii = np.array([share * self.noise.epsilon for share in self.shares])
        bound, confidence = np.empty((len(radii), len(images))), np.empty((len(radii), len(images)))
        for i, radius in enumerate(radii.tolist()):
            tell(share=i / len(radii))
            for j in range(0, len(images), _BATCH_SIZE):
                part = slice(j, j + _BATCH_SIZE)
                bound[i, part] = theory.confidence_upper_bound(network, images[part], radius)
            trials = attacks.short_suite(radius, seed=subject.seed)[:1]
            confidence[i] = attacker.run(trials, known_points=[KnownPoints("whole radius", points)]).confidence
        return {"radius": radii, "bound": bound, "attacked": confidence}

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        rows = [
            BoundAtRadius(
                float(radius), float(attacked.mean()), float(bound.mean()), float(np.mean(bound < self.level))
            )
            for radius, attacked, bound in zip(arrays["radius"], arrays["attacked"], arrays["bound"], strict=True)
        ]
        return Finding(results={"interval_bounds": IntervalBoundsResult(arrays["bound"].shape[1], self.level, rows)})

    def settings(self) -> dict[str, Any]:
        return {"num_bounded": self.num_bounded}
