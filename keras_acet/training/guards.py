"""Checks of what a training model is made of: the network's outputs and inputs, the loss, the labels, callbacks."""

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.networks.interface import (
    check_one_input_and_output,
    kind_of_last_operation,
    kind_of_outputs,
    takes_bytes,
)
from keras_acet.training.pixels import as_classes

_NUM_PROBES = 16
_FAR = 1e3  # pixels of that size drive the logits of most networks far apart


def check_network(network: Any) -> None:
    """Raises unless a network is a `keras.Model` that goes from images in [0, 1] to logits, as its layers tell."""
    if not isinstance(network, keras.Model):
        raise TypeError(
            "`network` must be a keras.Model that maps images to logits. "
            f"Received: network={network!r} of type {type(network).__name__}."
        )
    check_one_input_and_output(network, "`network`")
    kind = kind_of_last_operation(network)
    if kind is not None:
        raise ValueError(_no_logits(kind, f"a network whose last layer applies a {kind}"))
    if takes_bytes(network):
        raise ValueError(
            "`network` must take images in [0, 1], in which noise and attacks live. Received: a network that scales "
            "pixels from 0..255 itself. Wrap it, networks.wrapped(network, inputs='bytes'), and divide the images by "
            "255; or take its scaling out."
        )


def check_outputs(network: keras.Model, image_shape: tuple[int | None, ...]) -> None:
    """Raises ValueError if a network gives something else than logits, as its outputs at random images tell.

    A softmax is known by outputs that are not negative and sum to 1, a sigmoid by outputs in (0, 1) that reach the ends
    of the interval where the pixels are very large.

    Args:
        network: From images to what should be logits.
        image_shape: Shape of a batch of images.
    """
    shape = [32 if size is None else size for size in image_shape[1:]]
    random = np.random.default_rng(0).random((_NUM_PROBES, *shape), np.float32)
    try:
        outputs = network(random, training=False)
    except Exception:  # the first batch will tell better
        return
    if isinstance(outputs, dict | list | tuple):
        what = f"a dict of {sorted(map(str, outputs))}" if isinstance(outputs, dict) else f"{len(outputs)} outputs"
        raise ValueError(f"`network` must give one tensor, its logits. Received: {what}. Wrap it in a model of one.")
    values = np.asarray(keras.ops.convert_to_numpy(outputs), np.float32)
    if values.ndim != 2:
        raise ValueError(
            f"`network` must give logits of shape (batch, num_classes). Received: {tuple(outputs.shape)}. End it with "
            "pooling or Flatten and a Dense layer."
        )
    kind = kind_of_outputs(values)
    if kind == "softmax":
        raise ValueError(_no_logits(kind, "a network whose outputs are none of them negative and sum to 1"))
    if kind == "sigmoid" and (values > 0).all() and (values < 1).all():
        far = np.concatenate([network(sign * _FAR * random, training=False) for sign in (-1, 1)])
        if kind_of_outputs(np.asarray(far, np.float32)) is not None and np.max(far) > 0.999:
            raise ValueError(_no_logits(kind, "a network whose outputs are all between 0 and 1"))


def _no_logits(kind: str, received: str) -> str:
    if kind == "sigmoid":
        how = "Leave the sigmoid out (activation=None in the last layer), with one output for each class"
    else:
        how = "Leave the softmax out (activation=None in the last layer; in keras.applications: "
        how += "classifier_activation=None)"
    return (
        f"`network` must end in logits. Received: {received}. {how}; or wrap it, "
        "networks.wrapped(network, outputs='probabilities')."
    )


def check_loss(loss: Any) -> None:
    """Raises ValueError if a loss, or one of several, expects probabilities, as Keras' strings and defaults do."""
    for one in keras.tree.flatten(loss):
        if one is not None and _wants_probabilities(one):
            raise ValueError(
                f"`loss` must take logits, in which the network ends. Received: {_name(one)}, which takes "
                "probabilities. Leave `loss` out for integer labels; for one-hot labels give "
                "keras.losses.CategoricalCrossentropy(from_logits=True)."
            )


