"""The search for the smallest number that reaches something: upwards along a grid, then by bisection."""

from collections.abc import Callable, Iterable

import numpy as np


def first_alpha(
    reached: Callable[[np.ndarray, np.ndarray], np.ndarray],
    count: int,
    grid: Iterable[float],
    *,
    middle: Callable[[np.ndarray, np.ndarray], np.ndarray],
    num_bisections: int,
) -> np.ndarray:
    """Searches for each of `count` inputs the smallest `alpha` that reaches something.

    Each input goes up the grid until it reaches the goal; bisection then refines the last step of the grid. An `alpha`
    that lies between two neighbours of the grid, neither of which reaches the goal, is missed. So the result is an
    upper bound of the smallest `alpha`.

    Args:
        reached: Function `(rows, alpha)` from the numbers of some inputs, an int array, and one `alpha` for each of
            them to a bool array.
        count: Number of inputs.
        grid: Rising floats; the first is where the search begins.
        middle: Function of two float arrays to what lies between them, such as their geometric mean.
        num_bisections: How often the last step is halved.

    Returns:
        float64 array `(count,)`, infinite where no `alpha` of the grid reaches it.

    Example: `alpha**2 >= 10`, from 3.16 on.

    >>> first_alpha(
    ...     lambda rows, alpha: alpha**2 >= 10, 1, [1, 2, 4, 8], middle=lambda a, b: (a + b) / 2, num_bisections=20
    ... ).round(4)
    array([3.1623])
    """
    found, below = np.full(count, np.inf), np.full(count, np.nan)
    left = np.arange(count)
    for alpha in grid:
        if not len(left):
            break
        hit = reached(left, np.full(len(left), alpha))
        found[left[hit]] = alpha
        left = left[~hit]
        below[left] = alpha
    rows = np.flatnonzero(np.isfinite(found) & ~np.isnan(below))  # those that the first alpha did not reach
    for _ in range(num_bisections if len(rows) else 0):
        between = middle(below[rows], found[rows])
        hit = reached(rows, between)
        found[rows[hit]], below[rows[~hit]] = between[hit], between[~hit]
    return found
