"""The linear regions of a network: on each of finitely many polytopes it is affine."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_acet.intervals.network import PiecewiseAffine, Step, batch_of_inputs, piecewise
from keras_acet.intervals.operations import DTYPE, Affine, Maximum, ReLU


def affine_map(network: keras.Model | PiecewiseAffine, x: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Computes the affine map that the network is around a point: `f(z) = V z + a` for all `z` in the region of `x`.

    `V` is the Jacobian, by one backward pass per class. At a point where regions meet it is that of one of them, see
    `region`.

    Args:
        network: `keras.Model` from inputs to logits, or `PiecewiseAffine`, which says what it may be made of.
        x: Float array of the shape of an input, or `(n, ...)` for the maps at `n` inputs.

    Returns:
        Pair of float64 arrays: `V`, `(num_classes, d)` for inputs of `d` numbers, flattened in C order; and `a`,
        `(num_classes,)`. For several inputs both have `n` in front.

    Raises:
        ValueError: If the network is not piecewise affine, or `x` has another shape.

    Example: `f(x) = 3 relu(2 x - 1) + 1` is `6 x - 2` from 1/2 on and 1 before.

    >>> import keras
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "relu"), keras.layers.Dense(1)])
    >>> network.set_weights([np.array([[2.0]]), np.array([-1.0]), np.array([[3.0]]), np.array([1.0])])
    >>> [part.tolist() for part in affine_map(network, np.array([[2.0], [0.0]]))]
    [[[[6.0]], [[0.0]]], [[-2.0], [1.0]]]

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, section 2, where it is `V^l` and `a^l`.
    """
    network = piecewise(network)
    is_single = np.ndim(x) == len(network.input_shape)
    points = tf.constant(batch_of_inputs(network, np.asarray(x)[None] if is_single else x))

    def call(step, *inputs):
        if isinstance(step.operation, Maximum):
            # Of several winners the first: a maximum's own gradient is the mean of theirs.
            return step.operation.choose(step.operation.candidates(*inputs), _choice(step.operation, *inputs))
        return step.operation(*inputs)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        logits = network.run(points, call)
        each = tf.unstack(logits, axis=1)
    flat = len(points), int(np.prod(network.input_shape))
    slopes = tf.stack([tf.reshape(tape.gradient(one, points), flat) for one in each], axis=1).numpy()
    offsets = logits.numpy() - np.einsum("nkd,nd->nk", slopes, points.numpy().reshape(flat))
    return (slopes[0], offsets[0]) if is_single else (slopes, offsets)


def activation_pattern(network: keras.Model | PiecewiseAffine, x: npt.ArrayLike) -> np.ndarray:
    """Says in which region inputs lie: two inputs with the same pattern lie in one.

    Args:
        network: As for `affine_map`.
        x: Float array `(n, ...)`, a batch of inputs.

    Returns:
        int array `(n, num_units)`: 1 for a ReLU whose input is above 0, else 0; for each window and channel of a
        max-pool the index of the winner in the window, the first of several. In order of the layers.

    Raises:
        ValueError: As `affine_map`.
    """
    network = piecewise(network)
    points = batch_of_inputs(network, x)
    pattern = []

    def call(step, *inputs):
        if not isinstance(step.operation, Affine):
            choice = _choice(step.operation, *inputs)
            pattern.append(tf.reshape(choice, (len(points), -1)))
        return step.operation(*inputs)

    network.run(tf.constant(points), call)
    return np.concatenate([part.numpy() for part in pattern], axis=1) if pattern else np.zeros((len(points), 0), int)


