"""All pieces of a network along rays, exactly: break points are passed on from layer to layer.

A ray's image after any layer is a polygon: it is known from its corners, and if it goes on for ever from the direction
of its last piece. So a ray starts as two rows, its ends, and

* an affine step maps each row;
* a ReLU bends the polygon where a unit changes sign within a piece, a maximum where another candidate takes over. The
  ReLU's units are affine between the corners known so far, so one division gives all those places at once; there new
  rows are put in, on the straight lines, and then the step is taken row by row.

Nothing is sampled: within a piece all units are affine, and every change of sign between two rows is seen. Several
units that change at one place give one row. Two units that change closer together than float64 can resolve may give two
rows in either order, whose values agree up to rounding. After the last step the rows are the corners of the logits.

All rows of a layer are computed together, so a thousand pieces take about as long as a forward pass of five hundred
inputs, in float64; the last layers see all of them, the first ones few. What does not fit into a part of limited size
is cut along the ray, and its parts go on from left to right.

Rows have homogeneous coordinates: weight 1 for points, 0 for a direction, to which no bias is added. ReLU and maximum
are positively homogeneous, so of the direction of the last piece, once all changes along it are known, they give the
direction of its image.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from keras_acet.intervals.network import PiecewiseAffine
from keras_acet.intervals.operations import DTYPE, Affine, ReLU

_TIED = 1e-13  # slopes of candidates closer than this, relative to candidates and slopes, are rounding
LARGEST = 1e100  # changes farther out than this are not looked for
_MAX_ELEMENTS = 2**24  # of the largest tensor of a part, 128 MB; 6 or so are alive. Smaller parts are slower


class Part:
    """Consecutive rows, by ray and rising `alpha`, of what is computed at one time.

    Attributes:
        step: Index of the next step.
        values: Dict from the indices of the values that are still needed to tensors `(rows, ...)`.
        ray: int array `(rows,)`. Rows of one ray lie together; of a ray that was cut, the corner at the cut is in both
            parts.
        alpha: float64 array `(rows,)`; infinite for a direction.
        weight: float64 array `(rows,)`: 1 for points, 0 for directions.
    """

    def __init__(
        self, step: int, values: dict[int, tf.Tensor], ray: np.ndarray, alpha: np.ndarray, weight: np.ndarray
    ) -> None:
        self.step = step
        self.values = values
        self.ray = ray
        self.alpha = alpha
        self.weight = weight

    def take(self, rows: slice | np.ndarray) -> "Part":
        """Returns the part made of a slice or of indices of rows."""
        if isinstance(rows, slice):
            values = {index: value[rows] for index, value in self.values.items()}
        else:
            values = {index: tf.gather(value, rows) for index, value in self.values.items()}
        return Part(self.step, values, self.ray[rows], self.alpha[rows], self.weight[rows])

    def split(self, count: int) -> list["Part"]:
        """Returns the part in `count` parts, from left to right, or fewer if it has few rows."""
        count = max(min(count, len(self.ray) // 4), 1)
        edges = np.linspace(0, len(self.ray), count + 1).astype(int)
        is_cut = np.append(self.is_piece, False)[edges[1:-1] - 1]
        first = edges[:-1] - np.append(0, is_cut)  # the row before the cut once more
        return [self.take(slice(*pair)) for pair in zip(first, edges[1:], strict=True)]

    def num_splits(self, num_rows: int) -> int:
        """In how many parts the part would have to be split if it had so many rows."""
        size = max(value.shape[1:].num_elements() for value in self.values.values())
        return -(-num_rows * size // _MAX_ELEMENTS)

    def insert(self, left: np.ndarray, t: np.ndarray) -> None:
        """Puts rows into pieces.

        Args:
            left: int array `(n,)`, not falling: the row on the left of the piece.
            t: float array `(n,)`, rising within each piece: the place on it, in (0, 1) from its left to its right end,
                or in (0, inf) along a direction.
        """
        if not len(left):
            return
        place = np.argsort(np.append(np.arange(len(self.ray)), left), kind="stable")
        rank = np.argsort(place).astype(np.int32)  # where each row goes, the old ones first
        is_finite = self.weight[left + 1] > 0
        by_left = np.where(is_finite, 1 - t, 1)
        with np.errstate(invalid="ignore"):
            inside = by_left * self.alpha[left] + t * self.alpha[left + 1]
        alpha = np.where(is_finite, inside, self.alpha[left] + t)
        for index, value in self.values.items():
            shape = (-1, *[1] * (value.shape.rank - 1))
            at_left, at_right = tf.gather(value, left), tf.gather(value, left + 1)
            added = by_left.reshape(shape) * at_left + t.reshape(shape) * at_right
            self.values[index] = tf.dynamic_stitch(np.split(rank, [len(self.ray)]), [value, added])
        self.alpha = np.append(self.alpha, alpha)[place]
        self.ray = np.append(self.ray, self.ray[left])[place]
        self.weight = np.append(self.weight, np.ones(len(left)))[place]

    def advance(self, outputs: tf.Tensor, used_up: Iterable[int]) -> None:
        """Goes on to the next step: adds what this one gave, forgets values that no step takes any more."""
        for index in used_up:
            del self.values[index]
        self.step += 1
        self.values[self.step] = outputs

    @property
    def is_piece(self) -> np.ndarray:
        """bool array `(rows - 1,)`: whether a row and the next one are the ends of a piece."""
        return self.ray[1:] == self.ray[:-1]


def rays(numbers: np.ndarray, points: np.ndarray, directions: np.ndarray, start: np.ndarray, stop: np.ndarray) -> Part:
    """Returns the part that holds `points + alpha directions`, `alpha` in `[start, stop]`, before the first step.

    Args:
        numbers: int array `(n,)`, what to call the rays.
        points, directions: float arrays `(n, ...)`.
        start, stop: float arrays `(n,)`; `stop` may be infinite, for all rays or none.
    """
    n = len(points)
    shape = (-1, *[1] * (points.ndim - 1))
    weight = np.isfinite(stop).astype(np.float64)
    left = points + start.reshape(shape) * directions
    right = directions if not weight.all() else points + stop.reshape(shape) * directions
    rows = np.stack([left, right], axis=1).reshape(2 * n, *points.shape[1:])
    ends = np.stack([start, stop], axis=1).ravel()
    weights = np.stack([np.ones(n), weight], axis=1).ravel()
    return Part(0, {0: tf.constant(rows, DTYPE)}, np.repeat(numbers, 2), ends, weights)


def walk(network: PiecewiseAffine, part: Part, is_done: np.ndarray | None = None) -> Iterator[Part]:
    """Takes rays through a network.

    Args:
        network: `PiecewiseAffine`.
        part: `Part` before the first step.
        is_done: None, or bool array of which rays, by number, may be dropped; looked at before each step.

    Yields:
        `Part` after the last step, those of a ray from left to right: its one value holds the logits.
    """
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if is_done is not None and is_done[part.ray].any():
            part = part.take(np.flatnonzero(~is_done[part.ray]))
        if not len(part.ray):
            continue
        if part.step == len(network.steps):
            yield part
            continue
        step = network.steps[part.step]
        if isinstance(step.operation, Affine):
            inputs = [part.values[i] for i in step.inputs]
            if part.weight.all():
                outputs = step.operation(*inputs)
            else:
                outputs = step.operation.homogeneous(tf.constant(part.weight), *inputs)
        else:
            left, t = _changes(part, step.operation, part.values[step.inputs[0]])
            num_splits = part.num_splits(len(part.ray) + len(left))
            if num_splits > 1 and len(part.ray) + len(left) > 8:
                # Some of the new rows to cut at, and the step again for each part.
                part.insert(left[::num_splits], t[::num_splits])
                waiting.extend(part.split(num_splits)[::-1])
                continue
            part.insert(left, t)
            outputs = step.operation(part.values[step.inputs[0]])
        part.advance(outputs, [i for i in set(step.inputs) if network.last_uses[i] == part.step])
        waiting.extend(part.split(part.num_splits(len(part.ray)))[::-1])


def _changes(part, operation, inputs):
    """Finds where units of a step change within pieces: left rows and places on the pieces, in order, each once."""
    left, t = (_relu_changes if isinstance(operation, ReLU) else _maximum_changes)(part, operation, inputs)
    order = np.lexsort((t, left))
    left, t = left[order], t[order]
    is_new = np.append(True, (np.diff(left) > 0) | (np.diff(t) > 0))[: len(left)]
    return left[is_new], t[is_new]


def _relu_changes(part, _, inputs):
    """Finds where units change sign within pieces: left rows, and places on the pieces."""
    inputs = tf.reshape(inputs, (len(part.ray), -1))
    left, at_left, at_right = (found.numpy() for found in _sign_changes(inputs, part.is_piece))
    is_finite = part.weight[left + 1] > 0
    with np.errstate(divide="ignore", over="ignore"):
        t = np.where(is_finite, at_left / (at_left - at_right), -at_left / at_right)
    is_inside = (t > 0) & (t < np.where(is_finite, 1, LARGEST))
    return left[is_inside], t[is_inside]


@tf.function(reduce_retracing=True)
def _sign_changes(inputs, is_piece):
    is_active = inputs > 0
    changes = tf.where((is_active[1:] != is_active[:-1]) & is_piece[:, None])
    return changes[:, 0], tf.gather_nd(inputs, changes), tf.gather_nd(inputs, changes + [[1, 0]])


def _maximum_changes(part, operation, inputs):
    """Finds where another candidate becomes the maximum within pieces."""
    candidates = tf.transpose(operation.candidates(inputs), (0, 1, 3, 2))
    left, at_left, at_right = (found.numpy() for found in _winner_changes(candidates, part.is_piece))
    is_finite = part.weight[left + 1] > 0
    slopes = np.where(is_finite[:, None], at_right - at_left, at_right)
    end = np.where(is_finite, 1, LARGEST)
    # From the winner at the left end (the steepest one if several tie) to the candidate that overtakes it first, and so
    # on. A candidate that is the largest at both ends is the largest between them, so such pieces are not looked at.
    # Two candidates may be equal on the whole piece, as where windows overlap: then their difference is rounding, and
    # neither overtakes the other.
    rounding = _TIED * np.maximum(np.abs(at_left), np.abs(slopes)).max(axis=1)
    winner = np.where(at_left == at_left.max(axis=1, keepdims=True), slopes, -np.inf).argmax(axis=1)
    place = np.zeros(len(left))
    found = [(left[:0], place[:0])]
    while len(left):
        rows = np.arange(len(left))
        faster = slopes - slopes[rows, winner][:, None]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            t = np.where(faster > rounding[:, None], (at_left[rows, winner][:, None] - at_left) / faster, np.inf)
        t = np.maximum(t, place[:, None])
        place = t.min(axis=1)
        winner = np.where(t == place[:, None], faster, -np.inf).argmax(axis=1)
        goes_on = place < end
        state = left, at_left, slopes, end, rounding, winner, place
        left, at_left, slopes, end, rounding, winner, place = (x[goes_on] for x in state)
        found.append((left[place > 0], place[place > 0]))
    return tuple(np.concatenate(x) for x in zip(*found, strict=True))


@tf.function(reduce_retracing=True)
def _winner_changes(candidates, is_piece):
    winners = tf.argmax(candidates, axis=3)
    changes = tf.where((winners[1:] != winners[:-1]) & is_piece[:, None, None])
    return changes[:, 0], tf.gather_nd(candidates, changes), tf.gather_nd(candidates, changes + [[1, 0, 0]])
