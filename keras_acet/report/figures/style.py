"""The style of figures: colours that can be told apart without colour vision, line styles and markers."""

import contextlib
import dataclasses
import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.figure
from matplotlib.axes import Axes

WIDTH = 5.4  # inches; on a phone of 390 pixels one inch is 66 pixels wide, so 10 points are 9 pixels
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9"]  # Okabe and Ito
DASHES = ["-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1.2, 1.5))]
MARKERS = ["o", "s", "^", "D", "v", "X", "P", "<", ">"]
STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#5a626c",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": 200,
    "font.size": 10,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "savefig.dpi": 200,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawn figure: file name without ending, PNG bytes, alternative text, caption, size in pixels."""

    name: str
    png: bytes
    alt: str
    caption: str
    width: int
    height: int


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draws in the report's style, whatever the user's settings of matplotlib are, and restores them at the end."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # a name in a script without a font here
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def line(index: int) -> dict[str, Any]:
    """Colour and dashes of the run, or curve, with that index."""
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[index % len(DASHES)]}


def new_figure(height: float) -> matplotlib.figure.Figure:
    return matplotlib.figure.Figure(figsize=(WIDTH, height), layout="constrained")


def panels(
    count: int, height: float, *, columns: int = 2, header: float = 0.4, **options: Any
) -> tuple[matplotlib.figure.Figure, Sequence[Axes]]:
    """Figure and `count` axes, `columns` beside each other, each `height` inches high; `header` is for a legend."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(rows * height + header)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[count:]:
        ax.set_visible(False)
    for ax in axes[max(0, count - columns) : count]:
        ax.tick_params(labelbottom=True)  # with a shared axis the panel above an empty place has no labels
    return figure, axes[:count]


def legend(figure: matplotlib.figure.Figure, ax: Axes, **options: Any) -> None:
    """One legend for all panels, above them."""
    handles, labels = ax.get_legend_handles_labels()
    longest = max(len(text) for text in labels)
    columns = 3 if longest <= 16 else 2 if longest <= 28 else 1
    figure.legend(handles, labels, loc="outside upper left", ncols=min(columns, len(labels)), **options)


def shorten(text: str, length: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def finish(figure: matplotlib.figure.Figure, name: str, *, alt: str, caption: str) -> Figure:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    png = buffer.getvalue()
    width, height = struct.unpack(">II", png[16:24])  # a PNG's header
    return Figure(name, png, alt, caption, width, height)
