"""Bounds of a chain of affine layers and ReLUs over boxes, sound for the chain as it runs in float32.

**Intervals.** Box by box, as in `keras_acet.intervals`, but in float32 and for a chain alone: short enough for the
graph of an exported model, and for each step of a training.

**Rounding.** Let u = 2^-24, n the number of weights per output, `g_n = n u / (1 - n u)`, m the larger absolute value of
a box's ends. Summed in any order, with or without fused multiplications, float32 gives `W h + b` up to
`g_(n+1) (|W| |h| + |b|)` (Higham 2002, section 3.1). That counts twice: once for the network, once for the centre here.
The radius `|W| r` is computed up to `g_n |W| r`, `r <= m`; centre and radius of the box in `2 u m`. Together at most
`(2 u + 3 g_(n+1)) (|W| m + |b|)` and terms in `u^2`, for which and for the last sum `4 (n + 8) u` stands here, and
another `4 u` of the result. `2^-100` covers underflow: n products of which each loses at most `2^-126`.
It holds for convolutions that sum products of float32, as TensorFlow and ONNX Runtime do on a CPU. It does not for
Winograd's algorithm and TF32, which a GPU may take;
`tf.config.experimental.enable_tensor_float_32_execution(False)` turns TF32 off.

**Linear relaxation.** A ReLU lies between two lines over the interval of its argument, so `g` is at most an affine
function of the pixels, whose maximum over the box is known; it is found layer by layer from the output back (Zhang et
al., NeurIPS 2018, "CROWN", with the intervals inside). That is computed in float64, whose own rounding is less than
2^-20 of the allowance, and the smaller of both bounds is returned.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

_UNIT = 2.0**-24
_TINY = 2.0**-100


class Box(NamedTuple):
    """The ends of boxes, tensors `(n, ...)`."""

    low: tf.Tensor
    high: tf.Tensor


class Link(NamedTuple):
    """A layer of a chain: `relu(linear(x) + bias)`, or without the ReLU.

    Attributes:
        linear: Function of inputs and kernel.
        transposed: Function of outputs, kernel and shape of the inputs.
        kernel, bias: Float tensors or variables; None where the layer only moves values.
        num_weights: Number of weights per output.
        has_relu: Whether a ReLU follows.
    """

    linear: Callable[..., tf.Tensor]
    transposed: Callable[..., tf.Tensor]
    kernel: tf.Tensor | None
    bias: tf.Tensor | None
    num_weights: int
    has_relu: bool


def links(chain: Sequence[layers.Layer]) -> list[Link]:
    """Expresses Keras layers as links.

    Args:
        chain: Built layers: Conv2D with channels last, Dense, Flatten, ReLU; with no activation or a ReLU.

    Raises:
        ValueError: If a layer is of another kind.
    """
    found: list[Link] = []
    for layer in chain:
        if type(layer) is layers.ReLU and not layer.negative_slope and layer.max_value is None and not layer.threshold:
            found.append(Link(lambda x, _: x, lambda x, _, shape: x, None, None, 0, True))
        elif type(layer) is layers.Flatten:
            found.append(Link(_flatten, lambda x, _, shape: tf.reshape(x, shape), None, None, 0, False))
        elif type(layer) is layers.Dense and _has_known_activation(layer):
            found.append(
                Link(tf.matmul, _dense_back, layer.kernel, layer.bias, int(layer.kernel.shape[0]), _is_relu(layer))
            )
        elif type(layer) is layers.Conv2D and _has_known_activation(layer) and _is_plain(layer):
            found.append(_convolution(layer))
        else:
            raise ValueError(
                "A detector must be a chain of Conv2D (channels last, no groups or dilation), Dense, Flatten and ReLU. "
                f"Received: the layer `{layer.name}` ({type(layer).__name__})."
            )
    return found


def enclose(chain: Sequence[Link], box: Box, *, roundoff: bool = True) -> Box:
    """Encloses what a chain gives for all inputs in boxes.

    Args:
        chain: Of `links`.
        box: Ends of the boxes, float32 (or float64, to compare with).
        roundoff: Whether to add the allowance for float32, as a proof needs it; training leaves it out.

    Returns:
        `Box` of the last layer's values, differentiable in the weights.
    """
    for link in chain:
        box = _after_relu(link, _before_relu(link, box, roundoff)[0])
    return box


def linear_upper_bound(chain: Sequence[Link], weights: tf.Tensor, bias: tf.Tensor, box: Box) -> tf.Tensor:
    """Bounds `bias + sum_j weights_j h_j` over boxes, h what a chain gives, by a linear relaxation.

    Args:
        chain: Of `links`.
        weights: Float tensor `(size of h,)`.
        bias: Float scalar.
        box: Ends of the boxes.

    Returns:
        float64 tensor `(n,)`. The rounding of this last sum is not in it.
    """
    box = Box(tf.cast(box.low, tf.float64), tf.cast(box.high, tf.float64))
    inputs, before, errors = [box], [], []
    for link in chain:
        after, error = _before_relu(link, inputs[-1], True)
        before.append(after)
        errors.append(error)
        inputs.append(_after_relu(link, after))
    slope = tf.broadcast_to(tf.cast(weights, tf.float64), tf.shape(inputs[-1].low))
    bound = tf.fill(tf.shape(slope)[:1], tf.cast(bias, tf.float64))
    for link, at, into, error in reversed(list(zip(chain, before, inputs, errors, strict=False))):
        if link.has_relu:
            slope, constant = _relax(slope, at)
            bound += _sum(constant)
        if link.bias is not None:
            bound += _sum(slope * tf.cast(link.bias, tf.float64))
        bound += _sum(tf.abs(slope) * error) * (1 + 2.0**-20)
        kernel = None if link.kernel is None else tf.cast(link.kernel, tf.float64)
        slope = link.transposed(slope, kernel, tf.shape(into.low))
    return bound + _sum(tf.maximum(slope * box.low, slope * box.high))


def _relax(slope: tf.Tensor, at: Box) -> tuple[tf.Tensor, tf.Tensor]:
    """Replaces `slope * relu(z)`, `low <= z <= high`, by `slope' * z + constant`, which is nowhere smaller."""
    is_open = (at.low < 0) & (at.high > 0)
    rise = tf.where(is_open, at.high / tf.where(is_open, at.high - at.low, tf.ones_like(at.low)), 0.0)
    upper = tf.where(at.low >= 0, tf.ones_like(rise), rise)
    lower = tf.where((at.low >= 0) | (is_open & (at.high > -at.low)), tf.ones_like(rise), tf.zeros_like(rise))
    constant = tf.where(is_open & (slope > 0), -slope * rise * at.low, tf.zeros_like(rise))
    return slope * tf.where(slope > 0, upper, lower), constant


def _before_relu(link: Link, box: Box, roundoff: bool) -> tuple[Box, tf.Tensor]:
    """The box of a layer's values before its ReLU, and the allowance that is in it."""
    if link.kernel is None:
        low, high = (link.linear(end, None) for end in box)
        return Box(low, high), tf.zeros_like(low)
    kernel = tf.cast(link.kernel, box.low.dtype)
    center, radius = (box.low + box.high) / 2, (box.high - box.low) / 2
    center = link.linear(center, kernel)
    center = center if link.bias is None else center + tf.cast(link.bias, center.dtype)
    if not roundoff:
        radius = link.linear(radius, tf.abs(kernel))
        return Box(center - radius, center + radius), tf.zeros_like(center)
    magnitude = tf.maximum(tf.abs(box.low), tf.abs(box.high))
    share = 4 * (link.num_weights + 8) * _UNIT
    if center.dtype == tf.float64:  # to be passed on apart; costs a third convolution
        error = share * link.linear(magnitude, tf.abs(kernel))
        radius = link.linear(radius, tf.abs(kernel))
    else:
        radius, error = link.linear(radius + share * magnitude, tf.abs(kernel)), tf.zeros_like(center)
    if link.bias is not None:
        error += share * tf.abs(tf.cast(link.bias, center.dtype))
    error += 4 * _UNIT * (tf.abs(center) + radius) + _TINY
    return Box(center - (radius + error), center + (radius + error)), error


