"""Notices a detector that learned nothing, or that refuses images of the data."""

import numpy as np
from scipy.special import expit

_CONSTANT = 1e-3  # spread of the logit
_MOST_REFUSED = 0.05


def complaints(logits: np.ndarray) -> list[str]:
    """Tells in sentences what is wrong with a detector, from its logits on images of the data.

    Args:
        logits: Float array `(n,)`, `g` of images that it was not trained on.

    Returns:
        A sentence if the logit is the same for all images, within 1e-3: a detector that collapsed to a constant. One if
        `p_in` is below 1/2 for more than 5 % of them. Else none.

    Example:

    >>> complaints(np.array([4.0, 4.0]))[0]
    'the detector has collapsed: p_in is 0.982 for every image; train longer, or with a smaller `epsilon`'
    >>> complaints(np.array([4.0, 5.0, -1.0]))[0]
    'p_in is below 1/2 for 33.3 % of the test images; train longer, or with a smaller `epsilon`'
    >>> complaints(np.array([4.0, 5.0]))
    []
    """
    p_in = expit(logits.astype(np.float64))
    if np.ptp(logits) < _CONSTANT:
        return [
            f"the detector has collapsed: p_in is {p_in.mean():.3g} for every image; train longer, or with a smaller "
            "`epsilon`"
        ]
    share = float(np.mean(p_in < 0.5))
    if share > _MOST_REFUSED:
        return [
            f"p_in is below 1/2 for {100 * share:.1f} % of the test images; train longer, or with a smaller `epsilon`"
        ]
    return []
