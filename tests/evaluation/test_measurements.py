"""Measurements as objects: what is in the key of a stored result, what is left out, and rows that no name mixes up."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers.toys import data_of, hidden_rise, linear_network, small, softmax_of

from keras_acet import attack, datasets, evaluation, report
from keras_acet.classifiers import FunctionClassifier, KerasClassifier
from keras_acet.classifiers.base import Classifier
from keras_acet.evaluation import Finding, Measurement, Store, Subject, measurements
from keras_acet.evaluation.keys import describe
from keras_acet.scores import MaxSoftmax, Score
from keras_acet.typed_json import to_json

IMAGES = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
LABELS = (IMAGES[:, 0] > 0.5).astype(int)


def one_step(epsilon, *, seed=0):
    return [evaluation.Trial("one step", attack.PGD(epsilon=epsilon, num_steps=1, seed=seed), precision="float32")]


def quick(**numbers):
    return small(**{"num_noise": 4, "suite": one_step, **numbers})


def keras_classifier(network, **about):
    return KerasClassifier(network, sha256="fixed", **about)


def resolved(*chosen, data=None, **numbers):
    data = data or data_of(IMAGES, LABELS)
    return measurements.resolved(chosen, quick(**numbers).for_data(data), data)


# -- names


def test_sets_may_have_the_names_of_other_rows(tmp_path):
    near, far, last = (np.full((n, 1), value, np.float32) for n, value in ((2, 0.1), (3, 0.6), (4, 0.9)))
    sets = {"noise": near, "test": far, "worst-case x": last, "x": near}
    data = data_of(IMAGES, LABELS, sets)
    protocol = quick(epsilon=0.05, num_adversarial=2, ood_epsilon=0.05)
    attacked = measurements.AttackedOutDistribution(trials=tuple(one_step(0.05)))
    chosen = [measurements.TestSet(), measurements.OutDistribution(), measurements.Noise()]
    chosen += [measurements.WorstCaseNoise(), attacked]
    store = Store(tmp_path / "scores")
    for _ in range(2):  # the second time from the store
        classifier = keras_classifier(linear_network())
        (found,) = evaluation.evaluate_all([classifier], data, protocol, measurements=chosen, store=store)
        means = {row.key: row.mmc.value for row in found.rows if row.kind == "ood"}
        assert means == {
            ("ood", "noise", None): pytest.approx(softmax_of(0.4), abs=1e-6),
            ("ood", "test", None): pytest.approx(softmax_of(2.4), abs=1e-6),
            ("ood", "worst-case x", None): pytest.approx(softmax_of(3.6), abs=1e-6),
            ("ood", "x", None): pytest.approx(softmax_of(0.4), abs=1e-6),
        }
        assert len({row.key for row in found.rows}) == len(found.rows)
        for row in found.rows:
            assert len(found.arrays.confidence[row.key]) == row.n
            assert np.mean(found.arrays.confidence[row.key]) == pytest.approx(row.mmc.value, abs=1e-6)
        attacked = [row.label for row in found.rows if row.kind == "worst_case_ood"]
        assert attacked == ["worst-case noise", "worst-case test", "worst-case worst-case x", "worst-case x"]
    report.write_report(found, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for name in ("| noise |", "| test |", "| worst-case x |", "| Worst-case worst-case x, radius", "| Noise |"):
        assert name in text
    with (tmp_path / "report" / "results.csv").open(encoding="utf-8", newline="") as file:
        keys = [(line["kind"], line["set"], line["radius"]) for line in csv.DictReader(file)]
    assert len(set(keys)) == len(keys) == len(found.rows)
    assert report.read_results(tmp_path / "report" / "results.json").runs[0] == found.result


def test_a_label_that_no_row_has_is_told(tmp_path):
    found = evaluation.evaluate(linear_network(), data_of(IMAGES, LABELS), quick(), measurements=[measurements.Noise()])
    assert found["noise"].n == 12
    with pytest.raises(KeyError, match=r"A row must be one of \['noise'\]. Received: 'worst'"):
        found["worst"]


# -- the key of a stored result


def keys_of(measurement, data=None, network=None, **numbers):
    data = data or data_of(IMAGES, LABELS, {"more": IMAGES[:3]})
    protocol = quick(**numbers).for_data(data)
    subject = Subject(keras_classifier(network or linear_network()), data, protocol)
    return [subject.key(one) for one in measurements.resolved([measurement], protocol, data)]


CASES = [  # a measurement and the numbers of the protocol that it depends on
    (measurements.WorstCaseNoise(), {"epsilon": 0.2, "num_noise": 3, "seed": 1, "num_images": 5}),
    (measurements.LargerRadius(), {"epsilon": 0.2, "larger_epsilon": 0.9, "num_noise": 3, "seed": 1}),
    (measurements.IntervalBounds(), {"epsilon": 0.2, "num_noise": 3, "num_bounded": 1, "seed": 1}),
    (measurements.AttackedOutDistribution(), {"ood_epsilon": 0.2, "num_adversarial": 2, "seed": 1, "num_images": 5}),
    (measurements.AdversarialSamples(), {"epsilon": 0.2, "num_adversarial": 2, "seed": 1}),
    (measurements.AlphaScaling(), {"num_trials": 7, "seed": 1}),
    (measurements.ExactAlpha(), {"num_trials": 7, "seed": 1}),
    (measurements.TestSet(), {"num_images": 5}),
    (measurements.OutDistribution(), {"num_images": 5}),
    (measurements.Noise(), {"num_images": 5, "seed": 1}),
]


@pytest.mark.parametrize(("measurement", "numbers"), CASES, ids=[one.name for one, _ in CASES])
def test_each_number_that_a_result_depends_on_is_in_its_key(measurement, numbers):
    usual = {"larger_epsilon": 0.8, "num_bounded": 2, "num_adversarial": 3, "num_trials": 5}
    before = keys_of(measurement, **usual)
    assert before == keys_of(measurement, **usual)  # attacks made anew are the same attacks
    assert before
    for name, value in numbers.items():
        assert keys_of(measurement, **(usual | {name: value})) != before, name
    assert keys_of(measurement, **usual, num_bootstrap=7) == before  # rows are made anew each time


def test_every_field_is_in_the_description():
    for name in measurements.names():
        one = measurements.build(name)
        fields = {field.name for field in dataclasses.fields(one)}
        assert set(one.description()) == {"name", *fields}
        assert set(describe(one)) == {"class", *fields}


def test_the_suite_is_in_the_key_of_what_it_found():
    def two_steps(epsilon, *, seed=0):
        return [evaluation.Trial("one step", attack.PGD(epsilon=epsilon, num_steps=2, seed=seed), precision="float32")]

    noise = measurements.WorstCaseNoise()
    assert keys_of(noise) != keys_of(noise, suite=two_steps)


def test_other_images_of_a_set_are_another_key_and_digested_once():
    key = keys_of(measurements.OutDistribution())
    assert key == keys_of(measurements.OutDistribution(), data_of(IMAGES, LABELS, {"more": IMAGES[:3].copy()}))
    assert key != keys_of(measurements.OutDistribution(), data_of(IMAGES, LABELS, {"more": IMAGES[1:4]}))
    assert key != keys_of(measurements.OutDistribution(), data_of(IMAGES[:5], LABELS[:5], {"more": IMAGES[:3]}))
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3], "none": "not here"})
    assert data.ood_digest("more") is data.ood_digest("more")
    assert data.ood_digest("none") == "not here"


def test_another_network_is_another_key_and_others_count_where_they_are_transferred_from():
    data = data_of(IMAGES, LABELS)
    protocol = quick().for_data(data)
    network = linear_network()
    subjects = [Subject(KerasClassifier(network, sha256=digits, name=digits), data, protocol) for digits in "abc"]
    noise, worst = measurements.resolved([measurements.Noise(), measurements.WorstCaseNoise()], protocol, data)
    assert subjects[0].key(noise) != subjects[1].key(noise)
    keys = []
    for others in ([], subjects[1:2], subjects[2:], subjects[1:]):
        subjects[0].others = others
        keys.append((subjects[0].key(noise), subjects[0].key(worst)))
    assert all(key == keys[0][0] for key, _ in keys)
    assert len({json.dumps(key) for _, key in keys}) == 4


def test_what_a_network_without_digest_gave_is_not_kept(tmp_path):
    data, store = data_of(IMAGES, LABELS), Store(tmp_path)
    chosen = [measurements.Noise(), measurements.WorstCaseNoise()]
    evaluation.evaluate(linear_network(), data, quick(), measurements=chosen, store=store)
    assert not list(tmp_path.iterdir())
    known, others = keras_classifier(linear_network()), [hidden_rise()]  # the other has no digest either
    evaluation.evaluate(known, data, quick(), measurements=chosen, transfer_from=others, store=store)
    kept = sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir())
    assert kept == ["noise", "test-set", "worst-case-noise"]  # without "transferred-noise"


def test_what_cannot_be_told_apart_is_no_setting():
    with pytest.raises(TypeError, match=r"A setting of a measurement must be text, .* Received: <function"):
        describe(one_step)
    assert describe(np.float32(0.5)) == 0.5
    assert describe(np.zeros(2)) != describe(np.zeros(3))
    assert describe(MaxSoftmax(2.0)) != describe(MaxSoftmax())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secretive(Measurement):
    """Uses what it does not name."""

    name = "secretive"
    secret: str = "set"

    def compute(self, subject, tell):
        if self.secret == "set":
            return {"logits": subject.logits(subject.ood_images("more"))}
        return subject.test_arrays()

    def finding(self, subject, found):
        return Finding()


@pytest.mark.parametrize(("secret", "message"), [("set", "not in `sets`"), ("test", "not in `builds_on`")])
def test_a_dependency_that_is_not_named_is_an_error(secret, message):
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3]})
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(linear_network(), data, quick(), measurements=[Secretive(secret=secret)])


# -- numbers by the data


def test_color_sets_are_attacked_within_a_hundredth():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    color = datasets.Data(name="color", train=(images, np.arange(4) % 2), test=(images, np.arange(4) % 2), batch_size=2)
    assert evaluation.Protocol(epsilon=0.3).for_data(color).ood_epsilon == 0.01
    assert evaluation.Protocol(epsilon=0.005).for_data(color).ood_epsilon == 0.005
    (one,) = measurements.resolved(
        [measurements.AttackedOutDistribution()], evaluation.Protocol().for_data(color), color
    )
    assert {trial.attack.epsilon for trial in one.trials} == {one.epsilon} == {0.01}


# -- the list


def test_defaults_can_be_shortened_and_chosen():
    data = data_of(IMAGES, LABELS)
    protocol = quick().for_data(data)
    usual = [one.name for one in measurements.defaults(protocol, data)]
    assert usual == [name for name in measurements.names() if name not in ("exact_alpha", "plane")]
    exact = protocol.replace(alpha="exact")
    assert "exact_alpha" in [one.name for one in measurements.defaults(exact, data)]
    chosen = measurements.defaults(protocol, data, only=["noise", "test_set"])
    assert [one.name for one in chosen] == ["test_set", "noise"]
    chosen = measurements.defaults(protocol, data, skip=usual[2:])
    assert [one.name for one in chosen] == usual[:2]
    with pytest.raises(ValueError, match=r"A measurement must be one of \['adversarial_samples', .*Received: 'nose'"):
        measurements.defaults(protocol, data, only=["nose"])


def test_measurements_in_code_are_names_or_objects(capsys):
    data = data_of(IMAGES, LABELS)

    def labels(chosen, **options):
        found = evaluation.evaluate(linear_network(), data, quick(), measurements=chosen, **options)
        return [row.label for row in found.rows]

    assert labels(["test_set", "noise"]) == labels([measurements.TestSet(), measurements.Noise()])
    assert capsys.readouterr() == ("", "")
    labels(["noise"], verbose=True)
    out, err = capsys.readouterr()
    assert out == "" and err.endswith(": noise\n")
    for chosen in ("noise", measurements.Noise(), measurements.Noise):
        with pytest.raises(TypeError, match=r"`measurements` must be a list, such as .* Received: "):
            labels(chosen)
    with pytest.raises(TypeError, match=r"names such as 'noise' or objects such as evaluation.* Received: 3\."):
        labels([3])
    with pytest.raises(ValueError, match="Received: 'nosie'. Did you mean 'noise'"):
        labels(["nosie"])


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Of the images.

    Attributes:
        mean: Their mean.
    """

    mean: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dimmed(Measurement):
    """The test images at a part of their brightness."""

    name = "dimmed"
    factor: float = 0.5

    def compute(self, subject, tell):
        return subject.outputs_with_examples(self.factor * subject.test_images)

    def finding(self, subject, found):
        finding = Finding(results={"dimmed": Contrast(float(self.factor * subject.test_images.mean()))})
        finding.add_row(
            subject, found, kind="dimmed", set=f"test, {self.factor:g}", label=f"test, {self.factor:g} as bright"
        )
        return finding


