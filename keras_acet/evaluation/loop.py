"""From classifiers and their data to rows, numbers and arrays: a loop over a list of measurements."""

import collections
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from keras_acet import _keras_settings, _progress
from keras_acet.classifiers import Classifier, as_classifier, check
from keras_acet.datasets import Data
from keras_acet.datasets.sources import without_folders
from keras_acet.evaluation.evaluation import About, Evaluation
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements import Measurement, defaults, resolved
from keras_acet.evaluation.protocol import Protocol, Suite
from keras_acet.evaluation.results import RunResult, SetKey
from keras_acet.evaluation.store import Store
from keras_acet.evaluation.subject import Subject
from keras_acet.typed_json import to_json

Model: TypeAlias = keras.Model | Classifier | Callable[[tf.Tensor], tf.Tensor] | str | os.PathLike[str]
Progress = Callable[[str, str, float, float], None]


@_keras_settings.standard()
def evaluate(
    model: Model,
    data: Data,
    protocol: Protocol | None = None,
    *,
    measurements: Iterable[Measurement | str] | None = None,
    suite: Suite | None = None,
    transfer_from: Sequence[Model] = (),
    store: Store | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Measures a classifier on its test set and away from it, and attacks it.

    Rows: the test set with its error; every out-distribution set of the data; noise; adversarial noise, attacked with
    the first of `suite` alone, and worst-case noise, the worst per image over all of it, at two radii; out-distribution
    sets and test images attacked.
    The evaluation also holds Table 2 of the paper (`alpha_scaling`), calibration, the result of each attack, and
    interval bounds, which no attack exceeds.

    Args:
        model: `keras.Model` from images to logits, an `ACETModel` too; a function that TensorFlow can differentiate; a
            `classifiers.Classifier`; or a path, as of a run. Nothing of it is changed.
        data: `datasets.Data`.
        protocol: `Protocol`; None for its defaults.
        measurements: Measurements to make: names, as `["test_set", "noise"]`, objects of `evaluation.measurements` or
            your own; None for `measurements.defaults(protocol, data)`. Settings that they leave open are those of the
            protocol.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise, such as `worst_case_attacks`; None for
            that of the protocol, `full_suite`.
        transfer_from: Other such models for the same data, whose worst cases are tried too.
        store: `Store` for what is done; None keeps nothing on disk.
        verbose: Whether to tell on stderr what is measured and about how long the rest will take.

    Returns:
        `Evaluation`. Nothing is dropped: every test image counts.

    Example:

    >>> import numpy as np
    >>> images, labels = np.linspace(0, 1, 8, dtype="float32")[:, None], np.array([0, 1] * 4)
    >>> from keras_acet import datasets
    >>> data = datasets.Data(name="toy", train=(images, labels), test=(images, labels), batch_size=4)
    >>> small = Protocol(epsilon=0.1, num_noise=8, num_bounded=0, num_trials=10, num_bootstrap=10)
    >>> evaluate(lambda x: tf.concat([4 * x, 1 - x], axis=1), data, small)["noise"].n
    8
    """
    classifiers = [check(as_classifier(one), data) for one in (model, *transfer_from)]
    names = [classifiers[0].name]  # functions have no names of their own
    names += [f"{other.name}, other {number}" for number, other in enumerate(classifiers[1:], start=1)]
    protocol = protocol or Protocol()
    if suite is not None:
        protocol = protocol.replace(suite=suite)
    shown = _progress.Progress() if verbose else None
    evaluations = evaluate_all(
        classifiers,
        data,
        protocol,
        measurements=measurements,
        names=names,
        store=store,
        progress=shown.stage if shown else None,
        num_measured=1,
    )
    try:
        return next(evaluations)
    finally:
        if shown is not None:
            shown.end()


def evaluate_all(
    classifiers: Sequence[Classifier],
    data: Data,
    protocol: Protocol | None = None,
    *,
    measurements: Iterable[Measurement | str] | None = None,
    suite: Suite | None = None,
    names: Sequence[str] | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
    num_measured: int | None = None,
) -> Iterator[Evaluation]:
    """Evaluates classifiers side by side; the worst cases of each are tried on all others.

    Args:
        classifiers: List of `classifiers.Classifier`, all for the same data, as `classifiers.check` gives them back.
        data: `datasets.Data`.
        protocol, measurements, suite: As for `evaluate`.
        names: Names of the classifiers, all different; None for `names_apart(classifiers)`.
        store: `Store` for what is done; None keeps nothing on disk.
        progress: None, or a function `(classifier name, stage, done, remaining)` called before each stage and attack
            with the numbers of forward passes done and to come, roughly.
        num_measured: Only the first so many are measured, the others are transferred from; None for all.

    Yields:
        One `Evaluation` per classifier, in order.
    """
    protocol = (protocol or Protocol()).for_data(data)
    if suite is not None:
        protocol = protocol.replace(suite=suite)
    chosen = resolved(defaults(protocol, data) if measurements is None else measurements, protocol, data)
    names = names_apart(classifiers) if names is None else names
    subjects = [
        Subject(classifier, data, protocol, store, name=name)
        for classifier, name in zip(classifiers, names, strict=True)
    ]
    measured = subjects[:num_measured]
    sources = [one for one in subjects if one.is_differentiable]
    for one in measured:
        one.others = [other for other in sources if other is not one]
        one.measurements = chosen
    # Each network's own attacks come first; after that the points that they found are tried on the other networks.
    first, second = zip(*(_plan(one, chosen) for one in measured), strict=True)
    shared = [_stages(one, _transferred(chosen)) for one in sources if one not in measured]
    work = _Work(progress, [stage for plan in (*first, *shared, *second) for stage in plan])
    for plan in (*first, *shared):
        work.do(plan)
    about = About.of(data, protocol, chosen)
    for one, plan in zip(measured, second, strict=True):
        work.do(plan)
        yield _put_together(one, about)


def names_apart(classifiers: Sequence[Classifier]) -> list[str]:
    """Returns a name for each classifier: its own, with that of its folder where two are the same, else a number."""
    names = [classifier.name for classifier in classifiers]
    names = [
        f"{classifier.path.resolve().parent.name}/{name}" if names.count(name) > 1 and classifier.path else name
        for classifier, name in zip(classifiers, names, strict=True)
    ]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)]


class _Stage(NamedTuple):
    subject: Subject
    measurement: Measurement
    cost: float  # in forward passes, roughly; 0 if it lies in the store


class _Work:
    """Does one stage after another and reports the progress."""

    def __init__(self, progress: Progress | None, stages: Sequence[_Stage]) -> None:
        self._progress = progress
        self._done, self._remaining = 0.0, sum(stage.cost for stage in stages)

    def do(self, stages: Iterable[_Stage]) -> None:
        for stage in stages:
            tell = functools.partial(self._tell, stage)
            tell()
            stage.subject.arrays(stage.measurement, tell)
            self._done, self._remaining = self._done + stage.cost, self._remaining - stage.cost

    def _tell(self, stage: _Stage, detail: str = "", share: float = 0.0) -> None:
        if self._progress is not None:
            title = stage.measurement.title
            text, done = f"{title}: {detail}" if detail else title, share * stage.cost
            self._progress(stage.subject.name, text, self._done + done, self._remaining - done)


def _plan(subject: Subject, measurements: Sequence[Measurement]) -> tuple[list[_Stage], list[_Stage]]:
    """The stages of a classifier in order: those up to the last one that other classifiers need, and the rest."""
    stages = _stages(subject, measurements)
    needed = {_key(subject, one) for one in _transferred(measurements)}
    last = max((i for i, stage in enumerate(stages, start=1) if _key(subject, stage.measurement) in needed), default=0)
    return stages[:last], stages[last:]


def _stages(subject: Subject, measurements: Iterable[Measurement]) -> list[_Stage]:
    stages: dict[str, _Stage] = {}

    def add(measurement: Measurement) -> None:
        measurement = measurement.as_done_on(subject)
        for one in measurement.builds_on:
            add(one)
        cost = 0 if subject.is_done(measurement) else measurement.cost(subject)
        stages.setdefault(_key(subject, measurement), _Stage(subject, measurement, cost))

    for measurement in measurements:
        if measurement.reason(subject) is None:
            add(measurement)
    return list(stages.values())


def _transferred(measurements: Iterable[Measurement]) -> list[Measurement]:
    return [other for one in measurements for other in one.transfers]


def _key(subject: Subject, measurement: Measurement) -> str:
    return json.dumps(subject.key(measurement), sort_keys=True)


def _put_together(subject: Subject, about: About) -> Evaluation:
    """From the arrays of all measurements to an `Evaluation`."""
    whole, left_out = Finding(), collections.defaultdict(list)
    rows_of: dict[SetKey, str] = {}
    for measurement in subject.measurements:
        finding = _finding(subject, measurement)
        for row in finding.rows:
            if row.key in rows_of:
                raise ValueError(
                    f"Each row must have a kind, set and radius of its own. Received: {tuple(row.key)} of both "
                    f"{rows_of[row.key]} and {measurement.name}. Put what tells them apart into `set` or `radius`."
                )
            rows_of[row.key] = measurement.name
        whole.rows += finding.rows
        whole.attacks += finding.attacks
        whole.results |= finding.results
        whole.arrays.add(finding.arrays)
        for label, reason in finding.left_out:
            left_out[reason].append(label)
    classifier = subject.classifier
    known = {field.name for field in dataclasses.fields(RunResult)}
    named: dict[str, Any] = dict.fromkeys(
        ("test_error", "flat_share", "interval_bounds", "alpha_scaling", "calibration", "certificates")
    )
    named |= {name: value for name, value in whole.results.items() if name in known}
    result = RunResult(
        name=subject.name,
        path=None if classifier.path is None else str(classifier.path),
        kind=classifier.kind,
        method=(classifier.flags or {}).get("method"),
        flags=None if classifier.flags is None else without_folders(classifier.flags),
        model_sha256=classifier.sha256,
        differentiable=subject.is_differentiable,
        seconds=round(subject.seconds, 1),
        rows=whole.rows,
        attacks=whole.attacks,
        more={name: to_json(value) for name, value in whole.results.items() if name not in known},
        left_out=[f"{'; '.join(labels)}: {reason}" for reason, labels in left_out.items()],
        test_is_held_out=None if classifier.is_foreign else True,
        **named,
    )
    return Evaluation(result, whole.arrays, list(classifier.history), about)


def _finding(subject: Subject, measurement: Measurement) -> Finding:
    reason = measurement.reason(subject)
    if reason is not None:
        return measurement.finding_without(subject, reason)
    done = measurement.as_done_on(subject)
    return done.finding(subject, subject.arrays(done))
