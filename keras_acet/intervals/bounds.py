"""Interval bounds: how large logits and confidence can get anywhere in a box of inputs, proven in one pass.

Every value is enclosed in an interval, step by step: an affine step `x -> W x + b` takes the box of centre `c` and
radius `r` to the one of centre `W c + b` and radius `|W| r`; ReLU and maximum are monotone, so ends go to ends. Each
box is the smallest one for its own step, but a box cannot express that the values of one layer depend on each other. So
the bounds are loose unless the network was trained for them. TensorFlow can differentiate them, so that they can be a
training objective.

**Rounding.** The bounds are computed in float64 and hold for the network as it runs in float32. Summed in any order,
n products in float32 are off by at most `n u / (1 - n u)` times the sum of their absolute values, `u = 2^-24` (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). Every affine step widens its box by that much, where
n is the number of weights per output, and at least 8 to cover the operations that make scale and shift of a batch norm;
it widens the box by another `4 u` times the result for the bias. A LeakyReLU widens negative values, which are
products, by `4 u` times their size. The largest observed error of an affine step (LeNet, ResNet-20, random inputs) is
16 u times that sum, however large n is. Convolution by FFT or by Winograd's method, TF32 and bfloat16 round more:
switch them off, or give another `unit_roundoff`. Underflow is not considered: a number below 2^-126 that becomes 0
changes logits by far less than their last digit, unless weights or inputs are that small themselves.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_acet.intervals.network import PiecewiseAffine, piecewise
from keras_acet.intervals.operations import DTYPE, Affine, ReLU

FLOAT32 = 2.0**-24


class _Box(NamedTuple):
    low: tf.Tensor
    high: tf.Tensor

    @property
    def center(self) -> tf.Tensor:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> tf.Tensor:
        return (self.high - self.low) / 2

    @property
    def magnitude(self) -> tf.Tensor:
        return tf.maximum(tf.abs(self.low), tf.abs(self.high))


def interval_bounds(
    network: keras.Model | PiecewiseAffine,
    low: np.ndarray | tf.Tensor,
    high: np.ndarray | tf.Tensor,
    *,
    unit_roundoff: float = FLOAT32,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Bounds the logits of all inputs in a box: `lower <= f(z) <= upper` wherever `low <= z <= high`.

    Args:
        network: `keras.Model` from inputs to logits, or `PiecewiseAffine`, which says what it may be made of.
        low, high: Float arrays or tensors `(n, ...)`, `low <= high`, the ends of `n` boxes.
        unit_roundoff: float in [0, 1e-2]: 2^-24 for a network that runs in float32, 2^-8 for bfloat16, 0 for exact
            arithmetic.

    Returns:
        Pair of float64 tensors `(n, num_classes)`: `lower` and `upper`, differentiable in the weights and the box.

    Raises:
        ValueError: If the network is not piecewise affine, the boxes are of another shape than its inputs, or
            `unit_roundoff` is out of range.
        tf.errors.InvalidArgumentError: If `low` exceeds `high` somewhere.

    Example: for `relu(x) + relu(-x)`, `|x|`, between -1 and 2 each term is at least 0, and at most 2 or 1.

    >>> import keras, numpy as np
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, "relu"), keras.layers.Dense(1)])
    >>> network.set_weights([np.array([[1.0, -1.0]]), np.zeros(2), np.array([[1.0], [1.0]]), np.zeros(1)])
    >>> [end.numpy().round(4).tolist() for end in interval_bounds(network, [[-1.0]], [[2.0]])]
    [[[-0.0]], [[3.0]]]

    Source: Gowal et al., ICCV 2019, arXiv:1810.12715, section 3.
    """
    network = piecewise(network)
    roundoff = _check(unit_roundoff)
    box = network.run(_box(network, low, high), lambda step, *boxes: _enclose(step, boxes, roundoff))
    return box.low, box.high


