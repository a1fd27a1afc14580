"""Certificates: bounds by hand beside attacks, an attack above a bound, and the report."""

import numpy as np
import pytest

from keras_acet import ProvableClassifier, datasets, detectors, evaluation, networks, report
from keras_acet.detectors.negative_head import assemble, chain_for
from keras_acet.evaluation import measurements
from keras_acet.evaluation.measurements import certificates

SHAPE = (6, 6, 1)
IMAGES = np.random.default_rng(0).uniform(size=(40, *SHAPE)).astype(np.float32)
LABELS = np.arange(40) % 4


def data_of(ood=None):
    split = (IMAGES, LABELS)
    return datasets.Data(name="toy", train=split, test=split, batch_size=4, ood=datasets.OODSets(ood or {}))


def provable(bias=1.0):
    chain = chain_for(SHAPE)
    detector = detectors.NegativeHead(assemble(SHAPE, chain, np.full(128, 1.0), bias))
    return ProvableClassifier(networks.mlp(SHAPE, 4), detector, name="protected")


@pytest.fixture(scope="module")
def evaluated():
    data = data_of({"black": lambda: np.zeros((9, *SHAPE), np.float32)})
    chosen = measurements.Certificates(radii=(0.0, 0.1), num_of_kind=20, num_attacked=6, kinds=("paper", "uniform"))
    protocol = evaluation.Protocol(num_bootstrap=5)
    return evaluation.evaluate(provable(), data, protocol, measurements=[measurements.TestSet(), chosen])


def test_rows(evaluated):
    result = evaluated.result.certificates
    assert [(one.set, one.kind, one.radius) for one in result.sets] == [
        *(("paper", "noise", 0.0), ("paper", "noise", 0.1)),
        *(("uniform", "noise", 0.0), ("uniform", "noise", 0.1)),
        *(("black", "ood", 0.0), ("black", "ood", 0.1)),
    ]
    assert [one.n for one in result.sets] == [40, 40, 20, 20, 9, 9]
    assert result.level == pytest.approx(0.27)
    for one in result.sets:
        assert one.mmc <= one.certified_mmc
        assert 0.25 <= one.attacked <= one.attacked_bound <= 1
        assert one.attacked_mmc <= one.attacked + 1e-6
        assert one.seen is None
        assert one.quantiles[-1][1] >= one.certified_mmc
    for inner, outer in zip(result.sets[::2], result.sets[1::2], strict=True):
        assert inner.certified_mmc <= outer.certified_mmc
        assert inner.certified_fpr95 <= outer.certified_fpr95
    # Black images give h = 0 without biases: g = b = 1, and 1/4 + 3/4 sigma(1) = .7983.
    assert result.sets[-2].certified_mmc == pytest.approx(0.7983, abs=1e-3)
    assert result.sets[-2].at_least is None
    assert (result.bias, result.seen) == (1.0, None)


def test_what_was_seen_is_marked():
    made = provable()
    made.flags = {"method": "prood", "out": "outliers=2,cifar10"}
    sets = {name: lambda: np.zeros((4, *SHAPE), np.float32) for name in ("cifar10_gray", "svhn")}
    kinds = ("paper", "stripes", "uniform")
    chosen = measurements.Certificates(radii=(0.1,), num_of_kind=4, num_noise=4, num_attacked=0, kinds=kinds)
    tests = measurements.TestSet()
    found = evaluation.evaluate(made, data_of(sets), evaluation.Protocol(num_bootstrap=5), measurements=[tests, chosen])
    result = found.result.certificates
    assert result.seen[-2:] == ["permuted", "cifar10"]
    assert {one.set: one.seen for one in result.sets} == {
        "paper": True,
        "stripes": False,
        "uniform": True,
        "cifar10_gray": True,
        "svhn": False,
    }


def test_the_line_of_clopper_and_pearson():
    # None of 10,000 above the level: p = .001^(1/10000) = .99931.
    test = np.zeros(5)
    row = certificates._row(np.full(10_000, -20.0, np.float32), test, 10, 0.12, is_drawn=True)
    assert row["at_least"] == pytest.approx(0.001 ** (1 / 10_000))
    assert (row["share_below_level"], row["certified_auroc"], row["certified_fpr95"]) == (1.0, 1.0, 0.0)
    assert certificates._row(np.full(9, -20.0, np.float32), test, 10, 0.12, is_drawn=False)["at_least"] is None
    tied = certificates._row(np.zeros(4, np.float32), test, 10, 0.12, is_drawn=True)
    assert (tied["certified_auroc"], tied["certified_fpr95"], tied["at_least"]) == (0.0, 1.0, None)


def test_an_attack_above_the_bound_ends_it(monkeypatch):
    monkeypatch.setattr(detectors.Detector, "logit_bounds", lambda self, images, *_, **__: np.full(len(images), -9.0))
    chosen = measurements.Certificates(radii=(0.1,), num_attacked=3, kinds=("uniform",), num_of_kind=5)
    with pytest.raises(certificates.UnsoundBoundError, match=r"of 3 images \(uniform, radius 0.1\)"):
        evaluation.evaluate(provable(), data_of(), measurements=[chosen])


def test_a_classifier_without_a_detector_has_none():
    chosen = measurements.Certificates()
    done = evaluation.evaluate(networks.mlp(SHAPE, 4), data_of(), measurements=[chosen])
    assert done.result.certificates is None and not done.result.left_out


def test_the_report_says_what_is_proven(evaluated, tmp_path):
    assert "certified, noise like the paper's, within 0.1: mean confidence at most" in str(evaluated)
    report.write_report([evaluated], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Certificates" in text
    assert "| paper, .1 " in text
    assert "Outside the pixel range the logit of p_in is at most 1 less" in text
    assert report.read_results(tmp_path / "results.json").runs[0].certificates == evaluated.result.certificates
