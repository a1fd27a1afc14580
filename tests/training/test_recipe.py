"""Recipes: defaults of data sets, flag files, and whole runs in code."""

import dataclasses
import json
import re

import numpy as np
import pytest
from helpers.places import ROOT

import keras_acet as ka
from keras_acet import training
from keras_acet.training import flag_files, runs
from keras_acet.training.methods import METHODS

SETS = ("mnist", "svhn", "cifar10", "cifar100")


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "prood"])  # which the paper has not
def test_defaults_of_a_set_are_the_papers_recipe(dataset, method):
    """Images kept back for calibration apart: the paper keeps none."""
    paper = ka.Recipe.from_flagfile(f"paper/{dataset}_{method}")
    default = ka.Recipe.for_dataset(dataset, method=method)

    assert paper.calibration_fraction == 0
    assert default.calibration_fraction == 0.04
    assert dataclasses.replace(default, calibration_fraction=0.0) == paper
    assert paper.step_size == 0.0075  # .3 / 40


@pytest.mark.parametrize("dataset", [*SETS, "digits", "moons"])
def test_recipes_and_entries_name_the_same_network_and_augmentation(dataset):
    recipe, entry = ka.Recipe.for_dataset(dataset), ka.datasets.spec(dataset)

    assert (recipe.network, recipe.augmentation) == (entry.network, entry.augmentation)


def test_sets_without_a_recipe_take_that_of_mnist():
    mnist = ka.Recipe.for_dataset("mnist", epsilon=0.2)
    for name in ("fashion_mnist", "kmnist", "emnist_letters", "folder:x", "npz:x.npz"):
        recipe = ka.Recipe.for_dataset(name, epsilon=0.2)
        assert (recipe.network, recipe.augmentation, recipe.out) == (None, None, None)
        is_own = ":" in name
        changes = {"dataset": "mnist", "network": "lenet", "augmentation": "crop", "out": "paper"}
        changes["calibration_fraction"] = mnist.calibration_fraction
        assert recipe.calibration_fraction == (0.1 if is_own else 0.04)
        assert (recipe.epochs, recipe.schedule) == ((30, "cosine") if is_own else (100, "steps"))
        changes |= {"epochs": 100, "schedule": "steps"}
        assert dataclasses.replace(recipe, **changes) == mnist
    assert mnist.step_size == 0.2 / 40


def test_changes():
    digits = ka.Recipe.for_dataset("digits")
    assert (digits.step_size, digits.step_size_max) == (0.03, 0.2)
    constant = ka.Recipe.for_dataset("digits", step_schedule="constant", num_steps=11)
    assert (constant.step_size, constant.step_size_max) == (0.33 / 11, None)
    assert ka.Recipe.for_dataset("cifar10", network="rbf").optimizer == "adam"
    assert ka.Recipe.for_dataset("moons", step_schedule="constant").step_size == 0.02


@pytest.mark.parametrize("name", flag_files.names())
def test_round_trip(name):
    recipe = ka.Recipe.from_flagfile(name)

    assert ka.Recipe.from_flags(recipe.to_flags()) == recipe
    assert ka.Recipe.from_flagfile(ROOT / "recipes" / f"{name}.flags") == recipe


def test_text_form():
    recipe = ka.Recipe.for_dataset("npz:a.npz", epsilon=1, schedule="steps", drop_epochs=[5, 6], deterministic=False)
    flags = recipe.to_flags()

    assert flags["epsilon"] == "1.0"
    assert (flags["drop_epochs"], flags["deterministic"]) == ("5,6", "False")
    assert not {"network", "out", "image_size", "step_size_max"} & set(flags)
    text = "# A comment\n// another\n\n--dataset=moons\n--nodeterministic\n-epochs=3\n"
    assert flag_files.read(text, "here") == {"dataset": "moons", "deterministic": "False", "epochs": "3"}
    written = flag_files.write_run({"b": "2", "a": "1=1"}, fingerprint="f", extra_flags={"data_dir": "d"})
    assert flag_files.read_run(written) == ({"a": "1=1", "b": "2"}, {"data_dir": "d"}, "f", None)
    assert flag_files.read(written, "run") == {"a": "1=1", "b": "2"}


