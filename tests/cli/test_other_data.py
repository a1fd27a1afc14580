"""A run is measured on the data that it was trained on, or nothing of them counts as held out."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import warnings

import numpy as np
import pytest

import keras_acet as ka
from keras_acet import classifiers, datasets
from keras_acet._checks import Notice
from keras_acet.cli import evaluate, export
from keras_acet.files import sha256
from keras_acet.training import runs

DRAW = np.random.default_rng(0)
IMAGES, LABELS = DRAW.integers(0, 256, (60, 4, 4, 1), np.uint8), np.arange(60) % 2
ORDER = np.random.default_rng(1).permutation(60)
QUICK = ["--num_noise=1", "--measure=test_set,calibration", "--num_bootstrap=2"]


def save(path, images=IMAGES, labels=LABELS):
    np.savez(path, images=images, labels=labels)


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of the run that the test may change; its data as they were."""
    save(trained.parent / "mine.npz")
    monkeypatch.chdir(tmp_path)
    return pathlib.Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on `mine.npz`, named by a relative path."""
    folder = tmp_path_factory.mktemp("trained")
    save(folder / "mine.npz")
    with contextlib.chdir(folder):
        recipe = ka.Recipe.for_dataset("npz:mine.npz", method="plain", epochs=1, batch_size=8, network="mlp")
        recipe = dataclasses.replace(recipe, deterministic=False, schedule="constant")
        ka.train(recipe, recipe.load_data(), "run")
    return folder / "run"


def called(main, capsys, *arguments):
    code = main(["program", *arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def calibration(run):
    return json.loads((run / "evaluation/results.json").read_text())["runs"][0]["calibration"]


CHANGES = {
    "another order": (IMAGES[ORDER], LABELS[ORDER]),
    "an image more": (np.concatenate([IMAGES, IMAGES[:1]]), np.append(LABELS, 0)),
    "an image less": (IMAGES[:-1], LABELS[:-1]),
    "another pixel": (np.where(np.arange(60)[:, None, None, None] == 7, 255 - IMAGES, IMAGES), LABELS),
    "another label": (IMAGES, np.where(np.arange(60) == 7, 1 - LABELS, LABELS)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_data_is_seen(change):
    data = datasets.Data(name="mine", train=(IMAGES, LABELS), batch_size=1, calibration_fraction=0.2)
    other = datasets.Data(name="mine", train=CHANGES[change], batch_size=1, calibration_fraction=0.2)

    same = datasets.Data(name="b", train=(IMAGES, LABELS), batch_size=2, seed=3, calibration_fraction=0.2)
    assert data.is_of(same.fingerprint)
    assert not other.is_of(data.fingerprint) and not other.is_of(data.fingerprint, calibration_fraction=0.3)


def test_changed_data_are_refused_or_nothing_counts_as_held_out(trained, run, capsys, monkeypatch):
    monkeypatch.chdir("/")  # the run knows where its data lie
    code, _, err = called(evaluate.main, capsys, f"--run_dir={run}", *QUICK)
    assert (code, err.count("changed"), calibration(run)["is_held_out"]) == (0, 0, True)

    own = trained.parent / "mine.npz"
    save(own, *CHANGES["another order"])
    for main in (evaluate.main, export.main):
        code, _, err = called(main, capsys, f"--run_dir={run}", "--num_noise=1")
        assert code == 2
        assert err.startswith("program: error: the data of run have changed since it was trained: other images, ")
        assert err.count("\n") == 1
    advice = f"--dataset=npz:{own}"
    assert advice in err

    code, _, err = called(evaluate.main, capsys, f"--run_dir={run}", advice, *QUICK)
    assert code == 0
    assert err.count("mine.npz is not the data that run was trained on, or has changed since") == 1
    assert calibration(run)["is_held_out"] is None
    assert "may have been trained" in calibration(run)["thresholds"][2]["guarantee"]


def test_a_run_that_does_not_say_what_it_was_trained_on(run, capsys):
    flags = run / "flags.flags"
    flags.write_text("\n".join(line for line in flags.read_text().splitlines() if "Fingerprint" not in line) + "\n")
    code, _, err = called(evaluate.main, capsys, f"--run_dir={run}", *QUICK)

    assert code == 0
    assert "program: which data run was trained on is not known, so nothing here counts as held out\n" in err
    assert calibration(run)["is_held_out"] is None


def test_data_that_are_gone_are_refused_with_their_path(trained, run, capsys):
    (trained.parent / "mine.npz").unlink()
    code, _, err = called(evaluate.main, capsys, f"--run_dir={run}", *QUICK)
    assert (code, str(trained.parent / "mine.npz") in err) == (2, True)


def test_in_code_the_same_is_said(trained, run):
    classifier = classifiers.load(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fraction in (0.1, 0.0):  # what is kept out decides how a set is split, not what it is
            data = datasets.load(f"npz:{trained.parent}/mine.npz", batch_size=1, calibration_fraction=fraction)
            assert classifiers.check(classifier, data).trained_on == runs.RunDirectory(run).fingerprint()
    other = datasets.Data(name="other", train=(IMAGES[:40], LABELS[:40]), batch_size=1)
    with pytest.warns(Notice, match="^other is not the data that run was trained on, or has changed since"):
        found = classifiers.check(classifier, other)
    assert found.is_foreign and not classifier.is_foreign


def test_class_names_count():
    named = datasets.Data(name="a", train=(IMAGES, LABELS), class_names=["x", "y"], batch_size=1)
    swapped = datasets.Data(name="a", train=(IMAGES, LABELS), class_names=["y", "x"], batch_size=1)

    assert named.fingerprint != swapped.fingerprint
    assert not named.is_of(swapped.fingerprint)


def test_fingerprints_of_the_version_before_still_count():
    # SHA-256 over shape, dtype and values of each part, as it was before the names of classes counted.
    data = datasets.Data(name="a", train=(IMAGES, LABELS), batch_size=1, calibration_fraction=0.25)
    parts = [
        array if array.ndim == 1 else np.round(array * 255).astype(np.uint8)
        for part in ("train", "test", "calibration")
        for array in (getattr(data, f"{part}_images"), getattr(data, f"{part}_labels"))
    ]
    before = sha256(*(part for array in parts for part in (f"{array.shape}{array.dtype.str}", array)))[:16]
    assert before != data.fingerprint and data.is_of(before)
    other = datasets.Data(name="a", train=(IMAGES, LABELS), batch_size=1)
    assert other.is_of(before, calibration_fraction=0.25) and not other.is_of(before)
    assert other.is_of(data.fingerprint, calibration_fraction=0.25)


def test_a_path_with_commas_is_one_set(run, capsys):
    save(run.parent / "a,b.npz", IMAGES[:5])
    code, out, err = called(evaluate.main, capsys, f"--run_dir={run}", "--ood=npz:a,b.npz", "--ood=photos", *QUICK)
    assert (code, err.count("error")) == (0, 0)
    assert "out-distribution sets: photos, a,b.npz" in out
