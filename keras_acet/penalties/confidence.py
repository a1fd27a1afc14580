"""The penalty of CEDA and ACET: the confidence on noise, attacked or not."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet._shared import where_images
from keras_acet.attack import LinfAttack
from keras_acet.losses import log_max_confidence
from keras_acet.noise import Noise
from keras_acet.penalties.base import Penalty, Sample, Weight
from keras_acet.penalties.pool import NoisePool


@dataclasses.dataclass(frozen=True)
class NoiseBatch(Sample):
    """Noise images to train on.

    Attributes:
        images: Float tensor of shape `(num_noise, ...)`, values in `[0, 1]`, a constant to an outer tape.
        value: Float tensor of shape `(num_noise,)`, the log of the confidence at `images`; None without an attack.
        clean_value: Float tensor of shape `(num_noise,)`, that before the attack; None without an attack.
    """

    value: tf.Tensor | None = None
    clean_value: tf.Tensor | None = None


@keras.saving.register_keras_serializable("keras_acet")
class ConfidencePenalty(Penalty):
    """The log of the confidence on noise images: `max_l log p_l(u_j)` for each of them.

    | method | penalty |
    | --- | --- |
    | CEDA | `ConfidencePenalty(noise)` |
    | ACET | `ConfidencePenalty(noise, attack)` |
    | ours | `ConfidencePenalty(noise, attack, pool=NoisePool())` |

    `fit` reports `penalty` (mean of `max_l log p_l` over the noise, in training mode), `noise_confidence` and
    `adversarial_confidence` (mean confidence on the noise before and after the attack, as the attack saw it).

    Args:
        noise: A noise layer, such as `noise.PaperNoise()`: from a batch of images to a batch of noise images.
        attack: An attack, such as `attack.PGD(epsilon=0.3, num_steps=40)`, or None.
        weight: lambda in the paper; see `Penalty`.
        attack_precision: See `Penalty`.
        noise_fraction: Noise images per clean image, in `(0, 1]`; 1 is published. The noise is made from the first
            `ceil(noise_fraction * batch)` images of a batch.
        image_start_probability: Probability that the attack on a noise image starts from a training image, projected
            into the noise image's ball, in `[0, 1]`; 0 is published. A network may be flat all around the noise and
            still confident where the noise faintly shows a training image; no gradient at the noise leads there. With a
            pool the probability applies when an attack begins, not when it continues.
        pool: A `NoisePool`, in which attacks continue from batch to batch; None begins every attack anew, as published.
        validation: What `fit` reports of validation data: `"noise"` for `val_noise_confidence`, the mean confidence on
            noise made of them, always the same; `"attack"` for `val_adversarial_confidence` too, at the cost of the
            attack; None for neither.
        seed: int or `keras.random.SeedGenerator` for the random choices of starts and of the pool; None draws one from
            Keras' global generator.

    Raises:
        TypeError: If `noise`, `attack` or `pool` is not an object of its kind; in `fit`, if the network cannot compute
            in `attack_precision`.
        ValueError: If a number is out of its range, or `pool` or `image_start_probability` is given without an attack.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code. The attack runs before the tape opens
        and calls the network in inference mode, so that batch-norm averages stay; no gradient flows through it.
        Differs from the authors' code:
        1. Noise and attack run inside the traced step, on the device, instead of in feeds between session runs.
        2. The number of noise images may differ from that of the clean ones; each example weighs the same.
    """

    def __init__(
        self,
        noise: Noise | keras.layers.Layer,
        attack: LinfAttack | None = None,
        *,
        weight: Weight = 1.0,
        attack_precision: str = "float32",
        noise_fraction: float = 1.0,
        image_start_probability: float = 0.0,
        pool: NoisePool | None = None,
        validation: str | None = "noise",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(weight=weight, attack_precision=attack_precision, seed=seed, name=name)
        _check_parts(noise, attack, pool)
        if not 0 < noise_fraction <= 1:
            raise ValueError(
                "`noise_fraction` must be in (0, 1], in noise images per clean image. "
                f"Received: noise_fraction={noise_fraction}."
            )
        if not 0 <= image_start_probability <= 1:
            raise ValueError(
                "`image_start_probability` must be in [0, 1]. "
                f"Received: image_start_probability={image_start_probability}."
            )
        if attack is None and (pool is not None or image_start_probability):
            raise ValueError(
                "`pool` and `image_start_probability` say where attacks start; give an `attack`, such as "
                "attack.PGD(epsilon=0.3, num_steps=40), or leave them out. Received: attack=None."
            )
        if validation not in (None, "noise", "attack") or (validation == "attack" and attack is None):
            raise ValueError(
                "`validation` must be 'noise', 'attack' where there is an attack, or None. "
                f"Received: validation={validation!r}, attack={attack!r}."
            )
        self.noise = noise
        self.attack = attack
        self.noise_fraction = noise_fraction
        self.image_start_probability = image_start_probability
        self.pool = pool
        self.validation = validation
        self._penalty = keras.metrics.Mean(name="penalty", dtype="float32")
        self._noise_confidence = keras.metrics.Mean(name="noise_confidence", dtype="float32")
        self._adversarial_confidence = keras.metrics.Mean(name="adversarial_confidence", dtype="float32")

    def build(self, image_shape: tuple[int | None, ...]) -> None:
        for part in (self.noise, self.pool):
            if part is not None and not part.built:
                part.build(image_shape)
        super().build(image_shape)

    def sample(self, images: tf.Tensor, network: keras.Model, *, step: tf.Tensor | None = None) -> NoiseBatch:
        if not self.built:
            self.build(images.shape)
        images = self._first(images)
        fresh = self.noise(images)
        if self.attack is None:
            return NoiseBatch(tf.stop_gradient(fresh))

        def log_confidence(x: tf.Tensor) -> tf.Tensor:
            return log_max_confidence(self.attacked_logits(network, x))

        if self.pool is None:
            start = self._start(self.attack, images, fresh) if self.image_start_probability else None
            result = self.attack.maximize(log_confidence, fresh, start=start)
        else:
            num_noise = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]
            drawn = self.pool.draw(num_noise, seed=self.seed_generator)
            noise_images = where_images(drawn.renew, fresh, drawn.noise_images)
            states = where_images(drawn.renew, self._start(self.attack, images, fresh), drawn.states)
            result = self.attack.maximize(log_confidence, noise_images, start=states)
            self.pool.put_back(drawn.slots, noise_images, result.last)
        return NoiseBatch(result.images, result.value, result.clean_value)

    def loss(self, sample: NoiseBatch, logits: tf.Tensor | None, network: keras.Model) -> tf.Tensor:
        return log_max_confidence(tf.cast(logits, tf.float32))

    def update_metrics(self, sample: NoiseBatch, losses: tf.Tensor) -> None:
        confidence = tf.exp(losses)
        self._penalty.update_state(losses)
        self._noise_confidence.update_state(confidence if sample.clean_value is None else tf.exp(sample.clean_value))
        self._adversarial_confidence.update_state(confidence if sample.value is None else tf.exp(sample.value))

    def validated(self) -> Sequence[str]:
        names = (self._noise_confidence.name, self._adversarial_confidence.name)
        return names[: {None: 0, "noise": 1, "attack": 2}[self.validation]]

    def validate(self, images: tf.Tensor, network: keras.Model) -> None:
        if self.validation is None:
            return

        def log_confidence(x: tf.Tensor) -> tf.Tensor:
            return log_max_confidence(tf.cast(network(x, training=False), tf.float32))

        noise_images = self.noise(self._first(images))
        if self.validation == "noise" or self.attack is None:
            self._noise_confidence.update_state(tf.exp(log_confidence(noise_images)))
            return
        result = self.attack.maximize(log_confidence, noise_images)
        self._noise_confidence.update_state(tf.exp(result.clean_value))
        self._adversarial_confidence.update_state(tf.exp(result.value))

    def _first(self, images: tf.Tensor) -> tf.Tensor:
        images = tf.convert_to_tensor(images)
        if self.noise_fraction == 1:
            return images
        num_noise = tf.math.ceil(self.noise_fraction * tf.cast(tf.shape(images)[0], tf.float32))
        return images[: tf.cast(num_noise, tf.int32)]

    def _start(self, attack: LinfAttack, images: tf.Tensor, noise_images: tf.Tensor) -> tf.Tensor:
        start = attack.start_images(noise_images)
        if not self.image_start_probability:
            return start
        chances = keras.random.uniform((tf.shape(images)[0],), dtype="float32", seed=self.seed_generator)
        return where_images(chances < self.image_start_probability, images, start)

    def get_config(self) -> dict[str, Any]:
        return {
            "noise": keras.saving.serialize_keras_object(self.noise),
            "attack": keras.saving.serialize_keras_object(self.attack),
            "noise_fraction": self.noise_fraction,
            "image_start_probability": self.image_start_probability,
            "pool": keras.saving.serialize_keras_object(self.pool),
            "validation": self.validation,
            **super().get_config(),
        }


def from_recipe(recipe: Any, parts: Any) -> ConfidencePenalty:
    """Makes the penalty of the methods "ceda" and "acet".

    Args:
        recipe: The settings of a run, a `training.Recipe`.
        parts: `training.building.Parts`, which makes noise, attack and weight from the recipe.
    """
    always = {
        "weight": parts.weight(),
        "attack_precision": recipe.attack_precision,
        "noise_fraction": recipe.noise_fraction,
        "validation": None,  # a run measures noise at its end
    }
    if recipe.method == "ceda":
        return ConfidencePenalty(parts.noise(), **always)
    noise, attack = parts.noise(), parts.attack()
    pool = NoisePool(recipe.pool_size, recipe.refresh_probability) if recipe.adversary == "persistent" else None
    chance, seed = recipe.image_start_probability, parts.seeds["pool"]
    return ConfidencePenalty(noise, attack, image_start_probability=chance, pool=pool, seed=seed, **always)


def _check_parts(noise: Any, attack: Any, pool: Any) -> None:
    if not isinstance(noise, keras.layers.Layer) or isinstance(noise, Penalty) or hasattr(noise, "maximize"):
        raise TypeError(
            "`noise` must be a layer from images to noise images, an object such as noise.PaperNoise(). "
            f"Received: noise={noise!r}{_hint(noise)}"
        )
    if attack is not None and (isinstance(attack, type) or not hasattr(attack, "maximize")):
        raise TypeError(
            "`attack` must be None or an attack, an object such as attack.PGD(epsilon=0.3, num_steps=40). "
            f"Received: attack={attack!r}{_hint(attack)}"
        )
    if pool is not None and not isinstance(pool, NoisePool):
        raise TypeError(
            "`pool` must be None or a pool, an object such as penalties.NoisePool(size=2048). "
            f"Received: pool={pool!r}{_hint(pool)}"
        )


def _hint(received: Any) -> str:
    return f", a class; write {received.__name__}()." if isinstance(received, type) else "."
