"""A network along rays, exactly: its break points, the limit of its confidence, and where it reaches a confidence."""

import math
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from keras_acet.intervals.network import PiecewiseAffine, batch_of_inputs, piecewise
from keras_acet.theory import pieces
from keras_acet.theory.reach import check_level, negative_log_probabilities, where_reached
from keras_acet.theory.search import first_alpha

_TIED = 1e-12  # slopes closer than this, relative to the largest one, count as equal
_ROUNDING = 1e-14  # break points closer than this, relative to their size, are one
_NUM_RAYS = 64  # taken together
_LARGEST_TRIED = 1e18
_NUM_BISECTIONS = 16


class Ray:
    """The logits along `point + alpha direction`, `alpha >= start`: a polygon. `ray` makes one.

    Attributes:
        alpha: float64 array `(m,)`, rising; the start, then the break points.
        corners: float64 array `(m, num_classes)`, the logits there.
        slope: float64 array `(num_classes,)`: how fast the logits rise with `alpha` beyond the last break point. It is
            `V direction` with the `V` of the last region.
        start: float.
        breakpoints: float64 array `(m - 1,)`: where the ray goes from one region to the next.
        limit_class: int; the class with the largest slope, of several with that slope the one with the largest logit.
        limit_confidence: float: what the maximal softmax confidence tends to. 1 where one class has the largest slope,
            as in Theorem 3.1; else, as where rows of `V` are equal, the confidence among the classes that share it,
            `1 / ties` if their logits are equal too. Slopes count as equal up to 1e-12 of the largest.
        is_tied: bool: whether several classes have the largest slope. Theorem 3.1 says nothing of such a ray, and the
            limit is below 1, though float64 may round it to 1 where the tied logits lie far apart.
    """

    def __init__(self, alpha: np.ndarray, corners: np.ndarray, slope: np.ndarray) -> None:
        self.alpha = alpha
        self.corners = corners
        self.slope = slope
        self.start = float(alpha[0])
        self.breakpoints = alpha[1:]
        tied = np.flatnonzero(slope >= slope.max() - _TIED * np.abs(slope).max())
        self.is_tied = len(tied) > 1
        logits = corners[-1, tied]
        self.limit_class = int(tied[logits.argmax()])
        self.limit_confidence = float(1 / np.exp(logits - logits.max()).sum())

    def logits(self, alpha: npt.ArrayLike) -> np.ndarray:
        """Computes the logits at `alpha`, finite floats from `start` on: float64 `(*alpha.shape, num_classes)`."""
        alpha = np.asarray(alpha, np.float64)
        if not np.isfinite(alpha).all():
            raise ValueError(
                f"`alpha` must be finite. Received: {alpha[~np.isfinite(alpha)][0]}. What the confidence tends to is "
                "`limit_confidence`."
            )
        piece = np.searchsorted(self.alpha, alpha, side="right") - 1
        if (piece < 0).any():
            raise ValueError(f"`alpha` must be at least {self.start}, the start of the ray. Received: {alpha.min()}.")
        rise = np.concatenate([np.diff(self.corners, axis=0), self.slope[None]])[piece]
        width = np.append(np.diff(self.alpha), 1.0)[piece]
        return self.corners[piece] + ((alpha - self.alpha[piece]) / width)[..., None] * rise

    def confidence(self, alpha: npt.ArrayLike) -> np.ndarray:
        """Computes the maximal softmax confidence at `alpha`: float64 array of the shape of `alpha`; see `logits`."""
        logits = self.logits(alpha)
        return 1 / np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)

    def smallest_alpha(self, level: float = 0.999) -> float:
        """Computes the smallest `alpha >= start` with a confidence of at least `level`; infinite if there is none."""
        check_level(level)
        if level <= 1 / len(self.slope):  # which rounding might deny
            return self.start
        alpha, rows = np.append(self.alpha, np.inf), np.append(self.corners, self.slope[None], axis=0)
        return float(where_reached(alpha, rows, level).min())


