"""From classifiers and their data to rows, numbers and arrays: the whole evaluation."""

import collections
import functools
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_acet import metrics
from keras_acet._prediction import confidence_of
from keras_acet.classifiers import Classifier, check
from keras_acet.evaluation import attacks, bounds, maps, scaling
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.scores import Scores
from keras_acet.evaluation.store import Store
from keras_acet.evaluation.table import missing_row, row, test_row
from keras_acet.training.model import ACETModel
from keras_acet.version import installed_versions

_NUM_PAIRS = 8


class Evaluation:
    """What was measured on one classifier.

    `print(evaluation)` shows the table; `evaluation["noise"]` is the row of a set.

    Attributes:
        numbers: Dict as in `results.json`, under "runs": `rows`, `attacks`, `calibration` and so on.
        arrays: Dict of arrays for figures: confidences and example images.
    """

    def __init__(self, numbers, arrays):
        self.numbers = numbers
        self.arrays = arrays

    @property
    def rows(self):
        return self.numbers["rows"]

    def __getitem__(self, name):
        """Returns the row of the set with this name."""
        return next(row for row in self.rows if row["set"] == name)

    def __str__(self):
        width = max(len(row["set"]) for row in self.rows)
        lines = [f"{'set':{width}}  images    MMC  > 50 %  AUROC  FPR@95"]
        for numbers in self.rows:
            names = ("mmc", "share_above_half", "auroc", "fpr95_id_positive")
            mmc, above, auroc, fpr = (numbers.get(name, {}).get("value") for name in names)
            note = numbers["note"] if numbers["n"] else f"not available: {numbers['note']}"
            shown = [f"{numbers['n']:6d}" if numbers["n"] else "     -"]
            shown += ["     -" if mmc is None else f"{mmc:6.3f}", "      -" if above is None else f"{above:7.1%}"]
            shown += ["     -" if auroc is None else f"{auroc:6.3f}", "      -" if fpr is None else f"{fpr:7.1%}"]
            lines.append(f"{numbers['set']:{width}}  {' '.join(shown)}  {note}".rstrip())
        return "\n".join(lines)


def evaluate(model, data, protocol=None, *, suite=attacks.full_suite, transfer_from=()):
    """Measures a classifier on its test set and away from it, and attacks it.

    Rows: the test set with its error; every out-distribution set of the data; noise; adversarial noise, attacked with
    the first of `suite` alone, and worst-case noise, the worst per image over all of it, at two radii; out-distribution
    sets and test images attacked.
    Beside them Table 2 of the paper (`alpha_scaling`), calibration, what each attack found, and interval bounds, which
    no attack exceeds.

    Args:
        model: `keras.Model` from images to logits, an `ACETModel` too; a function that TensorFlow can differentiate; or
            a `classifiers.Classifier`.
        data: `datasets.Data`.
        protocol: `Protocol`; None for its defaults.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise: `full_suite`, or `worst_case_attacks`.
        transfer_from: Other such models for the same data, whose worst cases are tried too.

    Returns:
        `Evaluation`. Nothing is dropped: every test image counts.

    Example:

    >>> import tensorflow as tf
    >>> images, labels = np.linspace(0, 1, 8, dtype="float32")[:, None], np.array([0, 1] * 4)
    >>> from keras_acet import datasets
    >>> data = datasets.Data(name="toy", train=(images, labels), test=(images, labels), batch_size=4)
    >>> small = Protocol(epsilon=0.1, num_noise=8, num_bounded=0, num_trials=10, num_bootstrap=10)
    >>> evaluate(lambda x: tf.concat([4 * x, 1 - x], axis=1), data, small)["noise"]["n"]
    8
    """
    classifiers = [_as_classifier(model), *map(_as_classifier, transfer_from)]
    for number, classifier in enumerate(classifiers[1:], start=1):
        classifier.name = f"{classifier.name}, other {number}"  # functions have no names of their own
    for classifier in classifiers:
        check(classifier, data)
    return next(evaluate_all(classifiers, data, protocol, suite=suite, num_measured=1))


