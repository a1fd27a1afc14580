"""The checks of images and labels that every path into a model takes: training, evaluation, prediction, calls."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet import _keras_settings

_CLASSES = "Labels must count classes from 0. Received, with that many classes:"
_TOLERANCE = 1e-3  # a quarter of an 8-bit level: rounding, not another range
_RANGE = "Images must lie in [0, 1]. Received: values from"
_ADVICE = {
    "levels": "Divide 8-bit levels by 255; a network on them is wrapped by networks.wrapped(network, inputs='bytes').",
    "signed": "Bring them into [0, 1]; a network for another range gets a Rescaling or Normalization layer first.",
    "near": "Clip them: tf.clip_by_value(images, 0.0, 1.0). For points outside on purpose call the model's `network`.",
}


def as_pixels(images: Any) -> tf.Tensor:
    """Returns images as a float32 tensor; one outside [0, 1] is an error, in a graph when it runs, see `in_words`.

    Raises:
        TypeError: If the images are not of a float type.
        ValueError: If there are several tensors of them; or, outside of a graph, if they exceed [0, 1] or are NaN.
    """
    images = tf.convert_to_tensor(check_one_tensor(images))
    check_is_float(images)
    images = tf.cast(images, tf.float32)
    smallest, largest = tf.reduce_min(images), tf.reduce_max(images)
    # Of no images it is infinite the other way round. False for NaN.
    is_inside = (smallest >= -_TOLERANCE) & (largest <= 1 + _TOLERANCE) | (tf.size(images) == 0)
    if tf.executing_eagerly():
        if not is_inside:
            raise ValueError(_range_message(float(smallest), float(largest)))
        return images
    is_checked = tf.raw_ops.Assert(condition=is_inside, data=[_RANGE, smallest, largest], summarize=3)
    with tf.control_dependencies([is_checked]):
        return tf.identity(images)


def check_is_float(images: Any) -> None:
    """Raises TypeError unless images are of a float type."""
    name = keras.backend.standardize_dtype(images.dtype)
    if "float" not in name:
        raise TypeError(f"Images must be floats in [0, 1]. Received: {name}. For 8-bit levels divide by 255.")


def check_one_tensor(images: Any) -> Any:
    """Returns the one tensor of images, or raises ValueError."""
    if isinstance(images, list | tuple) and len(images) == 1:
        images = images[0]
    if isinstance(images, dict | list | tuple):
        keys = f"a dict of {sorted(map(str, images))}" if isinstance(images, dict) else f"{len(images)} of them"
        raise ValueError(
            f"The model takes one tensor of images. Received: {keys}. Pick it out, in a dataset by "
            "dataset.map(lambda inputs, labels: (inputs['NAME'], labels))."
        )
    return images


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turns the errors of `as_pixels` that come up while a graph runs into a ValueError in one line.

    Keras' own settings are the standard ones meanwhile: it would bring arrays of images to its floatx.
    """
    try:
        with _keras_settings.standard():
            yield
    except tf.errors.InvalidArgumentError as error:
        text = str(error)
        found = re.search(re.escape(_RANGE) + r"\]? \[?(\S+?)\]? \[?([^\s\]]+)", text)
        if found:
            raise ValueError(_range_message(float(found[1]), float(found[2]))) from None
        found = re.search(re.escape(_CLASSES) + r"\]? \[?(\S+?)\]? \[?([^\s\]]+)", text) or re.search(
            r"Received a label value of (\S+) which is outside the valid range of \[0, (\d+)\)", text
        )
        if found:
            raise ValueError(_classes_message(found[1], int(found[2]))) from None
        if "A pool of" in text:
            raise ValueError(re.search(r"A pool of [^\n\]]*", text)[0]) from None  # type: ignore[index]
        raise


def as_classes(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns labels; one outside `0 .. num_classes - 1` is an error, in a graph when it runs, see `in_words`."""
    smallest, largest = tf.reduce_min(labels), tf.reduce_max(labels)
    is_class = (smallest >= 0) & (largest <= num_classes - 1) | (tf.size(labels) == 0)
    worst = tf.where(smallest < 0, smallest, largest)
    if tf.executing_eagerly():
        if not is_class:
            raise ValueError(_classes_message(worst.numpy(), num_classes))
        return labels
    is_checked = tf.raw_ops.Assert(condition=is_class, data=[_CLASSES, worst, num_classes], summarize=3)
    with tf.control_dependencies([is_checked]):
        return tf.identity(labels)


def _classes_message(received: Any, num_classes: int) -> str:
    return (
        f"Labels must count classes from 0, here up to {num_classes - 1}, the last output of the network. "
        f"Received: {received}. Renumber them, or give the network an output for each class."
    )


def _range_message(smallest: float, largest: float) -> str:
    if not np.isfinite([smallest, largest]).all():
        advice = "Remove the images that are not finite."
    elif largest > 2:
        advice = _ADVICE["levels"]
    else:
        advice = _ADVICE["signed" if smallest < -0.5 else "near"]
    return f"{_RANGE} {smallest:g} to {largest:g}. {advice}"


class TakesPixels(keras.Model):
    """A model that refuses images outside [0, 1] in `fit`, `evaluate`, `predict`, their batch by batch forms and calls.

    A subclass calls `as_pixels` in its `train_step`.
    """

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        if tf.executing_eagerly() and not isinstance(images, keras.KerasTensor):
            as_pixels(images)
        return super().__call__(images, *args, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`.

        Raises:
            TypeError: If images are not of a float type.
            ValueError: If images exceed [0, 1]; those of `validation_data` too.
        """
        with in_words():
            history = super().fit(*args, **kwargs)
        if history.epoch and not history.history:
            raise ValueError("`fit` needs at least one image. Received: none. Look at what the dataset yields.")
        return history

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; raises as `fit`."""
        with in_words():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`; raises as `fit`."""
        with in_words():
            return super().predict(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.train_on_batch`; raises as `fit`."""
        with in_words():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`; raises as `fit`."""
        with in_words():
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """As `keras.Model.predict_on_batch`; raises as `fit`."""
        with in_words():
            return super().predict_on_batch(x)

    def test_step(self, data: Any) -> dict[str, Any]:
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().test_step((self.pixels(images), labels, sample_weight))

    def predict_step(self, data: Any) -> Any:
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return super().predict_step((self.pixels(images),))

    def pixels(self, images: Any) -> tf.Tensor:
        """Returns the images of a batch as `as_pixels` does, of the shape that the model was built for.

        Raises:
            ValueError: If their rank is known neither from them nor from the model.
        """
        images = as_pixels(images)
        known = getattr(self, "image_shape", None)
        if images.shape.rank is None and known is None:
            raise ValueError(
                "Images must be of a known rank. Received: a dataset that does not tell it. Give its images a static "
                "shape: dataset.map(lambda x, y: (tf.ensure_shape(x, (None, height, width, channels)), y))."
            )
        if known is not None and images.shape.rank in (None, len(known)) and not images.shape.is_fully_defined():
            images = tf.ensure_shape(images, (None, *known[1:]))
        return images
