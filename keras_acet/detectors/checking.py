"""Notices a detector that learned nothing, or that refuses images of the data."""

import numpy as np
from scipy.special import expit

_CONSTANT = 1e-3  # spread of the logit
_MOST_REFUSED = 0.05
_MOST_OUT = 0.5


def complaints(logits: np.ndarray, p_in_bound: float | None = None) -> list[str]:
    """Tells in sentences what is wrong with a detector, from its logits on images of the data.

    Args:
        logits: Float array `(n,)`, `g` of images that it was not trained on.
        p_in_bound: Mean of the bound of `p_in` over the out-distribution, as `DetectorModel.fit` reports it for its
            last epoch; None if not known.

    Returns:
        A sentence if that bound is above 1/2, so that next to nothing is certified. One if the logit is the same for
        all images, within 1e-3: a detector that collapsed to a constant; else one if `p_in` is below 1/2 for more than
        5 % of them.

    Example:

    >>> complaints(np.array([4.0, 4.0]))[0]
    'the detector has collapsed: p_in is 0.982 for every image; train longer, or with a smaller `epsilon`'
    >>> complaints(np.array([4.0, 5.0, -1.0]))[0]
    'p_in is below 1/2 for 33.3 % of the test images; train longer, or with a smaller `epsilon`'
    >>> complaints(np.array([4.0, 5.0]), 0.993)[0]
    'the bound never fell: p_in is bounded by 0.993 where it should be near 0, which certifies next to nothing; train \
for more steps, with more `epochs` or a smaller `batch_size`, or with a smaller `epsilon`'
    >>> complaints(np.array([4.0, 5.0]), 0.01)
    []
    """
    found = []
    if p_in_bound is not None and p_in_bound > _MOST_OUT:
        found.append(
            f"the bound never fell: p_in is bounded by {p_in_bound:.3g} where it should be near 0, which certifies "
            "next to nothing; train for more steps, with more `epochs` or a smaller `batch_size`, or with a smaller "
            "`epsilon`"
        )
    p_in = expit(logits.astype(np.float64))
    if np.ptp(logits) < _CONSTANT:
        return [
            *found,
            f"the detector has collapsed: p_in is {p_in.mean():.3g} for every image; train longer, or with a smaller "
            "`epsilon`",
        ]
    share = float(np.mean(p_in < 0.5))
    if share > _MOST_REFUSED:
        return [
            *found,
            f"p_in is below 1/2 for {100 * share:.1f} % of the test images; train longer, or with a smaller `epsilon`",
        ]
    return found