def _after_relu(link: Link, box: Box) -> Box:
    return Box(tf.nn.relu(box.low), tf.nn.relu(box.high)) if link.has_relu else box


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


def _flatten(x: tf.Tensor, _: None) -> tf.Tensor:
    return tf.reshape(x, (-1, int(np.prod(x.shape[1:]))))


def _dense_back(x: tf.Tensor, kernel: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, kernel, transpose_b=True)


def _convolution(layer: layers.Conv2D) -> Link:
    strides, padding = (1, *layer.strides, 1), layer.padding.upper()

    def back(x, kernel, shape):
        return tf.nn.conv2d_transpose(x, kernel, shape, strides, padding)

    return Link(
        lambda x, kernel: tf.nn.conv2d(x, kernel, strides, padding),
        back,
        layer.kernel,
        layer.bias,
        int(np.prod(layer.kernel.shape[:-1])),
        _is_relu(layer),
    )


def _is_plain(layer: layers.Conv2D) -> bool:
    return layer.data_format == "channels_last" and layer.groups == 1 and tuple(layer.dilation_rate) == (1, 1)


def _is_relu(layer: layers.Layer) -> bool:
    return layer.activation is keras.activations.relu


def _has_known_activation(layer: layers.Layer) -> bool:
    return layer.activation in (keras.activations.relu, keras.activations.linear)
