"""The evaluation of one classifier, and those of several classifiers together, as `results.json` holds them."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from keras_acet.datasets import Data
from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.measurements import Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import SCHEMA_VERSION, DataFacts, Results, Row, RunResult, Settings
from keras_acet.version import installed_versions


@dataclasses.dataclass(frozen=True)
class About:
    """The part of the results that all classifiers of an evaluation share.

    Attributes:
        data, settings, measurements: See `Results`.
    """

    data: DataFacts
    settings: Settings
    measurements: list[dict[str, Any]]

    @classmethod
    def of(cls, data: Data, protocol: Protocol, measurements: Sequence[Measurement]) -> "About":
        """Describes what was measured.

        Args:
            data: `datasets.Data`.
            protocol: `Protocol` for these data.
            measurements: Those of the evaluation, without open settings.
        """
        facts = DataFacts(
            name=data.name,
            num_classes=data.num_classes,
            class_names=[str(name) for name in data.class_names],
            image_shape=[int(size) for size in data.image_shape],
            num_test=len(data.test_labels),
            fingerprint=data.fingerprint,
            test_is_split_off=data.test_is_split_off or None,
        )
        numbers: dict[str, Any] = {}
        for measurement in measurements:
            for name, value in measurement.settings().items():
                numbers.setdefault(name, value)
            if measurement.settings().get("alpha") == "exact":
                numbers["alpha"] = "exact"
        names = [field.name for field in dataclasses.fields(Settings)]
        known: dict[str, Any] = {
            "quick": protocol.is_quick,
            "num_images": protocol.num_images,
            "num_bootstrap": protocol.num_bootstrap,
            "score": repr(protocol.score),
            "seed": protocol.seed,
        }
        given: dict[str, Any] = {name: known.get(name, numbers.get(name)) for name in names}
        return cls(facts, Settings(**given), [measurement.description() for measurement in measurements])


class Evaluation:
    """The evaluation of one classifier.

    `print(evaluation)` shows the table; `evaluation["noise"]` is the row with that label.

    Attributes:
        result: `RunResult`: rows, attacks, calibration and so on.
        arrays: `Arrays` for figures: confidences and example images.
        history: List of one dict per epoch of the training, may be empty.
        about: `About`, what all classifiers of an evaluation have in common.
    """

    def __init__(self, result: RunResult, arrays: Arrays, history: list[dict[str, Any]], about: About) -> None:
        self.result = result
        self.arrays = arrays
        self.history = history
        self.about = about

    @property
    def rows(self) -> list[Row]:
        return self.result.rows

    def __getitem__(self, label: str) -> Row:
        """Returns the row with this label; if several rows have it, the first one.

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if row.label == label:
                return row
        raise KeyError(f"A row must be one of {[row.label for row in self.rows]}. Received: {label!r}.")

    def __str__(self) -> str:
        width = max([len(row.label) for row in self.rows], default=3)
        lines = [f"{'set':{width}}  images    MMC  > 50 %  AUROC  FPR@95"]
        for row in self.rows:
            mmc, above, auroc, fpr = (
                None if one is None else one.value
                for one in (row.mmc, row.share_above_half, row.auroc, row.fpr95_id_positive)
            )
            note = row.note if row.n else f"not available: {row.note}"
            shown = [f"{row.n:6d}" if row.n else "     -"]
            shown += ["     -" if mmc is None else f"{mmc:6.3f}", "      -" if above is None else f"{above:7.1%}"]
            shown += ["     -" if auroc is None else f"{auroc:6.3f}", "      -" if fpr is None else f"{fpr:7.1%}"]
            lines.append(f"{row.label:{width}}  {' '.join(shown)}  {note}".rstrip())
        return "\n".join([*lines, *self._certified()])

    def _certified(self) -> list[str]:
        """A line for each certificate of the noise that a detector was trained against, or of the first set."""
        result = self.result.certificates
        if result is None:
            return []
        names = {"paper": "noise like the paper's", "uniform": "uniform noise"}
        return [
            f"certified, {names.get(one.set, one.set)}, within {one.radius:g}: mean confidence at most "
            f"{one.certified_mmc:.4f}, {one.share_below_level:.2%} at most {result.level:.3g}, "
            f"FPR@95 at most {one.certified_fpr95:.2%}"
            for one in result.sets
            if one.seen or one.set == result.sets[0].set
        ]


def results(evaluations: Sequence[Evaluation], command: str | None = None) -> Results:
    """Returns what stands in `results.json`: what was run on what, and the numbers of every classifier.

    Args:
        evaluations: The evaluations of one call of `evaluate_all`, or the one of `evaluate`; at least one.
        command: The command line, or None.
    """
    about = evaluations[0].about
    return Results(
        schema_version=SCHEMA_VERSION,
        created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        versions=installed_versions(),
        command=command,
        data=about.data,
        settings=about.settings,
        measurements=about.measurements,
        runs=[evaluation.result for evaluation in evaluations],
    )