def test_a_measurement_of_ones_own_stands_in_table_report_and_store(tmp_path):
    data, store = data_of(IMAGES, LABELS), Store(tmp_path / "store")
    chosen = [measurements.TestSet(), Dimmed(), Dimmed(factor=0.25)]
    found = evaluation.evaluate(keras_classifier(linear_network()), data, quick(), measurements=chosen[:2], store=store)
    row = found["test, 0.5 as bright"]
    assert row.mmc.value == pytest.approx(softmax_of(2 * IMAGES).mean(), abs=1e-6)
    assert found.result.more == {"dimmed": {"mean": pytest.approx(0.25)}}
    assert {"name": "dimmed", "factor": 0.5} in found.about.measurements
    report.write_report(found, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| test, 0.5 as bright |" in text and "## Other measurements" in text and "| mean | 0.25 |" in text
    assert len(list((tmp_path / "store").iterdir())) == 2
    evaluation.evaluate(keras_classifier(linear_network()), data, quick(), measurements=chosen, store=store)
    assert len(list((tmp_path / "store").iterdir())) == 3  # another factor is another result


def test_rows_that_cannot_be_told_apart_are_an_error():
    data, twice = data_of(IMAGES, LABELS), [Dimmed(), Dimmed(factor=0.5)]
    with pytest.raises(
        ValueError, match="Each row must have a kind, set and radius of its own.*both dimmed and dimmed"
    ):
        evaluation.evaluate(linear_network(), data, quick(), measurements=twice)


def test_a_measurement_alone_needs_no_other_in_the_list():
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3]})
    for name in measurements.names():
        protocol = quick(epsilon=0.1, larger_epsilon=0.2, num_bounded=1, num_adversarial=2, num_trials=3)
        one = measurements.build(name)
        if hasattr(one, "trials"):
            one = dataclasses.replace(one, trials=tuple(one_step(0.2)))
        found = evaluation.evaluate(linear_network(), data, protocol, measurements=[one])
        assert (
            found.rows
            or found.result.left_out
            or name in (*("calibration", "interval_bounds", "certificates", "alpha_scaling", "exact_alpha"),)
        )
        json.dumps(to_json(found.result), allow_nan=False)


