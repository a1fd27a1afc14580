"""What a network takes and gives: pixels in [0, 1] or 0..255, logits or probabilities; and how to wrap one."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

INPUTS = ("unit", "bytes")
OUTPUTS = ("logits", "probabilities")
_TINY = float(np.finfo(np.float32).tiny)
_SUM_TOLERANCE = 1e-3
_LARGEST_SCALE = 0.1  # from 0..255 to [0, 1] it is 1/255, to [-1, 1] 1/127.5, by a standard deviation about 1/60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """What a classifier takes and gives. Everything else in this package goes from [0, 1] to logits.

    Args:
        inputs: `"unit"` for float pixels in [0, 1]; `"bytes"` for float pixels in 0..255.
        outputs: `"logits"`; or `"probabilities"`, what a softmax or, with one output, a sigmoid makes of them.

    Raises:
        ValueError: If one of them is not one of its two words.

    Example: the logits of probabilities 0 and 1, and of one output of a sigmoid, which is that of the second class.

    >>> ends_in_softmax = Interface(outputs="probabilities")
    >>> ends_in_softmax.to_logits(tf.constant([[0.0, 1.0]])).numpy().round(2)
    array([[-87.34,   0.  ]], dtype=float32)
    >>> ends_in_softmax.to_logits(tf.constant([[0.25]])).numpy().round(4)  # log 0.75, log 0.25
    array([[-0.2877, -1.3863]], dtype=float32)
    """

    inputs: str = "unit"
    outputs: str = "logits"

    def __post_init__(self) -> None:
        for name, value, known in (("inputs", self.inputs, INPUTS), ("outputs", self.outputs, OUTPUTS)):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {known}. Received: {name}={value!r}.")

    @property
    def is_default(self) -> bool:
        """Whether it goes from [0, 1] to logits."""
        return self == Interface()

    def from_unit(self, images: Any) -> Any:
        """Returns images in [0, 1], a tensor or an array, as the classifier takes them."""
        return images * 255.0 if self.inputs == "bytes" else images

    def to_logits(self, outputs: Any) -> Any:
        """Returns the logits of what the classifier gives: float tensor `(batch, num_classes)`.

        Of probabilities it is the logarithm, whose softmax they are. A 0 becomes that of the smallest normal float32,
        -87.3: a class of that logit has a probability of 1e-38. Of one output alone, the logit of the second of two
        classes against 0, or the probability of that class, it makes two.
        """
        if self.outputs == "probabilities":
            outputs = ops.cast(outputs, "float32")
            if outputs.shape[-1] == 1:
                outputs = ops.concatenate([1.0 - outputs, outputs], axis=-1)
            return ops.log(ops.maximum(outputs, _TINY))
        if outputs.shape[-1] == 1:
            return ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1)
        return outputs

    def __str__(self) -> str:
        pixels = "in [0, 1]" if self.inputs == "unit" else "in 0..255"
        return f"images {pixels}, {self.outputs}"


def wrapped(
    network: keras.Model,
    *,
    inputs: str = "unit",
    outputs: str = "logits",
    image_shape: tuple[int | None, ...] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Wraps a network so that it goes from images in [0, 1] to logits, as everything here needs it.

    Args:
        network: `keras.Model` with one input and one output. Its weights are shared.
        inputs: What it takes: `"unit"`, pixels in [0, 1]; or `"bytes"`, pixels in 0..255, which it scales itself.
        outputs: What it gives: `"logits"`; or `"probabilities"`, see `Interface.to_logits`. One output, of a network
            with a sigmoid say, becomes two.
        image_shape: Shape of one image; None for what the network says, which a subclassed model does not.
        name: Name of the model; None for that of `network`.

    Returns:
        `keras.Model` of stock layers around `network`. Images for it are divided by 255.

    Raises:
        TypeError: If `network` is not a `keras.Model`.
        ValueError: If `inputs` or `outputs` is not one of its two words, the shape of an image is not known, or the
            network has several inputs or outputs.

    Example: a network with a softmax at its end, on pixels in 0..255.

    >>> from keras import layers
    >>> network = keras.Sequential([keras.Input((2,)), layers.Rescaling(1 / 255), layers.Softmax()])
    >>> model = wrapped(network, inputs="bytes", outputs="probabilities")
    >>> keras.ops.softmax(model(np.array([[1.0, 0.0]]))).numpy().round(3)  # e / (e + 1)
    array([[0.731, 0.269]], dtype=float32)
    """
    interface = Interface(inputs=inputs, outputs=outputs)
    if not isinstance(network, keras.Model):
        raise TypeError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
    check_one_input_and_output(network, "`network`")
    if image_shape is None:
        known = getattr(network, "input_shape", None)
        if not isinstance(known, tuple):
            raise ValueError(
                f"`image_shape` must be given for a network that does not know it. Received: image_shape=None and "
                f"{network.name}, a {type(network).__name__}. Give that of one image, such as (28, 28, 1)."
            )
        image_shape = known[1:]
    images = keras.Input(image_shape, name="images", dtype="float32")
    x = layers.Rescaling(255.0, name="to_0_255", dtype="float32")(images) if inputs == "bytes" else images
    return keras.Model(images, interface.to_logits(network(x)), name=name or network.name)