# Changes of the recipe for digits, error, part of the message.
BAD = [
    ({"epsilon": 8}, ValueError, "`epsilon` must be in (0, 1], in pixel units; for 8-bit levels divide by 255. Rec"),
    ({"epsilon": "0.3"}, TypeError, "`epsilon` must be a number. Received: epsilon='0.3'"),
    ({"epochs": 0}, ValueError, "`epochs` must be at least 1. Received: epochs=0"),
    ({"epochs": 1.5}, TypeError, "`epochs` must be a whole number"),
    ({"seed": 2**31}, ValueError, "`seed` must be in [0, 2147483648)"),
    ({"seed": True}, TypeError, "`seed` must be a whole number"),
    ({"method": "cedar"}, ValueError, "`method` must be one of plain, ceda, acet, prood. Received: method='cedar'"),
    ({"noise": "gauss"}, ValueError, "`out=gauss`: An out-distribution must be made of almost_black, blobs, "),
    ({"noise": "paper", "out": "paper"}, ValueError, "`noise` is the former name of `out`; give one of them"),
    ({"out": "paper,digits"}, ValueError, "`out` must name another set than `dataset`. Received: digits for both"),
    ({"drop_epochs": (5, 5)}, ValueError, "`drop_epochs` must be rising whole numbers, such as 50,75,90"),
    ({"network": 3}, TypeError, "`network` must be a text or None"),
    ({"min_sigma": 3.0}, ValueError, "`max_sigma` must be at least `min_sigma`. Received: 2.5 and 3"),
    ({"step_size": 0.3}, ValueError, "needs a `step_size` and a `step_size_max` that is not smaller"),
    ({"pool_size": 64}, ValueError, "`pool_size=64` must be at least the 128 noise images of a step"),
    ({"epsilom": 0.3}, TypeError, "epsilom"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD, ids=[str(case[0]) for case in BAD])
def test_messages(changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ka.Recipe.for_dataset("digits", **changes)


def test_messages_of_flag_files(tmp_path):
    with pytest.raises(ValueError, match=r"one of fast.*, or the path .* 'fast/mnist-acte'.* mean 'fast/mnist_acet'"):
        ka.Recipe.from_flagfile("fast/mnist-acte")
    with pytest.raises(ValueError, match="`data_dir` is no setting of a recipe; give it to `load_data`"):
        ka.Recipe.from_flags({"data_dir": "x"})
    with pytest.raises(ValueError, match="`epsilonn` is no setting of a recipe; a recipe has dataset, method"):
        ka.Recipe.from_flags({"epsilonn": "1"})
    with pytest.raises(ValueError, match="`epochs` must be a whole number. Received: epochs=many"):
        ka.Recipe.from_flags({"epochs": "many"})
    (tmp_path / "a.flags").write_text("epochs=3")
    with pytest.raises(ValueError, match="holds lines such as --epochs=100 and comments. Received: 'epochs=3'"):
        ka.Recipe.from_flagfile(tmp_path / "a.flags")


def test_docstring_tells_all_settings():
    for name in ka.Recipe.settings():
        assert f"\n        {name}: " in ka.Recipe.__doc__


def tiny(images_npz, **changes):
    changes = {"network": "mlp", "batch_size": 16, "epochs": 2, "schedule": "cosine", **changes}
    if changes.get("method") != "plain":
        changes["num_steps"] = 2
    return ka.Recipe.for_dataset(f"npz:{images_npz}", **changes)


def test_a_run_is_summed_up_in_one_line(images_npz, tmp_path):
    """Of 64 images a fifth of each class, 12, is the test set, and a tenth of the other 52 is kept back."""
    recipe = tiny(images_npz, method="acet")
    with training.prepare(recipe, recipe.load_data(), tmp_path / "run") as run:
        assert run.summary() == (
            "random.npz: images (12, 12, 1), 47 to train on (0: 16, 1: 16, 2: 15), 5 kept back, 12 to test with; mlp; "
            "acet, fresh adversary, radius 0.3, out-distribution paper; 2 epochs of 2 steps of 16; "
            f"written to {tmp_path / 'run'}"
        )
        plain = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, method="plain"))
        assert "; mlp; plain; 2 epochs" in plain.summary()
        many = ka.datasets.Data(name="many", train=(np.zeros((65, 4)), np.arange(65) % 13), batch_size=4)
        assert "52 to train on (13 classes of 4 to 4), 13 to test" in dataclasses.replace(run, data=many).summary()


