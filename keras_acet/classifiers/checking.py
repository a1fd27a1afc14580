"""Checks that a classifier fits its data, and wraps one that takes or gives something else."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_acet import _keras_settings
from keras_acet._checks import notify
from keras_acet._prediction import as_float, logits_of
from keras_acet.classifiers.base import Classifier, one_line
from keras_acet.classifiers.origin import for_data
from keras_acet.classifiers.preprocessing import Preprocessing, preprocessed
from keras_acet.classifiers.wrapping import wrap
from keras_acet.datasets import Data
from keras_acet.networks import Interface
from keras_acet.networks.interface import kind_of_last_operation, kind_of_outputs, takes_bytes

_NUM_CHECKED = 256
_NUM_REPEATED = 8
_MAX_CHANCE = 1e-3
_MIN_GAIN = 0.05  # of all images
_HARDLY = 2.0  # range of a logit over images


@_keras_settings.standard()
def check(
    classifier: Classifier,
    data: Data,
    *,
    inputs: str | None = None,
    outputs: str | None = None,
) -> Classifier:
    """Raises if a classifier does not fit the data; wraps one that takes pixels in 0..255 or gives probabilities.

    Nothing is changed of the classifier; networks run in inference mode, which is checked to the bit. A model takes
    pixels in 0..255 if that makes it right about more of these images, by more than chance, or as many and its first
    layers scale such pixels; it gives probabilities if none of its outputs is negative and each row sums to 1 within
    1e-3. One output is that of the second of two classes: a probability if it is that of a sigmoid, else a logit. Where
    the channels are first in the shape of its images, images are transposed.

    Args:
        classifier: `Classifier`.
        data: `datasets.Data`; up to 256 of its test images are tried.
        inputs: What the classifier takes, `"unit"` for pixels in [0, 1] or `"bytes"` for 0..255; None to find out.
        outputs: What it gives, `"logits"` or `"probabilities"`; None to find out.

    Returns:
        The classifier, or the wrapped one, see `wrap`; of a model whose logits have no gradient in the images, as after
        rounding, a copy that is noted as not differentiable.

    Raises:
        ValueError: If the shapes of the images or the numbers of classes differ; if the outputs are not finite, or
            those of a sigmoid for each class; if the same images give other outputs the next time, or a call changes a
            weight.

    Warns:
        Notice: Tells how the classifier was wrapped, if it was.
    """
    classifier = for_data(classifier, data)
    shape, name = tuple(data.image_shape), classifier.name
    notices: list[str] = []
    if not fits(shape, classifier.image_shape):
        channels_first = len(shape) == 3 and fits((shape[2], *shape[:2]), classifier.image_shape)
        if not channels_first:
            raise ValueError(
                f"{name} takes images of shape {classifier.image_shape}. Received: {data.name} with images of shape "
                f"{shape}. Name the data that it was trained on, or data of that shape."
                f"{_size_advice(classifier, shape)}"
            )
        classifier = preprocessed(classifier, Preprocessing(channels_first=True))
        notices.append(f"{name} takes the channels first: its images are transposed")
    images = data.test_images[:_NUM_CHECKED]
    logits = _logits(classifier, images, data)
    if classifier.interface is None and logits.ndim == 2:
        interface = Interface(
            inputs=inputs or _found_inputs(classifier, data), outputs=outputs or _found_outputs(classifier, logits)
        )
        width = logits.shape[1]
        if inputs or outputs or not interface.is_default or width == 1:
            classifier = wrap(classifier, interface, image_shape=shape, num_outputs=width)
        if not interface.is_default or width == 1:
            notices.append(_in_words(name, interface, is_found=(inputs is None, outputs is None), width=width))
            logits = _logits(classifier, images, data)
    _check_logits(logits, name, data)
    for notice in notices:
        notify(notice)
    is_differentiable = classifier.is_differentiable and _has_gradient(classifier.network, data.test_images[:2])
    if is_differentiable == classifier.is_differentiable:
        return classifier
    return classifier.replace(is_differentiable=is_differentiable)


def recognised(
    classifier: Classifier, shape: tuple[int, ...], *, inputs: str | None = None, outputs: str | None = None
) -> Classifier:
    """Wraps a classifier as `check` does, without images of its data: by its layers and by what it gives.

    Args:
        classifier: `Classifier` whose interface is not known.
        shape: Of one image.
        inputs, outputs: What it takes and gives, see `check`. What it takes is seen only in the first layers of a Keras
            model; otherwise it is taken for pixels in [0, 1].

    Raises:
        ValueError: If the interface is known already; if the classifier fails on such images, or gives the outputs of
            a sigmoid for each class.

    Warns:
        Notice: Tells how the classifier was wrapped, or that it may take pixels in 0..255.
    """
    name = classifier.name
    if classifier.interface is not None:
        raise ValueError(
            f"`inputs` and `outputs` must be left out for {name}, which is known to go from {classifier.interface}. "
            f"Received: inputs={inputs!r}, outputs={outputs!r}."
        )
    images = _made_images(shape)
    found = inputs or ("bytes" if takes_bytes(classifier.network) else "unit")
    try:
        values = classifier.logits(Interface(inputs=found).from_unit(images))
    except Exception as error:  # a model can fail in any way
        raise ValueError(f"{name} must take images of shape {shape}. It fails: {one_line(error)}") from error
    if values.ndim != 2:
        raise ValueError(f"{name} must give one logit for each class. Received: outputs of shape {values.shape[1:]}.")
    # Beyond the pixel range a softmax or sigmoid gives what it always gives; other outputs leave [0, 1].
    with contextlib.suppress(Exception):  # a model may refuse such pixels
        values = np.concatenate([values, classifier.logits(Interface(inputs=found).from_unit(3 * images - 1))])
    interface = Interface(inputs=found, outputs=outputs or _found_outputs(classifier, values))
    width = values.shape[1]
    wrapped = wrap(classifier, interface, image_shape=shape, num_outputs=width)
    if not interface.is_default or width == 1:
        notice = _in_words(name, interface, is_found=(inputs is None, outputs is None), width=width)
        notify(notice)
    if inputs is None and interface.inputs == "unit" and _may_take_bytes(classifier, wrapped, images):
        notify(
            f"{name} has one class for all images in [0, 1] that were tried, and several for them in 0..255; if it "
            "takes pixels in 0..255, give `inputs='bytes'`, else `inputs='unit'`"
        )
    return wrapped


def _made_images(shape: tuple[int, ...]) -> np.ndarray:
    """Images in [0, 1] that differ as much as they can: noise of several sizes of grain and levels of brightness."""
    rng = np.random.default_rng(0)
    images = []
    for grain in (1, 2, 4, 8) * 8:
        coarse = rng.uniform(size=tuple(-(-size // grain) for size in shape[:2]) + tuple(shape[2:]))
        for axis in range(min(2, len(shape))):
            coarse = np.repeat(coarse, grain, axis=axis)
        fine = coarse[tuple(slice(size) for size in shape)]
        images.append(np.clip((fine - rng.uniform()) * rng.uniform(0.5, 2) + 0.5, 0, 1))
    return np.asarray(images, np.float32)


def _may_take_bytes(classifier: Classifier, as_unit: Classifier, images: np.ndarray) -> bool:
    """Whether a classifier hardly tells images in [0, 1] apart, and gives them several classes in 0..255."""
    logits = as_unit.logits(images)
    if len(np.unique(logits.argmax(axis=1))) > 1 or np.ptp(logits, axis=0).max() > _HARDLY:
        return False
    try:
        outputs = classifier.logits(255.0 * images)
    except Exception:  # a model may refuse pixels above 1
        return False
    return outputs.shape[1] > 1 and len(np.unique(outputs.argmax(axis=1))) > 1


def _logits(classifier: Classifier, images: np.ndarray, data: Data) -> np.ndarray:
    """What the classifier gives; raises if that fails, changes it, or is something else the next time."""
    name, shape = classifier.name, tuple(data.image_shape)
    try:
        variables = classifier.variables(shape)
        before = [variable.numpy() for variable in variables]
        outputs = classifier.logits(images)
        again = classifier.logits(images[:_NUM_REPEATED])
    except Exception as error:  # a model can fail in any way
        raise ValueError(
            f"{name} must take images of shape {shape}, as {data.name} has them. It fails: {one_line(error)}"
        ) from error
    changed = []
    for variable, value in zip(variables, before, strict=True):
        if variable.numpy().tobytes() != value.tobytes():
            variable.assign(value)
            changed.append(variable.name)
    advice = "A layer that is called with training=True is the usual reason: hand `training` on to it instead."
    if changed:
        raise ValueError(
            f"{name} must stay as it is when it classifies. Received: a model that changes {len(changed)} of its "
            f"weights, such as {changed[0]}, in inference mode; they are as before. {advice}"
        )
    once = outputs[: len(again)]
    size = np.abs(once[np.isfinite(once)]).max(initial=0)
    if once.shape != again.shape or not np.allclose(once, again, rtol=1e-3, atol=1e-3 * size, equal_nan=True):
        raise ValueError(
            f"{name} must give the same logits for the same image. Received: others the next time, in inference mode. "
            f"{advice}"
        )
    return outputs


def _found_outputs(classifier: Classifier, values: np.ndarray) -> str:
    kind = kind_of_outputs(values)
    if kind == "softmax":
        return "probabilities"
    if values.shape[1:] == (1,):
        return "probabilities" if kind == "sigmoid" else "logits"
    is_saturated = len(values) > 1 and values.min() < 0.1 and values.max() > 0.9
    if kind_of_last_operation(classifier.network) == "sigmoid" or (kind == "sigmoid" and is_saturated):
        raise ValueError(
            f"{classifier.name} must give logits. Received: numbers in [0, 1] that do not sum to 1, as of a sigmoid "
            "for each class. Remove the sigmoid at its end (in Keras: activation=None in the last layer), or give "
            "`outputs='probabilities'` to divide them by their sum, or `outputs='logits'` if they are logits."
        )
    return "logits"


def _found_inputs(classifier: Classifier, data: Data) -> str:
    """Whether a classifier is right about more images in 0..255 than in [0, 1]."""
    count = max(_NUM_CHECKED - len(data.test_labels), 0)
    images = np.concatenate([data.test_images[:_NUM_CHECKED], data.some_images("train", slice(count))])
    labels = np.concatenate([data.test_labels, data.train_labels])[: len(images)]
    try:
        right = [_is_right(classifier.logits(scale * images), labels) for scale in (1, 255)]
    except Exception:  # a model may refuse pixels above 1
        return "unit"
    only_unit, only_bytes = int(np.sum(right[0] & ~right[1])), int(np.sum(right[1] & ~right[0]))
    if takes_bytes(classifier.network):
        return "bytes" if only_bytes >= only_unit else "unit"
    differing = only_unit + only_bytes
    # The chance of so many under equal odds, a sign test.
    chance = sum(math.comb(differing, k) for k in range(only_bytes, differing + 1)) / 2**differing
    return "bytes" if chance < _MAX_CHANCE and only_bytes - only_unit >= _MIN_GAIN * len(images) else "unit"


def _is_right(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    predicted = outputs[:, 0] > outputs[:, 0].mean() if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return predicted == labels


def _in_words(name: str, interface: Interface, *, is_found: tuple[bool, bool], width: int) -> str:
    parts = []
    if interface.inputs == "bytes":
        parts.append("takes pixels in 0..255, so they are multiplied by 255")
    if width == 1:
        what = "a probability" if interface.outputs == "probabilities" else "a logit"
        parts.append(f"gives one number, which is taken for {what} of the second class")
    elif interface.outputs == "probabilities":
        parts.append("gives probabilities, so their logarithms are taken for logits")
    asked = [f"`{what}=...`" for what, found in zip(("inputs", "outputs"), is_found, strict=True) if found]
    return f"{name} {', and it '.join(parts)}" + (f"; {' and '.join(asked)} would decide otherwise" if asked else "")


def _size_advice(classifier: Classifier, shape: tuple[int, ...]) -> str:
    """How images of a folder come to the size of a square classifier."""
    expected = classifier.image_shape
    if expected is None or len(expected) != 3 or len(shape) != 3 or expected[0] is None:
        return ""
    height, width, channels = expected
    if height != width or channels not in (None, shape[2]):
        return ""
    return f" Images of a folder are scaled with `image_size={height}`."


def _check_logits(logits: np.ndarray, name: str, data: Data) -> None:
    if logits.ndim != 2 or logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} must give one logit for each of the {data.num_classes} classes of {data.name}. Received: outputs "
            f"of shape {logits.shape[1:]}. Name the data that it was trained on."
        )
    if not np.isfinite(logits).all():
        count = np.count_nonzero(~np.isfinite(logits).all(axis=1))
        raise ValueError(
            f"The logits of {name} must be finite. Received: {count} of {len(logits)} test images of {data.name} with "
            "NaN or infinity. Its weights are damaged, or training went astray."
        )


def _has_gradient(network: Any, images: np.ndarray) -> bool:
    pixels = tf.constant(as_float(images))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)
        logits = logits_of(network, pixels)
    return tape.gradient(logits, pixels) is not None


def fits(shape: Sequence[int], expected: Sequence[int | None] | None) -> bool:
    """Whether images of a shape can go into a model that tells the expected one; None stands for any size."""
    if expected is None:
        return True
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))
