"""Maximise any per-example objective over the l_inf ball around each image, within the pixel box.

An attack sees no model, label or data set, only `objective(images) -> (batch,)`. Training and evaluation use the
same loop with other numbers.
"""

import functools
import numbers
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_acet._shared import SeededLayer, where_images
from keras_acet.projections import linf_bounds, project_linf


class AttackResult(NamedTuple):
    """What an attack found. All tensors are constants to an outer tape.

    Attributes:
        images: Float tensor of the shape of the attacked images: for each the best of {the image itself, the start,
            every iterate}; ties keep the earlier.
        value: Float tensor of shape `(batch,)`: the objective at `images`.
        clean_value: Float tensor of shape `(batch,)`: the objective at the attacked images themselves.
        last: Float tensor of the shape of the images: the last iterate, from which the attack may go on.
    """

    images: tf.Tensor
    value: tf.Tensor
    clean_value: tf.Tensor
    last: tf.Tensor


class StepSize:
    """The step sizes of an attack, in pixel units: an object with `sequence(num_steps, seed)` and `get_config`."""

    def sequence(self, num_steps, seed):
        """Computes the step size of every step.

        Args:
            num_steps: Number of steps, a scalar int tensor or number.
            seed: `keras.random.SeedGenerator` of the attack, for those that draw.

        Returns:
            Float tensor of shape `(num_steps,)`.
        """
        raise NotImplementedError

    def get_config(self):
        return dict(vars(self))

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("keras_acet")
class ConstantStep(StepSize):
    """The same step size in every step: `step[t] = size`, in pixel units."""

    def __init__(self, size):
        self.size = _check_positive("size", size)

    def sequence(self, num_steps, seed):
        del seed
        return tf.fill((num_steps,), tf.constant(self.size, tf.float32))


@keras.saving.register_keras_serializable("keras_acet")
class LinearDecay(StepSize):
    """Step sizes that fall linearly: `step[t] = first * (1 - t / num_steps)`, `t = 0..num_steps-1`.

    Args:
        first: The first step in pixel units, positive.

    Example:

    >>> LinearDecay(0.5).sequence(4, seed=None).numpy().tolist()
    [0.5, 0.375, 0.25, 0.125]
    """

    def __init__(self, first):
        self.first = _check_positive("first", first)

    def sequence(self, num_steps, seed):
        del seed
        return _falling(self.first, num_steps)


@keras.saving.register_keras_serializable("keras_acet")
class LogUniformDecay(StepSize):
    """Linearly falling step sizes whose first is drawn anew for each batch: `log(first) ~ U[log(low), log(high)]`.

    An adversary with one step size leaves the others untrained; drawing it closes that gap.

    Args:
        low: Smallest first step in pixel units, positive.
        high: Largest first step, at least `low`.
    """

    def __init__(self, low, high):
        self.low = _check_positive("low", low)
        self.high = _check_positive("high", high)
        if low > high:
            raise ValueError(f"`low` must not exceed `high`. Received: low={low}, high={high}.")

    def sequence(self, num_steps, seed):
        drawn = keras.random.uniform((), seed=seed)
        return _falling(self.low * (self.high / self.low) ** drawn, num_steps)


def _falling(first, num_steps):
    return first * (1 - tf.range(num_steps, dtype=tf.float32) / tf.cast(num_steps, tf.float32))


