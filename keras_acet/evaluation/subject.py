"""A classifier under measurement: its images, its outputs, and the arrays that were computed before."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_acet._prediction import as_float, confidence_of, in_batches, traced
from keras_acet.classifiers import Classifier
from keras_acet.datasets import Data
from keras_acet.evaluation import attacks, keys
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.store import Store
from keras_acet.networks import Interface
from keras_acet.noise import PaperNoise, UniformNoise
from keras_acet.scores import Score
from keras_acet.theory import PiecewiseAffine
from keras_acet.version import __version__

if TYPE_CHECKING:
    from keras_acet.evaluation.measurements.base import Measurement

ArrayDict = dict[str, Any]
Tell = Callable[..., None]
NUM_SHOWN = 12


def evaluation_noise(test_images: np.ndarray, num_noise: int, *, seed: int = 0) -> np.ndarray:
    """Makes noise for an evaluation: p_out with one sigma per image, from test images drawn without replacement.

    One sigma per batch, as in training, would measure a single sigma. Vectors get uniform noise.

    Args:
        test_images: Float array of shape `(n, ...)`, values in `[0, 1]`.
        num_noise: Number of noise images; no more than `n` are made.
        seed: int.

    Returns:
        Float array of shape `(min(num_noise, n), ...)`.
    """
    chosen = np.random.default_rng(seed).permutation(len(test_images))[:num_noise]
    images = tf.constant(test_images[chosen])
    if images.shape.rank == 4:
        return PaperNoise(sigma_per="image", seed=seed)(images).numpy()
    # With the seed of the first attack, its random start would be drawn from the same numbers as the noise.
    return UniformNoise(seed=seed + 1_000_003)(images).numpy()


class NonFiniteLogitsError(ValueError):
    """A network that gives NaN or infinity for images in [0, 1]."""


class Subject:
    """A classifier under measurement, with the data and what was computed before.

    Args:
        classifier: `classifiers.Classifier`. Nothing of it is changed.
        data: `datasets.Data`.
        protocol: `Protocol`; of what depends on the data only `num_images`, `seed`, `score` and `num_bootstrap` matter.
        store: `Store`; None keeps nothing on disk.
        name: Its name in the results; None for the classifier's name.
        is_differentiable: Whether the logits have a gradient in the images; None for what the classifier says.

    Attributes:
        others: Subjects for the same data whose worst cases are tried on this one.
        measurements: The measurements of this evaluation.
        test_images, test_labels: Float32 images in [0, 1] and their labels, those that are scored.
        seed: int, of noise, attacks and choices.
        seconds: Time that its arrays took; those of the store as long as they took then.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Data,
        protocol: Protocol | None = None,
        store: Store | None = None,
        *,
        name: str | None = None,
        is_differentiable: bool | None = None,
    ) -> None:
        self.classifier = classifier
        self.data = data
        self.protocol = protocol or Protocol()
        self.name = classifier.name if name is None else name
        self.is_differentiable = classifier.is_differentiable if is_differentiable is None else is_differentiable
        self.others: list[Subject] = []
        self.measurements: list[Measurement] = []
        self.seed = self.protocol.seed
        self.test_images = as_float(self.some(data.test_images))
        self.test_labels = self.some(data.test_labels)
        self._store = store or Store()
        self.seconds = 0.0
        self._computed: dict[str, ArrayDict] = {}
        self._noise: dict[int, np.ndarray] = {}
        self._attackers: dict[int, attacks.Attacker] = {}
        self._pieces: PiecewiseAffine | None = None
        self._computing: list[Measurement] = []

    @property
    def score(self) -> Score:
        """The score that tells test images from others."""
        return self.protocol.score

    # Images.

    def some(self, images: np.ndarray) -> np.ndarray:
        """Returns the images, or labels, that are scored: all of them, unless the protocol says how many."""
        count, num_images = len(images), self.protocol.num_images
        if not num_images or count <= num_images:
            return images
        return images[np.sort(np.random.default_rng(self.seed).permutation(count)[:num_images])]

    def ood_images(self, name: str) -> np.ndarray:
        """Returns the images of an out-distribution set, which has to be available.

        Raises:
            ValueError: If a measurement asks for a set in `compute` that is not among its `sets`.
        """
        if self._computing and name not in self._computing[-1].sets:
            raise ValueError(
                f"{keys.class_name(self._computing[-1])} must name the sets that it uses, or a stored result would "
                f"outlive them. Received: {name!r}, which is not in `sets`."
            )
        images = self.data.ood[name]
        if isinstance(images, str):
            raise ValueError(f"The set {name!r} must have images. Received: {images}")
        return images

    def noise_images(self, count: int | None = None) -> np.ndarray:
        """Returns noise images, as many as there are test images unless `count` says otherwise."""
        count = count or len(self.test_images)
        if count not in self._noise:
            self._noise[count] = evaluation_noise(self.test_images, count, seed=self.seed)
        return self._noise[count]

    def chosen(self, images: np.ndarray, count: int) -> np.ndarray:
        """Returns the places of `count` images drawn without replacement, rising."""
        return np.sort(np.random.default_rng(self.seed).permutation(len(images))[:count])

    # What the classifier says.

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of images.

        Args:
            images: Array `(n, ...)`: float in [0, 1], or uint8.

        Returns:
            float32 array `(n, num_classes)`.

        Raises:
            NonFiniteLogitsError: If some are not finite.
        """
        return self._checked(self.classifier.logits(images))

    def outputs(self, images: np.ndarray, prefix: str = "") -> ArrayDict:
        """Computes the arrays that the row of a set is made from.

        Args:
            images: As for `logits`.
            prefix: Beginning of the names in the result.

        Returns:
            dict of "logits"; and of "observed", if the score needs something else than logits.
        """
        if self.score_sees_logits:
            return {f"{prefix}logits": self.logits(images)}
        observe = self.score.observe(self.classifier.network)
        logits, observed = in_batches(traced(observe, images), images)
        return {f"{prefix}logits": self._checked(logits), f"{prefix}observed": observed}

    def outputs_with_examples(self, images: np.ndarray) -> ArrayDict:
        """Returns `outputs` and the most confident of the images: "images", and "shown", their places."""
        outputs = self.outputs(images)
        shown = np.argsort(-confidence_of(outputs["logits"]), kind="stable")[:NUM_SHOWN]
        return {**outputs, "images": images[shown], "shown": shown}

    def scores(self, outputs: ArrayDict, prefix: str = "") -> np.ndarray:
        """Returns the score of each image from its `outputs`: float array `(n,)`."""
        name = f"{prefix}observed"
        return self.score.of(outputs[name] if name in outputs else outputs[f"{prefix}logits"])

    @property
    def score_sees_logits(self) -> bool:
        """Whether the score needs nothing but logits."""
        return type(self.score).observe is Score.observe

    def _checked(self, logits: np.ndarray) -> np.ndarray:
        if not np.isfinite(logits).all():
            count = np.count_nonzero(~np.isfinite(logits).all(axis=1))
            raise NonFiniteLogitsError(
                f"The logits of {self.name} must be finite. Received: {count} of {len(logits)} images with NaN or "
                "infinity. Its weights are damaged, or training went astray."
            )
        return logits

    def noise_attacker(self, count: int) -> attacks.Attacker:
        """Returns the `Attacker` of `count` noise images; it is made once."""
        if count not in self._attackers:
            self._attackers[count] = self.attacker(self.noise_images(count))
        return self._attackers[count]

    def attacker(self, images: np.ndarray) -> attacks.Attacker:
        """Returns the `Attacker` of images that are not of the data's classes."""
        return attacks.Attacker(self.classifier.network, images, self.test_images, seed=self.seed)

    def pieces(self) -> PiecewiseAffine:
        """Returns the linear pieces of the network.

        Raises:
            TypeError, ValueError: If they are not known.
        """
        if self._pieces is None:
            self._pieces = PiecewiseAffine(self.classifier.network)
        return self._pieces

    # What was computed.

    def test_arrays(self) -> ArrayDict:
        """Returns the arrays of the test set, with which other sets are compared."""
        from keras_acet.evaluation.measurements.test_set import TestSet  # it imports this module

        return self.arrays(TestSet())

    def test_scores(self) -> np.ndarray:
        """Returns the score of each test image."""
        return self.scores(self.test_arrays())

    def arrays(self, measurement: "Measurement", tell: Tell | None = None) -> ArrayDict:
        """Computes what a measurement needs, or takes it from the store.

        Args:
            measurement: A measurement without open settings, see `Measurement.resolved`.
            tell: None, or a function of a text and the share of the work that is done, called as the work goes on.

        Returns:
            dict of arrays.

        Raises:
            ValueError: If a measurement asks for another one in `compute` that is not in its `builds_on`.
        """
        if self._computing and measurement not in self._computing[-1].builds_on:
            raise ValueError(
                f"{keys.class_name(self._computing[-1])} must name what it builds on, or a stored result would outlive "
                f"it. Received: {keys.class_name(measurement)}, which is not in `builds_on`."
            )
        measurement = measurement.as_done_on(self)
        key = self.key(measurement)
        text = json.dumps(key, sort_keys=True)
        if text not in self._computed:

            def make() -> ArrayDict:
                self._computing.append(measurement)
                try:
                    return measurement.compute(self, tell or (lambda text="", share=0.0: None))
                finally:
                    self._computing.pop()

            store = self._store if self._is_stored(measurement) else Store()
            self._computed[text] = store.get(key, make)
            self.seconds += store.seconds
        return self._computed[text]

    def is_done(self, measurement: "Measurement") -> bool:
        """Whether what a measurement needs lies in the store."""
        measurement = measurement.as_done_on(self)
        return self._is_stored(measurement) and self.key(measurement) in self._store

    def _is_stored(self, measurement: "Measurement") -> bool:
        # The stored results of two models without a digest could not be told apart.
        others = self.others if measurement.transfers else []
        return all(subject.classifier.sha256 for subject in [self, *others])

    @property
    def _wrapping(self) -> list[str]:
        """What the file is known to take and give, where that is not images in [0, 1] and logits."""
        return [] if self.classifier.interface in (None, Interface()) else [str(self.classifier.interface)]

    def key(self, measurement: "Measurement") -> dict[str, Any]:
        """Returns all that the arrays of a measurement depend on: its settings, the classifier, the images."""
        key = {
            "stage": measurement.title,
            "measurement": keys.describe(measurement),
            "code": measurement.version,
            "model": self.classifier.sha256,
            "data": self.data.fingerprint,
            "num_images": self.protocol.num_images,
            "seed": self.seed,
            "version": __version__,
        }
        if self._wrapping:
            key["wrapping"] = self._wrapping
        if not self.score_sees_logits:
            key["score"] = keys.describe(self.score)
        if measurement.sets:
            key["sets"] = {name: self.data.ood_digest(name) for name in measurement.sets}
        if measurement.builds_on:
            key["builds_on"] = [self.key(one.as_done_on(self)) for one in measurement.builds_on]
        if measurement.transfers:
            key["others"] = [[other.name, other.classifier.sha256, *other._wrapping] for other in self.others]
        return key
