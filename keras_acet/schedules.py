"""Learning rates and radii as functions of the step."""

from collections.abc import Sequence
from typing import Any, Self

import keras


@keras.saving.register_keras_serializable("keras_acet")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Lets a schedule rise linearly from 0: `rate(step) = min(1, (step + 1) / num_steps) * schedule(step)`.

    Keras has a rise for `CosineDecay` alone (`warmup_steps`), and another curve: its first step has rate 0, and the
    cosine begins after the rise. This one goes with any schedule and leaves the rest of it where it was.

    Args:
        schedule: A number, or a Keras learning rate schedule.
        num_steps: Length of the rise in steps, at least 1.

    Raises:
        ValueError: If `num_steps` is below 1.

    Example:

    >>> warmup = Warmup(0.5, num_steps=5)
    >>> [round(float(warmup(step)), 4) for step in (0, 1, 4, 100)]
    [0.1, 0.2, 0.5, 0.5]
    """

    def __init__(self, schedule: Any, num_steps: int) -> None:
        if num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1. Received: num_steps={num_steps}.")
        self.schedule = schedule
        self.num_steps = num_steps

    def __call__(self, step: Any) -> Any:
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        rise = (keras.ops.cast(step, "float32") + 1) / self.num_steps
        return keras.ops.minimum(rise, 1.0) * rate

    def get_config(self) -> dict[str, Any]:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "num_steps": self.num_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["num_steps"])


@keras.saving.register_keras_serializable("keras_acet")
class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0: `value(step) = peak * clip((step - start) / (end - start), 0, 1)`.

    Args:
        peak: The value from `end` on.
        start, end: Steps, `0 <= start < end`.

    Raises:
        ValueError: If the steps are out of order.

    Example:

    >>> ramp = Ramp(0.4, start=10, end=50)
    >>> [round(float(ramp(step)), 4) for step in (0, 10, 30, 50, 90)]
    [0.0, 0.0, 0.2, 0.4, 0.4]
    """

    def __init__(self, peak: float, *, start: float, end: float) -> None:
        if not 0 <= start < end:
            raise ValueError(f"The steps need 0 <= `start` < `end`. Received: start={start}, end={end}.")
        self.peak = peak
        self.start = start
        self.end = end

    def __call__(self, step: Any) -> Any:
        share = (keras.ops.cast(step, "float32") - self.start) / (self.end - self.start)
        return self.peak * keras.ops.clip(share, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "start": self.start, "end": self.end}


def learning_rate(
    name: str,
    peak: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    drop_epochs: Sequence[int] = (50, 75, 90),
    warmup_epochs: float = 0,
) -> Any:
    """Returns the learning rate as Keras optimizers take it.

    Args:
        name: `"constant"`; `"cosine"`, which falls to 0 at the end of the last epoch; or `"steps"`, a tenth of
            the rate before from the first step of each of the `drop_epochs` on (epochs counted from 0, so 50 is
            after fifty epochs).
        peak: The rate that the schedule starts from, positive.
        epochs: Number of epochs of the whole training.
        steps_per_epoch: Number of steps of an epoch.
        drop_epochs: Rising list of epochs, for `"steps"`.
        warmup_epochs: Number of epochs, may be a fraction, in which the rate rises linearly to the schedule.

    Returns:
        A number or a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        ValueError: If `name` is not one of the three, or `drop_epochs` do not rise.

    Example:

    >>> rate = learning_rate("steps", 0.1, epochs=4, steps_per_epoch=10, drop_epochs=[2, 3])
    >>> [round(float(rate(step)), 4) for step in (0, 19, 20, 29, 30)]
    [0.1, 0.1, 0.01, 0.01, 0.001]

    Source: `"steps"` is the schedule of Hein et al., arXiv:1812.05720, by the authors' code.
    """
    if name == "constant":
        rate = peak
    elif name == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(peak, max(epochs * steps_per_epoch, 1))
    elif name == "steps":
        if list(drop_epochs) != sorted(set(drop_epochs)):
            raise ValueError(f"`drop_epochs` must rise. Received: drop_epochs={drop_epochs}.")
        # Keras keeps the rate up to and including the boundary.
        boundaries = [round(epoch * steps_per_epoch) - 1 for epoch in drop_epochs]
        rates = [peak * 0.1**drops for drops in range(len(boundaries) + 1)]
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    else:
        raise ValueError(f"`name` must be 'constant', 'cosine' or 'steps'. Received: name={name!r}.")
    if warmup_epochs:
        rate = Warmup(rate, max(round(warmup_epochs * steps_per_epoch), 1))
    return rate
