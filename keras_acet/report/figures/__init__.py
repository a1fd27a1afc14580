"""The figures of a report, each a PNG with alternative text and a caption."""

from collections.abc import Mapping
from typing import Any

from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.results import Results
from keras_acet.report.figures.attacks import convergence, noise_pairs
from keras_acet.report.figures.calibration import reliability, risk_coverage
from keras_acet.report.figures.confidences import histograms, roc_curves
from keras_acet.report.figures.images import most_confident
from keras_acet.report.figures.maps import confidence_maps, region_maps
from keras_acet.report.figures.style import Figure, drawing
from keras_acet.report.figures.training import training_curves


def draw(
    results: Results, arrays: Mapping[str, Arrays], history: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Figure]:
    """Draws every figure whose data are there.

    Args:
        results, arrays, history: As `keras_acet.report.write` takes them.

    Returns:
        Dict from name to `Figure`, in a fixed order.
    """
    with drawing():
        drawn = [
            histograms(results, arrays),
            roc_curves(results, arrays),
            *(most_confident(run, results, arrays) for run in results.runs),
            *(confidence_maps(run, results, arrays) for run in results.runs),
            *(region_maps(run, results, arrays) for run in results.runs),
            noise_pairs(results, arrays),
            convergence(results),
            reliability(results),
            risk_coverage(results),
            training_curves(results, history),
        ]
    figures: dict[str, Figure] = {}
    for figure in drawn:
        if figure is not None:
            # Figures of single runs are numbered, because the name of a run may be unfit for a file name.
            name, count = figure.name, 1
            while name in figures:
                count += 1
                name = f"{figure.name}-{count}"
            figures[name] = figure
    return figures
