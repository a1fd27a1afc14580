"""The step sizes of an attack."""

from typing import Any

import keras
import tensorflow as tf


class StepSize:
    """The step sizes of an attack, in pixel units: an object with `sequence(num_steps, seed)` and `get_config`."""

    def sequence(self, num_steps: int | tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
        """Computes the step size of every step.

        Args:
            num_steps: Number of steps, a scalar int tensor or number.
            seed: `keras.random.SeedGenerator` of the attack, for those that draw.

        Returns:
            Float tensor of shape `(num_steps,)`.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StepSize":
        return cls(**config)


@keras.saving.register_keras_serializable("keras_acet")
class ConstantStep(StepSize):
    """The same step size in every step: `step[t] = size`, in pixel units."""

    def __init__(self, size: float) -> None:
        self.size = _check_positive("size", size)

    def sequence(self, num_steps: int | tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
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

    def __init__(self, first: float) -> None:
        self.first = _check_positive("first", first)

    def sequence(self, num_steps: int | tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
        del seed
        return _falling(self.first, num_steps)


@keras.saving.register_keras_serializable("keras_acet")
class LogUniformDecay(StepSize):
    """Linearly falling step sizes whose first is drawn anew for each batch: `log(first) ~ U[log(low), log(high)]`.

    A network that was trained against one step size is weak against others; a random step size trains against all.

    Args:
        low: Smallest first step in pixel units, positive.
        high: Largest first step, at least `low`.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low = _check_positive("low", low)
        self.high = _check_positive("high", high)
        if low > high:
            raise ValueError(f"`low` must not exceed `high`. Received: low={low}, high={high}.")

    def sequence(self, num_steps: int | tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
        drawn = keras.random.uniform((), dtype="float32", seed=seed)
        return _falling(self.low * (self.high / self.low) ** drawn, num_steps)


def _falling(first, num_steps):
    return first * (1 - tf.range(num_steps, dtype=tf.float32) / tf.cast(num_steps, tf.float32))


def _check_positive(name, value):
    if not value > 0:
        raise ValueError(f"`{name}` of a step size must be positive, in pixel units. Received: {name}={value}.")
    return float(value)
