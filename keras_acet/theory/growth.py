"""Checks Theorem 3.1 on a network: the confidence far from the origin, along random rays."""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from keras_acet._checks import check_integer
from keras_acet.intervals.network import PiecewiseAffine, batch_of_inputs, piecewise
from keras_acet.theory.paths import Ray, rays
from keras_acet.theory.reach import check_level


@dataclasses.dataclass(frozen=True)
class Growth:
    """The result of `confidence_growth` on `n` rays.

    Attributes:
        level: float, the confidence asked for.
        rays: List of `n` `Ray`, `alpha x` for `alpha >= start`.
        alpha: float64 array `(n,)`: the smallest `alpha >= start` with a confidence of at least `level`, infinite where
            there is none.
        limit_confidence: float64 array `(n,)`, see `Ray`.
        limit_class: int array `(n,)`.
        share_sure: float in [0, 1]: the share of rays on which one class has the largest slope, so that the confidence
            tends to 1.
    """

    level: float
    rays: list[Ray]
    alpha: np.ndarray
    limit_confidence: np.ndarray
    limit_class: np.ndarray
    share_sure: float

    def __str__(self) -> str:
        num_breaks = np.mean([len(ray.breakpoints) for ray in self.rays])
        others = self.limit_confidence[[ray.is_tied for ray in self.rays]]
        limit = f"tends to 1 on {self.share_sure:.1%} of {len(self.rays)} rays"
        if len(others):
            limit += f", to {others.min():.4g} .. {others.max():.4g} on the others, where rows of V tie"
        return (
            f"confidence {limit}; {self.level} is reached on {np.isfinite(self.alpha).mean():.1%}, median alpha "
            f"{np.median(self.alpha):.4g}; {num_breaks:.0f} break points on average"
        )


def confidence_growth(
    network: keras.Model | PiecewiseAffine,
    directions: npt.ArrayLike | None = None,
    *,
    num_directions: int = 1000,
    start: float = 1.0,
    seed: int = 0,
    level: float = 0.999,
    progress: Callable[[float], None] | None = None,
) -> Growth:
    """Follows a network along random rays to infinity.

    Theorem 3.1 says: if in no region two rows of `V` are equal, then for almost every `x` the confidence at `alpha x`
    tends to 1 as `alpha` grows. This function looks at the last region of every ray, which shows both the conclusion
    and the condition of the theorem: on which share of the rays the confidence tends to 1, and that on all others two
    rows of `V` are equal. Rows are equal, for instance, where no ReLU is active and all rows are 0; training against
    confidence on noise may well lead to such regions.

    Args:
        network: `keras.Model` from inputs to logits, or `PiecewiseAffine`.
        directions: Float array `(n, ...)` of inputs `x`; None for `num_directions` random ones, uniform on the sphere
            of radius `sqrt(d / 3)`, about the length of a uniform random image of `d` numbers, so that `alpha`
            compares.
        num_directions: int >= 1.
        start: float >= 0, the `alpha` to begin at. Most of a network's break points may lie before 1.
        seed: int >= 0.
        level: float in (0, 1), the confidence whose `alpha` is asked for.
        progress: None, or a function called with the share of the rays that are done.

    Returns:
        `Growth`; `print` it.

    Raises:
        TypeError: If `network` is no model, or `num_directions` no integer.
        ValueError: If the network is not piecewise affine, or an argument is not as described.

    Example: of `(x, 0)` the confidence tends to 1 on both sides, of `(relu(x), 0)` on one.

    >>> import keras
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "relu"), keras.layers.Dense(2)])
    >>> network.set_weights([np.ones((1, 1)), np.zeros(1), np.array([[1.0, 0.0]]), np.zeros(2)])
    >>> growth = confidence_growth(network, np.array([[1.0], [-1.0]]))
    >>> growth.share_sure, growth.limit_confidence.tolist(), growth.alpha.round(3).tolist()
    (0.5, [1.0, 0.5], [6.907, inf])
    >>> print(growth)
    confidence tends to 1 on 50.0% of 2 rays, to 0.5 .. 0.5 on the others, where rows of V tie; 0.999 is reached on
    50.0%, median alpha inf; 0 break points on average

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Theorem 3.1.
    """
    network = piecewise(network)
    check_level(level)
    if directions is None:
        num_directions = check_integer(num_directions, "num_directions", minimum=1)
        directions = _random_directions((num_directions, *network.input_shape), seed)
    directions = batch_of_inputs(network, directions)
    if not len(directions):
        raise ValueError("`directions` must hold at least one. Received: none.")
    followed = rays(network, directions, start=start, progress=progress)
    limit = np.array([ray.limit_confidence for ray in followed])
    return Growth(
        level=level,
        rays=followed,
        alpha=np.array([ray.smallest_alpha(level) for ray in followed]),
        limit_confidence=limit,
        limit_class=np.array([ray.limit_class for ray in followed]),
        share_sure=float(np.mean([not ray.is_tied for ray in followed])),
    )


def _random_directions(shape, seed):
    """Uniform on the sphere of radius `sqrt(d / 3)`."""
    directions = np.random.default_rng(seed).normal(size=shape)
    flat = directions.reshape(len(directions), -1)
    flat *= math.sqrt(flat.shape[1] / 3) / np.linalg.norm(flat, axis=1, keepdims=True)
    return directions