def check_one_input_and_output(network: Any, name: str) -> None:
    """Raises a ValueError that begins with `name` if a network has several inputs or outputs."""
    advice = {
        "input": "Build a model around it that takes the images alone and calls it with them.",
        "output": "Take the one with the logits: keras.Model(network.inputs, network.outputs[0]).",
    }
    for what in ("input", "output"):
        tensors = getattr(network, f"{what}s", None)  # a subclassed model has neither
        if tensors is not None and len(tensors) != 1:
            raise ValueError(f"{name} must have one {what}. Received: {len(tensors)} of them. {advice[what]}")


def takes_bytes(network: Any) -> bool:
    """Whether a network begins with layers that scale pixels from 0..255: `Rescaling(1 / 255)` or `Normalization`.

    Layers before them are passed over where they leave the range of the pixels alone, as augmentation does.
    """
    scale = 1.0
    for layer in _first_layers(network):
        if isinstance(layer, layers.Rescaling):
            scale = scale * float(np.max(np.abs(layer.scale)))
        elif isinstance(layer, layers.Normalization):
            if getattr(layer, "variance", None) is None:  # not adapted yet
                return False
            return bool(scale / np.sqrt(np.max(ops.convert_to_numpy(layer.variance))) < _LARGEST_SCALE)
        elif not _keeps_range(layer):
            break
    return scale < _LARGEST_SCALE


def _first_layers(network):
    """The layers of a network in order, those of models within it in their place, up to where it branches."""
    for layer in getattr(network, "layers", []) if getattr(network, "inputs", None) else []:
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            yield from _first_layers(layer)
        else:
            yield layer


def _keeps_range(layer):
    passing = (layers.InputLayer, layers.Resizing, layers.CenterCrop, layers.Reshape, layers.Permute, layers.Identity)
    passing += (layers.Flatten, layers.Concatenate, layers.Cropping2D, layers.ZeroPadding2D)
    return isinstance(layer, passing) or type(layer).__name__.startswith("Random")


def last_operation(network: Any) -> Any:
    """Returns the layer or operation that makes a network's output, through models within models; None if unknown."""
    last = network
    while isinstance(last, keras.Model):
        inside = getattr(last, "operations", None) or last.layers if getattr(last, "outputs", None) else []
        if not inside:  # the layers of a subclassed model are in no known order
            return None
        last = inside[-1]
    return last


def kind_of_last_operation(network: Any) -> str | None:
    """Returns "softmax" or "sigmoid" if the last layer or operation of a network is one, by whatever name; else None.

    The values tell: at -30, -3, 0, 5 and 40 a softmax gives numbers that sum to 1, a sigmoid numbers in [0, 1].
    """
    last = last_operation(network)
    function = getattr(last, "activation", None)
    if isinstance(last, layers.Softmax):
        return "softmax"
    if isinstance(last, keras.Operation) and not isinstance(last, keras.layers.Layer):
        function = last  # such as keras.ops.softmax
    if not callable(function) or isinstance(function, keras.Model):
        return None
    try:
        values = np.asarray(function(tf.constant([[-30.0, -3.0, 0.0, 5.0, 40.0]])))
    except Exception:  # an operation that takes something else
        return None
    if values.shape != (1, 5) or not (values >= 0).all():
        return None
    return kind_of_outputs(values)


def kind_of_outputs(values: np.ndarray) -> str | None:
    """Returns "softmax" if no number is negative and each row sums to 1, "sigmoid" if all are in [0, 1], else None.

    Args:
        values: Float array `(n, num_classes)`.
    """
    if values.ndim != 2 or not (values >= 0).all():
        return None
    if values.shape[1] > 1 and (np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE).all():
        return "softmax"
    return "sigmoid" if (values <= 1).all() else None