def region(network: keras.Model | PiecewiseAffine, x: npt.ArrayLike) -> "Region":
    """Returns the `Region` of the network that an input lies in.

    Where regions meet, at an `x` with a ReLU's input at 0 or several winners of a max-pool, it is the one in which that
    ReLU is inactive and the first of the winners wins; it may have no interior.

    Args:
        network: As for `affine_map`.
        x: Float array of the shape of an input.

    Raises:
        ValueError: As `affine_map`.
    """
    network = piecewise(network)
    point = batch_of_inputs(network, np.asarray(x)[None])
    choices = {}

    def call(step, *inputs):
        if not isinstance(step.operation, Affine):
            choices[step] = _choice(step.operation, *inputs)
        return step.operation(*inputs)

    network.run(tf.constant(point), call)
    return Region(network, choices)


def _choice(operation, inputs):
    """The choice of a ReLU (active or not) or of a maximum (the winner) for inputs: int64 tensor."""
    if isinstance(operation, ReLU):
        return tf.cast(inputs > 0, tf.int64)
    return tf.argmax(operation.candidates(inputs), axis=2)


class Region:
    """A polytope on which a network is affine: `{ z : A z + b >= 0 }`, closed. `region` makes one.

    The half-spaces are those of the paper's `Q(x)`, `sign(f_i(x)) (V_i z + a_i) >= 0` for every ReLU `i` with the input
    `f_i`, and for each candidate of a max-pool `winner(z) - candidate(z) >= 0`. Many of them are implied by others.

    Args:
        network: `PiecewiseAffine`.
        choices: Dict from the steps that are no `Affine` to what is chosen there, as int64 tensors of batch size 1.
    """

    def __init__(self, network: PiecewiseAffine, choices: dict[Step, tf.Tensor]) -> None:
        self._network = network
        self._choices = choices

    def contains(self, points: npt.ArrayLike, *, tolerance: float = 0.0) -> np.ndarray:
        """Tells which points lie in the region.

        One forward pass with the choices of the region, whatever the number of half-spaces.

        Args:
            points: Float array `(n, ...)`.
            tolerance: float; a point counts if all `A z + b >= -tolerance`.

        Returns:
            bool array `(n,)`.
        """
        points = batch_of_inputs(self._network, points)
        is_inside = np.ones(len(points), bool)
        for margins in self._margins(tf.constant(points), tf.ones(len(points), DTYPE)):
            is_inside &= (margins.numpy() >= -tolerance).all(axis=1)
        return is_inside

    def halfspaces(self) -> tuple[np.ndarray, np.ndarray]:
        """Computes all half-spaces: `A`, float64 `(number, d)`, and `b`, `(number,)`, with `A z + b >= 0`.

        Those that hold everywhere, with a zero row of `A`, are left out. It takes `d + 1` forward passes, and as many
        numbers for each ReLU and each candidate of a max-pool.
        """
        d = int(np.prod(self._network.input_shape))
        rows = tf.reshape(tf.eye(d + 1, d, dtype=DTYPE), (d + 1, *self._network.input_shape))  # the last one is 0
        margins = self._margins(rows, tf.one_hot(d, d + 1, dtype=DTYPE))
        both = np.concatenate([np.zeros((d + 1, 0)), *(margin.numpy() for margin in margins)], axis=1)
        both = both[:, both[:d].any(axis=0)]
        return both[:d].T, both[d]

    def _margins(self, rows, weight):
        """The margins of the half-spaces, at least 0 inside, of rows in homogeneous coordinates: `(rows, number)`."""
        margins = []

        def call(step, *inputs):
            operation = step.operation
            if isinstance(operation, Affine):
                return operation.homogeneous(weight, *inputs)
            choice = self._choices[step]
            if isinstance(operation, ReLU):
                outputs = tf.where(choice > 0, *inputs, operation.negative_slope * inputs[0])
                margin = tf.where(choice > 0, *inputs, -inputs[0])
            else:
                candidates = operation.candidates(*inputs)
                outputs = operation.choose(candidates, choice)
                margin = tf.reshape(outputs, (len(rows), -1, 1, outputs.shape[-1])) - candidates
            margins.append(tf.reshape(margin, (len(rows), -1)))
            return outputs

        self._network.run(rows, call)
        return margins
