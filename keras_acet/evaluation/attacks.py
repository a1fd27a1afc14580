"""The attacks on noise, and an `Attacker` that runs them and keeps the worst case of each image."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import in_batches, logits_of, traced
from keras_acet.attack import PGD, AutoPGD, LinearDecay, LinfAttack, Objective
from keras_acet.attack_mode import PRECISIONS, attack_mode
from keras_acet.evaluation.results import AttackResult
from keras_acet.losses import log_max_confidence, logit_gap
from keras_acet.networks.interface import last_operation
from keras_acet.projections import project_linf

# The attacks that follow skip an image whose confidence is at least this. Those from the strongest point skip no image:
# one that is left at .995 would still be less confident than most test images, and AUROC would look too good.
_CONFIDENT_ENOUGH = 0.995
_NUM_CANDIDATES = 64  # test images tried as the start for each noise image
FLAT_GRADIENT = 1e-6


class Trial(NamedTuple):
    """One attack of a suite.

    Attributes:
        name: Name of the attack in tables.
        attack: An attack, such as `attack.PGD`.
        objective: `"log confidence"` or `"logit gap"`: the function whose gradient the attack follows. With either of
            them the attack keeps the point of the largest confidence.
        start: Where it begins: `"attack"`, the attack's own start; `"decontrasted"`, the noise image moved towards
            gray as far as the ball allows; `"test images"`, the one with the largest logit gap of several test images
            projected into the ball; `"strongest"`, the most confident point that is known.
        precision: What the network computes in while it is attacked, `"bfloat16"` or `"float32"`. The confidence of
            the resulting points is always measured in the network's own precision. On the authors' ACET weights attacks
            in bfloat16 took three quarters of the time and reached no smaller mean confidence: .960 against .911, with
            a suite that had no starts from test images.
    """

    name: str
    attack: LinfAttack
    objective: str = "log confidence"
    start: str = "attack"
    precision: str = "bfloat16"


class KnownPoints(NamedTuple):
    """Points that are known before a suite of attacks begins and that it tries first.

    Attributes:
        name: Where the points come from, as tables show it.
        points: Float array `(n, ...)`, one for each image under attack; they are projected into the ball.
        transferred_from: The classifier that they were found on, if it was another one.
    """

    name: str
    points: np.ndarray
    transferred_from: str | None = None


def fresh(trials: Sequence[Trial]) -> list[Trial]:
    """Returns copies of the attacks with fresh random generators, so that a second run draws the same numbers."""
    return [trial._replace(attack=type(trial.attack).from_config(trial.attack.get_config())) for trial in trials]


def published_attack(epsilon: float, *, seed: int = 0) -> list[Trial]:
    """The "Adv. Noise" of the paper: 200 sign steps of `epsilon / 40`, random start, no restart, no momentum."""
    return [Trial("200 steps, as published", _pgd(epsilon, 200, epsilon / 40, 0.0, seed), precision="float32")]


def worst_case_attacks(epsilon: float, *, seed: int = 0) -> list[Trial]:
    """Returns the five attacks that, taken together, a network has to withstand at one radius.

    A network that was trained against one step size is flat to attacks with that step size, so that a plain PGD run is
    weak evidence: on the authors' ACET weights it reached a mean confidence of .100 where PGD with momentum reached
    .692. The suite holds the attack used in training, a longer one with smaller steps, and three with momentum .75
    whose step sizes fall linearly from `epsilon` divided by 30, 5 and 1.5. All maximise the log-confidence from a
    random start.

    Args:
        epsilon: Radius in pixel units, in `(0, 1]`; the step sizes scale with it.
        seed: int; attack `i` draws its random starts from `seed + i`.

    Returns:
        List of `Trial`.

    Example:

    >>> [trial.attack.num_steps for trial in worst_case_attacks(0.3)]
    [40, 200, 200, 200, 200]
    """
    return [
        Trial("40 steps", _pgd(epsilon, 40, None, 0.0, seed)),
        Trial("200 short steps", _pgd(epsilon, 200, epsilon / 100, 0.0, seed + 1)),
        Trial("momentum, short", _falling(epsilon, 200, epsilon / 30, seed + 2)),
        Trial("momentum, middle", _falling(epsilon, 200, epsilon / 5, seed + 3)),
        Trial("momentum, long", _falling(epsilon, 200, epsilon / 1.5, seed + 4)),
    ]


def full_suite(epsilon: float, *, seed: int = 0) -> list[Trial]:
    """Returns all attacks on noise: the suite behind "worst-case noise".

    It holds `published_attack`, `worst_case_attacks`, and six more attacks: PGD with momentum .9 from a random start of
    its own; `attack.AutoPGD` on the logit gap, once from a random point and once from a random corner of the ball; and
    PGD with momentum from decontrasted images, from test images projected into the ball, and from the most confident
    point known, which may be one that attacks on another network found. Around the noise a network can be so flat that
    its gradient vanishes; then only the last three attacks raise the confidence at all.

    Args:
        epsilon: Radius in pixel units, in `(0, 1]`; the step sizes scale with it.
        seed: int.

    Returns:
        List of `Trial`.
    """
    forty, short_steps, *momentum = worst_case_attacks(epsilon, seed=seed)
    return [
        *published_attack(epsilon, seed=seed + 5),
        forty,
        *reversed(momentum),  # the longest steps first: they often bring images above .995, which later attacks skip
        short_steps,
        Trial("momentum .9", _pgd(epsilon, 200, LinearDecay(epsilon / 15), 0.9, seed + 6)),
        *_gap_attacks(epsilon, seed + 7),
    ]


def short_suite(epsilon: float, *, seed: int = 0) -> list[Trial]:
    """Returns the attacks on out-distribution sets and at a second radius: six of `full_suite` with half the steps."""
    return [Trial("momentum, middle", _falling(epsilon, 100, epsilon / 5, seed)), *_gap_attacks(epsilon, seed + 1, 50)]


def _gap_attacks(epsilon, seed, num_steps=100):
    gap = "logit gap"
    return [
        Trial("Auto-PGD", AutoPGD(epsilon=epsilon, num_steps=num_steps, seed=seed), gap),
        Trial("Auto-PGD, corner", AutoPGD(epsilon=epsilon, num_steps=num_steps, start="corner", seed=seed + 1), gap),
        Trial("decontrasted image", _falling(epsilon, num_steps, epsilon / 5, seed + 2), gap, "decontrasted"),
        Trial("test image", _falling(epsilon, num_steps, epsilon / 15, seed + 3), gap, "test images"),
        Trial("strongest point", _falling(epsilon, num_steps, epsilon / 30, seed + 4), gap, "strongest"),
    ]


def _pgd(epsilon, num_steps, step_size, momentum, seed):
    return PGD(epsilon=epsilon, num_steps=num_steps, step_size=step_size, momentum=momentum, seed=seed)


def _falling(epsilon, num_steps, first_step, seed):
    return _pgd(epsilon, num_steps, LinearDecay(first_step), 0.75, seed)


def objectives(network: keras.Model | Callable[[tf.Tensor], tf.Tensor], precision: str) -> dict[str, Objective]:
    """Returns the objectives of attacks on a network: a dict name -> `attack.Objective`, each traced once for all.

    The value of both is the log of the largest softmax probability, so that the best point is the most confident one.
    They differ in the gradient: "log confidence" has the gradient of the value, "logit gap" the gradient of the logit
    gap, which keeps its size where the softmax is flat.

    Args:
        network: `keras.Model` from images to logits, or a function that TensorFlow can differentiate.
        precision: `"bfloat16"` or `"float32"`. A network that cannot compute in bfloat16, such as one with float32
            tensors inside a layer of its own, is attacked in float32; and so is one whose logits are the logarithms of
            probabilities, of which bfloat16 rounds too many to 1.
    """
    if type(last_operation(network)).__name__ == "Log":
        precision = "float32"

    def logits(images):
        try:
            with attack_mode(network, precision=precision):
                return logits_of(network, images)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            if precision == "float32":
                raise
            return logits_of(network, images)

    def gap(images):
        values = logits(images)
        gaps = logit_gap(values)
        return gaps + tf.stop_gradient(log_max_confidence(values) - gaps)

    return {
        "log confidence": Objective(lambda images: log_max_confidence(logits(images))),
        "logit gap": Objective(gap),
    }


@dataclasses.dataclass
class SuiteResult:
    """The result of a suite of attacks on one network.

    Attributes:
        confidence: Float array `(n,)`, the worst case: the largest confidence that any attack reached for each image.
        images: Float array `(n, ...)`, the points with that confidence.
        trials: List of `AttackResult`: one for each of the known points, then one per attack, in order.
        points: List of float arrays `(n, ...)`: the best points of each attack, to be tried on other networks.
    """

    confidence: np.ndarray
    images: np.ndarray
    trials: list[AttackResult]
    points: list[np.ndarray]


class Attacker:
    """Attacks images with a suite and keeps the most confident point of each.

    Args:
        network: `keras.Model` from images to logits, or a function that TensorFlow can differentiate.
        images: Float array `(n, ...)`, values in `[0, 1]`: noise, or images that show none of the data's classes.
        other_images: Float array `(m, ...)` of other images, such as test images, for the start `"test images"`.
        seed: int, for the choice among the other images.
    """

    def __init__(
        self,
        network: keras.Model | Callable[[tf.Tensor], tf.Tensor],
        images: np.ndarray,
        other_images: np.ndarray,
        *,
        seed: int = 0,
    ) -> None:
        self._images = images
        self._others = other_images
        self._seed = seed
        self._objectives = {precision: objectives(network, precision) for precision in PRECISIONS}
        self._confidence_at = traced(lambda x: log_max_confidence(logits_of(network, x)), images)
        self._gap_at = traced(lambda x: logit_gap(logits_of(network, x)), images)

    def run(
        self,
        trials: Sequence[Trial],
        *,
        known_points: Sequence[KnownPoints] = (),
        on_trial: Callable[[str, float], None] | None = None,
    ) -> SuiteResult:
        """Runs attacks one after the other.

        Args:
            trials: List of `Trial`, all of one radius.
            known_points: List of `KnownPoints`, which are tried first.
            on_trial: None, or a function called before each trial with its name and the share of steps that is done.

        Returns:
            `SuiteResult`.
        """
        epsilon = trials[0].attack.epsilon
        so_far = SuiteResult(self._confidence(self._images), self._images.copy(), [], [])
        for known in known_points:
            points = project_linf(known.points, self._images, epsilon=epsilon).numpy()
            confidence = self._confidence(points)
            self._keep(so_far, points, confidence)
            summary = _summary(known.name, "none", "transferred", epsilon, 0, confidence, None, 0)
            so_far.trials.append(dataclasses.replace(summary, transferred_from=known.transferred_from))
        all_steps, steps = sum(trial.attack.num_steps for trial in trials), 0
        for trial in trials:
            if on_trial is not None:
                on_trial(trial.name, steps / all_steps)
            self._attack(so_far, trial)
            steps += trial.attack.num_steps
        return so_far

    def _attack(self, so_far, trial):
        goes_on = (so_far.confidence < _CONFIDENT_ENOUGH) | (trial.start == "strongest")
        open_images = np.flatnonzero(goes_on)
        points, confidence = so_far.images.copy(), so_far.confidence.copy()
        num_steps = trial.attack.num_steps
        curve = np.repeat(confidence[None], num_steps + 1, axis=0)
        if len(open_images):
            arrays = [self._images[open_images]]
            if trial.start != "attack":
                arrays.append(self._starts(trial, so_far)[open_images])
            objective = self._objectives[trial.precision][trial.objective]

            def maximize(images, start=None):
                result = trial.attack.maximize(objective, images, start=start, record=True)
                return result.images, tf.transpose(result.curve)

            points[open_images], log_curve = in_batches(traced(maximize, *arrays), *arrays)
            confidence[open_images] = self._confidence(points[open_images])
            curve[:, open_images] = np.exp(log_curve).T
        num_skipped = len(confidence) - len(open_images)
        start = trial.attack.start if trial.start == "attack" else trial.start
        so_far.trials.append(
            _summary(
                trial.name, trial.objective, start, trial.attack.epsilon, num_steps, confidence, curve, num_skipped
            )
        )
        so_far.points.append(points)
        self._keep(so_far, points, confidence)

    def _keep(self, so_far, points, confidence):
        better = confidence > so_far.confidence
        so_far.images[better], so_far.confidence[better] = points[better], confidence[better]

    def _starts(self, trial, so_far):
        if trial.start == "strongest":
            return so_far.images
        if trial.start == "decontrasted":
            return np.full_like(self._images, 0.5)
        return self._best_projected(trial.attack.epsilon)

    def _best_projected(self, epsilon):
        """Returns for each image the one of the largest logit gap of several other images, projected into its ball."""
        draw = np.random.default_rng(self._seed)
        best, best_gap = self._images.copy(), np.full(len(self._images), -np.inf)
        for _ in range(_NUM_CANDIDATES):
            chosen = self._others[draw.integers(0, len(self._others), len(self._images))]
            candidates = project_linf(chosen, self._images, epsilon=epsilon).numpy()
            gap = in_batches(self._gap_at, candidates)
            better = gap > best_gap
            best[better], best_gap[better] = candidates[better], gap[better]
        return best

    def _confidence(self, images):
        return np.exp(in_batches(self._confidence_at, images))

    def flat_share(self) -> float:
        """Returns the share of images at which every entry of the log-confidence's gradient is below 1e-6 in size."""
        objective = self._objectives["float32"]["log confidence"]

        def steepness(images):
            _, gradient = objective.value_and_gradient(images)
            return tf.reduce_max(tf.abs(gradient), axis=list(range(1, gradient.shape.rank)))

        return float(np.mean(in_batches(traced(steepness, self._images), self._images) < FLAT_GRADIENT))


def _summary(name, objective, start, epsilon, steps, confidence, curve, num_skipped):
    pairs = None
    if curve is not None:
        means = curve.astype(np.float64).mean(axis=1)
        shown = sorted({0, *np.unique(np.geomspace(1, steps, 25).round().astype(int)).tolist(), steps})
        pairs = [(step, float(means[step])) for step in shown]
    return AttackResult(
        name=name,
        radius=epsilon,
        objective=objective,
        start=start,
        steps=steps,
        mmc=float(confidence.mean(dtype=np.float64)),
        share_above_half=float(np.mean(confidence > 0.5)),
        curve=pairs,
        num_skipped=num_skipped,
    )