class OfArrays(Classifier):
    """As an ONNX file is called: arrays in, arrays out."""

    description = "a file"
    kind = "onnx"

    def logits(self, images):
        return np.concatenate([4 * images, np.zeros_like(images)], axis=1).astype(np.float32)


def test_what_cannot_be_had_is_told_once_with_its_reason():
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3], "none": "not in the data directory"})
    classifier = OfArrays(name="file")
    protocol = quick(larger_epsilon=0.5, num_adversarial=2, num_bounded=2, num_trials=2)
    chosen = [measurements.build(name) for name in measurements.names()]
    (found,) = evaluation.evaluate_all([classifier], data, protocol, measurements=chosen)
    first, *others = found.result.left_out
    assert first == (
        "worst-case noise; worst-case noise, 0.5; interval bounds; worst-case more; worst-case none; adversarial "
        "samples: file, a file, gives no gradients"
    )
    assert [sentence.partition(":")[0] for sentence in others] == ["exact alpha", "maps of the plane"]
    assert found["none"].note == "not in the data directory"
    assert found.result.alpha_scaling.exact is None and found.result.alpha_scaling.num_trials == 2


def test_whether_alpha_was_exact_is_recorded():
    data = data_of(IMAGES, LABELS)
    for alpha in ("scan", "exact"):
        found = evaluation.evaluate(linear_network(), data, quick(num_trials=3, alpha=alpha))
        assert found.about.settings.alpha == alpha
        assert (found.result.alpha_scaling.exact is None) == (alpha == "scan")


