"""The check of arrays of scores."""

import numpy as np
import numpy.typing as npt


def check_confidence(name: str, confidence: npt.ArrayLike) -> np.ndarray:
    """Returns scores as a float32 or float64 array of shape `(n,)`, n >= 1, all finite, or raises a ValueError."""
    confidence = np.asarray(confidence)
    if confidence.ndim != 1 or not len(confidence) or confidence.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be numbers of shape (n,), one score per image and at least one. Received: dtype "
            f"{confidence.dtype}, shape {confidence.shape}. From logits: `max_confidence(logits)`."
        )
    if confidence.dtype not in (np.float32, np.float64):
        confidence = confidence.astype(np.float64)
    finite = np.isfinite(confidence)
    if not finite.all():
        raise ValueError(
            f"`{name}` must be finite. Received: {(~finite).sum()} of {len(confidence)} are not, the first "
            f"{confidence[~finite][0]} at index {finite.argmin()}. Look at the logits of these images."
        )
    return confidence