def difference_upper_bounds(
    network: keras.Model | PiecewiseAffine,
    low: np.ndarray | tf.Tensor,
    high: np.ndarray | tf.Tensor,
    *,
    unit_roundoff: float = FLOAT32,
) -> tf.Tensor:
    """Bounds the differences of logits in a box: `f_k(z) - f_j(z) <= upper[:, k, j]` wherever `low <= z <= high`.

    The last affine step is taken for each difference at once, with the radius `|W_k - W_j| r`, which is smaller than
    the sum of two logits' radii. That makes them exact for a linear network.

    Args:
        network, low, high, unit_roundoff: As for `interval_bounds`.

    Returns:
        float64 tensor `(n, num_classes, num_classes)`, 0 where `k = j`, differentiable. The mean of its largest entries
        is an objective for training that does not saturate as the confidence does.

    Raises:
        As `interval_bounds`.

    Example: `f = (x, x)` are never apart, though each is anywhere in [0, 1].

    >>> import keras, numpy as np
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    >>> network.set_weights([np.array([[1.0, 1.0]]), np.zeros(2)])
    >>> difference_upper_bounds(network, [[0.0]], [[1.0]], unit_roundoff=0).numpy().tolist()
    [[[0.0, 0.0], [0.0, 0.0]]]

    Source: Gowal et al., ICCV 2019, arXiv:1810.12715, section 3 ("elision of the last layer").
    """
    network, roundoff = piecewise(network), _check(unit_roundoff)
    last = network.steps[-1]

    def call(step, *boxes):
        return boxes if step is last else _enclose(step, boxes, roundoff)

    boxes = network.run(_box(network, low, high), call)
    if isinstance(last.operation, Affine) and [box.low.shape.rank for box in boxes] == [2]:
        upper = _differences(last.operation, boxes[0], roundoff)
    else:
        box = _enclose(last, boxes, roundoff)
        upper = box.high[:, :, None] - box.low[:, None, :]
    return tf.linalg.set_diag(upper, tf.zeros(tf.shape(upper)[:2], DTYPE))


def confidence_upper_bound(
    network: keras.Model | PiecewiseAffine,
    images: np.ndarray | tf.Tensor,
    epsilon: float | tf.Tensor,
    *,
    unit_roundoff: float = FLOAT32,
) -> tf.Tensor:
    """Bounds the confidence near images: the largest softmax probability at any `z`, `|z - x| <= epsilon`, in [0, 1].

    With the bounds `U_kj` of `difference_upper_bounds` it is `max_k 1 / sum_j exp(-U_kj)`. No attack reaches a higher
    confidence. Where the bound is far above the confidence that attacks reach, either the attacks or the bound are
    weak; for a network that was not trained for interval bounds it is mostly the bound.

    Args:
        network: As for `interval_bounds`.
        images: Float array or tensor `(n, ...)`, values in [0, 1].
        epsilon: float, or scalar tensor, at least 0: radius of the l_inf ball in pixel units. The ball is widened by
            `unit_roundoff`, by which float32 may move a pixel.
        unit_roundoff: As for `interval_bounds`.

    Returns:
        float64 tensor `(n,)`, differentiable.

    Raises:
        As `interval_bounds`; ValueError if `epsilon` is negative; `tf.errors.InvalidArgumentError` if `images` are not
        in [0, 1].

    Example: `f = (4 x, 0)` at `x = 1/2`; within 1/4 it is at most 3, and `1 / (1 + exp(-3))` is 0.9526.

    >>> import keras, numpy as np
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    >>> network.set_weights([np.array([[4.0, 0.0]]), np.zeros(2)])
    >>> confidence_upper_bound(network, [[0.5]], 0.25).numpy().round(4)
    array([0.9526])

    To train with it, as a penalty on noise:

    >>> with tf.GradientTape() as tape:
    ...     penalty = tf.reduce_mean(tf.math.log(confidence_upper_bound(network, [[0.5]], 0.25)))
    >>> tape.gradient(penalty, network.trainable_variables[0]).numpy().round(4)  # (1 - .9526) of 3/4 each way
    array([[ 0.0356, -0.0356]], dtype=float32)

    Source: interval bounds on noise as a training objective: Bitterwolf et al., NeurIPS 2020 (GOOD).
    """
    if not tf.is_tensor(epsilon) and not 0 <= epsilon < math.inf:
        raise ValueError(f"`epsilon` must be at least 0, in pixel units. Received: epsilon={epsilon}.")
    images = tf.cast(tf.convert_to_tensor(images), DTYPE)
    tf.debugging.assert_equal(
        tf.reduce_all((images >= 0) & (images <= 1)),
        True,
        "`images` must be in [0, 1]. Received: values outside. Divide 8-bit images by 255.",
    )
    epsilon = epsilon if tf.is_tensor(epsilon) else tf.constant(epsilon, DTYPE)  # a number would first become float32
    radius = tf.cast(epsilon, DTYPE) + _check(unit_roundoff)
    low, high = tf.clip_by_value(images - radius, 0, 1), tf.clip_by_value(images + radius, 0, 1)
    upper = difference_upper_bounds(network, low, high, unit_roundoff=unit_roundoff)
    return tf.exp(-tf.reduce_min(tf.reduce_logsumexp(-upper, axis=2), axis=1))


