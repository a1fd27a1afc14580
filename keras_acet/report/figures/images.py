"""Images with their confidence beneath."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.results import Results, RunResult
from keras_acet.report.figures.style import WIDTH, Figure, finish, shorten
from keras_acet.report.formatting import rate
from keras_acet.report.sets import all_sets, label

COLUMNS = 6
TITLE, LINE, GAP = 0.26, 0.155, 0.09  # inches


def most_confident(run: RunResult, results: Results, arrays: Mapping[str, Arrays]) -> Figure | None:
    """A row of images per out-distribution set: those on which the run is most confident."""
    shown_of = arrays[run.name].shown if run.name in arrays else {}
    rows = [row for row in all_sets([run]) if row.key in shown_of and drawable(shown_of[row.key].images)]
    if not rows:
        return None
    parts = []
    titles = [f"{shorten(run.name, 30)} on {shorten(label(row), 30)}" for row in rows]
    figure, axes = image_rows(titles, num_lines=2)
    for ax_row, row in zip(axes, rows, strict=True):
        shown = shown_of[row.key]
        images, confidence, labels = (values[:COLUMNS] for values in (shown.images, shown.confidence, shown.label))
        texts = [
            f"{rate(c)}\n{shorten(results.data.class_names[int(k)], 11)}"
            for c, k in zip(confidence, labels, strict=True)
        ]
        show(ax_row, images, texts)
        parts.append(f"{label(row)}: {rate(float(np.max(confidence)))}")
    alt = f"{run.name}, images of other sets with the highest confidence. Highest per set: {'; '.join(parts)}."
    caption = (
        f"{run.name}: the images of each set on which it is most confident, with confidence and predicted class. Look "
        "for images that do show that class: for these the network is right, and the set is not clean."
    )
    return finish(figure, "most_confident", alt=alt, caption=caption)


def drawable(images: np.ndarray | None) -> bool:
    """Whether there are images that have a picture: `(k, height, width, channels)` with 1, 3 or 4 channels."""
    return images is not None and len(images) > 0 and np.ndim(images) == 4 and images.shape[-1] in (1, 3, 4)


def image_rows(titles: Sequence[str], num_lines: int) -> tuple[matplotlib.figure.Figure, list[list[Axes]]]:
    """Figure, and a list of axes per title, each with room for `num_lines` of text beneath."""
    side = (WIDTH - GAP * (COLUMNS + 1)) / COLUMNS
    row = TITLE + side + LINE * num_lines + GAP
    height = row * len(titles)
    figure = matplotlib.figure.Figure(figsize=(WIDTH, height))  # placed by hand: the texts have fixed heights
    rows = []
    for index, title in enumerate(titles):
        bottom = height - index * row - TITLE - side
        figure.text(GAP / WIDTH, (bottom + side + 0.06) / height, title, fontsize=10)
        places = [((GAP + column * (side + GAP)) / WIDTH, bottom / height) for column in range(COLUMNS)]
        rows.append([figure.add_axes((*place, side / WIDTH, side / height)) for place in places])
    return figure, rows


def show(axes: Sequence[Axes], images: np.ndarray, texts: Sequence[str]) -> None:
    """Draws images, unsmoothed, with a text beneath each; leaves the other axes empty."""
    for ax in axes:
        ax.set_axis_off()
    for ax, image, text in zip(axes, images, texts, strict=False):
        image = np.clip(np.asarray(image, dtype=np.float64), 0, 1)
        if image.shape[-1] == 1:
            image = image[..., 0]
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for index, words in enumerate(text.split("\n")):
            below = (0, -72 * LINE * (index + 0.8))
            ax.annotate(words, (0.5, 0), below, "axes fraction", textcoords="offset points", ha="center", fontsize=9)
