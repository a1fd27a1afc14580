"""What a detector proves about out-distribution images, beside what attacks on the detector reach."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
from scipy.stats import beta

from keras_acet import metrics, noise
from keras_acet._prediction import as_float, confidence_of, in_batches, traced
from keras_acet.attack import PGD, LinearDecay, Objective
from keras_acet.classifiers import ProvableClassifier
from keras_acet.datasets import Data, is_among, out_sources
from keras_acet.detectors import Detector, confidence_bound_of
from keras_acet.detectors.negative_head import FAR_SHARE, NegativeHead
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import Certificate, CertificatesResult
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_MISTRUST = 1e-3  # of the Clopper-Pearson line
_NUM_STEPS = 40
_NUM_CANDIDATES = 32


class UnsoundBoundError(ArithmeticError):
    """An attack found a point of a ball whose logit lies above the ball's bound: the proof does not hold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificates(Measurement):
    """Certified confidence of a `ProvableClassifier` on noise, on kinds of images without content, on sets of images.

    For each set and radius the bound holds for every image of the set, moved by any amount up to the radius. Beside it
    stand attacks on the same images, which climb the detector's own logit, and what the joint model says of the points
    that they find. A point above the bound ends the measurement.

    Args:
        radii: l_inf, in pixel units, at least 0; None for 0 and the protocol's `epsilon`.
        num_noise: Number of fresh images of the paper's noise; None for as many as there are test images.
        num_of_kind: Number of images of each other kind without content, and at most of each set.
        num_attacked: Number of images of each set that are attacked; None for the protocol's `num_adversarial`.
        kinds: Names of kinds of noise; None for all without content that the data allow.
        set_names: Names of out-distribution sets of the data; None for all that are there.
        method: Of the bound, see `ProvableClassifier.confidence_bound`.

    Raises:
        UnsoundBoundError: If an attack exceeds a bound.
    """

    name = "certificates"
    radii: tuple[float, ...] = OPEN
    num_noise: int = OPEN
    num_of_kind: int = 1000
    num_attacked: int = OPEN
    kinds: tuple[str, ...] = OPEN
    set_names: tuple[str, ...] = OPEN
    method: str = "linear"

    @property
    def sets(self) -> Sequence[str]:
        return self.set_names or ()

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        there = tuple(name for name, images in data.ood.items() if not isinstance(images, str))
        settings: dict[str, Any] = {
            "radii": (0.0, protocol.epsilon),
            "num_noise": len(data.test_labels),
            "num_attacked": min(protocol.num_adversarial, self.num_of_kind),
            "kinds": _kinds(data),
            "set_names": there,
        }
        given = {name: getattr(self, name) for name in settings}
        chosen: dict[str, Any] = {name: settings[name] if value is None else value for name, value in given.items()}
        return [dataclasses.replace(self, **chosen)]

    def reason(self, subject: Subject) -> str | None:
        if not isinstance(subject.classifier, ProvableClassifier):
            return f"{subject.name} has no detector"
        return super().reason(subject)

    def finding_without(self, subject: Subject, reason: str) -> Finding:
        return Finding()  # a classifier without a detector promises nothing

    def cost(self, subject: Subject) -> float:
        num_sets = len(self.kinds) + len(self.sets)
        num_images, num_attacked = self.num_noise + self.num_of_kind * num_sets, self.num_attacked * num_sets
        return len(self.radii) * (4 * num_images + 3 * 3 * _NUM_STEPS * num_attacked) / 10  # a detector is small

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        detector = _provable(subject).detector
        names = [*(("noise", name) for name in self.kinds), *(("ood", name) for name in self.sets)]
        arrays: ArrayDict = {"test": detector.logits(subject.test_images), "names": json.dumps(names)}
        for i, (kind, name) in enumerate(names):
            tell(name, i / len(names))
            images = self._images(subject, kind, name)
            arrays[f"clean_{i}"] = subject.logits(images)
            arrays[f"bound_{i}"] = np.stack(
                [detector.logit_bounds(images, radius, method=self.method) for radius in self.radii]
            )
            attacked = [self._attack(subject, images[: self.num_attacked], radius) for radius in self.radii]
            arrays[f"attacked_{i}"] = np.stack([logit for logit, _ in attacked])
            arrays[f"confidence_{i}"] = np.stack([confidence for _, confidence in attacked])
            for radius, reached, bound in zip(self.radii, arrays[f"attacked_{i}"], arrays[f"bound_{i}"], strict=True):
                check_sound(reached, bound[: len(reached)], f"{name}, radius {radius:g}")
        return arrays

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        provable, detector = _provable(subject), _provable(subject).detector
        num_classes = subject.data.num_classes
        level = 1 / num_classes + FAR_SHARE
        seen = _seen(subject)
        rows = []
        for i, (kind, name) in enumerate(json.loads(str(arrays["names"]))):
            clean = float(confidence_of(arrays[f"clean_{i}"]).mean(dtype=np.float64))
            for j, radius in enumerate(self.radii):
                bound = arrays[f"bound_{i}"][j]
                reached, confidence = arrays[f"attacked_{i}"][j], arrays[f"confidence_{i}"][j]
                row = _row(bound, arrays["test"], num_classes, level, is_drawn=kind == "noise")
                top = _confidence(reached, num_classes) if len(reached) else None
                there = _confidence(bound[: len(reached)], num_classes) if len(reached) else None
                rows.append(
                    Certificate(
                        set=name,
                        kind=kind,
                        radius=float(radius),
                        seen=None if seen is None else is_among(name, seen),
                        mmc=clean,
                        num_attacked=len(reached),
                        attacked=None if top is None else float(top.mean(dtype=np.float64)),
                        attacked_bound=None if there is None else float(there.mean(dtype=np.float64)),
                        attacked_mmc=float(confidence.mean(dtype=np.float64)) if len(reached) else None,
                        **row,
                    )
                )
        p_in = 1 / (1 + np.exp(-arrays["test"].astype(np.float64)))
        result = CertificatesResult(
            level=level,
            method=self.method,
            bias=detector.bias if isinstance(detector, NegativeHead) else None,
            excess_weight=detector.excess_weight if isinstance(detector, NegativeHead) else None,
            temperature=provable.temperature,
            seen=None if seen is None else list(seen),
            p_in=float(p_in.mean()),
            p_in_low=float(np.quantile(p_in, 0.01)),
            sets=rows,
        )
        return Finding(results={"certificates": result})

    def _images(self, subject: Subject, kind: str, name: str) -> np.ndarray:
        if kind == "ood":
            images = subject.ood_images(name)
            return as_float(images[subject.chosen(images, self.num_of_kind)])
        count = self.num_noise if name == "paper" else self.num_of_kind
        makes = noise.build(name, seed=subject.seed + 1, settings={"sigma_per": "image"})
        chosen = np.random.default_rng(subject.seed + 1).integers(0, len(subject.test_images), count)
        return in_batches(makes, subject.test_images[chosen])

    def _attack(self, subject: Subject, images: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """The largest logits found in the balls, and the confidence of the joint model at these points."""
        provable = _provable(subject)
        points = strongest(provable.detector, images, subject.test_images, radius, seed=subject.seed)
        if not len(points):
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        return provable.detector.logits(points), confidence_of(provable.logits(points))


def strongest(detector: Detector, images: np.ndarray, others: np.ndarray, radius: float, *, seed: int) -> np.ndarray:
    """Attacks the logit of a detector: the point of each ball with the largest one that was found.

    Three runs of 40 steps with momentum: from the image, from a random point, and from the best of 32 other images
    projected into the ball. The mixture's own confidence would give no gradient where the logit is low.

    Args:
        detector: The detector.
        images: Float array `(n, ...)`, the centres.
        others: Float array of images of the data.
        radius: l_inf, in pixel units, at least 0.
        seed: int.

    Returns:
        float32 array of the shape of `images`.
    """
    if radius == 0 or not len(images):
        return images.copy()
    objective = Objective(detector.logit)
    settings: dict[str, Any] = {"epsilon": radius, "num_steps": _NUM_STEPS, "momentum": 0.75, "seed": seed}
    attack = PGD(step_size=LinearDecay(radius / 2), **settings)
    best, best_logit = images.copy(), detector.logits(images)
    draw = np.random.default_rng(seed)
    candidates = others[draw.integers(0, len(others), (_NUM_CANDIDATES, len(images)))]
    near = [np.clip(one, images - radius, images + radius).astype(np.float32) for one in candidates]
    logits = np.stack([detector.logits(one) for one in near]).argmax(axis=0)
    projected = np.stack([near[choice][i] for i, choice in enumerate(logits)])
    corner = np.clip(images + radius * draw.choice([-1.0, 1.0], images.shape), 0, 1).astype(np.float32)

    def climb(images: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        return attack.maximize(objective, images, start=start).images

    run = traced(climb, images, images)
    for start in (images, corner, projected):
        points = in_batches(run, images, start)
        logit = detector.logits(points)
        better = logit > best_logit
        best[better], best_logit[better] = points[better], logit[better]
    return best


def check_sound(reached: np.ndarray, bound: np.ndarray, where: str) -> None:
    """Raises `UnsoundBoundError` if an attack reached a logit above the bound.

    >>> check_sound(np.array([1.0]), np.array([0.5]), "noise")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    keras_acet.evaluation.measurements.certificates.UnsoundBoundError: An attack exceeds the bound of 1 of 1 images ...
    """
    above = int(np.count_nonzero(~(reached <= bound)))
    if above:
        raise UnsoundBoundError(
            f"An attack exceeds the bound of {above} of {len(bound)} images ({where}), by up to "
            f"{np.max(reached - bound):.3g}. Do not use this detector: its bound is not one in the arithmetic here."
        )


def _kinds(data: Data) -> tuple[str, ...]:
    """The kinds of noise that the data allow, the paper's first."""
    is_image = len(data.image_shape) == 3
    kinds = [name for name in noise.kinds_without_content() if is_image or noise.kind(name).takes_vectors]
    return tuple(sorted(kinds, key=lambda name: name != "paper"))


def _provable(subject: Subject) -> ProvableClassifier:
    assert isinstance(subject.classifier, ProvableClassifier)  # `reason` looks at it
    return subject.classifier


def _row(bound: np.ndarray, test: np.ndarray, num_classes: int, level: float, *, is_drawn: bool) -> dict[str, Any]:
    """What the bounds of a set say, against the logits of the test images."""
    confidence = _confidence(bound, num_classes)
    against = metrics.ood_metrics(test, bound)
    below = int(np.count_nonzero(confidence <= level))
    return {
        "n": len(bound),
        "certified_mmc": float(confidence.mean(dtype=np.float64)),
        "share_below_level": below / len(bound),
        "at_least": float(beta.ppf(_MISTRUST, below, len(bound) - below + 1)) if is_drawn and below else None,
        "certified_auroc": against["auroc_ties_against"],
        "certified_fpr95": against["fpr95_id_positive"],
        "quantiles": [(q, float(np.quantile(confidence, q))) for q in QUANTILES],
    }


def _confidence(logits: np.ndarray, num_classes: int) -> np.ndarray:
    return np.asarray(confidence_bound_of(tf.constant(logits), num_classes))


def _seen(subject: Subject) -> tuple[str, ...] | None:
    """Names of what the detector was trained against, or None if nothing says so."""
    flags = subject.classifier.flags or {}
    if flags.get("method") != "prood" or "out" not in flags:
        return None
    return out_sources(flags["out"])
