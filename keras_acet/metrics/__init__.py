"""Metrics of arrays: MMC, AUROC, FPR@95, AUPR, ECE, NLL, Brier and their intervals. NumPy, no TensorFlow.

The score is the maximal confidence of an image. A measured number is a dict of floats `{"value", "low", "high"}` with
its 95 % interval; the ends are None where there is none. All sums are float64.
"""

# isort: off
from keras_acet.metrics.calibration import bin_by_confidence
from keras_acet.metrics.calibration import brier_score
from keras_acet.metrics.calibration import expected_calibration_error
from keras_acet.metrics.calibration import negative_log_likelihood
from keras_acet.metrics.checks import check_confidence
from keras_acet.metrics.logits import check_labels
from keras_acet.metrics.logits import confidence_and_correctness
from keras_acet.metrics.logits import log_softmax
from keras_acet.metrics.logits import logit_gaps
from keras_acet.metrics.logits import max_confidence
from keras_acet.metrics.measured import Measured
from keras_acet.metrics.ood import OOD_METRICS
from keras_acet.metrics.ood import bootstrap_ood_metrics
from keras_acet.metrics.ood import ood_metrics
from keras_acet.metrics.shares import classification_error
from keras_acet.metrics.shares import mean_max_confidence
from keras_acet.metrics.shares import share
from keras_acet.metrics.shares import share_above
# isort: on

__all__ = [
    "OOD_METRICS",
    "Measured",
    "bin_by_confidence",
    "bootstrap_ood_metrics",
    "brier_score",
    "check_confidence",
    "check_labels",
    "classification_error",
    "confidence_and_correctness",
    "expected_calibration_error",
    "log_softmax",
    "logit_gaps",
    "max_confidence",
    "mean_max_confidence",
    "negative_log_likelihood",
    "ood_metrics",
    "share",
    "share_above",
]