def evaluate_all(
    classifiers, data, protocol=None, *, suite=attacks.full_suite, store=None, progress=None, num_measured=None
):
    """Evaluates classifiers side by side; the worst cases of each are tried on all others.

    Args:
        classifiers: List of `classifiers.Classifier` with different names, all for the same data.
        data: `datasets.Data`.
        protocol: `Protocol`; None for its defaults.
        suite: As for `evaluate`.
        store: `Store` for what is done; None keeps nothing on disk.
        progress: None, or a function `(classifier name, stage, done, remaining)` called before each stage and attack
            with the numbers of forward passes done and to come, roughly.
        num_measured: Only the first so many are measured, the others are transferred from; None for all.

    Yields:
        One `Evaluation` per classifier, in order.
    """
    protocol = (protocol or Protocol()).for_data(data)
    store = store or Store()
    scores = [Scores(classifier, data, protocol, suite, store) for classifier in classifiers]
    measured = scores[:num_measured]
    sources = [one for one in scores if one.classifier.is_differentiable]
    others = [[other for other in sources if other is not one] for one in measured]
    # What each network's own attacks find comes first: the others are tried on it after that.
    first = [_own_stages(one) for one in measured] + [_attack_stages(one) for one in scores[len(measured) :]]
    second = [_later_stages(*pair) for pair in zip(measured, others, strict=True)]
    work = _Work(progress, [stage for plan in (*first, *second) for stage in plan])
    made = [work.do(one, plan) for one, plan in zip(scores, first, strict=True)]
    for number, (one, plan) in enumerate(zip(measured, second, strict=True)):
        made[number] |= work.do(one, plan)
        yield _measure(one, made[number], seconds=work.seconds[one.classifier.name])


class _Stage(NamedTuple):
    name: str
    cost: int  # in forward passes, roughly; 0 if it lies in the store
    make: Callable  # of a function that is told how far it is


class _Work:
    """Does stage after stage and tells how far it is."""

    def __init__(self, progress, stages):
        self._progress = progress
        self._done, self._remaining = 0, sum(stage.cost for stage in stages)
        self.seconds = collections.Counter()

    def do(self, scores, stages):
        name, made = scores.classifier.name, {}
        for stage in stages:
            started = time.monotonic()
            tell = functools.partial(self._tell, name, stage)
            tell()
            made[stage.name] = stage.make(tell)
            self.seconds[name] += time.monotonic() - started
            self._done, self._remaining = self._done + stage.cost, self._remaining - stage.cost
        return made

    def _tell(self, name, stage, detail="", share=0.0):
        if self._progress is not None:
            text, done = f"{stage.name}: {detail}" if detail else stage.name, share * stage.cost
            self._progress(name, text, self._done + done, self._remaining - done)


def results(evaluations, data, protocol, command=None):
    """Returns the dict behind `results.json`: what was run on what, and the numbers of every classifier."""
    protocol = protocol.for_data(data)
    return {
        "schema_version": 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "versions": installed_versions(),
        "command": command,
        "data": {
            "name": data.name,
            "num_classes": data.num_classes,
            "class_names": data.class_names,
            "image_shape": list(data.image_shape),
            "num_test": len(data.test_labels),
            "fingerprint": data.fingerprint,
        },
        "settings": {
            "quick": protocol.num_images > 0,
            "num_images": protocol.num_images,
            "epsilon": protocol.epsilon,
            "larger_epsilon": protocol.larger_epsilon,
            "ood_epsilon": protocol.ood_epsilon,
            "num_noise": protocol.num_noise,
            "num_bounded": protocol.num_bounded,
            "adversarial_samples": protocol.num_adversarial,
            "num_trials": protocol.num_trials,
            "num_bootstrap": protocol.num_bootstrap,
            "seed": protocol.seed,
        },
        "runs": [evaluation.numbers for evaluation in evaluations],
    }


def _as_classifier(model):
    if isinstance(model, Classifier):
        return model
    name = getattr(model, "name", "model")
    while isinstance(model, ACETModel):
        model = model.network
    return Classifier(model, "keras", name=name)