def ray(
    network: keras.Model | PiecewiseAffine,
    x: npt.ArrayLike,
    direction: npt.ArrayLike | None = None,
    *,
    start: float = 0.0,
) -> Ray:
    """Follows a network along a ray from region to region, exactly.

    Args:
        network: `keras.Model` from inputs to logits, or `PiecewiseAffine`, which says what it may be made of.
        x: Float array of the shape of an input.
        direction: None for the ray `alpha x` through the origin, as in the paper; or a float array of the same shape
            for `x + alpha direction`.
        start: float >= 0, where to begin.

    Returns:
        `Ray`. No region is missed, see `theory.pieces`; break points farther out than 1e100 are. To see the last region
        ask `region` for a point beyond the last break point.

    Raises:
        ValueError: If the network is not piecewise affine, or an array has another shape.

    Example: `f(x) = (relu(x - 2), 1)`. From 2 on the first logit rises; it is 1 + log 9 at `alpha = 3 + log 9`.

    >>> import keras
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "relu"), keras.layers.Dense(2)])
    >>> network.set_weights([np.array([[1.0]]), np.array([-2.0]), np.array([[1.0, 0.0]]), np.array([0.0, 1.0])])
    >>> found = ray(network, np.array([1.0]))
    >>> found.breakpoints, found.slope, found.limit_class, found.limit_confidence
    (array([2.]), array([1., 0.]), 0, 1.0)
    >>> round(found.smallest_alpha(0.9), 6), round(3 + math.log(9.0), 6)
    (5.197225, 5.197225)

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Lemma 3.1 and Theorem 3.1.
    """
    direction = None if direction is None else np.asarray(direction)[None]
    return rays(network, np.asarray(x)[None], direction, start=start)[0]


