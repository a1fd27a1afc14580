"""Temperature, reliability, risk against coverage and thresholds, from logits and a score."""

# isort: off
from keras_acet.calibration.fitting import accepting_threshold
from keras_acet.calibration.fitting import calibrate
from keras_acet.calibration.fitting import conformal_threshold
from keras_acet.calibration.fitting import fit_temperature
from keras_acet.calibration.fitting import reliability
from keras_acet.calibration.fitting import risk_coverage
from keras_acet.calibration.fitting import thresholds
from keras_acet.calibration.results import CalibrationErrors
from keras_acet.calibration.results import CalibrationResult
from keras_acet.calibration.results import Reliability
from keras_acet.calibration.results import RiskCoverage
from keras_acet.calibration.results import Threshold
# isort: on

__all__ = [
    "CalibrationErrors",
    "CalibrationResult",
    "Reliability",
    "RiskCoverage",
    "Threshold",
    "accepting_threshold",
    "calibrate",
    "conformal_threshold",
    "fit_temperature",
    "reliability",
    "risk_coverage",
    "thresholds",
]