def _check(unit_roundoff):
    if not 0 <= unit_roundoff <= 1e-2:
        raise ValueError(
            f"`unit_roundoff` must be in [0, 0.01]. Received: unit_roundoff={unit_roundoff}. For float32 it is 2**-24."
        )
    return unit_roundoff


def _box(network, low, high):
    low, high = (tf.cast(tf.convert_to_tensor(end), DTYPE) for end in (low, high))
    for end in (low, high):
        if tuple(end.shape[1:]) != network.input_shape:
            raise ValueError(
                f"Inputs must have shape (n, {', '.join(map(str, network.input_shape))}). Received: {tuple(end.shape)}."
            )
    with tf.control_dependencies([tf.debugging.assert_less_equal(low, high, "`low` must not exceed `high`.")]):
        return _Box(tf.identity(low), high)


def _enclose(step, boxes, roundoff):
    """Encloses what comes out of a step."""
    operation = step.operation
    if not isinstance(operation, Affine):
        low, high = operation(boxes[0].low), operation(boxes[0].high)
        if isinstance(operation, ReLU) and operation.negative_slope:
            # Negative values are products, which are rounded once; in bfloat16 the slope is rounded before as well.
            low, high = low - 4 * roundoff * tf.nn.relu(-low), high + 4 * roundoff * tf.nn.relu(-high)
        return _Box(low, high)
    center = operation(*(box.center for box in boxes))
    share = _summing(operation, boxes, roundoff)
    radius = operation.absolute(*(box.radius + share * box.magnitude for box in boxes))
    radius += 4 * roundoff * (tf.abs(center) + radius)
    return _Box(center - radius, center + radius)


def _differences(operation, box, roundoff):
    size = box.low.shape[1]
    weights = operation.linear(tf.eye(size, dtype=DTYPE))
    biases = operation(tf.zeros((1, size), DTYPE))
    share = _summing(operation, [box], roundoff)
    # The error that rounding may add to each logit, as in `_enclose`.
    rounding = tf.matmul(share * box.magnitude, tf.abs(weights))
    rounding += 4 * roundoff * (tf.abs(operation(box.center)) + tf.matmul(box.radius, tf.abs(weights)) + rounding)

    def above_others(k):
        apart = weights[:, k, None] - weights
        exact = tf.matmul(box.center, apart) + biases[:, k, None] - biases + tf.matmul(box.radius, tf.abs(apart))
        return exact + rounding[:, k, None] + rounding

    classes = tf.range(weights.shape[1])
    return tf.transpose(tf.map_fn(above_others, classes, fn_output_signature=DTYPE), (1, 0, 2))


def _summing(operation, boxes, roundoff):
    """The largest rounding error of a sum, relative to the sum of absolute values: `n u / (1 - n u)`."""
    if operation.kernel is not None:
        count = max(math.prod(operation.kernel().shape[:-1]), 8)  # of a scale it would be 1
    else:
        # Sums and pooling; operations that only move values are counted as if they were sums.
        count = max(len(boxes), math.prod(boxes[0].low.shape[1:-1]))
    return count * roundoff / (1 - min(count * roundoff, 0.5))
