"""The numbers of an evaluation: radii, images and attacks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_acet.datasets import Data
from keras_acet.evaluation.attacks import Trial, full_suite
from keras_acet.scores import MaxSoftmax, Score

Suite = Callable[..., Sequence[Trial]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Numbers of images, radii and numbers of trials. A number of zero leaves its part of the evaluation out.

    Args:
        epsilon: Radius of the attacks on noise and on test images in pixel units, in `(0, 1]`: that of the training.
        larger_epsilon: A second radius for the worst-case noise; None for `min(4/3 epsilon, 1)`, 0 for none.
        ood_epsilon: Radius of the attacks on out-distribution sets; None for 0.3 on gray images and .01 on others, as
            in the literature on robust detection (see the source), at most `epsilon`.
        num_images: Number of images scored of each set; 0 for all, as it has to be for numbers worth quoting.
        num_noise: Number of noise images that are attacked, at most as many as there are test images.
        num_bounded: Number of noise images whose worst case is bounded from above too, at most `num_noise`.
        num_adversarial: Number of test images, and of images of each out-distribution set, that are attacked.
        num_trials: Number of uniform random inputs for `alpha_scaling`.
        alpha: "scan", or "exact" for `exact_alpha` beside the scan.
        num_bootstrap: Number of replicates behind each interval.
        seed: int >= 0, for noise, attacks, choices and replicates.
        score: `scores.Score` that tells test images from others. The columns of the mean confidence do not depend on
        it.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise: `full_suite`, or `worst_case_attacks`.
        is_quick: Whether this is a first look; `quick` says so.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If `score` or `suite` is not what it has to be.

    Source for `ood_epsilon`: Bitterwolf, Meinke, Hein, NeurIPS 2020 (GOOD).
    """

    epsilon: float = 0.3
    larger_epsilon: float | None = None
    ood_epsilon: float | None = None
    num_images: int = 0
    num_noise: int = 512
    num_bounded: int = 32
    num_adversarial: int = 512
    num_trials: int = 10_000
    alpha: str = "scan"
    num_bootstrap: int = 1000
    seed: int = 0
    score: Score = dataclasses.field(default_factory=MaxSoftmax)
    suite: Suite = full_suite
    is_quick: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # which JSON cannot hold
                object.__setattr__(self, field.name, value.item())
        for name in ("epsilon", "larger_epsilon", "ood_epsilon"):
            value = getattr(self, name)
            zero_is_fine = name == "larger_epsilon" and value == 0
            if value is not None and not zero_is_fine and not 0 < value <= 1:
                raise ValueError(f"`{name}` must be in (0, 1], in pixel units. Received: {name}={value}.")
        for name, least in (
            ("num_images", 0),
            ("num_noise", 1),
            ("num_bounded", 0),
            ("num_adversarial", 0),
            ("num_trials", 0),
            ("num_bootstrap", 1),
        ):
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise ValueError(f"`{name}` must be a whole number, at least {least}. Received: {name}={value}.")
        if self.alpha not in ("exact", "scan"):
            raise ValueError(f"`alpha` must be one of ['exact', 'scan']. Received: alpha={self.alpha!r}.")
        if not isinstance(self.score, Score):
            raise TypeError(f"`score` must be a `scores.Score`. Received: score={self.score!r}.")
        if not callable(self.suite):
            raise TypeError(f"`suite` must be a function that returns attacks. Received: suite={self.suite!r}.")

    def for_data(self, data: Data) -> "Protocol":
        """Returns the protocol with all that depends on the data filled in."""
        num_test = min(len(data.test_labels), self.num_images or len(data.test_labels))
        larger = min(round(4 / 3 * self.epsilon, 6), 1.0) if self.larger_epsilon is None else self.larger_epsilon
        usual = 0.3 if data.image_shape[-1] == 1 or len(data.image_shape) == 1 else 0.01
        ood = min(usual, self.epsilon) if self.ood_epsilon is None else self.ood_epsilon
        return dataclasses.replace(
            self,
            larger_epsilon=larger if larger > self.epsilon else 0.0,
            ood_epsilon=ood,
            num_noise=min(self.num_noise, num_test),
            num_bounded=min(self.num_bounded, self.num_noise, num_test),
            num_adversarial=min(self.num_adversarial, num_test),
        )

    def replace(self, **numbers: Any) -> "Protocol":
        """Returns the protocol with other numbers."""
        return dataclasses.replace(self, **numbers)

    def quick(self) -> "Protocol":
        """Returns the protocol for a first look, in a minute or two: 2000 images of each set, 64 under attack."""
        return dataclasses.replace(
            self, num_images=2000, num_noise=64, num_adversarial=64, num_trials=200, num_bootstrap=200, is_quick=True
        )
