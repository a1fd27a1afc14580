"""Test images whose class an attack changes."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from keras_acet import metrics
from keras_acet._prediction import in_batches, logits_of, traced
from keras_acet.attack import PGD, Objective
from keras_acet.attack_mode import attack_mode
from keras_acet.datasets import Data
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements.base import OPEN, Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import measured
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialSamples(Measurement):
    """Test images after an attack that maximises the cross-entropy of their class; the best image is kept.

    Args:
        epsilon: Radius in pixel units, in (0, 1]; None for the protocol's.
        num_images: Number of test images; None for the protocol's `num_adversarial`.
        num_steps: Number of sign steps of `epsilon / 40`; 80 as published.
    """

    name = "adversarial_samples"
    needs = ("gradients",)
    epsilon: float = OPEN
    num_images: int = OPEN
    num_steps: int = 80

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        epsilon = protocol.epsilon if self.epsilon is None else self.epsilon
        num_images = protocol.num_adversarial if self.num_images is None else self.num_images
        return [dataclasses.replace(self, epsilon=epsilon, num_images=num_images)] if num_images else []

    def cost(self, subject: Subject) -> float:
        return 3 * self.num_steps * self.num_images

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        chosen = subject.chosen(subject.test_images, self.num_images)
        images, labels = subject.test_images[chosen], subject.test_labels[chosen]
        attack = PGD(epsilon=self.epsilon, num_steps=self.num_steps, step_size=self.epsilon / 40, seed=subject.seed)
        adversarial = _climb_cross_entropy(subject.classifier.network, attack, images, labels)
        before = subject.logits(images).argmax(axis=1)
        examples = subject.outputs_with_examples(adversarial)
        return {**examples, "changed": examples["logits"].argmax(axis=1) != before}

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        changed = arrays["changed"]
        success = measured(metrics.share(int(changed.sum()), len(changed)))
        finding, about = Finding(), f"epsilon {self.epsilon:.4g}"
        finding.add_row(
            subject,
            {name: arrays[name][changed] for name in ("logits", "observed") if name in arrays},
            kind="adversarial_samples",
            set="changed",
            label="adversarial samples (changed)",
            radius=self.epsilon,
            note=f"{success.value:.1%} of {len(changed)} changed class, {about}",
            success_rate=success,
        )
        finding.add_row(
            subject,
            arrays,
            kind="adversarial_samples",
            set="all",
            label="adversarial samples (all)",
            radius=self.epsilon,
            note=about,
        )
        return finding

    def settings(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "num_adversarial": self.num_images}


def _climb_cross_entropy(network: Any, attack: PGD, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    def maximize(images, labels):
        labels = tf.cast(labels, tf.int32)

        def cross_entropy(x):
            with attack_mode(network):
                return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits_of(network, x))

        return attack.maximize(Objective(cross_entropy), images).images

    labels = labels.astype(np.float32)  # as everything that goes in batches
    return in_batches(traced(maximize, images, labels), images, labels)
