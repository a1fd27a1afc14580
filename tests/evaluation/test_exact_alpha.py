"""The exact minimal alpha beside the scan: Table 2, `--alpha=exact`."""

import dataclasses
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.piecewise_networks import NETWORKS, make
from helpers.toys import data_of, linear_network
from helpers.toys import evaluate as evaluate_model

from keras_acet import evaluation, networks
from keras_acet.classifiers import FunctionClassifier, KerasClassifier
from keras_acet.evaluation import scaling
from keras_acet.evaluation.results import AlphaScalingResult, ExactAlphaResult, Measured
from keras_acet.report import tables


def test_exact_alpha_lies_within_the_grid_of_the_scan():
    network, _ = make(NETWORKS["lenet"])
    predict = KerasClassifier(network).logits
    shares = []
    scan = evaluation.alpha_scaling(predict, (6, 7, 1), num_trials=60, seed=2)["alpha"]
    exact = evaluation.exact_alpha(network, (6, 7, 1), num_trials=60, seed=2, progress=shares.append)["alpha"]
    assert shares[-1] == 1.0 and shares == sorted(shares)
    assert np.isfinite(scan).all()
    # The scan refines a step of 10 %, or 100 % beyond 97, by 12 bisections: to a relative 2.3e-5 or 1.7e-4. Its logits
    # are float32, right to 1e-6 of their size.
    assert (exact <= scan * (1 + 1e-5)).all()
    assert (exact >= scan * (1 - 2e-4)).all()


def test_exact_alpha_is_earlier_where_the_scan_steps_over_a_peak():
    # Logits 0, 57 - 100 s and 100 s - 73 with s = alpha x: at s = .65 class 0 is .99933, and .999 from .6404 to .6596,
    # a stretch of 3 %, less than the scan's steps. Class 1 is sure up to s = .5, class 2 from s = .8 on.
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3)])
    network.set_weights([np.array([[0, -100, 100.0]]), np.array([0, 57.0, -73.0])])
    predict = KerasClassifier(network).logits
    scan = evaluation.alpha_scaling(predict, (1,), num_trials=200, seed=0)["alpha"]
    exact = evaluation.exact_alpha(network, (1,), num_trials=200, seed=0)["alpha"]
    assert (exact <= scan * (1 + 1e-5)).all()
    x = np.random.default_rng(0).uniform(size=200).astype(np.float32).astype(float)
    meets = (x > 0.51) & (x < 0.64)
    e = np.exp(8) / 999  # 1 / u + u with u = e^(100 (s - .65))
    first = 0.65 + np.log((e - np.sqrt(e**2 - 4)) / 2) / 100
    np.testing.assert_allclose(exact[meets] * x[meets], first, rtol=1e-9)
    assert 0 < (exact < 0.99 * scan)[meets].sum() < meets.sum()


def test_an_evaluation_with_exact_alpha():
    images = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    data = data_of(images, (images[:, 0] > 0.5).astype(int))
    found = evaluate_model(linear_network(-8.0, 4.0), data, num_trials=30, alpha="exact")
    scaled = found.result.alpha_scaling
    # Logits 4 - 8 alpha x and 0: sure where 8 alpha x - 4 >= log 999, from x = .863 on at once.
    x = np.random.default_rng(0).uniform(size=(30, 1)).astype(np.float32)
    expected = np.median(np.maximum((np.log(999) + 4) / (8 * x), 1))
    assert scaled.exact == ExactAlphaResult(pytest.approx(expected, rel=1e-7), 1.0)
    assert scaled.median_alpha == pytest.approx(expected, rel=1e-4)
    assert scaling.summarize_alpha_scaling({"alpha": np.ones(3), "is_confident": np.ones(3, bool)}).exact is None


def test_the_table_shows_both():
    scaled = AlphaScalingResult(
        num_trials=100,
        median_alpha=None,
        share_reached=0.0,
        exact=None,
        level=0.999,
        share_confident_clipped=Measured(0.0, 0.0, 0.01),
        clipped_level=0.95,
        largest_alpha=1e18,
    )
    replace = dataclasses.replace
    sure = replace(scaled, median_alpha=8.1, share_reached=1.0, exact=ExactAlphaResult(8.05, 1.0))
    never = replace(scaled, exact=ExactAlphaResult(None, 0.0))
    named = (("a", sure), ("b", never), ("c", scaled), ("d", None))
    runs = [types.SimpleNamespace(name=name, alpha_scaling=x) for name, x in named]
    table = tables.alpha_scaling(runs)
    shown = [[cell.text.replace("\N{NO-BREAK SPACE}", " ") for cell in entries[0]] for _, entries in table.rows]
    assert [cells[1:5] for cells in shown] == [
        ["8.1", "100 %", "8.05", "100 %"],
        ["> 1e18", "0 %", "none", "0 %"],
        ["> 1e18", "0 %", "\N{EN DASH}", "\N{EN DASH}"],
    ]
    assert table.groups[0].columns[3:5] == ["Exact median", "Reach 99.9\N{NO-BREAK SPACE}% anywhere"]
    assert len(tables.alpha_scaling(runs[2:3]).groups[0].columns) == 4


def test_what_cannot_be_exact_is_said():
    with pytest.raises(ValueError, match=r"`alpha` must be one of \['exact', 'scan'\]. Received: alpha='grid'"):
        evaluation.Protocol(alpha="grid")
    with pytest.raises(ValueError, match="needs a Keras model, whose layers can be seen. Received: net, a function"):
        scaling.exact_network(FunctionClassifier(tf.identity, name="net"))
    smooth = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "gelu", name="last")])
    with pytest.raises(ValueError, match=r"of net cannot be computed.*`last` \(Dense with activation gelu\)"):
        scaling.exact_network(KerasClassifier(smooth, name="net"))


@pytest.mark.slow
def test_the_command_line(evaluate, images_npz, tmp_path):
    networks.mlp((12, 12, 1), 3, hidden=(20,)).save(tmp_path / "net.keras")
    smooth = keras.Sequential([keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "tanh")])
    smooth.save(tmp_path / "smooth.keras")
    arguments = [f"--dataset=npz:{images_npz}", "--alpha=exact", "--num_noise=4", "--num_trials=5", "--num_bounded=0"]
    arguments += ["--num_bootstrap=20", "--num_adversarial=0", "--larger_epsilon=0", "--report_dir=report"]
    failed = evaluate(["--model=smooth.keras", *arguments], tmp_path)
    assert failed.code == 2 and failed.stderr.count("\n") == 1
    assert "cannot be computed" in failed.stderr and "Dense with activation tanh" in failed.stderr
    assert not (tmp_path / "report").exists()
    done = evaluate(["--model=net.keras", *arguments], tmp_path)
    assert done.code == 0, done.stderr
    scaled = json.loads((tmp_path / "report" / "results.json").read_text())["runs"][0]["alpha_scaling"]
    assert scaled["exact"]["median_alpha"] == pytest.approx(scaled["median_alpha"], rel=1e-4)
    assert "Exact median" in (tmp_path / "report" / "report.md").read_text()
