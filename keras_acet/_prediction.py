"""From images to logits and confidences, in batches, in inference mode."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.metrics import max_confidence

BATCH_SIZE = 256


def confidence_of(logits: np.ndarray) -> np.ndarray:
    """Computes the largest softmax probability of every row of logits: float32, shape `(n,)`."""
    return max_confidence(logits).astype(np.float32)


def as_float(images: np.ndarray) -> np.ndarray:
    """Returns images as a float32 array in [0, 1]: uint8 is divided by 255, floats stay."""
    images = np.asarray(images)
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def logits_of(network: Callable[..., tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Logits in float32, whatever precision the network computes in."""
    logits = network(images, training=False) if isinstance(network, keras.Model) else network(images)
    return tf.cast(logits, tf.float32)


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
