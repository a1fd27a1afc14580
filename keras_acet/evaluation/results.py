"""The results of an evaluation as types: `typed_json` writes them, and the schema of `results.json` is made of them."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from keras_acet.calibration import CalibrationResult
from keras_acet.typed_json import from_json

SCHEMA_VERSION = 2


class SetKey(NamedTuple):
    """Identifies a set of images: rows of several runs that have the same key stand beside each other.

    Attributes:
        kind: Such as "ood"; see `Row`.
        set: The name of the set within its kind.
        radius: Radius of the attack, or None.
    """

    kind: str
    set: str
    radius: float | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measured number with its 95 % interval.

    Attributes:
        value: The number.
        low, high: The ends of the interval, null where there is none.
    """

    value: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A set of images and what was measured on it; kind, set and radius together are different for each row of a run.

    Attributes:
        set: Name of the set within its kind.
        kind: "test", "ood", "noise", "adversarial_noise" (the first attack of the suite alone, the paper's),
            "worst_case_noise", "worst_case_ood", "adversarial_samples" (its set is "changed" for those whose class
            changed, else "all"), or that of a measurement of your own.
        radius: Radius of the attack, l_inf in pixel units, or null.
        label: Text that a reader sees in place of kind, set and radius.
        n: Number of images. If the set is missing, it is 0, `note` says why, and there are no numbers.
        note: A remark, such as the radius of the attack.
        mmc: Mean maximal softmax confidence.
        share_above_half: Share of images with a confidence above one half.
        auroc, auroc_ties_against, fpr95_id_positive, fpr95_ood_positive, aupr_id_positive, aupr_ood_positive: Of the
            score, against the test set, see `metrics.ood_metrics`; not for the test set itself.
        success_rate: Share of the attacked images whose class changed, only for kind "adversarial_samples".
        test_error: Share of wrong classes, only for kind "test".
    """

    set: str
    kind: str
    radius: float | None
    label: str
    n: int
    note: str
    mmc: Measured | None = None
    share_above_half: Measured | None = None
    auroc: Measured | None = None
    auroc_ties_against: Measured | None = None
    fpr95_id_positive: Measured | None = None
    fpr95_ood_positive: Measured | None = None
    aupr_id_positive: Measured | None = None
    aupr_ood_positive: Measured | None = None
    success_rate: Measured | None = None
    test_error: Measured | None = None

    @property
    def key(self) -> SetKey:
        return SetKey(self.kind, self.set, self.radius)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackResult:
    """The result of one attack of a suite on the noise images.

    Attributes:
        name: Name of the attack.
        radius: l_inf, in pixel units.
        objective: The function whose gradient the attack followed, "log confidence" or "logit gap"; "none" where known
            points were tried instead.
        start: Where it began; "transferred" for points that were known before.
        steps: Number of steps.
        mmc: Mean confidence of the attacked images.
        share_above_half: Share of them with a confidence above one half.
        curve: Pairs of a number of steps and the mean of the best confidence so far, or null.
        num_skipped: Number of images that the attack skipped because earlier attacks had brought their confidence to at
            least .995; they enter its other numbers with that confidence.
        transferred_from: The classifier whose attacks gave the points, if it was another one.
    """

    name: str
    radius: float
    objective: str
    start: str
    steps: int
    mmc: float
    share_above_half: float
    curve: list[tuple[int, float]] | None
    num_skipped: int
    transferred_from: str | None = None


@dataclasses.dataclass(frozen=True)
class FlatShare:
    """The share of noise images at which the gradient of the log confidence vanishes.

    Attributes:
        share: Share of noise images at which every entry of the log confidence's gradient is below the threshold in
            size.
        threshold: That threshold.
        radius: Radius of the attacks on these images.
    """

    share: float
    threshold: float
    radius: float


@dataclasses.dataclass(frozen=True)
class BoundAtRadius:
    """The mean confidence that an attack reaches and the bound that is proven, at one radius.

    Attributes:
        radius: l_inf, in pixel units.
        attacked: Mean confidence after an attack, which gives a lower bound of the worst case.
        bound: Mean of the interval bounds, which no attack exceeds.
        share_below: Share of images bounded below the level.
    """

    radius: float
    attacked: float
    bound: float
    share_below: float


@dataclasses.dataclass(frozen=True)
class IntervalBoundsResult:
    """Attacks and interval bounds on the same noise images.

    Attributes:
        num_images: Number of noise images.
        level: The confidence of `share_below`.
        radii: One entry per radius, in rising order.
    """

    num_images: int
    level: float
    radii: list[BoundAtRadius]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a detector proves about a set of images at one radius, beside what an attack on it reaches.

    Attributes:
        set: Name of the set or kind of noise.
        kind: "noise", freshly drawn, or "ood".
        radius: l_inf, in pixel units.
        seen: Whether the detector was trained against it; null if nothing says so.
        n: Number of images.
        mmc: Mean confidence of the images as they are.
        certified_mmc: Mean of the bounds of the confidence within the radius, whatever the classifier.
        share_below_level: Share of images with a bound of at most the level.
        at_least: With 99.9 % confidence at least this share of all images of the kind has such a bound (Clopper and
            Pearson); null for a set of images, and where there is none.
        certified_auroc: AUROC of the logits of the test images against the bounds, a tie counted against us.
        certified_fpr95: Share of images whose bound reaches the 5th percentile of the test images' logits.
        quantiles: Pairs of a share and the quantile of the bounds.
        num_attacked: Number of images that were attacked.
        attacked: Mean over these of the largest confidence that any classifier could have at the strongest point that
            was found. Null if none was attacked.
        attacked_bound: Mean of the bounds of the same images, with which `attacked` compares.
        attacked_mmc: Mean confidence of this classifier at these points.
    """

    set: str
    kind: str
    radius: float
    seen: bool | None
    n: int
    mmc: float
    certified_mmc: float
    share_below_level: float
    at_least: float | None
    certified_auroc: float
    certified_fpr95: float
    quantiles: list[tuple[float, float]]
    num_attacked: int
    attacked: float | None
    attacked_bound: float | None
    attacked_mmc: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertificatesResult:
    """What the detector beside a classifier proves. No attack came above a bound.

    Attributes:
        level: The confidence of `share_below_level`: `1/K + 0.02`.
        method: How the bounds were computed, "intervals" or "linear".
        bias, excess_weight: b and c of the bound `1/K + (1 - 1/K) sigma(b - c dist_1(x, [0, 1]^d))`, which holds
            everywhere; null for a detector of another kind.
        temperature: Temperature of the classifier's softmax.
        seen: What the detector was trained against; null if nothing says so. What is not among it may count as in.
        p_in: Mean of p_in over the test images.
        p_in_low: Its 1 % quantile.
        sets: One entry per set and radius.
    """

    level: float
    method: str
    bias: float | None
    excess_weight: float | None
    temperature: float
    seen: list[str] | None
    p_in: float
    p_in_low: float
    sets: list[Certificate]


@dataclasses.dataclass(frozen=True)
class ExactAlphaResult:
    """The smallest alpha from the linear pieces of the network, for the inputs of the scan.

    Attributes:
        median_alpha: Median over the inputs, null if it is infinite.
        share_reached: Share of inputs for which some alpha suffices, however large.
    """

    median_alpha: float | None
    share_reached: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaScalingResult:
    """Table 2 of the paper: uniform random inputs, scaled until the network is sure.

    Attributes:
        num_trials: Number of inputs.
        median_alpha: Median of the smallest alpha by the scan, null if it is infinite.
        share_reached: Share of inputs for which an alpha up to `largest_alpha` suffices.
        exact: The same computed exactly; null if it was not asked for or the network's linear pieces are not known.
        level: Confidence that an input reaches at its smallest alpha.
        share_confident_clipped: Share of inputs that some alpha makes more confident than `clipped_level` after
            clipping to [0, 1].
        clipped_level: The confidence of `share_confident_clipped`.
        largest_alpha: The largest alpha that the scan tries.
    """

    num_trials: int
    median_alpha: float | None
    share_reached: float
    exact: ExactAlphaResult | None
    level: float
    share_confident_clipped: Measured
    clipped_level: float
    largest_alpha: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """The results of one classifier.

    Attributes:
        name: Name of the classifier in this evaluation; different for each run.
        path: Where it was loaded from.
        kind: Kind of classifier: "run", "keras", "savedmodel", "onnx" or "function".
        method: "plain", "ceda", "acet" or null.
        flags: Flags of its training, by name.
        model_sha256: SHA-256 of its files.
        differentiable: Whether gradients of the logits with respect to the images can be computed.
        test_error: Share of test images with a wrong class; null if the test set was not measured.
        seconds: Time that its results took; those taken from the store as long as they took when they were made.
        rows: One per set.
        attacks: One per attack on noise, in order.
        flat_share: Share of the noise with a vanishing gradient; null if not measured.
        interval_bounds: Attacks and proven bounds at rising radii; null if not measured.
        alpha_scaling: Table 2 of the paper; null if not measured.
        certificates: What the detector beside it proves; null if there is none, or it was not measured.
        calibration: Temperature and thresholds; null if not measured.
        more: Results of other measurements, by their names.
        left_out: Sentences that name what was left out and why.
        test_is_held_out: Whether the test images were kept out of training; absent if that is not known.
    """

    name: str
    path: str | None
    kind: str
    method: str | None
    flags: dict[str, str] | None
    model_sha256: str | None
    differentiable: bool
    test_error: Measured | None
    seconds: float
    rows: list[Row]
    attacks: list[AttackResult]
    flat_share: FlatShare | None
    interval_bounds: IntervalBoundsResult | None
    alpha_scaling: AlphaScalingResult | None
    calibration: CalibrationResult | None
    more: dict[str, Any]
    left_out: list[str]
    certificates: CertificatesResult | None = None
    test_is_held_out: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data set that the classifiers were measured on.

    Attributes:
        name: Name of the data set.
        num_classes: Number of classes.
        class_names: One per class.
        image_shape: Shape of an image.
        num_test: Number of test images.
        fingerprint: First 16 hex digits of a SHA-256 of training and test set.
        test_is_split_off: True if the data came without a test set, and a fifth of each class stands for it; absent
            otherwise.
    """

    name: str
    num_classes: int
    class_names: list[str]
    image_shape: list[int]
    num_test: int
    fingerprint: str
    test_is_split_off: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the evaluation; null where no measurement has the setting.

    Attributes:
        quick: Whether this was a quick run for a first look, on subsets.
        num_images: Number of images scored of each set, 0 for all.
        epsilon: Radius of the attacks on noise and on test images, l_inf in pixel units.
        larger_epsilon: The second radius for worst-case noise.
        ood_epsilon: Radius of the attacks on out-distribution sets.
        num_noise: Number of noise images under attack.
        num_bounded: Number of noise images whose worst case was bounded from above.
        num_adversarial: Number of test images, and of images of each out-distribution set, under attack.
        num_trials: Number of inputs scaled for Table 2.
        alpha: "scan", or "exact" for the exact alpha in addition to the scan.
        num_bootstrap: Number of bootstrap replicates behind each interval.
        score: The score that tells test images from others, such as "MaxSoftmax(temperature=1.0)".
        seed: Seed of noise, attacks, choices of images and bootstrap replicates.
    """

    quick: bool
    num_images: int
    epsilon: float | None
    larger_epsilon: float | None
    ood_epsilon: float | None
    num_noise: int | None
    num_bounded: int | None
    num_adversarial: int | None
    num_trials: int | None
    alpha: str | None
    num_bootstrap: int
    score: str
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that stands in `results.json`.

    Attributes:
        schema_version: 2.
        created: Time, ISO 8601.
        versions: Package to version.
        command: The command line, or null.
        data: The data set.
        settings: The settings of the evaluation.
        measurements: Every measurement: its name and all its settings.
        runs: One per classifier.
    """

    schema_version: int
    created: str
    versions: dict[str, str]
    command: str | None
    data: DataFacts
    settings: Settings
    measurements: list[dict[str, Any]]
    runs: list[RunResult]


def measured(numbers: Mapping[str, Any]) -> Measured:
    """Returns a number and its interval, a dict as the functions of `metrics` return it, as `Measured`."""
    return from_json(Measured, dict(numbers))


def first_of(rows: Iterable[Row], kind: str) -> Row | None:
    """Returns the first row of a kind that has numbers, or None."""
    return next((row for row in rows if row.kind == kind and row.n), None)
