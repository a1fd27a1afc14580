"""Shared by noise, attacks and penalties: a layer with its own random generator, and choosing whole images."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class SeededLayer(keras.layers.Layer):
    """A layer with its own random generator; always float32, whatever the global dtype policy.

    A subclass keeps its arguments as attributes, and serializes those that are objects in `get_config`.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.
    """

    def __init__(self, *, seed: int | keras.random.SeedGenerator | None = None, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32", trainable=False)
        self.seed = int(seed) if isinstance(seed, np.integer) else seed  # Keras knows Python's integers alone
        is_generator = isinstance(seed, keras.random.SeedGenerator)
        self.seed_generator = seed if is_generator else keras.random.SeedGenerator(self.seed)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "seed" and "seed_generator" in self.__dict__:
            raise AttributeError(
                f"`seed` counts when the object is made; make another one. Received: seed={value!r} for "
                f"{type(self).__name__}."
            )
        super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        return {"seed": keras.saving.serialize_keras_object(self.seed), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SeededLayer":
        return cls(**{key: keras.saving.deserialize_keras_object(value) for key, value in config.items()})


def where_images(condition: tf.Tensor, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Chooses whole images: `out[i] = images[i] if condition[i] else others[i]`; `condition` has shape `(batch,)`."""
    per_pixel = tf.reshape(condition, tf.concat([tf.shape(condition), tf.ones(images.shape.rank - 1, tf.int32)], 0))
    return tf.where(per_pixel, images, others)
