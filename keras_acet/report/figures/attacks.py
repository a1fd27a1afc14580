"""Noise before and after attack, and how the attacks converge."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.results import Results
from keras_acet.report.figures.images import COLUMNS, drawable, image_rows, show
from keras_acet.report.figures.style import COLORS, DASHES, MARKERS, Figure, finish, panels, shorten
from keras_acet.report.formatting import rate
from keras_acet.report.sets import short


def noise_pairs(results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """Two rows per run: noise images, and below each its worst case."""
    pairs = [(run, arrays[run.name].pairs) for run in results.runs if run.name in arrays]
    runs = [(run, pair) for run, pair in pairs if pair and drawable(pair.noise)]
    if not runs:
        return None
    titles = [f"{shorten(run.name, 40)}, {what}" for run, _ in runs for what in ("noise", "after the attack")]
    figure, axes = image_rows(titles, num_lines=1)
    parts = []
    for index, (run, pair) in enumerate(runs):
        shown = (pair.noise, pair.noise_confidence), (pair.attacked, pair.attacked_confidence)
        for (images, confidence), ax_row in zip(shown, axes[2 * index :], strict=False):
            show(ax_row, images[:COLUMNS], [rate(float(c)) for c in confidence])
        parts.append(
            f"{run.name}: from {rate(float(np.mean(pair.noise_confidence)))} "
            f"to {rate(float(np.mean(pair.attacked_confidence)))}"
        )
    alt = f"Noise images and their worst cases with the confidence in each. Mean of those shown: {'; '.join(parts)}."
    caption = (
        "Noise images and, below each, the most confident image that the suite found around it, with the confidence of "
        "the run. Look for a confidence that rises although the image still shows nothing."
    )
    return finish(figure, "noise", alt=alt, caption=caption)


def convergence(results: Results) -> Figure | None:
    """A panel per run and radius, a curve per attack."""
    drawn = []
    for run in results.runs:
        curved = [(attack, attack.curve) for attack in run.attacks if attack.curve]
        for radius in sorted({attack.radius for attack, _ in curved}):
            drawn.append((run, radius, [(attack, curve) for attack, curve in curved if attack.radius == radius]))
    if not drawn:
        return None
    names = list(dict.fromkeys(attack.name for _, _, suite in drawn for attack, _ in suite))
    figure, axes = panels(len(drawn), 2.0, header=0.5 + 0.17 * len(names))
    handles = {}
    parts = []
    for ax, (run, radius, suite) in zip(axes, drawn, strict=True):
        for attack, curve in suite:
            steps, confidence = np.transpose(curve)
            index = names.index(attack.name)
            (handles[attack.name],) = ax.plot(
                steps,
                confidence,
                color=COLORS[index % len(COLORS)],
                linestyle=DASHES[index % len(DASHES)],
                marker=MARKERS[index % len(MARKERS)],
                markevery=max(1, len(steps) // 5),
                linewidth=1.4,
            )
        ax.set_title(f"{shorten(run.name, 18)}, radius {short(radius)}")
        reached = [c for attack in run.attacks for _, c in attack.curve or []]
        margin = max(0.01, 0.06 * (max(reached) - min(reached)))
        ax.set_ylim(min(reached) - margin, max(reached) + margin)  # a run's panels share their scale
        locator: Any = ax.yaxis.get_major_locator()
        locator.set_params(nbins=4)
        best, best_curve = max(suite, key=lambda pair: pair[1][-1][1])
        parts.append(f"{run.name}, radius {short(radius)}: {rate(best_curve[-1][1])} by {best.name}")
    figure.legend(
        [handles[name] for name in names],
        [shorten(name, 60) for name in names],
        loc="outside upper left",
        ncols=1 if max(map(len, names)) > 28 else 2,
        fontsize=9,
        labelspacing=0.3,
    )
    figure.supxlabel("steps", fontsize=10)
    figure.supylabel("mean confidence, best so far", fontsize=10)
    alt = f"Mean confidence on noise against the steps of each attack. Highest at the end: {'; '.join(parts)}."
    caption = (
        "Mean over the noise images of the best confidence so far, against the steps spent; every run on its own "
        "scale. Images that an attack skips, because earlier attacks had brought them to .995 or more, keep their "
        "confidence from step 0 on. Look for curves that still rise at the end: those attacks have not converged, and "
        "more steps would reach a higher confidence."
    )
    return finish(figure, "convergence", alt=alt, caption=caption)
