"""The operations of a piecewise affine network: affine maps, ReLUs and maxima, in float64.

Weights are read when an operation is called.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

DTYPE = tf.float64


class Affine:
    """`x -> linear(x) + bias`. `linear` is linear in all inputs together, `absolute` is the same with `|weights|`.

    Args:
        function: Linear function of one or several float64 tensors `(batch, ...)`; it takes the kernel as its last
            argument if there is one. Without kernel its own coefficients are not negative (pooling, padding, sums).
        kernel: Function that returns the float64 kernel, or None.
        bias: Function that returns what is added, as a float64 tensor that broadcasts; or None.
    """

    def __init__(
        self,
        function: Callable[..., tf.Tensor],
        kernel: Callable[[], tf.Tensor] | None = None,
        bias: Callable[[], tf.Tensor] | None = None,
    ) -> None:
        self._function = function
        self.kernel = kernel
        self._bias = bias

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        outputs = self.linear(*inputs)
        return outputs if self._bias is None else outputs + self._bias()

    def homogeneous(self, weight: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
        """Computes `linear(x) + weight bias`, `weight` of shape `(batch,)`: 1 for points, 0 for directions."""
        outputs = self.linear(*inputs)
        if self._bias is None:
            return outputs
        return outputs + tf.reshape(weight, (-1, *[1] * (outputs.shape.rank - 1))) * self._bias()

    def linear(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self._function(*inputs) if self.kernel is None else self._function(*inputs, self.kernel())

    def absolute(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self._function(*inputs) if self.kernel is None else self._function(*inputs, tf.abs(self.kernel()))

    def is_finite(self) -> bool:
        """Tells whether kernel and bias are finite as they are now."""
        parts = [part() for part in (self.kernel, self._bias) if part is not None]
        return all(tf.reduce_all(tf.math.is_finite(part)) for part in parts)


class ReLU:
    """`x -> x` where `x > 0`, else `negative_slope x`; the slope is at least 0, and rounded to float32 as in Keras."""

    def __init__(self, negative_slope: float = 0.0) -> None:
        self.negative_slope = float(np.float32(negative_slope))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) if self.negative_slope == 0 else tf.where(x > 0, x, self.negative_slope * x)


class Maximum:
    """The maximum over windows of positions, for each channel: `(batch, ..., channels)` to the same with fewer places.

    Args:
        windows: int array `(*output places, window size)` of positions in the flattened places of the input. What lies
            outside is left out; a position may be repeated to fill a window.
    """

    def __init__(self, windows: np.ndarray) -> None:
        *self._places, self._size = windows.shape
        self._positions = windows.reshape(-1, self._size)

    def candidates(self, x: tf.Tensor) -> tf.Tensor:
        """Returns what the maximum is taken of: `(batch, places, window size, channels)`."""
        return tf.gather(tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1])), self._positions, axis=1)

    def choose(self, candidates: tf.Tensor, winners: tf.Tensor) -> tf.Tensor:
        """Takes the candidates with the indices `winners`, `(batch or 1, places, channels)`."""
        chosen = tf.reduce_sum(candidates * tf.one_hot(winners, self._size, axis=2, dtype=DTYPE), axis=2)
        return tf.reshape(chosen, (-1, *self._places, chosen.shape[-1]))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        highest = tf.reduce_max(self.candidates(x), axis=2)
        return tf.reshape(highest, (-1, *self._places, highest.shape[-1]))
