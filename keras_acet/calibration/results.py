"""The results of a calibration as types, which `results.json` and `metadata.json` contain unchanged."""

import dataclasses

FEWEST_FOR_CONFORMAL = 19  # 1 / alpha - 1 images at alpha = 0.05


@dataclasses.dataclass(frozen=True)
class CalibrationErrors:
    """Measures of how far confidence is from accuracy on the test set.

    Attributes:
        ece: Expected calibration error, 15 bins of equal width.
        ece_equal_mass: The same with bins of equal numbers of images.
        nll: Mean negative log-likelihood of the label, in nats.
        brier: Brier score, summed over the classes.
    """

    ece: float
    ece_equal_mass: float
    nll: float
    brier: float


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Bins of the test images by confidence.

    Attributes:
        before, after: Before and after the temperature: for each bin mean confidence, accuracy (both null where the bin
            is empty) and number of images.
    """

    before: list[tuple[float | None, float | None, int]]
    after: list[tuple[float | None, float | None, int]]


@dataclasses.dataclass(frozen=True)
class RiskCoverage:
    """Error among accepted test images, the most confident ones accepted first.

    Attributes:
        coverage: Shares of images accepted, rising.
        risk: Error among them.
        aurc: Area under the curve.
    """

    coverage: list[float]
    risk: list[float]
    aurc: float


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A rule of acceptance: an image is accepted if its score after the temperature is at least a threshold.

    Attributes:
        name: Name of the rule.
        threshold: The smallest accepted score; by default the score is the confidence.
        num_images: Number of held-out images that the threshold was computed from.
        accepted_test: Share of test images that reach it.
        accepted_worst_noise: Share of attacked noise images that reach it; null if none was attacked.
        guarantee: A sentence that says what the threshold guarantees.
    """

    name: str
    threshold: float
    num_images: int
    accepted_test: float
    accepted_worst_noise: float | None
    guarantee: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """Temperature and thresholds from held-out images, and their effect on the test set.

    Attributes:
        num_images: Number of held-out images, half of them for the temperature and half for the thresholds.
        is_held_out: Whether these images were kept out of training; null if that is not known.
        temperature: The fitted temperature.
        before, after: Calibration errors before and after the temperature.
        reliability: Bins of the test images.
        risk_coverage: Risk against coverage after the temperature.
        thresholds: One entry for each of three rules.
        source: The images, where a user gave them as kept out of training, which nothing here can check.
        temperature_note: Why the temperature is 1 where the fit found another one; null if the fit was used.
    """

    num_images: int
    is_held_out: bool | None
    temperature: float
    before: CalibrationErrors
    after: CalibrationErrors
    reliability: Reliability
    risk_coverage: RiskCoverage
    thresholds: list[Threshold]
    source: str | None = None
    temperature_note: str | None = None

    @property
    def remarks(self) -> list[str]:
        """What the held-out images were too few for, or did not determine; one sentence each."""
        notes = [] if self.temperature_note is None else [f"The temperature is 1: {self.temperature_note}."]
        if self.is_held_out and self.thresholds[2].num_images < FEWEST_FOR_CONFORMAL:
            notes.append(
                f"The conformal threshold accepts every image: {self.thresholds[2].num_images:,} images, half of those "
                f"held out, are too few for 95 %, which takes {FEWEST_FOR_CONFORMAL}."
            )
        return notes
