"""The out-distribution of a run, from recipe to run directory."""

import numpy as np
import pytest

import keras_acet as ka
from keras_acet.cli import train as train_command
from keras_acet.training import building, flag_files

SMALL = {"network": "mlp", "batch_size": 16, "epochs": 1, "steps_per_epoch": 2, "deterministic": False}


@pytest.fixture
def digits_like(tmp_path):
    """The name of a file of 8x8 images to train against."""
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 8, 3), np.uint8)
    np.savez(tmp_path / "outside.npz", images=images)
    return f"npz:{tmp_path / 'outside.npz'}"


def recipe_of(out, **changes):
    return ka.Recipe.for_dataset("digits", out=out, **{"method": "ceda", **SMALL, **changes})


def test_a_recipe_keeps_names_weights_and_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of("outliers=2.0, npz:outside.npz,letters=1")
    assert recipe.out == f"outliers=2,npz:{tmp_path}/outside.npz,letters"
    assert ka.Recipe.from_flags(recipe.to_flags()) == recipe


def test_the_former_name_is_taken_in_code_and_flag_files(tmp_path):
    assert ka.Recipe.for_dataset("digits", noise="uniform") == ka.Recipe.for_dataset("digits", out="uniform")
    path = tmp_path / "old.flags"
    path.write_text("--dataset=digits\n--noise=uniform\n")
    recipe = ka.Recipe.from_flagfile(path)
    assert (recipe.out, recipe.noise) == ("uniform", "uniform")
    assert recipe.to_flags()["out"] == "uniform"
    with pytest.raises(ValueError, match="`noise` is the former name of `out`"):
        ka.Recipe.from_flags({"noise": "paper", "out": "paper"})


@pytest.mark.parametrize("method", ["ceda", "acet"])
def test_parts_of_several_reach_the_penalty(method, digits_like):
    recipe = recipe_of(f"paper,letters=2,{digits_like}", method=method, min_sigma=0.0)
    data = recipe.load_data()
    parts = building.Parts(recipe, data, 4)
    made = building.penalty(recipe, parts).noise
    assert made.sources == ("paper", "letters", "outside.npz")
    assert made.shares == (0.25, 0.5, 0.25)
    assert made.parts[0].min_sigma == 0.0
    assert made.parts[1].without == "IOlo"
    what = "20 images, made 8x8x1 from 4x8x3 (resized, the mean of the channels)"
    assert parts.out.notes == (f"out-distribution outside.npz: {what}",)


def test_plain_training_makes_no_out_distribution():
    recipe = ka.Recipe.for_dataset("digits", method="plain", **SMALL)
    parts = building.Parts(recipe, recipe.load_data(), 4)
    assert building.penalty(recipe, parts) is None
    assert parts.out is None


def test_a_run_tells_of_its_images_and_goes_on_with_those_alone(digits_like, tmp_path):
    recipe = recipe_of(f"paper,{digits_like}")
    data = recipe.load_data()
    with ka.training.prepare(recipe, data, tmp_path / "run") as run:
        assert run.progress.notes[0].startswith("out-distribution outside.npz: 20 images, made 8x8x1")
        run.fit()
    text = (tmp_path / "run/flags.flags").read_text()
    assert f"--out=paper,{digits_like}\n" in text
    fingerprint = flag_files.read_run(text).out_fingerprint
    assert len(fingerprint) == 16
    with ka.training.prepare(recipe, data, tmp_path / "run") as run:
        assert run.progress.epoch == 1

    np.savez(tmp_path / "outside.npz", images=np.zeros((20, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="the images of the out-distribution have changed since the run in .* began"):
        ka.training.prepare(recipe, data, tmp_path / "run")
    with ka.training.prepare(recipe, data, tmp_path / "run", overwrite=True) as run:
        assert run.progress.epoch == 0
    assert flag_files.read_run((tmp_path / "run/flags.flags").read_text()).out_fingerprint != fingerprint


def test_a_run_of_the_version_before_goes_on(tmp_path):
    recipe = recipe_of("uniform", epochs=2)
    data = recipe.load_data()
    with ka.training.prepare(recipe, data, tmp_path / "run") as run:
        run.fit()
    (tmp_path / "run/model.keras").unlink()
    (tmp_path / "run/checkpoints/epoch-0002.npz").unlink()
    path = tmp_path / "run/flags.flags"
    path.write_text(path.read_text().replace("--out=uniform\n", "--noise=uniform\n"))
    assert ka.training.runs.RunDirectory(tmp_path / "run").flags()["out"] == "uniform"
    with ka.training.prepare(recipe, data, tmp_path / "run") as run:
        assert run.progress.epoch == 1
    assert "--out=uniform\n" in path.read_text()
    with pytest.raises(ValueError, match="`out` was uniform, now paper"):
        ka.training.prepare(recipe_of("paper", epochs=2), data, tmp_path / "run")


def test_the_command_line(tmp_path, capsys, monkeypatch, digits_like):
    monkeypatch.chdir(tmp_path)
    small = ["--dataset=digits", "--method=ceda", "--network=mlp", "--epochs=1", "--steps_per_epoch=1", "--num_noise=2"]
    typed = ["train.py", *small, "--nodeterministic", f"--out={digits_like}=1,outliers=3", "--run_dir=run"]
    assert train_command.main(typed) == 0
    error = capsys.readouterr().err
    assert "train.py: out-distribution outside.npz: 20 images, made 8x8x1 from 4x8x3 (resized, the mean of" in error
    assert f"--out={digits_like},outliers=3\n" in (tmp_path / "run/flags.flags").read_text()


def test_the_former_flag(capsys):
    small = ["train.py", "--dataset=digits", "--only_check_args"]
    assert train_command.main([*small, "--noise=uniform"]) == 0
    assert "--noise is now called --out" in capsys.readouterr().err
    assert train_command.main([*small, "--noise=unifrom"]) == 2
    assert "--out=unifrom: An out-distribution must be made of" in capsys.readouterr().err
    assert train_command.main([*small, "--recipe=fast/mnist_acet", "--noise=uniform", "--method=plain"]) == 0
