"""From images to logits and confidences, in batches, in inference mode."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet._checks import as_float as as_float
from keras_acet.metrics import max_confidence

BATCH_SIZE = 256


def confidence_of(logits: np.ndarray) -> np.ndarray:
    """Computes the largest softmax probability of every row of logits: float32, shape `(n,)`."""
    return max_confidence(logits).astype(np.float32)


def logits_of(network: Callable[..., tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Logits in float32, in inference mode, whatever the network is and whatever precision it computes in.

    Keras lets a layer that is told nothing take the default of its own `call`, which for layers of preprocessing is
    training mode, and hands that on to all later layers. So a function that calls layers is called as a layer too.
    """
    layer = network if isinstance(network, keras.layers.Layer) else _InferenceMode(network)
    return tf.cast(layer(images, training=False), tf.float32)


class _InferenceMode(keras.layers.Layer):
    """Calls a function in which Keras layers run in inference mode, those that the function tells nothing."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__(name="inference_mode", dtype="float32", autocast=False)
        self._function = (lambda images: function(images),)  # so that Keras does not track what the function holds

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.built = True  # Keras' own would call the function once more, in no mode

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self._function[0](images)


def traced(function: Callable[..., Any], *arrays: np.ndarray) -> Callable[..., Any]:
    """Traces a function of float images once for all batch sizes.

    Calling a new `tf.function` for each network and attack instead would make TensorFlow warn of retracing.
    """
    specs = [tf.TensorSpec((None, *array.shape[1:]), tf.float32) for array in arrays]
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def in_batches(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Calls a traced function batch by batch, once for none, and joins what comes out, a structure of arrays.

    Arrays of uint8 are images and become float32 as in `as_float`.
    """
    parts = []
    for i in range(0, max(len(arrays[0]), 1), BATCH_SIZE):
        parts.append(function(*(tf.constant(as_float(array[i : i + BATCH_SIZE])) for array in arrays)))
    return tf.nest.map_structure(lambda *pieces: np.concatenate(pieces), *parts)
