"""A pool of noise images together with the last iterates of the attacks on them."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Drawn(NamedTuple):
    """Slots of a pool that were drawn for a batch.

    Attributes:
        slots: int32 tensor of shape `(num_noise,)`, all different.
        renew: bool tensor of shape `(num_noise,)`: whether a slot is empty, or its image is to be replaced.
        noise_images: Float tensor of shape `(num_noise, ...)`: the noise images in the slots.
        states: Float tensor of shape `(num_noise, ...)`: the last iterates of the attacks on them.
    """

    slots: tf.Tensor
    renew: tf.Tensor
    noise_images: tf.Tensor
    states: tf.Tensor


@keras.saving.register_keras_serializable("keras_acet")
class NoisePool(keras.layers.Layer):
    """A pool of noise images together with their attacked states, which lives as long as the training.

    A few attack steps per batch are a weak adversary, and a network learns to be flat only where these steps lead. With
    a pool each training step continues attacks that began many batches ago: it

    1. draws `num_noise` different slots of the pool;
    2. replaces each drawn noise image by a fresh one with probability `refresh_probability` (an empty slot always;
       a fresh image's attack begins as without a pool);
    3. attacks every drawn image, starting from the last iterate of the attack before;
    4. writes noise image and last iterate back, and returns the best point of each.

    A noise image is thus attacked for `num_steps / refresh_probability` steps on average, at the cost of `num_steps`.
    The pool is made of variables: saved and restored with the model, and deterministic under the seed of the penalty
    that owns it.

    Args:
        size: Number of slots, at least the number of noise images per batch; 16 times the batch is a good size.
        refresh_probability: In `(0, 1]`; 1 draws fresh noise in every step, as without a pool.

    Raises:
        ValueError: If a number is out of its range.

    Memory: `8 * size * pixels` bytes; 13 MB for 2048 MNIST images.

    Source: ours; the pool of replayed states follows persistent contrastive divergence (Tieleman, ICML 2008) as
        used for energy-based models (Du and Mordatch, NeurIPS 2019, arXiv:1903.08689).
    """

    def __init__(self, size: int = 2048, refresh_probability: float = 0.12, *, name: str | None = None):
        super().__init__(name=name, dtype="float32", trainable=False)
        if size != int(size) or size < 1:
            raise ValueError(f"`size` must be a whole number of noise images, at least 1. Received: size={size}.")
        if not 0 < refresh_probability <= 1:
            raise ValueError(
                "`refresh_probability` must be in (0, 1]; 1 draws fresh noise in every step. "
                f"Received: refresh_probability={refresh_probability}."
            )
        self.size = int(size)
        self.refresh_probability = refresh_probability

    def build(self, image_shape: tuple[int | None, ...]) -> None:
        """Makes the empty pool.

        Args:
            image_shape: Shape of one batch of images, `(None, height, width, channels)`.

        Raises:
            ValueError: If the images have no fixed size.
        """
        shape = (self.size, *image_shape[1:])
        if None in shape:
            raise ValueError(
                "A pool needs images of one size. Received: a network of input shape "
                f"{tuple(image_shape)}. Give its Input height, width and channels, or train without a pool."
            )
        self.noise_images = self.add_weight(name="noise_images", shape=shape, initializer="zeros", trainable=False)
        self.states = self.add_weight(name="states", shape=shape, initializer="zeros", trainable=False)
        self.filled = self.add_weight(
            name="filled", shape=(self.size,), initializer="zeros", dtype="bool", trainable=False
        )
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "size" and getattr(self, "built", False):
            raise AttributeError(
                f"`size` of a pool that holds images stays what it is. Received: size={value!r}. Make another pool and "
                "penalty, and an ACETModel with them and the same network."
            )
        super().__setattr__(name, value)

    def draw(self, num_noise: int | tf.Tensor, *, seed: keras.random.SeedGenerator) -> Drawn:
        """Draws different slots.

        Args:
            num_noise: Their number: int, or a scalar int tensor where it is not known before.
            seed: The generator to draw from.

        Raises:
            ValueError: If there are fewer slots than that; `fit` raises it too where the batches are of unknown size,
                which for others is tf.errors.InvalidArgumentError.
        """
        message = (
            f"A pool of {self.size} slots cannot hold a batch of more noise images. Raise its `size` (`pool_size` of a "
            "recipe; 16 times the batch is a good size) or lower `noise_fraction`."
        )
        if isinstance(num_noise, int) and num_noise > self.size:
            raise ValueError(message)
        if not isinstance(num_noise, int):
            fits = tf.debugging.assert_less_equal(num_noise, self.size, message)
            with tf.control_dependencies([fits] if fits is not None else []):  # before anything else fails
                num_noise = tf.identity(num_noise)
        slots = tf.argsort(keras.random.uniform((self.size,), dtype="float32", seed=seed))[:num_noise]
        is_replaced = keras.random.uniform((num_noise,), dtype="float32", seed=seed) < self.refresh_probability
        renew = is_replaced | ~tf.gather(self.filled.value, slots)
        return Drawn(slots, renew, tf.gather(self.noise_images.value, slots), tf.gather(self.states.value, slots))

    def put_back(self, slots: tf.Tensor, noise_images: tf.Tensor, states: tf.Tensor) -> None:
        """Writes noise images, and the last iterates of the attacks on them, into their slots."""
        filled = tf.fill(tf.shape(slots), True)
        slots = slots[:, None]
        self.noise_images.assign(tf.tensor_scatter_nd_update(self.noise_images.value, slots, noise_images))
        self.states.assign(tf.tensor_scatter_nd_update(self.states.value, slots, states))
        self.filled.assign(tf.tensor_scatter_nd_update(self.filled.value, slots, filled))

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size, "refresh_probability": self.refresh_probability, "name": self.name}
