"""Histograms of the confidence and ROC curves."""

from collections.abc import Mapping

import numpy as np

from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.results import Results
from keras_acet.report.figures.style import Figure, finish, legend, line, panels, shorten
from keras_acet.report.formatting import SPACE, rate
from keras_acet.report.sets import all_sets, find, label, of_row

SMALLEST = 1e-3  # left end of the ROC curves' axis


def histograms(results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """A panel per set, a step line per run."""
    confidences = {name: of_run.confidence for name, of_run in arrays.items()}
    drawn = _panels(results.runs, all_sets(results.runs), confidences)
    if not drawn:
        return None
    figure, axes = panels(len(drawn), 1.35, sharex=True, sharey=True)
    bins = np.linspace(0, 1, 26)
    for ax, (row, lines) in zip(axes, drawn, strict=True):
        for index, run, values in lines:
            heights = np.histogram(np.clip(values, 0, 1), bins)[0] / len(values)
            ax.stairs(heights, bins, label=shorten(run.name, 28), linewidth=1.6, **line(index))
        ax.set_title(_title(row))
        ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.set_yticks([0.01, 0.1, 0.4, 1], [".01", ".1", ".4", "1"])
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    _legend(figure, axes)
    figure.supxlabel("confidence", fontsize=10)
    figure.supylabel("share of images", fontsize=10)
    drawn = [(row, lines) for row, lines in drawn if row.kind in ("test", "noise", "worst_case_noise")]
    alt = "Histograms of the confidence per set. Mean confidence: " + _summary(drawn, results.runs, "mmc")
    caption = (
        "How confidence spreads over each set, one line per run; attacked sets name their radius. The height is on a "
        "square-root scale, so that few confident images stay visible. Look for lines that crowd at the right for the "
        "test set and at the left everywhere else."
    )
    return finish(figure, "histograms", alt=alt, caption=caption)


def roc_curves(results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """A panel per set, a curve per run."""
    runs = results.runs
    scores = {name: of_run.score for name, of_run in arrays.items()}
    of_tests = {run.name: of_row(scores.get(run.name, {}), _test_row(run)) for run in runs}
    tests = {name: values for name, values in of_tests.items() if values is not None}
    rows = [row for row in all_sets(runs) if row.kind != "test"]
    drawn = _panels([run for run in runs if run.name in tests], rows, scores, runs)
    if not drawn:
        return None
    figure, axes = panels(len(drawn), 1.55, sharex=True, sharey=True)
    for ax, (row, lines) in zip(axes, drawn, strict=True):
        for index, run, values in lines:
            accepted_ood, accepted_test = roc(tests[run.name], values)
            ax.plot(
                np.maximum(accepted_ood, SMALLEST),
                accepted_test,
                label=shorten(run.name, 28),
                clip_on=False,
                **line(index),
            )
        diagonal = np.geomspace(SMALLEST, 1, 50)
        ax.plot(diagonal, diagonal, color="#a3abb4", linewidth=0.8, zorder=1)
        ax.set_title(_title(row))
        ax.set_xscale("log")
        ax.set(xlim=(SMALLEST, 1), ylim=(0, 1))
        ax.set_xticks([0.001, 0.01, 0.1, 1], ["≤.001", ".01", ".1", "1"])
        ax.set_yticks([0, 0.5, 0.95], ["0", ".5", ".95"])
        ax.minorticks_off()
    _legend(figure, axes)
    figure.supxlabel("share of the set accepted (log scale)", fontsize=10)
    figure.supylabel("share of test images accepted", fontsize=10)
    drawn = [(row, lines) for row, lines in drawn if row.kind in ("ood", "noise", "worst_case_noise")]
    alt = "ROC curves per set. AUROC: " + _summary(drawn, runs, "auroc")
    caption = (
        "Share of test images accepted against share of the set accepted, over all thresholds on the score. Look for "
        "curves that are high at the left. FPR@95 is where a curve crosses the line at .95. The thin grey curve is "
        "random guessing."
    )
    return finish(figure, "roc", alt=alt, caption=caption)


def roc(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of `negative` and of `positive` at or above every threshold, from none to all, each of shape `(m,)`."""
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    shares = []
    for scores in (negative, positive):
        below = np.searchsorted(np.sort(scores), thresholds, side="left")
        shares.append(np.concatenate([[0.0], 1 - below / len(scores)]))
    negatives, positives = shares
    return negatives, positives


def _test_row(run):
    return next((row for row in run.rows if row.kind == "test"), None)


def _panels(runs, rows, values_of, all_runs=None):
    """Pairs of a set and the runs that have values of it: `(index, run, values)`, for the line's style."""
    indices = {run.name: index for index, run in enumerate(all_runs or runs)}
    drawn = []
    for wanted in rows:
        found = [(indices[run.name], run, of_row(values_of.get(run.name, {}), find(run, wanted))) for run in runs]
        found = [line for line in found if line[2] is not None]
        if found:
            drawn.append((wanted, found))
    return drawn


def _title(row):
    return shorten(label(row).replace(f"radius{SPACE}", ""), 30)


def _legend(figure, axes):
    most = max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    legend(figure, most)


def _summary(drawn, runs, name):
    parts = []
    for wanted, lines in drawn:
        numbers = [f"{run.name} {rate(getattr(find(run, wanted), name).value)}" for _, run, _ in lines]
        parts.append(f"{label(wanted)}: {', '.join(numbers)}")
    return "; ".join(parts) + "."
