"""More epochs for a run, and files that belong to another run than the directory that they lie in."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import keras_acet as ka
from keras_acet import classifiers, training
from keras_acet._checks import Notice
from keras_acet.training import runs


@pytest.fixture(scope="module")
def recipe(images_npz):
    changes = {"network": "mlp", "batch_size": 16, "epochs": 2, "schedule": "constant", "ema_momentum": 0.5}
    return ka.Recipe.for_dataset(f"npz:{images_npz}", method="ceda", **changes)


@pytest.fixture(scope="module")
def data(recipe):
    return recipe.load_data()


@pytest.fixture(scope="module")
def finished(recipe, data, tmp_path_factory):
    """A finished run of two epochs, and another of the same network with another seed."""
    folder = tmp_path_factory.mktemp("runs")
    other = dataclasses.replace(recipe, seed=1)
    ka.train(recipe, data, folder / "run")
    ka.train(other, other.load_data(), folder / "other")
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def weights(run):
    return [weight.tobytes() for weight in keras.saving.load_model(run / "model.keras").get_weights()]


def test_more_epochs_in_place_end_as_a_longer_run(recipe, data, folder):
    longer = dataclasses.replace(recipe, epochs=4)
    whole = ka.train(longer, data, folder / "whole")
    result = ka.train(longer, data, folder / "run")

    (note,) = [note for note in result.notes if "goes on" in note]
    assert note == "after epoch 2 a run of 2 epochs goes on to 4, and ends as a run of 4 epochs from the start"
    assert result.history == whole.history
    assert weights(folder / "run") == weights(folder / "whole")
    assert runs.RunDirectory(folder / "run").flags()["epochs"] == "4"
    results = json.loads((folder / "run/results.json").read_text())
    assert results["extended_after"] == [2]
    assert "extended_after" not in json.loads((folder / "whole/results.json").read_text())
    fewer = dataclasses.replace(recipe, epochs=3)
    with pytest.raises(runs.RunDirectoryError, match="holds a finished run; .*, give a larger number of `epochs`"):
        ka.train(fewer, data, folder / "run")
    changed = dataclasses.replace(recipe, epochs=6, learning_rate=0.5)
    with pytest.raises(
        runs.RunDirectoryError,
        match="holds a finished run with other settings: `learning_rate` was .*, now 0.5; name another `run_dir`, give "
        "a larger number of `epochs` and the same settings, those in .*flags.flags, to go on, or give `overwrite=True`",
    ):
        ka.train(changed, data, folder / "run")


def test_more_epochs_with_a_falling_learning_rate_are_told(recipe, data, folder):
    falling = dataclasses.replace(recipe, schedule="cosine", epochs=1)
    ka.train(falling, data, folder / "falling")
    with training.prepare(dataclasses.replace(falling, epochs=2), data, folder / "falling") as run:
        note = run.progress.notes[0]
    assert "until there the learning rate is that of 1 epochs, then that of 2, so the numbers are not those of" in note


def test_a_run_without_checkpoints_is_not_begun_anew(recipe, data, folder):
    shutil.rmtree(folder / "run/checkpoints")
    with pytest.raises(runs.RunDirectoryError, match="a finished run; name another `run_dir`, or give `overwrite"):
        ka.train(dataclasses.replace(recipe, epochs=4), data, folder / "run")


def test_overwrite_begins_anew(recipe, data, folder):
    result = ka.train(dataclasses.replace(recipe, epochs=3), data, folder / "run", overwrite=True)
    assert not any("goes on" in note for note in result.notes)
    assert len(result.history) == 3


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.keras", "model.keras is not the file that this run wrote: its SHA-256 is another than in"),
        ("results.json", "results.json and .*flags.flags are of two runs: their flags differ"),
        ("flags.flags", "results.json and .*flags.flags are of two runs: their flags differ"),
    ],
)
def test_a_file_of_another_run_is_refused(file, message, folder):
    assert classifiers.load(folder / "run").kind == "run"
    shutil.copy(folder / "other" / file, folder / "run" / file)
    with pytest.raises(ValueError, match=message):
        classifiers.load(folder / "run")
    shutil.copy(folder / "run/model.keras", folder / "alone.keras")  # as the message says
    assert classifiers.load(folder / "alone.keras").kind == "keras"


def test_metrics_of_another_run_are_left_out(folder):
    assert len(classifiers.load(folder / "run").history) == 2
    shutil.copy(folder / "other/metrics.csv", folder / "run/metrics.csv")
    with pytest.warns(Notice, match=r"metrics.csv is not the file that this run wrote, and is left out"):
        assert classifiers.load(folder / "run").history == []


def test_a_checkpoint_of_another_run_is_passed_over(recipe, data, folder):
    run = folder / "run"
    (run / "results.json").unlink()
    shutil.copy(folder / "other/checkpoints/epoch-0002.npz", run / "checkpoints/epoch-0002.npz")
    result = ka.train(recipe, data, run)
    assert "epoch-0002.npz is damaged and passed over (it is of another run); going on from" in result.notes[0]
    assert result.history == ka.train(recipe, data, folder / "again").history

    (run / "results.json").unlink()
    for path in (folder / "other/checkpoints").iterdir():
        shutil.copy(path, run / "checkpoints" / path.name)
    with pytest.raises(runs.RunDirectoryError, match="cannot go on: .* is of another run"):
        ka.train(recipe, data, run)


def test_runs_of_an_earlier_version_say_nothing_of_their_files(folder):
    path = folder / "run/results.json"
    results = json.loads(path.read_text())
    del results["sha256"]
    path.write_text(json.dumps(results))
    shutil.copy(folder / "other/model.keras", folder / "run/model.keras")
    assert np.isfinite(classifiers.load(folder / "run").logits(np.zeros((1, 12, 12, 1), "float32"))).all()
    path.write_text("{")
    with pytest.raises(runs.RunDirectoryError, match=r"results.json is damaged: it holds no results; train the run"):
        classifiers.load(folder / "run")
