"""From scores to rows: what is measured on each set, against the test set."""

from keras_acet import metrics
from keras_acet._prediction import confidence_of

_NOT_MEASURED = {"value": None, "low": None, "high": None}


def test_row(name, logits):
    """The row of the test set: no detection metrics, it is what the others are compared with."""
    return {"set": name, "kind": "test", "radius": None, "note": "", **_confidence_numbers(confidence_of(logits))}


def row(name, kind, logits, test_logits, *, protocol, radius=None, note=""):
    """The row of a set, compared with the test set.

    Args:
        name: What the set is called.
        kind: "ood", "noise", "adversarial_noise", "worst_case_noise", "worst_case_ood" or "adversarial_samples".
        logits: Float array `(n, num_classes)`; of no images it becomes the row of a missing set.
        test_logits: Float array `(m, num_classes)`.
        protocol: `Protocol`, for the bootstrap.
        radius: Radius of the attack in pixel units, or None.
        note: Text for the reader.
    """
    if not len(logits):
        return missing_row(name, kind, note or "no image of this kind", radius=radius)
    confidence, test_confidence = confidence_of(logits), confidence_of(test_logits)
    detection = metrics.bootstrap_ood_metrics(
        test_confidence, confidence, num_resamples=protocol.num_bootstrap, seed=protocol.seed
    )
    return {"set": name, "kind": kind, "radius": radius, "note": note, **_confidence_numbers(confidence), **detection}


def missing_row(name, kind, note, *, radius=None):
    """The row of a set that could not be had; `note` says why."""
    numbers = {metric: dict(_NOT_MEASURED) for metric in ("mmc", "share_above_half", *metrics.OOD_METRICS)}
    return {"set": name, "kind": kind, "radius": radius, "note": note, "n": 0, **numbers}


def _confidence_numbers(confidence):
    return {
        "n": len(confidence),
        "mmc": metrics.mean_max_confidence(confidence),
        "share_above_half": metrics.share_above(confidence),
    }
