"""Confidence maps and linear regions of classifiers on the plane."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.results import Results, RunResult
from keras_acet.report.figures.style import Figure, finish, new_figure, shorten
from keras_acet.report.formatting import percent

SURE = 0.95


def confidence_maps(run: RunResult, results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """A panel per range, the test points on it."""
    plane = arrays[run.name].maps if run.name in arrays else None
    if plane is None:
        return None
    maps = dict(zip(plane.ranges, plane.confidence, strict=True))
    figure = new_figure(0.5 + 2.6 * -(-len(maps) // 2))
    axes = _axes(figure, maps)
    parts = []
    for ax, ((low, high), values) in zip(axes, maps.items(), strict=True):
        image = draw_confidence(ax, values, low, high, lowest=1 / results.data.num_classes)
        draw_points(ax, plane.test_points, plane.test_labels, low, high)
        parts.append(f"{percent(float(np.mean(values > SURE)))} of [{low:g}, {high:g}]")
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=30)
    bar.set_label(f"confidence of {shorten(run.name, 40)}; white line: .95")
    alt = f"{run.name}, confidence on the plane. More than 95 % confident on {', '.join(parts)}."
    caption = (
        f"{run.name}: confidence on larger and larger squares around the data, with the test points. Look for bright "
        "regions without points: there the network is confident far from all training data."
    )
    return finish(figure, "maps", alt=alt, caption=caption)


def region_maps(run: RunResult, results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """A panel per range, the borders of linear regions as thin lines."""
    plane = arrays[run.name].maps if run.name in arrays else None
    if plane is None or plane.regions is None:
        return None
    maps = dict(zip(plane.ranges, plane.regions, strict=True))
    figure = new_figure(2.6 * -(-len(maps) // 2))
    parts = []
    for ax, ((low, high), numbers) in zip(_axes(figure, maps), maps.items(), strict=True):
        draw_borders(ax, numbers, low, high)
        draw_points(ax, plane.test_points, plane.test_labels, low, high)
        parts.append(f"{len(np.unique(numbers)):,} on [{low:g}, {high:g}]")
    alt = f"{run.name}, borders of linear regions on the plane. Regions seen: {', '.join(parts)}."
    caption = (
        f"{run.name}: linear regions on the same squares. On each region the logits are one affine function; a line is "
        f"where a ReLU changes sign. Regions seen: {', '.join(parts)}. Far out the lines are rays: the regions between "
        "them are unbounded, and along almost every ray in such a region the confidence tends to 1 (Theorem 3.1 of the "
        "paper)."
    )
    return finish(figure, "regions", alt=alt, caption=caption)


def draw_confidence(ax: Axes, values: np.ndarray, low: float, high: float, *, lowest: float) -> AxesImage:
    """Draws a map of confidences with the line where it is 95 %; returns the image, for a colour bar."""
    extent = (low, high, low, high)
    image = ax.imshow(
        values, extent=extent, origin="lower", vmin=lowest, vmax=1, cmap="cividis", interpolation="nearest"
    )
    if np.min(values) < SURE < np.max(values):
        ax.contour(values, [SURE], extent=extent, origin="lower", colors="white", linewidths=1)
    return image


def draw_borders(ax: Axes, numbers: np.ndarray, low: float, high: float) -> None:
    """Draws the borders between points with different numbers."""
    is_border = np.zeros(np.shape(numbers))
    is_border[1:] = numbers[1:] != numbers[:-1]
    is_border[:, 1:] = np.maximum(is_border[:, 1:], numbers[:, 1:] != numbers[:, :-1])
    extent = (low, high, low, high)
    ax.imshow(is_border, extent=extent, origin="lower", vmin=0, vmax=1, cmap="Greys", interpolation="antialiased")


def draw_points(ax: Axes, points: np.ndarray | None, labels: np.ndarray | None, low: float, high: float) -> None:
    """Draws the test points, if there are any, and sets title and limits."""
    if points is not None and labels is not None:
        size = 5 if high - low <= 1 else 1.5
        for label, marker, color in zip(np.unique(labels), "os^DvXP", ["#D55E00", "#56B4E9"] * 4, strict=False):
            x, y = np.asarray(points)[np.asarray(labels) == label].T
            ax.scatter(x, y, s=size, marker=marker, color=color, edgecolor="none")
    ax.set(title=f"[{low:g}, {high:g}]", xlim=(low, high), ylim=(low, high), xticks=(low, high), yticks=(low, high))
    ax.grid(visible=False)


def _axes(figure, maps):
    axes = figure.subplots(-(-len(maps) // 2), 2, squeeze=False).ravel()
    for ax in axes[len(maps) :]:
        ax.set_visible(False)
    return list(axes[: len(maps)])
