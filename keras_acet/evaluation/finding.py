"""The result of one measurement on one classifier, from which the evaluation is put together."""

import dataclasses
from typing import Any, NamedTuple

from keras_acet import metrics
from keras_acet._prediction import confidence_of
from keras_acet.evaluation.arrays import Arrays, ShownImages
from keras_acet.evaluation.results import AttackResult, Measured, Row, measured
from keras_acet.evaluation.subject import ArrayDict, Subject


class LeftOut(NamedTuple):
    """Something that could not be measured.

    Attributes:
        label: Its name in the report.
        reason: Why, in words.
    """

    label: str
    reason: str


@dataclasses.dataclass
class Finding:
    """The result of a measurement on one classifier.

    Attributes:
        rows: Rows of the tables, one per set.
        attacks: The result of each attack.
        results: By name: fields of `RunResult`, or results of other names, values that `typed_json.to_json` writes.
        arrays: The arrays that figures are drawn from.
        left_out: What could not be measured, and why.
    """

    rows: list[Row] = dataclasses.field(default_factory=list)
    attacks: list[AttackResult] = dataclasses.field(default_factory=list)
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: Arrays = dataclasses.field(default_factory=Arrays)
    left_out: list[LeftOut] = dataclasses.field(default_factory=list)

    def add_row(
        self,
        subject: Subject,
        outputs: ArrayDict,
        *,
        kind: str,
        set: str,
        label: str,
        radius: float | None = None,
        note: str = "",
        prefix: str = "",
        success_rate: Measured | None = None,
    ) -> None:
        """Adds the row of a set, compared with the test set, and what figures show of it.

        Args:
            subject: The classifier that was measured.
            outputs: Dict of arrays: the `Subject.outputs` of the set's images; perhaps "images" and "shown", as in
                `Subject.outputs_with_examples`. Of no images it becomes the row of a missing set.
            kind, set, radius, label, note, success_rate: See `results.Row`.
            prefix: Beginning of the names in `outputs`.
        """
        logits = outputs[f"{prefix}logits"]
        if not len(logits):
            self.add_missing_row(kind=kind, set=set, label=label, radius=radius, note=note or "no image of this kind")
            self.rows[-1] = dataclasses.replace(self.rows[-1], success_rate=success_rate)
            return
        confidence, score = confidence_of(logits), subject.scores(outputs, prefix)
        detection = metrics.bootstrap_ood_metrics(
            subject.test_scores(),
            score,
            num_resamples=subject.protocol.num_bootstrap,
            seed=subject.seed,
        )
        row = Row(
            set=set,
            kind=kind,
            radius=radius,
            label=label,
            n=len(logits),
            note=note,
            **confidence_numbers(confidence),
            **{name: measured(numbers) for name, numbers in detection.items()},
            success_rate=success_rate,
        )
        self.rows.append(row)
        self.arrays.confidence[row.key], self.arrays.score[row.key] = confidence, score
        if "shown" in outputs:
            shown = logits[outputs["shown"]]
            self.arrays.shown[row.key] = ShownImages(outputs["images"], confidence_of(shown), shown.argmax(axis=1))

    def add_missing_row(self, *, kind: str, set: str, label: str, note: str, radius: float | None = None) -> None:
        """Adds the row of a set that could not be measured; `note` says why."""
        self.rows.append(Row(set=set, kind=kind, radius=radius, label=label, n=0, note=note))


def confidence_numbers(confidence: Any) -> dict[str, Measured]:
    """Returns the numbers of a row that come from the confidences of its images alone."""
    return {
        "mmc": measured(metrics.mean_max_confidence(confidence)),
        "share_above_half": measured(metrics.share_above(confidence)),
    }