def test_settings_tell_what_was_asked_for():
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3]})
    found = evaluation.evaluate(linear_network(), data, quick(num_images=5), measurements=[measurements.Noise()])
    settings = found.about.settings
    assert (settings.quick, settings.num_images, settings.epsilon, settings.num_noise) == (False, 5, None, None)
    assert evaluation.Protocol().quick().is_quick
    found = evaluation.evaluate(
        linear_network(), data, quick(), measurements=[measurements.WorstCaseNoise(epsilon=0.25, num_noise=3)]
    )
    assert (found.about.settings.epsilon, found.about.settings.num_noise) == (0.25, 3)


# -- the score


class Gap(Score):
    """The difference of the two logits."""

    name = "gap"

    def __call__(self, logits):
        return logits[:, 0] - logits[:, 1]


def test_detection_is_measured_on_the_score_and_mmc_on_the_confidence():
    # Logits (4 x - 2, 0): confidence sigmoid(|4 x - 2|), the same at .1 and at .9; the gap tells them apart.
    test, ood = np.array([[0.9], [0.8]], np.float32), np.array([[0.1], [0.2]], np.float32)
    data = data_of(test, np.array([0, 0]), {"low": ood})
    network = linear_network(4.0, -2.0)
    chosen = [measurements.TestSet(), measurements.OutDistribution()]
    of_confidence = evaluation.evaluate(network, data, quick(), measurements=chosen)
    of_gap = evaluation.evaluate(network, data, quick(score=Gap()), measurements=chosen)
    assert of_confidence["low"].auroc.value == pytest.approx(0.5)
    assert of_gap["low"].auroc.value == 1.0
    assert of_gap["low"].mmc == of_confidence["low"].mmc
    np.testing.assert_allclose(of_gap.arrays.score["ood", "low", None], [-1.6, -1.2], atol=1e-6)
    assert of_gap.about.settings.score == "Gap()"
    with pytest.raises(TypeError, match="`score` must be a `scores.Score`. Received: score='gap'"):
        evaluation.Protocol(score="gap")


