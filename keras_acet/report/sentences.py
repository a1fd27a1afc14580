"""The headline numbers of a run in sentences."""

from collections.abc import Sequence

from keras_acet.evaluation.results import RunResult
from keras_acet.report.formatting import number, percent, rate, value
from keras_acet.report.sets import rows_of, short

NOTABLE = 0.005  # of mean confidence; two runs of one attack from other random starts differ by less


def headline(run: RunResult) -> str:
    """Returns the most important numbers of a run in a few sentences."""
    return " ".join([_attacked(run), *_missed(run), *_ood(run), *_flat(run)])


def certified(run: RunResult) -> str:
    """Returns what the detector of a run has seen, and what holds everywhere, in a few sentences."""
    result = run.certificates
    assert result is not None
    seen = "What it was trained against is not known."
    if result.seen is not None:
        seen = f"It was trained against {', '.join(result.seen)} (marked *); what is not among that may count as data."
    everywhere = ""
    if result.bias is not None and result.excess_weight is not None:
        everywhere = (
            f" Outside the pixel range the logit of p_in is at most {number(result.bias)} less "
            f"{number(result.excess_weight)} times the total excess, for every input there is."
        )
    return (
        f"Test images have a p_in of {rate(result.p_in)} in the mean and {rate(result.p_in_low)} at the lowest per "
        f"cent. {seen}{everywhere}"
    )


def _attacked(run):
    parts = [f"test error {percent(value(run.test_error), 2)}"]
    for row in rows_of(run, "noise"):
        parts.append(f"confidence on noise {rate(row.mmc.value)}")
    for row in rows_of(run, "adversarial_noise"):
        parts.append(f"after the paper's attack {rate(row.mmc.value)} (radius {short(row.radius)})")
    worst = []
    for row in rows_of(run, "worst_case_noise"):
        above = percent(row.share_above_half.value)
        above = f"{above} of them" if worst else f"{above} of {number(row.n)} images"
        worst.append(f"{rate(row.mmc.value)} (radius {short(row.radius)}; {above} above one half)")
    if not worst:
        return ", ".join(parts) + "; no attack was run, so nothing is known about attacked noise."
    return ", ".join(parts) + ", in the worst case over the whole suite " + " and ".join(worst) + "."


def _missed(run):
    published, worst = (rows_of(run, kind) for kind in ("adversarial_noise", "worst_case_noise"))
    if published and worst and published[0].radius == worst[0].radius:
        missed = worst[0].mmc.value - published[0].mmc.value
        yield (
            f"At the same radius the paper's attack alone stays {rate(missed)} below the worst case."
            if missed > NOTABLE
            else "At the same radius the paper's attack alone reaches the worst case as well."
        )


def _ood(run):
    rows = rows_of(run, "ood")
    if rows:
        row = min(rows, key=lambda row: row.auroc.value)
        name = "The one out-distribution set" if len(rows) == 1 else "The hardest out-distribution set"
        yield (f"{name} is {row.set}: AUROC {rate(row.auroc.value)}, FPR@95 {rate(row.fpr95_id_positive.value)}.")


def _flat(run):
    flat = run.flat_share
    if flat and flat.share:
        share, threshold = percent(flat.share), _small(flat.threshold)
        yield f"On {share} of the noise images the gradient vanishes (below {threshold})."


def _small(small):
    return number(small).replace("-", "\N{NON-BREAKING HYPHEN}")


def not_known(runs: Sequence[RunResult]) -> str:
    """Names the classifiers whose test images may have been trained on; empty if there are none."""
    return ", ".join(run.name for run in runs if run.test_is_held_out is None)


def held_out(runs: Sequence[RunResult]) -> str:
    """Says on which images the temperatures were fitted."""
    parts = []
    for name, result in ((run.name, run.calibration) for run in runs if run.calibration):
        if result.temperature_note is not None:
            parts.append(f"that of {name} is 1: {result.temperature_note}")
        if result.source is not None:
            parts.append(f"{name} on {number(result.num_images)} images given as kept out of training, {result.source}")
            continue
        kept = {
            True: "images held out of the training data, half of them for each",
            False: "images that it was trained on, so its calibration looks better than it is",
            None: "images that it may have been trained on; then its calibration looks better than it is",
        }[result.is_held_out]
        parts.append(f"{name} on {number(result.num_images)} {kept}")
    return "; ".join(parts)


def success_rates(runs: Sequence[RunResult]) -> str:
    """Share of test images whose class the attack changed, per run; empty when nothing was attacked."""
    parts = []
    for run in runs:
        for row in run.rows:
            if row.success_rate and row.radius is not None:
                success = percent(row.success_rate.value)
                parts.append(f"{run.name} {success} (radius {short(row.radius)})")
    return ", ".join(parts)


def flat_shares(runs: Sequence[RunResult]) -> str:
    """Share of noise images where the gradient vanishes, per run; empty when it was not measured."""
    shares = [(run.name, run.flat_share) for run in runs if run.flat_share]
    return ", ".join(
        f"{name} {percent(flat.share)} (every entry below {_small(flat.threshold)})" for name, flat in shares
    )
