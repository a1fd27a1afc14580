"""Confidence along rays, with the break points between the linear regions."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import LogLocator

from keras_acet.report.figures.style import COLORS, Figure, finish, panels, shorten
from keras_acet.report.formatting import number, percent
from keras_acet.theory import Growth

_NUM_RAYS = 6


def confidence_along_rays(grown: Mapping[str, Growth], *, columns: int = 2) -> Figure:
    """A panel per network: confidence against `alpha` on some rays, a dot where a ray enters another region.

    Args:
        grown: Dict from the title of a panel to its `theory.Growth`.
        columns: Panels beside each other.

    Returns:
        `Figure`.
    """
    figure, axes = panels(len(grown), 1.9, columns=columns, sharex=True, sharey=True, header=0.1)
    shown = {title: growth.rays[:_NUM_RAYS] for title, growth in grown.items()}
    low = min(ray.start for rays in shown.values() for ray in rays) or 1e-3
    high = 10 * max(ray.alpha[-1] for rays in shown.values() for ray in rays)
    parts = []
    for ax, (title, growth) in zip(axes, grown.items(), strict=True):
        for color, ray in zip(COLORS, shown[title], strict=False):
            alpha = np.union1d(np.geomspace(low, high, 600), ray.breakpoints)
            ax.plot(alpha, ray.confidence(alpha), color=color, linewidth=1)
            ax.plot(ray.breakpoints, ray.confidence(ray.breakpoints), ".", color=color, markersize=3.5)
        ax.set(title=shorten(title, 40), xscale="log", xlim=(low, high), ylim=(0, 1.03))
        ax.xaxis.set_major_locator(LogLocator(numticks=5))
        ax.xaxis.set_major_formatter(lambda value, _: number(value))
        ax.minorticks_off()
        parts.append(f"{title}: tends to 1 on {percent(growth.share_sure)} of {len(growth.rays)} rays")
    for ax in axes[-columns:]:
        ax.set_xlabel("alpha")
    for ax in axes[::columns]:
        ax.set_ylabel("confidence")
    alt = f"Confidence at alpha x. {'. '.join(parts)}."
    caption = (
        f"Exact confidence at alpha x for {_NUM_RAYS} random x. A dot marks where a ray enters another linear region; "
        "beyond its last dot the logits are affine in alpha."
    )
    return finish(figure, "rays", alt=alt, caption=caption)