@keras.saving.register_keras_serializable("keras_acet")
class PGD(SeededLayer):
    """Projected gradient ascent with the sign of the gradient, the best point of each example kept.

    One step with step size `s`, momentum `m` and `clip` the projection onto ball and box:
    `y = clip(x + s * sign(grad objective(x)))`, `x_next = clip(y + m * (x - x_before))`.

    Cost: each step is one forward and one backward pass. The value at a point is read off the forward pass that
    also gives its gradient; only the last iterate needs a forward pass of its own, and the attacked image one more
    when the attack does not start from it.

    Args:
        epsilon: Radius of the l_inf ball in pixel units, in `(0, 1]`.
        num_steps: Number of steps, at least 0.
        step_size: None for `epsilon / num_steps` in every step, a number in pixel units for the same step
            throughout, or an object such as `LinearDecay(first)` and `LogUniformDecay(low, high)`.
        momentum: `m` above, in `[0, 1)`; 0 is the published attack.
        start: `"random"` starts from `clip(image + u * U(-epsilon, epsilon)^d)` with one `u ~ U(0, 1)` per image, as
            published; `"input"` from the image itself.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Raises:
        ValueError: If a number is out of its range.

    Example: the maximum of a linear objective over the ball is a corner of it.

    >>> attack = PGD(epsilon=0.25, num_steps=5, start="input")
    >>> attack.maximize(lambda x: tf.reduce_sum(x * [1.0, -1.0], axis=1), [[0.5, 0.1]]).images.numpy().tolist()
    [[0.75, 0.0]]

    Source: inner maximisation of Hein et al., CVPR 2019, arXiv:1812.05720. Differs from the authors' code:
        1. One forward and one backward pass per step instead of two and one; the iterates and the best image are
           the same.
        2. Ball and box are one clip between precomputed bounds instead of two clips; equal up to rounding.
        3. The random start is seeded. `num_steps` may be a tensor.
        4. Momentum and falling step sizes are ours, in the manner of Auto-PGD (arXiv:2003.01690): see
           `evaluation.worst_case_attacks` for why.
    """

    def __init__(
        self, *, epsilon=0.3, num_steps=40, step_size=None, momentum=0.0, start="random", seed=None, name=None
    ):
        super().__init__(seed=seed, name=name)
        if not 0 < epsilon <= 1:
            raise ValueError(
                f"`epsilon` must be in (0, 1], in pixel units. Received: epsilon={epsilon}. For 8-bit levels divide "
                "by 255."
            )
        if num_steps != int(num_steps) or num_steps < 0:
            raise ValueError(f"`num_steps` must be a whole number, at least 0. Received: num_steps={num_steps}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}.")
        if start not in ("input", "random"):
            raise ValueError(f"`start` must be 'input' or 'random'. Received: start={start!r}.")
        self.epsilon = epsilon
        self.num_steps = int(num_steps)
        self.step_size = ConstantStep(step_size) if isinstance(step_size, numbers.Real) else step_size
        self.momentum = momentum
        self.start = start
        self.built = True

    def maximize(self, objective, images, *, start=None, num_steps=None):
        """Maximises `objective` over ball and box around each image.

        Args:
            objective: Function from images to a float tensor of shape `(batch,)`, differentiable by TensorFlow, one
                value per image that depends on that image alone.
            images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`: the centres of the balls.
            start: Float tensor of the shape of `images` to start from instead (it is projected onto ball and box).
            num_steps: Scalar int tensor or number in place of the object's own. As a tensor it lets one traced
                function serve all numbers of steps.

        Returns:
            `AttackResult`.
        """
        images = tf.convert_to_tensor(images)
        objective = _in_dtype(objective, images.dtype)
        num_steps = tf.convert_to_tensor(self.num_steps if num_steps is None else num_steps, tf.int32)
        lower, upper = linf_bounds(images, epsilon=self.epsilon)
        step_sizes = self._step_sizes(num_steps)

        if start is not None:
            start = project_linf(start, images, epsilon=self.epsilon)
        elif self.start == "random":
            start = self.start_images(images)

        value_and_gradient = _own_graph(functools.partial(_value_and_gradient, objective))

        def one_step(t, x, x_before, best, best_value, first_value):
            value, gradient = value_and_gradient(x)
            best, best_value = _keep_best(best, best_value, x, value)
            x_next = tf.clip_by_value(x + step_sizes[t] * tf.sign(gradient), lower, upper)
            if self.momentum:
                x_next = tf.clip_by_value(x_next + self.momentum * (x - x_before), lower, upper)
            return t + 1, x_next, x, best, best_value, tf.where(t == 0, value, first_value)

        def all_steps(*state):
            return tf.while_loop(lambda t, *_: t < num_steps, one_step, state, parallel_iterations=1)

        # The value at the images comes from a pass of its own, unless the attack starts there.
        unseen = tf.fill(tf.shape(images)[:1], tf.constant(-float("inf"), images.dtype))
        clean_value = unseen if start is None else objective(images)
        x = images if start is None else start
        state = _own_graph(all_steps)(tf.constant(0), x, x, images, clean_value, unseen)
        _, last, _, best, best_value, first_value = state
        last_value = objective(last)
        best, best_value = _keep_best(best, best_value, last, last_value)
        if start is None:
            clean_value = tf.where(num_steps == 0, last_value, first_value)
        return AttackResult(*(tf.stop_gradient(tensor) for tensor in (best, best_value, clean_value, last)))

    def _step_sizes(self, num_steps):
        if self.step_size is None:
            return tf.fill((num_steps,), self.epsilon / tf.cast(num_steps, tf.float32))
        return self.step_size.sequence(num_steps, self.seed_generator)

    def start_images(self, images):
        """Returns the points where an attack on `images` begins: the images, or random ones as `start` says."""
        images = tf.convert_to_tensor(images)
        if self.start == "input":
            return images
        direction = keras.random.uniform(
            tf.shape(images), minval=-self.epsilon, maxval=self.epsilon, seed=self.seed_generator
        )
        one_per_image = tf.concat([tf.shape(images)[:1], tf.ones(images.shape.rank - 1, tf.int32)], 0)
        length = keras.random.uniform(one_per_image, seed=self.seed_generator)
        return project_linf(images + length * direction, images, epsilon=self.epsilon)

    def get_config(self):
        return {
            "epsilon": self.epsilon,
            "num_steps": self.num_steps,
            "step_size": keras.saving.serialize_keras_object(self.step_size),
            "momentum": self.momentum,
            "start": self.start,
            **super().get_config(),
        }


def _in_dtype(objective, dtype):
    return lambda images: tf.cast(objective(images), dtype)


def _value_and_gradient(objective, x):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        value = objective(x)
    gradient = tape.gradient(value, x)
    if gradient is None:
        raise ValueError(
            "The attack's objective must depend on the images through operations that TensorFlow can differentiate. "
            "Received: an objective with no gradient."
        )
    return value, gradient


def _own_graph(function):
    """Gives a function a graph of its own that is not merged into the one being traced; leaves it alone when eager.

    A lowered `tf.while_loop` makes the graph around it cyclic. There TensorFlow's pass that puts in oneDNN's kernels
    may meet a max-pool's gradient before the max-pool, and leaves it to a kernel 8 times slower: a LeNet step took
    27 ms or 37 ms, as chance had it, from one trace to the next. So the loop stays out of the caller's graph, and the
    network out of the loop's.
    """
    if not tf.inside_function():
        return function
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def _keep_best(best, best_value, x, value):
    better = value > best_value  # a tie keeps the earlier point
    return where_images(better, x, best), tf.where(better, value, best_value)


def _check_positive(name, value):
    if not value > 0:
        raise ValueError(f"`{name}` of a step size must be positive, in pixel units. Received: {name}={value}.")
    return float(value)
