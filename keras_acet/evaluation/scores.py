"""What a network says to every set of images: the stages of an evaluation, each kept once it is done."""

import functools
import hashlib
import json

import numpy as np
import tensorflow as tf

from keras_acet import calibration
from keras_acet._prediction import as_float, confidence_of, in_batches, logits_of, traced
from keras_acet.attack import PGD, Objective
from keras_acet.attack_mode import attack_mode
from keras_acet.evaluation import attacks, bounds, scaling
from keras_acet.noise import PaperNoise, UniformNoise
from keras_acet.version import __version__

_NUM_SHOWN = 12
# What the arrays of a stage depend on besides the images that are scored: numbers of the protocol, and suites.
_ATTACKED_NOISE = ("epsilon", "num_noise"), ("suite",)
_DEPENDS_ON = {
    "worst-case noise": _ATTACKED_NOISE,
    "transferred noise": _ATTACKED_NOISE,
    "worst-case noise, larger": (("epsilon", "larger_epsilon", "num_noise"), ("suite", "short suite")),
    "ood: worst-case": (("ood_epsilon", "num_adversarial"), ("short suite",)),
    "interval bounds": (("epsilon", "num_noise", "num_bounded"), ("suite",)),
    "adversarial samples": (("epsilon", "num_adversarial"), ()),
    "alpha scaling": (("num_trials",), ()),
    "exact alpha": (("num_trials",), ()),
}
_NUM_ADVERSARIAL_STEPS = 80  # as published


def evaluation_noise(test_images, num_noise, *, seed=0):
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
    # Not the seed of the first attack, whose random start would be made of the same numbers.
    return UniformNoise(seed=seed + 1_000_003)(images).numpy()


def _description(trial):
    """All that makes an attack what it is, as text."""
    config = {name: value for name, value in trial.attack.get_config().items() if name != "name"}
    return json.dumps([type(trial.attack).__name__, config, trial.objective, trial.start, trial.precision], default=str)


class NonFiniteLogitsError(ValueError):
    """A network that gives NaN or infinity for images in [0, 1]."""