def _own_stages(scores):
    """What one classifier's evaluation needs no other network for."""
    num_test = len(scores.test_labels)
    stages = [
        ("test set", num_test, lambda tell: scores.test()),
        ("calibration", num_test // 2, lambda tell: scores.calibration()),
        *[(f"ood: {name}", num_test, lambda tell, name=name: scores.ood(name)) for name in scores.data.ood],
        ("noise", num_test, lambda tell: scores.noise()),
    ]
    return [*_stages(scores, stages), *_attack_stages(scores)]


def _attack_stages(scores):
    if not scores.classifier.is_differentiable:
        return []
    suite = scores.suite(scores.protocol.epsilon, seed=0)
    return _stages(scores, [("worst-case noise", _cost(suite, scores.protocol.num_noise), scores.attacked_noise)])


def _later_stages(scores, others):
    protocol = scores.protocol
    stages = []
    if scores.classifier.is_differentiable:
        short = attacks.short_suite(protocol.epsilon)
        noise, images = protocol.num_noise, protocol.num_adversarial
        if others:
            transfer = functools.partial(scores.worst_case_noise, others)
            stages.append(("transferred noise", _cost(short[-1:], noise), transfer))
        if protocol.larger_epsilon:
            larger = functools.partial(scores.worst_case_noise_larger, others)
            stages.append(("worst-case noise, larger", _cost(short, noise), larger))
        if protocol.num_bounded:
            cost = len(bounds.SHARES) * _cost(short[:1], protocol.num_bounded)
            stages.append(("interval bounds", cost, lambda tell: scores.interval_bounds()))
        if images:
            stages.append(("adversarial samples", 240 * images, lambda tell: scores.adversarial_samples()))
            cost = _cost(short, images)
            for name in scores.data.ood:
                stages.append((f"ood: worst-case {name}", cost, functools.partial(scores.worst_case_ood, name)))
    if protocol.num_trials:
        cost = 150 * protocol.num_trials
        stages.append(
            ("alpha scaling", cost, lambda tell: scores.alpha_scaling(lambda share: tell(f"{share:.0%}", share)))
        )
        if protocol.alpha == "exact":
            cost = 1000 * protocol.num_trials  # 200 to 100,000, nobody knows before
            stages.append(
                ("exact alpha", cost, lambda tell: scores.exact_alpha(lambda share: tell(f"{share:.0%}", share)))
            )
    return _stages(scores, stages, others)


def _stages(scores, stages, others=()):
    return [_Stage(name, 0 if scores.is_done(name, others) else cost, make) for name, cost, make in stages]


def _cost(suite, num_images):
    # One step is a forward pass and a backward pass of about twice its cost.
    return 3 * num_images * sum(trial.attack.num_steps for trial in suite)


def _measure(scores, made, seconds):
    """From the arrays of all stages to an `Evaluation`."""
    classifier, data, protocol = scores.classifier, scores.data, scores.protocol
    test_logits = made["test set"]["logits"]
    arrays = {"confidence/test": confidence_of(test_logits)}
    rows = [test_row(f"{data.name} (test)", test_logits)]
    test_error = metrics.classification_error(test_logits, scores.test_labels)
    rows[0]["test_error"] = test_error
    rows[0]["note"] = f"test error {test_error['value']:.2%}"
    left_out = []

    def add(name, kind, found, radius=None, note=""):
        if isinstance(found, str):
            rows.append(missing_row(name, kind, found, radius=radius))
            return
        rows.append(row(name, kind, found["logits"], test_logits, protocol=protocol, radius=radius, note=note))
        if len(found["logits"]):
            arrays[f"confidence/{name}"] = confidence_of(found["logits"])
        if "shown" in found:
            shown = found["logits"][found["shown"]]
            arrays[f"images/{name}"] = found["images"]
            arrays[f"images_confidence/{name}"] = confidence_of(shown)
            arrays[f"images_label/{name}"] = shown.argmax(axis=1)

    for name in data.ood:
        add(name, "ood", made[f"ood: {name}"])
    add("noise", "noise", made["noise"])

    numbers = {"attacks": [], "flat_share": None, "interval_bounds": None, "alpha_scaling": None, "calibration": None}
    worst = None
    if classifier.is_differentiable:
        worst = made.get("transferred noise", made["worst-case noise"])
        numbers["attacks"] = json.loads(str(worst["trials"]))
        numbers["flat_share"] = {
            "share": float(worst["flat_share"]),
            "threshold": attacks.FLAT_GRADIENT,
            "radius": protocol.epsilon,
        }
        first = numbers["attacks"][0]
        note = f"{first['name']}, epsilon {protocol.epsilon:.4g}"
        add("adversarial noise", "adversarial_noise", {"logits": worst["first_logits"]}, protocol.epsilon, note)
        add(
            "worst-case noise",
            "worst_case_noise",
            worst,
            protocol.epsilon,
            f"worst of {len(numbers['attacks'])} attacks, epsilon {protocol.epsilon:.4g}",
        )
        larger = made.get("worst-case noise, larger")
        if larger is not None:
            numbers["attacks"] += json.loads(str(larger["trials"]))
            radius = protocol.larger_epsilon
            add(f"worst-case noise, {radius:.2g}", "worst_case_noise", larger, radius, f"epsilon {radius:.4g}")
        if protocol.num_bounded and "reason" in made["interval bounds"]:
            left_out.append(f"interval bounds: {made['interval bounds']['reason']}")
        elif protocol.num_bounded:
            numbers["interval_bounds"] = bounds.summarize_interval_bounds(made["interval bounds"])
        _add_pairs(arrays, worst)
        if protocol.num_adversarial:
            for name in data.ood:
                radius = protocol.ood_epsilon
                add(
                    f"worst-case {name}",
                    "worst_case_ood",
                    made[f"ood: worst-case {name}"],
                    radius,
                    f"epsilon {radius:.4g}",
                )
            _add_adversarial_samples(add, rows, made["adversarial samples"], protocol)
    else:
        what = _KINDS.get(classifier.kind, "this Keras model")
        left_out.append(f"attacked noise and attacked images: {what} gives no gradients")
    if protocol.num_trials:
        numbers["alpha_scaling"] = scaling.summarize_alpha_scaling(made["alpha scaling"], made.get("exact alpha"))
    numbers["calibration"] = _calibrate(scores, made, worst)
    if len(data.image_shape) == 1 and data.image_shape[0] == 2:
        arrays |= maps.confidence_maps(classifier, data)
        try:
            arrays |= maps.region_maps(classifier.network)
        except (TypeError, ValueError):
            left_out.append("linear regions: they are known of ReLU networks made of Keras' own layers only")
    about = {
        "name": classifier.name,
        "path": None if classifier.path is None else str(classifier.path),
        "kind": classifier.kind,
        "method": (classifier.flags or {}).get("method"),
        "flags": classifier.flags,
        "model_sha256": classifier.sha256,
        "differentiable": classifier.is_differentiable,
        "test_error": test_error,
        "seconds": round(seconds, 1),
        "rows": rows,
    }
    return Evaluation({**about, **numbers, "left_out": left_out}, arrays)


_KINDS = {"savedmodel": "a SavedModel", "onnx": "an ONNX file"}


def _add_adversarial_samples(add, rows, found, protocol):
    changed = found["changed"]
    success = metrics.share(int(changed.sum()), len(changed))
    note = f"{success['value']:.1%} of {len(changed)} changed class, epsilon {protocol.epsilon:.4g}"
    only_changed = {"logits": found["logits"][changed]}
    add("adversarial samples (changed)", "adversarial_samples", only_changed, protocol.epsilon, note)
    rows[-1]["success_rate"] = success
    add("adversarial samples (all)", "adversarial_samples", found, protocol.epsilon, f"epsilon {protocol.epsilon:.4g}")


def _add_pairs(arrays, worst):
    confidence = confidence_of(worst["logits"])
    # Half of them the most confident, half from all over the rest.
    order = np.argsort(-confidence, kind="stable")
    half = _NUM_PAIRS // 2
    shown = np.concatenate([order[:half], order[half :: max(len(order) // half, 1)]])[:_NUM_PAIRS]
    arrays["pairs/noise"], arrays["pairs/attacked"] = worst["noise"][shown], worst["images"][shown]
    arrays["pairs/noise_confidence"] = confidence_of(worst["noise_logits"][shown])
    arrays["pairs/attacked_confidence"] = confidence[shown]


def _calibrate(scores, made, worst):
    if len(made["calibration"]["labels"]) < 2:
        return None
    return scores.calibrate(
        made["calibration"]["logits"],
        made["test set"]["logits"],
        worst_noise_logits=None if worst is None else worst["logits"],
    )
