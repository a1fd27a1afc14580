"""Where the noise images of a training step come from: fresh as published, or from a pool that remembers."""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_acet._shared import SeededLayer, where_images


class NoiseBatch(NamedTuple):
    """Noise images to train on.

    Attributes:
        images: Float tensor of shape `(num_noise, ...)`, values in `[0, 1]`, a constant to an outer tape.
        value: Float tensor of shape `(num_noise,)`, the objective at `images`; None without an attack.
        clean_value: Float tensor of shape `(num_noise,)`, the objective before the attack; None without an attack.
    """

    images: tf.Tensor
    value: tf.Tensor | None
    clean_value: tf.Tensor | None


@keras.saving.register_keras_serializable("keras_acet")
class Adversary(SeededLayer):
    """Fresh noise for every batch, then the attack: the published adversary.

    Without an attack this is CEDA's out-distribution, with one ACET's.

    Args:
        noise: A noise layer, such as `noise.PaperNoise()`.
        attack: An attack, such as `attack.PGD(epsilon=0.3, num_steps=40)`, or None.
        noise_fraction: Noise images per clean image, in `(0, 1]`; 1 is published. The noise is made from the first
            `ceil(noise_fraction * batch)` images of a batch.
        image_start_probability: Chance that the attack on a noise image starts from a training image, projected
            into the noise image's ball, in `[0, 1]`; 0 is published. A network may be flat all around the noise and
            still confident where a training image shines through it; no gradient at the noise leads there.
        seed: int or `keras.random.SeedGenerator` for these chances; None draws one from Keras' global generator.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(self, noise, attack=None, *, noise_fraction=1.0, image_start_probability=0.0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
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
        self.noise = noise
        self.attack = attack
        self.noise_fraction = noise_fraction
        self.image_start_probability = image_start_probability

    def build(self, image_shape):
        """Prepares for batches of images of shape `(None, height, width, channels)`."""
        if not self.noise.built:
            self.noise.build(image_shape)
        self.built = True

    def sample(self, images, objective):
        """Makes the noise images of one training step.

        Args:
            images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`: the current, augmented training batch.
            objective: Function from images to a float tensor of shape `(batch,)`, which the attack maximises.

        Returns:
            `NoiseBatch`.
        """
        images = self._first(images)
        noise_images = self.noise(images)
        if self.attack is None:
            return NoiseBatch(tf.stop_gradient(noise_images), None, None)
        start = self._start(images, noise_images) if self.image_start_probability else None
        result = self.attack.maximize(objective, noise_images, start=start)
        return NoiseBatch(result.images, result.value, result.clean_value)

    def _first(self, images):
        images = tf.convert_to_tensor(images)
        if self.noise_fraction == 1:
            return images
        num_noise = tf.math.ceil(self.noise_fraction * tf.cast(tf.shape(images)[0], tf.float32))
        return images[: tf.cast(num_noise, tf.int32)]

    def _start(self, images, noise_images):
        start = self.attack.start_images(noise_images)
        if not self.image_start_probability:
            return start
        from_image = self._chance(self.image_start_probability, tf.shape(images)[0])
        return where_images(from_image, images, start)

    def _chance(self, probability, num_noise):
        return keras.random.uniform((num_noise,), seed=self.seed_generator) < probability

    def get_config(self):
        return {
            "noise": keras.saving.serialize_keras_object(self.noise),
            "attack": keras.saving.serialize_keras_object(self.attack),
            "noise_fraction": self.noise_fraction,
            "image_start_probability": self.image_start_probability,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable("keras_acet")
class PersistentAdversary(Adversary):
    """A pool of noise images together with their attacked states, which lives as long as the training.

    A few attack steps per batch are a weak adversary, and a network learns to be flat just where they look. Here each
    step continues attacks that began many batches ago: it

    1. draws `num_noise` different slots of the pool;
    2. replaces each drawn noise image by a fresh one with probability `refresh_probability` (an empty slot always;
       a fresh image's attack begins as for `Adversary`);
    3. attacks every drawn image from the state it was left in;
    4. writes noise image and last iterate back, and hands out the best point of each.

    A noise image is thus attacked for `num_steps / refresh_probability` steps on average, at the cost of `num_steps`.
    The pool is made of variables: saved and restored with the model, and deterministic under the seeds.

    Args:
        noise: A noise layer.
        attack: An attack that takes a start, such as `attack.PGD`.
        pool_size: Number of slots, at least the number of noise images per batch.
        refresh_probability: In `(0, 1]`; 1 is the published adversary.
        noise_fraction: As for `Adversary`.
        image_start_probability: As for `Adversary`; it counts when an attack begins, not when it goes on.
        seed: int or `keras.random.SeedGenerator` for slots, replacements and starts.

    Raises:
        ValueError: If a number is out of its range, or no attack is given.

    Memory: `8 * pool_size * pixels` bytes; 13 MB for 2048 MNIST images.

    Source: ours; the pool of replayed states follows persistent contrastive divergence (Tieleman, ICML 2008) as
        used for energy-based models (Du and Mordatch, NeurIPS 2019, arXiv:1903.08689).
    """

    def __init__(
        self,
        noise,
        attack,
        *,
        pool_size=2048,
        refresh_probability=0.12,
        noise_fraction=1.0,
        image_start_probability=0.0,
        seed=None,
        name=None,
    ):
        super().__init__(
            noise,
            attack,
            noise_fraction=noise_fraction,
            image_start_probability=image_start_probability,
            seed=seed,
            name=name,
        )
        if attack is None:
            raise ValueError("`PersistentAdversary` needs an attack to continue. Received: attack=None.")
        if pool_size != int(pool_size) or pool_size < 1:
            raise ValueError(f"`pool_size` must be a whole number, at least 1. Received: pool_size={pool_size}.")
        if not 0 < refresh_probability <= 1:
            raise ValueError(
                "`refresh_probability` must be in (0, 1]; 1 draws fresh noise in every step. "
                f"Received: refresh_probability={refresh_probability}."
            )
        self.pool_size = int(pool_size)
        self.refresh_probability = refresh_probability

    def build(self, image_shape):
        """Makes the empty pool.

        Args:
            image_shape: Shape of one batch of images, `(None, height, width, channels)`.
        """
        shape = (self.pool_size, *image_shape[1:])
        if None in shape:
            raise ValueError(
                "A pool needs images of one size. Received: a network of input shape "
                f"{tuple(image_shape)}. Give its Input height, width and channels, or use `Adversary`."
            )
        self.noise_images = self.add_weight(name="noise_images", shape=shape, initializer="zeros", trainable=False)
        self.states = self.add_weight(name="states", shape=shape, initializer="zeros", trainable=False)
        self.filled = self.add_weight(
            name="filled", shape=(self.pool_size,), initializer="zeros", dtype="bool", trainable=False
        )
        super().build(image_shape)

    def sample(self, images, objective):
        if not self.built:
            self.build(images.shape)
        images = self._first(images)
        num_noise = tf.shape(images)[0]
        tf.debugging.assert_less_equal(
            num_noise,
            self.pool_size,
            f"A pool of {self.pool_size} slots cannot hold a batch of more noise images. Raise `pool_size` (16 times "
            "the batch is a good size) or lower `noise_fraction`.",
        )
        fresh = self.noise(images)
        slots = tf.argsort(keras.random.uniform((self.pool_size,), seed=self.seed_generator))[:num_noise]
        renew = self._chance(self.refresh_probability, num_noise) | ~tf.gather(self.filled.value, slots)
        noise_images = where_images(renew, fresh, tf.gather(self.noise_images.value, slots))
        states = where_images(renew, self._start(images, fresh), tf.gather(self.states.value, slots))
        result = self.attack.maximize(objective, noise_images, start=states)

        slots = slots[:, None]
        self.noise_images.assign(tf.tensor_scatter_nd_update(self.noise_images.value, slots, noise_images))
        self.states.assign(tf.tensor_scatter_nd_update(self.states.value, slots, result.last))
        self.filled.assign(tf.tensor_scatter_nd_update(self.filled.value, slots, tf.fill((num_noise,), True)))
        return NoiseBatch(result.images, result.value, result.clean_value)

    def get_config(self):
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "refresh_probability": self.refresh_probability,
        }