class FirstPixel(Gap):
    """Looks at the image beside the logits, as a score of a network's features would."""

    name = "first_pixel"

    def __call__(self, observed):
        return observed[:, 0]

    def observe(self, network):
        return lambda images: (network(images), images)


def test_a_score_of_what_a_network_observes(tmp_path):
    test, ood = np.array([[0.9], [0.8]], np.float32), np.array([[0.1], [0.85]], np.float32)
    data, store = data_of(test, np.array([0, 0]), {"low": ood}), Store(tmp_path)
    chosen = [measurements.TestSet(), measurements.OutDistribution()]
    classifier = keras_classifier(linear_network())
    evaluation.evaluate(classifier, data, quick(), measurements=chosen, store=store)
    found = evaluation.evaluate(classifier, data, quick(score=FirstPixel()), measurements=chosen, store=store)
    np.testing.assert_allclose(found.arrays.score["ood", "low", None], [0.1, 0.85])
    assert found["low"].auroc.value == pytest.approx(3 / 4)
    assert len(list(tmp_path.iterdir())) == 4  # what the score observes is another result
    found = next(evaluation.evaluate_all([OfArrays()], data, quick(score=FirstPixel()), measurements=chosen[:1]))
    assert found.result.left_out == ["test set: the score first_pixel looks into a network, which a file hides"]


def test_thresholds_apply_to_what_the_score_observes():
    images = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    data = data_of(images, (images[:, 0] > 0.5).astype(int))
    chosen = [measurements.TestSet(), measurements.Calibration()]
    found = evaluation.evaluate(linear_network(), data, quick(score=FirstPixel()), measurements=chosen)
    # The training images are four times 0 and 1: half of them give thresholds, which are pixels, not logits.
    for rule in found.result.calibration.thresholds[:2]:
        assert rule.threshold in (0.0, 1.0) and rule.accepted_test == np.mean(images[:, 0] >= rule.threshold)


# -- what is shown


