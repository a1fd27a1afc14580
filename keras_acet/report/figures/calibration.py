"""Reliability and risk against coverage."""

from typing import Any

import numpy as np

from keras_acet.evaluation.results import Results
from keras_acet.report.figures.style import COLORS, Figure, finish, legend, line, new_figure, panels, shorten
from keras_acet.report.formatting import number, percent, rate


def reliability(results: Results) -> Figure | None:
    """A panel per run: accuracy against confidence, before and after temperature scaling."""
    runs = [(run, run.calibration) for run in results.runs if run.calibration]
    if not runs:
        return None
    figure, axes = panels(len(runs), 2.5, sharey=True)
    styles: dict[str, dict[str, Any]] = {
        "before": {"color": COLORS[1], "marker": "o", "linestyle": (0, (4, 2)), "markerfacecolor": "white"},
        "after": {"color": COLORS[0], "marker": "s", "linestyle": "-"},
    }
    parts = []
    for ax, (run, calibration) in zip(axes, runs, strict=True):
        ax.plot([0, 1], [0, 1], color="#a3abb4", linewidth=0.8)
        for when, style in styles.items():
            bins = [(c, a) for c, a, count in getattr(calibration.reliability, when) if count]
            ax.plot(*np.transpose(bins), label=f"{when} temperature scaling", clip_on=False, **style)
        ax.set(title=shorten(run.name, 26), xlim=(0, 1), ylim=(0, 1))
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        eces = [rate(getattr(calibration, when).ece, 4) for when in styles]
        parts.append(f"{run.name} {eces[0]} before, {eces[1]} after")
    legend(figure, axes[0])
    figure.supxlabel("mean confidence in the bin", fontsize=10)
    figure.supylabel("share right in the bin", fontsize=10)
    alt = f"Reliability diagrams. Expected calibration error: {'; '.join(parts)}."
    caption = (
        "Accuracy against confidence of the test images, in 15 bins of equal width; bins without images are left out. "
        "Look for points on the diagonal: below it the network is overconfident, above it underconfident."
    )
    return finish(figure, "reliability", alt=alt, caption=caption)


def risk_coverage(results: Results) -> Figure | None:
    """Error of the most confident share of the test images against that share, a curve per run."""
    figure = new_figure(2.9)
    ax = figure.subplots()
    parts = []
    for index, run in enumerate(results.runs):
        if run.calibration:
            curve = run.calibration.risk_coverage
            ax.plot(curve.coverage, curve.risk, label=shorten(run.name, 28), **line(index))
            parts.append(f"{run.name} {number(curve.aurc)}")
    if not parts:
        return None
    ax.set(xlim=(0, 1), xlabel="share of test images answered, most confident first", ylabel="error among them")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda share, _: percent(max(share, 0)))
    locator: Any = ax.yaxis.get_major_locator()
    locator.set_params(nbins=5)
    legend(figure, ax)
    alt = f"Error against coverage. Area under the curve: {'; '.join(parts)}."
    caption = (
        "The error among the accepted images if only the most confident images are accepted. Look for a curve that "
        "stays at zero far to the right: up to that share, confidence separates right from wrong predictions."
    )
    return finish(figure, "risk_coverage", alt=alt, caption=caption)
