"""An attack that finds its step sizes by itself."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_acet._shared import where_images
from keras_acet.attack.base import LinfAttack, Move

_MOMENTUM = 0.75
_MIN_SHARE_OF_INCREASES = 0.75


@keras.saving.register_keras_serializable("keras_acet")
class AutoPGD(LinfAttack):
    """Projected gradient ascent whose step size halves, for each image on its own, when it no longer helps.

    With `clip` the projection onto ball and box, step size `s` and the sign `g` of the gradient at `x`:
    `y = clip(x + s g)`, `x_next = clip(x + 0.75 (y - x) + 0.25 (x - x_before))`, beginning with `s = 2 epsilon`. At
    certain steps, first far apart, then closer, an image whose objective rose in less than three quarters of the steps
    since the last of them, or whose best value and step size are both what they were then, goes back to its best
    point with half the step size.

    Cost: as `PGD`, one forward and one backward pass per step.

    Args:
        epsilon: Radius of the l_inf ball in pixel units, in `(0, 1]`.
        num_steps: Number of steps, at least 0.
        start: Where the attack begins, `"random"`, `"corner"` or `"input"`: see `LinfAttack`.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Raises:
        ValueError: If a number is out of its range.

    Example: a maximum inside the ball, which steps of one size would jump over.

    >>> attack = AutoPGD(epsilon=0.25, num_steps=50, start="input")
    >>> attack.maximize(lambda x: -tf.reduce_sum((x - 0.6) ** 2, axis=1), [[0.5]]).images.numpy().round(3).tolist()
    [[0.6000000238418579]]

    Source: Croce and Hein, ICML 2020, arXiv:2003.01690, Algorithm 1 with its constants. Differs:
        1. Sign steps of an objective of any kind, one value per image; no targets, no restarts.
        2. The best point counts from the image itself on, not from the first iterate.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.3,
        num_steps: int = 100,
        start: str = "random",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(epsilon=epsilon, num_steps=num_steps, start=start, seed=seed, name=name)

    def rule(
        self, x: tf.Tensor, clip: Callable[[tf.Tensor], tf.Tensor], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], Move]:
        window = _windows(num_steps)
        per_image = tf.zeros(tf.shape(x)[:1], x.dtype)

        def move(t, x, value, gradient, best, is_better, *state):
            x_before, best_gradient, size, value_before, rises, best_value, old_best_value, old_size = state
            best_gradient = where_images(is_better, gradient, best_gradient)
            best_value = tf.where(is_better, value, best_value)
            rises += tf.cast(value > value_before, x.dtype)
            value_before = value

            # `window[t]` is the number of steps since the last check where step t is one, else 0.
            stalled = (best_value == old_best_value) & (size == old_size)
            is_check = window[t] > 0
            turns_back = is_check & ((rises < _MIN_SHARE_OF_INCREASES * window[t]) | stalled)
            old_size, old_best_value = (
                tf.where(is_check, size, old_size),
                tf.where(is_check, best_value, old_best_value),
            )
            rises = tf.where(is_check, tf.zeros_like(rises), rises)
            size = tf.where(turns_back, size / 2, size)
            x = where_images(turns_back, best, x)
            x_before = where_images(turns_back, best, x_before)
            gradient = where_images(turns_back, best_gradient, gradient)

            per_pixel = tf.reshape(size, tf.concat([tf.shape(size), tf.ones(x.shape.rank - 1, tf.int32)], 0))
            y = clip(x + per_pixel * tf.sign(gradient))
            momentum = tf.where(t == 0, tf.constant(1.0, x.dtype), tf.constant(_MOMENTUM, x.dtype))
            x_next = clip(x + momentum * (y - x) + (1 - momentum) * (x - x_before))
            return x_next, x, best_gradient, size, value_before, rises, best_value, old_best_value, old_size

        unseen = per_image - float("inf")
        size = per_image + 2 * self.epsilon
        return [x, tf.zeros_like(x), size, unseen, per_image, unseen, unseen, size], move


def _windows(num_steps):
    """For each step the number of steps since the last check, where the step is a check, else 0.

    The checks are at `ceil(p_j n)` with `p_0 = 0`, `p_1 = 0.22`, `p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)`.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    n = tf.cast(num_steps, tf.float64)
    # Slightly less than p_j n, so that a rounding error does not push it above a whole number.
    checks = tf.cast(tf.math.ceil(np.array(shares) * n - 1e-9), tf.int32)
    steps = tf.range(num_steps)[:, None]
    windows = tf.where(steps == checks[1:], checks[1:] - checks[:-1], 0)
    return tf.cast(tf.reduce_max(windows, axis=1), tf.float32)
