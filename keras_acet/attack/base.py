"""The base class of attacks: their start, the loop over the steps, and keeping the best point of each image."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_acet._shared import SeededLayer, where_images
from keras_acet.projections import linf_bounds, project_linf

Move = Callable[..., tuple[tf.Tensor, ...]]


class AttackResult(NamedTuple):
    """The result of an attack. All tensors are constants to an outer tape.

    Attributes:
        images: Float tensor of the shape of the attacked images: for each the best of {the image itself, the start,
            every iterate}; ties keep the earlier.
        value: Float tensor of shape `(batch,)`: the objective at `images`.
        clean_value: Float tensor of shape `(batch,)`: the objective at the attacked images themselves.
        last: Float tensor of the shape of the images: the last iterate, from which the attack may go on.
        curve: Float tensor of shape `(num_steps + 1, batch)`: the best value after so many steps; None unless asked
            for.
    """

    images: tf.Tensor
    value: tf.Tensor
    clean_value: tf.Tensor
    last: tf.Tensor
    curve: tf.Tensor | None = None


class Objective:
    """A function from images to one value per image, with the gradient; attacks that share it share its graphs.

    Value and gradient each have a graph of their own, which is not merged into the graph that is being traced; eager
    calls make no graph. This saves time to trace, and it keeps the speed of a step from depending on chance: a lowered
    `tf.while_loop` makes the graph around it cyclic, and in a cyclic graph TensorFlow's pass that inserts oneDNN's
    kernels may visit the gradient of a max-pool before the max-pool itself, and then leaves the gradient to a kernel 8
    times slower. A LeNet step took 27 ms or 37 ms from one trace to the next. So the loop is kept out of the caller's
    graph, and the network out of the loop's graph.

    Args:
        function: From float images `(batch, ...)` to a float tensor `(batch,)`, differentiable by TensorFlow, one value
            per image that depends on that image alone.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`.
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        self._function = function
        self._value_graph = _own_graph(self._value)
        self._value_and_gradient_graph = _own_graph(self._value_and_gradient)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the value of each image in the dtype of the images."""
        return (self._value_graph if tf.inside_function() else self._value)(images)

    def value_and_gradient(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the value of each image and its gradient, of the shape of the images.

        Raises:
            ValueError: If the function has no gradient.
        """
        in_graph = tf.inside_function()
        return (self._value_and_gradient_graph if in_graph else self._value_and_gradient)(images)

    def _value(self, images):
        return tf.cast(self._function(images), images.dtype)

    def _value_and_gradient(self, images):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            value = self._value(images)
        gradient = tape.gradient(value, images)
        if gradient is None:
            raise ValueError(
                "The attack's objective must depend on the images through operations that TensorFlow can "
                "differentiate. Received: an objective with no gradient."
            )
        return value, gradient


class LinfAttack(SeededLayer):
    """An attack in the l_inf ball of radius `epsilon` around each image, within the pixel box.

    To write an attack of your own, subclass it and define `rule`, which says how to get from one point to the next.
    This class does the rest: the start, the loop, the projection, and keeping the best point of each image. For Keras
    to save a model that holds your attack, give the class `@keras.saving.register_keras_serializable("YOURS")`, take
    the arguments below in `__init__`, keep further ones as attributes and add them in `get_config`.

    Args:
        epsilon: Radius of the l_inf ball in pixel units, in `(0, 1]`.
        num_steps: Number of steps, at least 0.
        start: `"random"` starts from `clip(image + u * U(-epsilon, epsilon)^d)` with one `u ~ U(0, 1)` per image, as
            published; `"corner"` from a random corner of the ball, clipped to the box; `"input"` from the image itself.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        num_steps: int,
        start: str = "random",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(seed=seed, name=name)
        if not 0 < epsilon <= 1:
            raise ValueError(
                f"`epsilon` must be in (0, 1], in pixel units. Received: epsilon={epsilon}. For 8-bit levels divide "
                "by 255."
            )
        if num_steps != int(num_steps) or num_steps < 0:
            raise ValueError(f"`num_steps` must be a whole number, at least 0. Received: num_steps={num_steps}.")
        if start not in ("corner", "input", "random"):
            raise ValueError(f"`start` must be 'corner', 'input' or 'random'. Received: start={start!r}.")
        self.epsilon = epsilon
        self.num_steps = int(num_steps)
        self.start = start
        self.built = True

    def maximize(
        self,
        objective: Callable[[tf.Tensor], tf.Tensor] | Objective,
        images: tf.Tensor,
        *,
        start: tf.Tensor | None = None,
        num_steps: int | tf.Tensor | None = None,
        record: bool = False,
    ) -> AttackResult:
        """Maximises `objective` over ball and box around each image.

        Args:
            objective: Function from images to a float tensor of shape `(batch,)`, differentiable by TensorFlow, one
                value per image that depends on that image alone; or an `Objective`, to share its graphs.
            images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`: the centres of the balls.
            start: Float tensor of the shape of `images` to start from instead (it is projected onto ball and box).
            num_steps: Scalar int tensor or number in place of the object's own. As a tensor it lets one traced
                function serve all numbers of steps.
            record: Whether the result holds the `curve`.

        Returns:
            `AttackResult`.
        """
        images = tf.convert_to_tensor(images)
        if not isinstance(objective, Objective):
            objective = Objective(objective)
        num_steps = tf.convert_to_tensor(self.num_steps if num_steps is None else num_steps, tf.int32)
        lower, upper = linf_bounds(images, epsilon=self.epsilon)

        if start is not None:
            start = project_linf(start, images, epsilon=self.epsilon)
        elif self.start != "input":
            start = self.start_images(images)
        x = images if start is None else start
        rule_state, move = self.rule(x, lambda point: tf.clip_by_value(point, lower, upper), num_steps)

        def one_step(t, x, best, best_value, first_value, curve, *rule_state):
            value, gradient = objective.value_and_gradient(x)
            is_better = value > best_value  # a tie keeps the earlier point
            best, best_value = where_images(is_better, x, best), tf.where(is_better, value, best_value)
            if record:
                curve = tf.tensor_scatter_nd_update(curve, [[t]], [best_value])
            x, *rule_state = move(t, x, value, gradient, best, is_better, *rule_state)
            return t + 1, x, best, best_value, tf.where(t == 0, value, first_value), curve, *rule_state

        def all_steps(*state):
            return tf.while_loop(lambda t, *_: t < num_steps, one_step, state, parallel_iterations=1)

        # The value at the images comes from a pass of its own, unless the attack starts there.
        unseen = tf.fill(tf.shape(images)[:1], tf.constant(-float("inf"), images.dtype))
        clean_value = unseen if start is None else objective(images)
        curve = tf.zeros([num_steps + 1 if record else 0, tf.shape(images)[0]], images.dtype)
        run = _own_graph(all_steps) if tf.inside_function() else all_steps
        state = run(tf.constant(0), x, images, clean_value, unseen, curve, *rule_state)
        _, last, best, best_value, first_value, curve, *_ = state
        last_value = objective(last)
        is_better = last_value > best_value
        best, best_value = where_images(is_better, last, best), tf.where(is_better, last_value, best_value)
        if start is None:
            clean_value = tf.where(num_steps == 0, last_value, first_value)
        if record:
            curve = tf.tensor_scatter_nd_update(curve, [[num_steps]], [best_value])
        best, best_value, clean_value, last = (tf.stop_gradient(x) for x in (best, best_value, clean_value, last))
        return AttackResult(best, best_value, clean_value, last, tf.stop_gradient(curve) if record else None)

    def rule(
        self, x: tf.Tensor, clip: Callable[[tf.Tensor], tf.Tensor], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], Move]:
        """Says how to get from one point to the next; each attack defines it.

        Args:
            x: The first point.
            clip: Function that projects points onto ball and box.
            num_steps: Scalar int tensor.

        Returns:
            Pair of a list of tensors, the rule's own state, and the function
            `move(t, x, value, gradient, best, is_better, *state) -> (next x, *next state)`; `best` is the best point up
            to `x`, and `is_better` tells for each image whether that is `x`. Shapes and dtypes stay from step to step;
            the next `x` has to lie in ball and box, as `clip` makes it.
        """
        raise NotImplementedError

    def start_images(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the points where an attack on `images` begins: the images, or random ones as `start` says."""
        images = tf.convert_to_tensor(images)
        if self.start == "input":
            return images
        direction = keras.random.uniform(
            tf.shape(images), -self.epsilon, self.epsilon, dtype="float32", seed=self.seed_generator
        )
        if self.start == "corner":
            return project_linf(images + self.epsilon * tf.sign(direction), images, epsilon=self.epsilon)
        one_per_image = tf.concat([tf.shape(images)[:1], tf.ones(images.shape.rank - 1, tf.int32)], 0)
        length = keras.random.uniform(one_per_image, dtype="float32", seed=self.seed_generator)
        return project_linf(images + length * direction, images, epsilon=self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {
            "epsilon": self.epsilon,
            "num_steps": self.num_steps,
            "start": self.start,
            **super().get_config(),
        }


def _own_graph(function):
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