def test_three_lines_train_and_go_on(images_npz, tmp_path, capsys):
    recipe = tiny(images_npz, method="acet", deterministic=False)
    data = recipe.load_data()
    result = ka.train(recipe, data, tmp_path / "run", final_table=lambda network: [{"set": "mine"}])

    assert capsys.readouterr() == ("", "")
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert (result.recipe.network, result.recipe.out, result.recipe.augmentation) == ("mlp", "paper", "none")
    assert ka.Recipe.from_flagfile(tmp_path / "run/flags.flags") == result.recipe
    assert result.table == json.loads((tmp_path / "run/results.json").read_text())["table"] == [{"set": "mine"}]
    assert result.network(np.zeros((1, 12, 12, 1), np.float32)).shape == (1, 3)
    assert result.notes == []
    with pytest.raises(runs.RunDirectoryError, match=r"holds a finished run; name another `run_dir`, give a large"):
        ka.train(recipe, data, tmp_path / "run")

    (tmp_path / "run/results.json").unlink()  # as if killed in the second epoch; the directory is free again
    (tmp_path / "run/checkpoints/epoch-0002.npz").unlink()
    again = ka.train(recipe, data, tmp_path / "run")
    assert [row["loss"] for row in again.history] == [row["loss"] for row in result.history]
    assert again.table == []
    with pytest.raises(runs.RunDirectoryError, match="holds a finished run"):
        ka.train(dataclasses.replace(recipe, epochs=1), data, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, "batch_size 8. Received: data with batch_size 16"),
        ({"seed": 1}, "seed "),
        ({"augmentation": "crop"}, "augmentation some. Received: data with augmentation none"),
        ({"calibration_fraction": 0.0}, "calibration images none. Received: data with calibration images some"),
        ({"dataset": "digits"}, "name digits. Received: data with name "),
    ],
)
def test_data_that_are_not_the_recipes_are_refused(changes, message, images_npz, tmp_path):
    recipe = tiny(images_npz, method="plain", deterministic=False)
    data = recipe.load_data()

    with pytest.raises(ValueError, match=re.escape(message)):
        ka.train(dataclasses.replace(recipe, **changes), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_takes_objects_only(tmp_path):
    with pytest.raises(TypeError, match="`recipe` must be a Recipe. Received: str"):
        ka.train("fast/mnist_acet", None, tmp_path)
    with pytest.raises(TypeError, match="`data` must be a Data, such as recipe.load_data"):
        ka.train(ka.Recipe.for_dataset("digits"), None, tmp_path)


def test_arrays_of_ones_own_under_a_name_of_ones_own(tmp_path):
    images = np.random.default_rng(0).uniform(size=(40, 5)).astype(np.float32)
    data = ka.datasets.Data(name="mine", train=(images, np.arange(40) % 2), batch_size=8)
    recipe = ka.Recipe.for_dataset(data, method="ceda", epochs=1, batch_size=8, calibration_fraction=0.0)
    recipe = dataclasses.replace(recipe, deterministic=False, schedule="constant")
    data.seed = recipe.seeds()["data"]
    result = ka.train(recipe, data, tmp_path / "run")

    assert (result.recipe.network, result.recipe.out) == ("mlp", "uniform")
    assert ka.Recipe.from_flagfile(tmp_path / "run" / "flags.flags") == result.recipe
    with pytest.raises(ValueError, match="`dataset` must be one of .*npz:PATH.* Received: dataset='mine'.*register"):
        ka.Recipe.for_dataset("mine")


def test_files_of_ones_own_keep_their_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = ka.Recipe.for_dataset("npz:mine/../a.npz")
    monkeypatch.chdir("/")

    assert (recipe.dataset, recipe.data_name) == (f"npz:{tmp_path / 'a.npz'}", "a.npz")
    assert ka.Recipe.from_flags(recipe.to_flags()) == recipe
    assert ka.Recipe.for_dataset("folder:/x/photos").data_name == "photos (folder)"  # "photos" is the library's


def test_numbers_of_numpy_are_as_good():
    changes = {"seed": np.int64(3), "epochs": np.uint8(2), "penalty_weight": np.float32(0.5), "deterministic": np.True_}
    recipe = ka.Recipe.for_dataset("digits", **changes)
    assert recipe == ka.Recipe.for_dataset("digits", seed=3, epochs=2, penalty_weight=0.5, deterministic=True)
    assert type(recipe.seed) is int
    with pytest.raises(TypeError, match="`seed` must be a whole number"):
        ka.Recipe.for_dataset("digits", seed=np.float32(3.5))