def check_metrics(metrics: Any) -> None:
    """Raises ValueError if a metric expects probabilities, as a cross-entropy does by default."""
    for one in keras.tree.flatten(metrics):
        if one is None or (isinstance(one, str) and "entropy" not in one):
            continue
        if _from_logits(keras.metrics.get(one) if isinstance(one, str) else one) is False:
            raise ValueError(
                f"A metric must take logits, in which the network ends. Received: {_name(one)}, which takes "
                "probabilities. Give an object with from_logits=True, such as "
                "keras.metrics.SparseCategoricalCrossentropy(from_logits=True)."
            )


def _wants_probabilities(loss):
    resolved = keras.losses.get(loss) if isinstance(loss, str | dict) else loss
    from_logits = _from_logits(resolved)
    return not from_logits if from_logits is not None else _is_log_of_probabilities(resolved)


def _from_logits(function):
    """What a loss or metric does with `from_logits`; None if it has no such argument."""
    if isinstance(function, keras.losses.Loss | keras.metrics.Metric):
        config = function.get_config() if type(function).__module__.startswith("keras.") else vars(function)
        return config.get("from_logits")
    if isinstance(function, functools.partial) and "from_logits" in function.keywords:
        return function.keywords["from_logits"]
    try:
        argument = inspect.signature(function).parameters.get("from_logits")
    except (TypeError, ValueError):
        return None
    return None if argument is None or argument.default is inspect.Parameter.empty else argument.default


def _is_log_of_probabilities(loss):
    """Whether a loss of one's own is the cross-entropy of probabilities: -log 0.7 of (0.2, 0.7, 0.1), for class 1."""
    outputs = tf.constant([[0.2, 0.7, 0.1]])
    for labels in (tf.constant([1]), tf.constant([[0.0, 1.0, 0.0]])):
        try:
            value = np.asarray(loss(labels, outputs), np.float64).mean()
        except Exception:  # the labels are of the other form, or it is a loss of something else
            continue
        if abs(value + np.log(0.7)) < 1e-4:
            return True
    return False


def _name(one):
    return repr(one) if isinstance(one, str) else getattr(one, "__name__", None) or f"{type(one).__name__}()"


def checked_labels(labels: Any, logits: tf.Tensor, sample_weight: Any, *, is_default_loss: bool) -> Any:
    """Returns the labels; raises ValueError, while a step is traced, for what the default loss cannot take.

    Labels that are no class of the network are an error when the graph runs, see `pixels.in_words`, and before any
    operation that uses them.
    """
    if labels is None and is_default_loss:
        raise ValueError(
            "`fit` needs labels. Received: images alone. Give fit(images, labels), or a dataset of such pairs."
        )
    if isinstance(labels, dict | list | tuple) or labels is None:
        return labels
    weight_rank = getattr(getattr(sample_weight, "shape", None), "rank", None)
    if is_default_loss and weight_rank not in (None, 1) and sample_weight.shape[1:] != (1,):
        raise ValueError(
            f"`sample_weight` must be of shape (batch,), one number per image. Received: {tuple(sample_weight.shape)}."
        )
    rank = labels.shape.rank
    if rank is None:
        raise ValueError(
            "Labels must be of a known rank. Received: a dataset that does not tell it. Give them a static shape: "
            "dataset.map(lambda x, y: (x, tf.ensure_shape(y, (None,))))."
        )
    if is_default_loss and rank == 2 and labels.shape[1] == logits.shape[1] != 1:
        raise ValueError(
            f"Labels must be integers of shape (batch,) for the loss that is taken without `loss`. Received: shape "
            f"{tuple(labels.shape)}. For one-hot labels give compile(loss=keras.losses.CategoricalCrossentropy("
            "from_logits=True))."
        )
    return as_classes(labels, int(logits.shape[1])) if is_default_loss else labels


def check_callbacks(callbacks: Any, not_reported: Iterable[str]) -> None:
    """Raises ValueError if a callback watches a number that is told of training alone."""
    if callbacks is None or isinstance(callbacks, keras.callbacks.CallbackList):
        return
    names = set(not_reported)
    for callback in keras.tree.flatten(callbacks):
        monitor = getattr(callback, "monitor", None)
        if monitor in names:
            raise ValueError(
                f"A callback must watch a number that `fit` reports. Received: {type(callback).__name__} with "
                f"monitor={monitor!r}, which is not measured on validation data. For val_noise_confidence give the "
                "penalty validation='noise', for val_adversarial_confidence validation='attack', and the callback "
                "mode='min'."
            )