class Scores:
    """The stages of one classifier's evaluation. Each method computes one, or takes it from the store.

    Args:
        classifier: `classifiers.Classifier`.
        data: `datasets.Data`.
        protocol: `Protocol` for these data.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise, such as `attacks.full_suite`.
        store: `Store`.
    """

    def __init__(self, classifier, data, protocol, suite, store):
        self.classifier = classifier
        self.data = data
        self.protocol = protocol
        self.suite = suite
        self._store = store
        self.test_images = as_float(self.some(data.test_images))
        self.test_labels = self.some(data.test_labels)
        self._noise = {}
        self._attacker = None
        self._made = {}
        self._digests = {}
        suites = {
            "suite": suite(protocol.epsilon, seed=0),
            "short suite": [
                *attacks.short_suite(protocol.ood_epsilon),
                *attacks.short_suite(protocol.larger_epsilon or protocol.epsilon),
            ],
        }
        self._suites = {name: [_description(trial) for trial in trials] for name, trials in suites.items()}

    def key(self, stage, **more):
        """Returns all that the arrays of a stage depend on."""
        kind = "ood: worst-case" if stage.startswith("ood: worst-case ") else stage.partition(":")[0]
        numbers, suites = _DEPENDS_ON.get(kind, ((), ()))
        return {
            "stage": stage,
            "model": self.classifier.sha256,
            "data": self.data.fingerprint,
            "protocol": {name: getattr(self.protocol, name) for name in ("num_images", "seed", *numbers)},
            **{name: self._suites[name] for name in suites},
            "version": __version__,
            **more,
        }

    def _get(self, stage, make, **more):
        key = self.key(stage, **more)
        text = json.dumps(key)
        if text not in self._made:
            # A model without a fingerprint could not be told from another one.
            self._made[text] = self._store.get(key, make) if self.classifier.sha256 else _as_arrays(make())
        return self._made[text]

    def is_done(self, stage, others):
        """Whether a stage of the plan lies in the store."""
        if not self.classifier.sha256:
            return False
        about = [{}, {"others": [other.classifier.sha256 for other in others]}]
        if stage.startswith("ood: "):
            about = [self._digest(stage.removeprefix("ood: ").removeprefix("worst-case "))]
        return any(self.key(stage, **more) in self._store for more in about)

    def _digest(self, name):
        """What tells the images of an out-distribution set from others of that name."""
        if name not in self._digests:
            images = self.data.ood[name]
            if not isinstance(images, str):
                images = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()[:16]
            self._digests[name] = images
        return {"images": self._digests[name]}

    def some(self, images):
        """Returns the images, or labels, that are scored: all of them, unless the protocol says how many."""
        count = len(images)
        if not self.protocol.num_images or count <= self.protocol.num_images:
            return images
        return images[np.sort(np.random.default_rng(self.protocol.seed).permutation(count)[: self.protocol.num_images])]

    def _logits(self, images):
        logits = self.classifier.logits(images)
        if not np.isfinite(logits).all():
            count = np.count_nonzero(~np.isfinite(logits).all(axis=1))
            raise NonFiniteLogitsError(
                f"The logits of {self.classifier.name} must be finite. Received: {count} of {len(logits)} images with "
                "others. Its weights are damaged, or training went astray."
            )
        return logits

    # Sets without attacks.

    def test(self):
        """Logits of the test set."""
        return self._get("test set", lambda: {"logits": self._logits(self.test_images)})

    def calibration(self):
        """Logits and labels for temperature and thresholds, and whether the network was kept from seeing them.

        Of a model that was trained elsewhere nobody knows: None.
        """
        images, labels = self.calibration_images()
        logits = self._get("calibration", lambda: {"logits": self._logits(images)})["logits"]
        is_foreign = self.classifier.kind != "run" and self.classifier.path is not None
        is_held_out = len(self.data.calibration_labels) > 0
        return {"logits": logits, "labels": labels, "is_held_out": None if is_foreign else is_held_out}

    def calibrate(self, held_out_logits, test_logits, *, worst_noise_logits=None):
        """`calibration.calibrate` with the labels of these data, and what it is worth.

        Args:
            held_out_logits, test_logits: At the images of `calibration` and `test`, of whatever network.
            worst_noise_logits: As for `calibration.calibrate`.

        Returns:
            dict of `calibration.calibrate` with "is_held_out" of `calibration`; without held-out images no threshold
            has a guarantee.
        """
        held_out = self.calibration()
        numbers = calibration.calibrate(
            held_out_logits,
            held_out["labels"],
            test_logits,
            self.test_labels,
            worst_noise_logits=worst_noise_logits,
            seed=self.protocol.seed,
        )
        if not held_out["is_held_out"]:
            was = "may have been" if held_out["is_held_out"] is None else "was"
            for threshold in numbers["thresholds"]:
                threshold["guarantee"] = f"None: the network {was} trained on these {threshold['num_images']:,} images."
        return {**numbers, "is_held_out": held_out["is_held_out"]}

    def calibration_images(self):
        """The images and labels behind `calibration`: those kept out of training, else up to 5000 of training."""
        if len(self.data.calibration_labels):
            return self.data.calibration_images, self.data.calibration_labels
        count = min(5000, len(self.data.train_labels))
        chosen = np.sort(np.random.default_rng(self.protocol.seed).permutation(len(self.data.train_labels))[:count])
        return self.data.train_images[chosen], self.data.train_labels[chosen]

    def ood(self, name):
        """Logits of an out-distribution set and its most confident images, or a `str` that says why there is none."""
        images = self.data.ood[name]
        if isinstance(images, str):
            return images
        make = functools.partial(self._with_examples, self.some(images))
        return self._get(f"ood: {name}", make, **self._digest(name))

    def noise(self):
        """Logits of as many noise images as there are test images, and the most confident ones."""
        return self._get("noise", lambda: self._with_examples(self.noise_images()))

    def _with_examples(self, images):
        logits = self._logits(images)
        confidence = confidence_of(logits)
        shown = np.argsort(-confidence, kind="stable")[:_NUM_SHOWN]
        return {"logits": logits, "images": images[shown], "shown": shown}

    def noise_images(self, count=None):
        """Noise images, as many as there are test images unless `count` says otherwise."""
        count = count or len(self.test_images)
        if count not in self._noise:
            self._noise[count] = evaluation_noise(self.test_images, count, seed=self.protocol.seed)
        return self._noise[count]

    # Attacked noise.

    def attacked_noise(self, on_trial=None):
        """The suite on noise at `epsilon`, without what other networks contribute."""

        def make():
            found = self._noise_attacker().run(
                self.suite(self.protocol.epsilon, seed=self.protocol.seed), on_trial=on_trial
            )
            return {
                "noise": self.noise_images(self.protocol.num_noise),
                "noise_logits": self._logits(self.noise_images(self.protocol.num_noise)),
                "first_logits": self._logits(found.points[0]),
                "flat_share": self._noise_attacker().flat_share(),
                **self._found(found),
                "points": np.stack([found.images, *found.points[:4]]),
            }

        return self._get("worst-case noise", make)

    def worst_case_noise(self, others, on_trial=None):
        """`attacked_noise`, then what other networks contribute, at `epsilon`.

        Args:
            others: List of `Scores` of other networks for the same data and protocol.
            on_trial: As for `Attacker.run`.
        """
        own = self.attacked_noise()
        if not others:
            return own

        def make():
            known = {"own attacks": own["images"]}
            for other in others:
                for number, points in enumerate(other.attacked_noise()["points"]):
                    known[f"{other.classifier.name}, {number}"] = points
            trials = attacks.full_suite(self.protocol.epsilon, seed=self.protocol.seed)[-1:]  # from the strongest point
            found = self._noise_attacker().run(trials, known_points=known, on_trial=on_trial)
            arrays = self._found(found)
            merged = [*json.loads(str(own["trials"])), *_merged(found.trials, [o.classifier.name for o in others])]
            return {**own, **arrays, "trials": json.dumps(merged)}

        return self._get("transferred noise", make, others=[other.classifier.sha256 for other in others])

    def worst_case_noise_larger(self, others, on_trial=None):
        """Worst-case noise at the larger radius, going on from what was found at `epsilon`."""

        def make():
            known = {"smaller radius": self.worst_case_noise(others)["images"]}
            trials = attacks.short_suite(self.protocol.larger_epsilon, seed=self.protocol.seed + 100)
            return self._found(self._noise_attacker().run(trials, known_points=known, on_trial=on_trial))

        return self._get("worst-case noise, larger", make, others=[other.classifier.sha256 for other in others])

    def _noise_attacker(self):
        if self._attacker is None:
            self._attacker = attacks.Attacker(
                self.classifier.network,
                self.noise_images(self.protocol.num_noise),
                self.test_images,
                seed=self.protocol.seed,
            )
        return self._attacker

    def _found(self, found):
        return {
            "images": found.images,
            "logits": self._logits(found.images),
            "trials": json.dumps(found.trials),
        }

    def interval_bounds(self):
        """`bounds.interval_bounds` of the first noise images."""

        def make():
            attacked = self.attacked_noise()
            images, points = (attacked[name][: self.protocol.num_bounded] for name in ("noise", "images"))
            network = self.classifier.network
            attacker = attacks.Attacker(network, images, self.test_images, seed=self.protocol.seed)
            return bounds.interval_bounds(
                network, attacker, images, points, self.protocol.epsilon, seed=self.protocol.seed
            )

        return self._get("interval bounds", make)

    # Attacked images.

    def worst_case_ood(self, name, on_trial=None):
        """An out-distribution set attacked at `ood_epsilon`, or a `str` that says why there is none."""
        images = self.data.ood[name]
        if isinstance(images, str):
            return images

        def make():
            draw = np.random.default_rng(self.protocol.seed)
            chosen = images[np.sort(draw.permutation(len(images))[: self.protocol.num_adversarial])]
            attacker = attacks.Attacker(self.classifier.network, chosen, self.test_images, seed=self.protocol.seed)
            trials = attacks.short_suite(self.protocol.ood_epsilon, seed=self.protocol.seed + 200)
            found = attacker.run(trials, on_trial=on_trial)
            return self._found(found)

        return self._get(f"ood: worst-case {name}", make, **self._digest(name))

    def adversarial_samples(self):
        """Test images attacked at `epsilon`: 80 steps up the cross-entropy of the label, the largest one kept."""

        def make():
            draw = np.random.default_rng(self.protocol.seed)
            chosen = np.sort(draw.permutation(len(self.test_images))[: self.protocol.num_adversarial])
            images, labels = self.test_images[chosen], self.test_labels[chosen]
            epsilon = self.protocol.epsilon
            attack = PGD(
                epsilon=epsilon, num_steps=_NUM_ADVERSARIAL_STEPS, step_size=epsilon / 40, seed=self.protocol.seed
            )
            found = _climb_cross_entropy(self.classifier.network, attack, images, labels)
            before = self._logits(images).argmax(axis=1)
            examples = self._with_examples(found)
            return {**examples, "changed": examples["logits"].argmax(axis=1) != before}

        return self._get("adversarial samples", make)

    def alpha_scaling(self, progress=None):
        """`scaling.alpha_scaling` of the network."""

        def make():
            return scaling.alpha_scaling(
                self.classifier.logits,
                self.data.image_shape,
                num_trials=self.protocol.num_trials,
                seed=self.protocol.seed,
                progress=progress,
            )

        return self._get("alpha scaling", make)

    def exact_alpha(self, progress=None):
        """`scaling.exact_alpha` of the network."""

        def make():
            return scaling.exact_alpha(
                scaling.exact_network(self.classifier),
                self.data.image_shape,
                num_trials=self.protocol.num_trials,
                seed=self.protocol.seed,
                progress=progress,
            )

        return self._get("exact alpha", make)


def _as_arrays(made):
    return {name: np.asarray(array) for name, array in made.items()}


def _climb_cross_entropy(network, attack, images, labels):
    def maximize(images, labels):
        labels = tf.cast(labels, tf.int32)

        def cross_entropy(x):
            with attack_mode(network):
                return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits_of(network, x))

        return attack.maximize(Objective(cross_entropy), images).images

    labels = labels.astype(np.float32)  # as everything that goes in batches
    return in_batches(traced(maximize, images, labels), images, labels)


def _merged(trials, names):
    """One line per other network instead of one for each of its attacks, then the attacks that went on from there."""
    merged = []
    for name in names:
        own = [trial for trial in trials if trial["name"].startswith(f"transferred: {name}, ")]
        merged.append({**max(own, key=lambda trial: trial["mmc"]), "name": f"transferred from {name}"})
    for trial in trials:
        if not trial["name"].startswith("transferred: "):
            merged.append({**trial, "name": f"{trial['name']}, after the transferred"})
    return merged