def rays(
    network: keras.Model | PiecewiseAffine,
    x: npt.ArrayLike,
    direction: npt.ArrayLike | None = None,
    *,
    start: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> list[Ray]:
    """Follows a network along many rays; see `ray`.

    Args:
        network, start: As for `ray`.
        x, direction: As for `ray`, with a batch axis in front.
        progress: None, or a function called with the share of the rays that are done, in [0, 1].

    Returns:
        List of `Ray`.
    """
    network = piecewise(network)
    points, directions = _points_and_directions(network, x, direction)
    start = _check_start(start)
    found: list[Ray] = []
    for chunk in _chunks(np.arange(len(points))):
        ends = np.tile([[start], [np.inf]], len(chunk))
        whole = pieces.rays(chunk, points[chunk], directions[chunk], *ends)
        parts = [(part.ray, part.alpha, _logits(network, part)) for part in pieces.walk(network, whole)]
        number, alpha, rows = (np.concatenate(x) for x in zip(*parts, strict=True))
        # The corner at a cut is in both parts; and different layers may bend at one place, up to rounding.
        is_new = np.append(True, (number[1:] != number[:-1]) | (alpha[1:] > (1 + _ROUNDING) * alpha[:-1]))
        number, alpha, rows = number[is_new], alpha[is_new], rows[is_new]
        cuts = np.flatnonzero(np.diff(number)) + 1
        each = zip(np.split(alpha, cuts), np.split(rows, cuts), strict=True)
        found.extend(Ray(places[:-1], corners[:-1], corners[-1]) for places, corners in each)
        if progress is not None:
            progress(len(found) / len(points))
    return found


def smallest_alpha(
    network: keras.Model | PiecewiseAffine,
    x: npt.ArrayLike,
    *,
    level: float = 0.999,
    start: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Computes the smallest `alpha >= start` at which the confidence at `alpha x` reaches a level, exactly.

    First the network is evaluated at growing `alpha`, which gives an upper bound. Then the function goes through all
    pieces up to that bound from the left, see `theory.pieces`. Within a piece the logits are affine in `alpha` and, for
    a class `k`,

        -log p_k = log sum_j exp(z_j - z_k)

    is convex. So `p_k >= level` on an interval. Bisection finds its left end between the left end of the piece and a
    point of the interval: the right end of the piece or, where that is not in the interval, the minimum of `-log p_k`.
    No peak within a piece is missed. Where no `alpha` up to 1e18 gives an upper bound, the function goes through all
    pieces to the last one, which is unbounded; break points beyond 1e100 are not looked for.

    Args:
        network: As for `ray`.
        x: Float array `(n, ...)`, a batch of inputs.
        level: float in (0, 1).
        start: float >= 0.
        progress: As for `rays`.

    Returns:
        float64 array `(n,)`, infinite where the confidence stays below `level`. Correct up to float64 rounding for the
        network in float64; the same network in float32 reaches the level at an `alpha` that differs as its logits do.

    Raises:
        ValueError: If the network is not piecewise affine, or an argument is not as described.

    Example: two logits `2 alpha x` and 0 are .9 to .1 where `2 alpha x = log 9`.

    >>> import keras
    >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    >>> network.set_weights([np.array([[2.0, 0.0]])])
    >>> smallest_alpha(network, np.array([[1.0], [0.5], [0.0]]), level=0.9) / np.log(9.0)
    array([0.5, 1. , inf])

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Table 2, which the authors leave to a search.
    """
    network = piecewise(network)
    x = batch_of_inputs(network, x)
    start, level = _check_start(start), check_level(level)
    if level <= 1 / network.num_classes:  # which rounding might deny
        if progress is not None:
            progress(1.0)
        return np.full(len(x), start)
    found = _some_alpha(network, x, level, start)
    is_done = np.zeros(len(x), bool)
    num_done = 0
    bounded = np.isfinite(found)
    for chunk in (*_chunks(np.flatnonzero(bounded)), *_chunks(np.flatnonzero(~bounded))):
        starts = np.full(len(chunk), start)
        whole = pieces.rays(chunk, np.zeros_like(x[chunk]), x[chunk], starts, found[chunk])
        for part in pieces.walk(network, whole, is_done):
            reached = np.where(part.is_piece, where_reached(part.alpha, _logits(network, part), level), np.inf)
            np.minimum.at(found, part.ray[:-1], reached)
            is_done[part.ray[:-1][np.isfinite(reached)]] = True
            if progress is not None:
                progress((num_done + np.searchsorted(chunk, part.ray[-1])) / len(x))
        num_done += len(chunk)
    if progress is not None:
        progress(1.0)
    return found


def _logits(network, part):
    return part.values[len(network.steps)].numpy()


def _chunks(numbers):
    return [numbers[i : i + _NUM_RAYS] for i in range(0, len(numbers), _NUM_RAYS)]


def _points_and_directions(network, x, direction):
    x = batch_of_inputs(network, x)
    if direction is None:
        return np.zeros_like(x), x
    direction = batch_of_inputs(network, direction)
    if len(x) != len(direction):
        raise ValueError(f"There must be one direction for each input. Received: {len(direction)} for {len(x)} inputs.")
    return x, direction


def _check_start(start):
    if not 0 <= start < math.inf:
        raise ValueError(f"`start` must be a finite number of at least 0. Received: start={start}.")
    return float(start)


def _some_alpha(network, x, level, start):
    """An `alpha` for each input with a confidence of at least `level`, the smallest one a search finds, or infinity."""

    def reached(rows, alpha):
        points = x[rows] * np.reshape(alpha, (-1, *[1] * (x.ndim - 1)))
        return np.concatenate(
            [
                negative_log_probabilities(network(points[chunk]).numpy()).min(axis=1)
                for chunk in _chunks(np.arange(len(rows)))
            ]
        ) <= -math.log(level)

    return first_alpha(
        reached, len(x), _doubling(start), middle=lambda low, high: (low + high) / 2, num_bisections=_NUM_BISECTIONS
    )


def _doubling(start):
    alpha = start
    while alpha <= _LARGEST_TRIED:
        yield alpha
        alpha = 2 * alpha or 1.0
