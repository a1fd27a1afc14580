"""Training curves from `metrics.csv`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_acet.evaluation.results import Results
from keras_acet.report.figures.style import MARKERS, Figure, finish, legend, line, panels, shorten
from keras_acet.report.formatting import number

QUANTITIES = {
    "val_accuracy": "accuracy, validation",
    "accuracy": "accuracy, training",
    "val_loss": "loss, validation",
    "cross_entropy": "cross-entropy, training",
    "noise_confidence": "confidence on noise",
    "adversarial_confidence": "confidence on attacked noise",
}


def training_curves(results: Results, history: Mapping[str, list[dict[str, Any]]]) -> Figure | None:
    """A panel per recorded quantity, a curve per run."""
    runs = [(index, run) for index, run in enumerate(results.runs) if history.get(run.name)]
    epochs = [epoch for _, run in runs for epoch in history[run.name]]
    names = [name for name in QUANTITIES if any(_recorded(epoch, name) for epoch in epochs)]
    if not names:
        return None
    figure, axes = panels(len(names), 1.7)
    for ax, name in zip(axes, names, strict=True):
        for index, run in runs:
            points = [(float(e["epoch"]), float(e[name])) for e in history[run.name] if _recorded(e, name)]
            style = line(index) | {"marker": MARKERS[index % len(MARKERS)], "markevery": max(1, len(points) // 6)}
            if points:
                ax.plot(*np.transpose(points), label=shorten(run.name, 28), **style)
        ax.set_title(QUANTITIES[name])
        locator: Any = ax.xaxis.get_major_locator()
        locator.set_params(integer=True, nbins=5)
    most = max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    legend(figure, most)
    figure.supxlabel("epoch", fontsize=10)
    parts = []
    for _, run in runs:
        last = history[run.name][-1]
        numbers = [f"{QUANTITIES[name]} {number(float(last[name]))}" for name in names if _recorded(last, name)]
        parts.append(f"{run.name} after {len(history[run.name])} epochs: {', '.join(numbers)}")
    caption = (
        "Metrics of each epoch of training. Look for an accuracy that has levelled off, and for a confidence on noise "
        "that falls to one over the number of classes and stays there."
    )
    return finish(figure, "training", alt=f"Training curves. {'; '.join(parts)}.", caption=caption)


def _recorded(epoch, name):
    return epoch.get(name) not in (None, "")  # a place that `metrics.csv` leaves empty
