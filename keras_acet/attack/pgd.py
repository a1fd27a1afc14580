"""The published attack, with momentum and falling step sizes as options."""

import numbers
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_acet.attack.base import LinfAttack, Move
from keras_acet.attack.step_sizes import ConstantStep, StepSize


@keras.saving.register_keras_serializable("keras_acet")
class PGD(LinfAttack):
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
        start: Where the attack begins, `"random"` as published, `"corner"` or `"input"`: see `LinfAttack`.
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
        self,
        *,
        epsilon: float = 0.3,
        num_steps: int = 40,
        step_size: float | StepSize | None = None,
        momentum: float = 0.0,
        start: str = "random",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(epsilon=epsilon, num_steps=num_steps, start=start, seed=seed, name=name)
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}.")
        self.step_size = ConstantStep(step_size) if isinstance(step_size, numbers.Real) else step_size
        self.momentum = momentum

    def rule(
        self, x: tf.Tensor, clip: Callable[[tf.Tensor], tf.Tensor], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], Move]:
        step_sizes = self._step_sizes(num_steps)

        def move(t, x, value, gradient, best, is_better, x_before):
            x_next = clip(x + step_sizes[t] * tf.sign(gradient))
            if self.momentum:
                x_next = clip(x_next + self.momentum * (x - x_before))
            return x_next, x

        return [x], move

    def _step_sizes(self, num_steps):
        if self.step_size is None:
            return tf.fill((num_steps,), self.epsilon / tf.cast(num_steps, tf.float32))
        step_size = ConstantStep(self.step_size) if isinstance(self.step_size, numbers.Real) else self.step_size
        return step_size.sequence(num_steps, self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        return {
            "step_size": keras.saving.serialize_keras_object(self.step_size),
            "momentum": self.momentum,
            **super().get_config(),
        }
