"""Finds the smallest `alpha` at which logits that are affine in `alpha` reach a confidence."""

import math

import numpy as np

_NUM_BISECTIONS = 64
_LARGEST = 1e100


def check_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1). Received: level={level}. For 99.9 % use 0.999.")
    return float(level)


def negative_log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Computes `-log softmax(logits)`, precise also where it is tiny: float64, of the shape of `logits`, `(n, K)`."""
    top = logits.argmax(axis=1)[:, None]
    gaps = logits - np.take_along_axis(logits, top, axis=1)
    others = np.exp(gaps)
    np.put_along_axis(others, top, 0.0, axis=1)
    return np.log1p(others.sum(axis=1, keepdims=True)) - gaps


def where_reached(alpha: np.ndarray, rows: np.ndarray, level: float) -> np.ndarray:
    """Computes for each pair of neighbouring rows the smallest `alpha` with confidence >= level, infinite without one.

    Args:
        alpha: float array `(m,)`; infinite for a direction.
        rows: float array `(m, num_classes)`: the logits there, or how fast they rise in that direction.
        level: float in (0, 1).

    Returns:
        float array `(m - 1,)`.
    """
    is_finite = np.isfinite(alpha[1:])
    left, rise = rows[:-1], np.where(is_finite[:, None], rows[1:] - rows[:-1], rows[1:])
    t = _first_reached(left, rise, is_finite, -math.log(level))
    with np.errstate(invalid="ignore"):
        reached = alpha[:-1] + t * np.where(is_finite, alpha[1:] - alpha[:-1], 1.0)
    return np.where(np.isinf(t), np.inf, reached)  # a piece may have no width


def _first_reached(left, rise, is_finite, bound):
    """Computes the smallest `t` in [0, 1], or [0, inf) where not `is_finite`, with `-log p_k <= bound` for some `k`.

    The logits are `left + t rise`; `-log p_k` is convex in `t`.
    """
    value, slope = _value_and_slope(left, rise)
    t = np.where((value <= bound).any(axis=1), 0.0, np.inf)
    right, right_slope = _value_and_slope(left + rise, rise)
    # Two tangents of a convex function bound it from below where they meet.
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = value + slope * (right - right_slope - value) / (slope - right_slope)
    dips = (slope < 0) & (right_slope > 0) & (lowest <= bound + 1e-6)
    may_reach = np.where(is_finite[:, None], (right <= bound) | dips, slope < 0)
    piece, k = np.nonzero(may_reach & (t > 0)[:, None])
    if not len(piece):
        return t
    left, rise = left[piece], rise[piece]

    def at(t):
        both = _value_and_slope(left + t[:, None] * rise, rise)
        return [np.take_along_axis(x, k[:, None], axis=1)[:, 0] for x in both]

    high = np.ones(len(piece))
    while True:
        value, slope = at(high)
        goes_on = ~is_finite[piece] & (value > bound) & (slope < 0) & (high < _LARGEST)
        if not goes_on.any():
            break
        high[goes_on] *= 2
    # A place with `-log p_k <= bound`, if there is one: the right end, or a place met on the way to the minimum.
    low, inside = np.zeros(len(piece)), np.where(value <= bound, high, np.inf)
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        value, slope = at(middle)
        inside = np.where(np.isinf(inside) & (value <= bound), middle, inside)
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    piece, left, rise, k, high = (x[np.isfinite(inside)] for x in (piece, left, rise, k, inside))
    low = np.zeros(len(piece))
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        is_inside = at(middle)[0] <= bound
        low, high = np.where(is_inside, low, middle), np.where(is_inside, middle, high)
    np.minimum.at(t, piece, high)
    return t


def _value_and_slope(logits, rise):
    """`-log p_k` of every class, and its slope as the logits rise by `rise`: two arrays `(n, K)`."""
    value = negative_log_probabilities(logits)
    return value, (np.exp(-value) * rise).sum(axis=1, keepdims=True) - rise
