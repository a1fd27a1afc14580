"""Confidence maps of classifiers on the plane."""

import re

import numpy as np

from keras_acet.report.figures.style import finish, new_figure, shorten
from keras_acet.report.formatting import percent

SURE = 0.95


def confidence_maps(run, results, arrays):
    """A panel per range, the test points on it."""
    found = arrays.get(run["name"], {})
    maps = {name: found[name] for name in found if re.fullmatch(r"maps/\[(.+),(.+)\]", name)}
    if not maps:
        return None
    figure = new_figure(0.5 + 2.6 * -(-len(maps) // 2))
    axes = figure.subplots(-(-len(maps) // 2), 2, squeeze=False).ravel()
    for ax in axes[len(maps) :]:
        ax.set_visible(False)
    points, labels = found.get("test_points"), found.get("test_labels")
    parts = []
    for ax, (name, values) in zip(axes, maps.items(), strict=False):
        low, high = map(float, name.removeprefix("maps/[").removesuffix("]").split(","))
        extent = (low, high, low, high)
        lowest = 1 / results["data"]["num_classes"]
        image = ax.imshow(
            values, extent=extent, origin="lower", vmin=lowest, vmax=1, cmap="cividis", interpolation="nearest"
        )
        if np.min(values) < SURE < np.max(values):
            ax.contour(values, [SURE], extent=extent, origin="lower", colors="white", linewidths=1)
        if points is not None:
            size = 5 if high - low <= 1 else 1.5
            for label, marker, color in zip(np.unique(labels), "os^DvXP", ["#D55E00", "#56B4E9"] * 4, strict=False):
                x, y = np.asarray(points)[np.asarray(labels) == label].T
                ax.scatter(x, y, s=size, marker=marker, color=color, edgecolor="none")
        ax.set(title=f"[{low:g}, {high:g}]", xlim=(low, high), ylim=(low, high), xticks=(low, high), yticks=(low, high))
        ax.grid(visible=False)
        parts.append(f"{percent(float(np.mean(values > SURE)))} of [{low:g}, {high:g}]")
    bar = figure.colorbar(image, ax=list(axes), location="bottom", shrink=0.6, aspect=30)
    bar.set_label(f"confidence of {shorten(run['name'], 40)}; white line: .95")
    alt = f"{run['name']}, confidence on the plane. More than 95 % confident on {', '.join(parts)}."
    caption = (
        f"{run['name']}: confidence on four ranges, from the data outwards, with the test points. Look for bright "
        "regions without points: there the network is sure of what it has never seen."
    )
    return finish(figure, "maps", alt=alt, caption=caption)