def test_shown_pairs_are_the_most_confident_and_some_of_the_rest():
    images = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    data = data_of(images, (images[:, 0] > 0.5).astype(int))
    found = evaluation.evaluate(
        linear_network(), data, quick(num_noise=40), measurements=[measurements.WorstCaseNoise()]
    )
    confidence = found.arrays.confidence["worst_case_noise", "noise", 0.3]
    pairs, order = found.arrays.pairs, np.argsort(-confidence, kind="stable")
    # Four from the top, then every tenth of the rest: places 4, 14, 24 and 34.
    expected = order[[0, 1, 2, 3, 4, 14, 24, 34]]
    np.testing.assert_array_equal(pairs.attacked_confidence, confidence[expected])
    noise = evaluation.evaluation_noise(images, 40)
    np.testing.assert_array_equal(pairs.noise, noise[expected])
    np.testing.assert_allclose(pairs.noise_confidence, softmax_of(4 * noise[expected, 0]), atol=1e-6)
    assert (np.abs(pairs.attacked - pairs.noise) <= 0.3 + 1e-6).all()


def test_progress_tells_each_stage_and_how_much_is_left(tmp_path):
    data = data_of(IMAGES, LABELS, {"more": IMAGES[:3]})
    protocol = quick(epsilon=0.1, num_adversarial=2, num_trials=2)
    costs = {
        "test set": 12,
        "calibration": 6,
        "ood: more": 12,
        "noise": 12,
        "worst-case noise": 3 * 4 * 1,  # one step, forward and backward, of four images
        "transferred noise": 3 * 4 * 100,
        "ood: worst-case more": 3 * 2 * (100 + 5 * 50),
        "adversarial samples": 3 * 2 * 80,
        "alpha scaling": 150 * 2,
    }
    told = []

    def evaluate():
        told.clear()
        classifiers = [keras_classifier(linear_network(), name="a"), keras_classifier(hidden_rise(), name="b")]
        classifiers[1].sha256 = "other"
        list(
            evaluation.evaluate_all(
                classifiers, data, protocol, store=Store(tmp_path), progress=lambda *now: told.append(now)
            )
        )

    evaluate()
    for name in ("a", "b"):
        begun = [(text, done) for who, text, done, _ in told if who == name and text in costs]
        assert [text for text, _ in begun] == list(costs)
    whole = 2 * sum(costs.values())
    assert [done + remaining for *_, done, remaining in told] == pytest.approx([whole] * len(told))
    done = [done for *_, done, _ in told]
    assert done == sorted(done) and done[0] == 0
    after = dict(zip([(who, text) for who, text, *_ in told], done, strict=True))
    assert after["b", "test set"] == sum(list(costs.values())[:5])
    assert ("a", "worst-case noise: one step") in after and ("a", "alpha scaling: 100%") in after
    # What lies in the store costs nothing.
    evaluate()
    assert {remaining for *_, remaining in told} == {0}


# -- nothing is changed


def test_evaluate_changes_nothing_of_what_it_is_given():
    data = data_of(IMAGES, LABELS)
    network = linear_network()
    classifiers = [FunctionClassifier(lambda x: keras.ops.round(network(x))), KerasClassifier(hidden_rise())]
    before = [(one.name, one.is_differentiable, one.sha256) for one in classifiers]
    found = evaluation.evaluate(classifiers[0], data, quick(), transfer_from=[classifiers[1], classifiers[1]])
    assert found.result.differentiable is False
    assert [(one.name, one.is_differentiable, one.sha256) for one in classifiers] == before


def test_names_are_made_apart_by_folder_and_number(tmp_path):
    paths = [tmp_path / "a" / "net.keras", tmp_path / "b" / "net.keras", tmp_path / "b" / "net.keras", None]
    classifiers = [OfArrays(name="net", path=path) for path in paths]
    assert evaluation.names_apart(classifiers) == ["a/net", "b/net (2)", "b/net (3)", "net"]
    assert [one.name for one in classifiers] == ["net"] * 4


def test_two_evaluations_of_one_name_are_no_report(tmp_path):
    found = evaluation.evaluate(linear_network(), data_of(IMAGES, LABELS), quick(), measurements=[measurements.Noise()])
    with pytest.raises(ValueError, match="`evaluations` must be one or more, of different names"):
        report.write_report([found, found], tmp_path)
