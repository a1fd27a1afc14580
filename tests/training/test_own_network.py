"""`--network=FILE.keras`: a model of the user's own, trained on from its weights or from new ones."""

import keras
import numpy as np
import pytest

import keras_acet as ka
from keras_acet import training
from keras_acet.cli import commands, own_network, train

layers = keras.layers


def saved(path, *, ends_in="softmax", scaled=True, width=3):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((12, 12, 1))])
    if scaled:
        model.add(layers.Rescaling(1 / 255))
    model.add(layers.Normalization(mean=0.25, variance=4.0))
    model.add(layers.Flatten())
    if ends_in == "softmax":
        model.add(layers.Dense(width, activation="softmax"))
    else:
        model.add(layers.Dense(width))
        ends = {"logits": layers.Identity(), "layer": layers.Softmax(), "activation": layers.Activation("softmax")}
        model.add(ends[ends_in])
    model.save(path)
    return model


def recipe_for(images_npz, path, **changes):
    changes = {"epochs": 1, "batch_size": 16, "deterministic": False, **changes}
    return ka.Recipe.for_dataset(f"npz:{images_npz}", method="plain", network=str(path), **changes)


def load(recipe, data):
    call = commands.Call(train.COMMAND._flags(), ["train.py"])
    return own_network.load(call, recipe, data)


@pytest.mark.parametrize("ends_in", ["softmax", "layer", "activation", "logits"])
@pytest.mark.parametrize("scaled", [True, False])
def test_weights_of_the_file_and_softmax_and_scaling_taken_care_of(ends_in, scaled, images_npz, tmp_path, capsys):
    before = saved(tmp_path / "mine.keras", ends_in=ends_in, scaled=scaled)
    recipe = recipe_for(images_npz, tmp_path / "mine.keras")
    data = recipe.load_data()
    with training.prepare(recipe, data, tmp_path / "run", network=load(recipe, data)) as run:
        images = np.random.default_rng(0).random((4, 12, 12, 1), dtype=np.float32)
        logits = np.asarray(run.network(images))
        given = np.asarray(before(images * 255 if scaled else images))
        found = logits if ends_in == "logits" else np.asarray(keras.ops.softmax(logits))
        np.testing.assert_allclose(found, given, rtol=1e-4, atol=1e-5)
    notes = capsys.readouterr().err
    assert ("the softmax at the end of" in notes) == (ends_in != "logits")
    assert ("takes pixels in 0..255, so they are multiplied by 255" in notes) == scaled
    assert all(line.startswith("train.py: ") for line in notes.splitlines())


def test_fresh_weights_keep_what_was_learnt_of_the_data(images_npz, tmp_path):
    saved(tmp_path / "mine.keras", scaled=False)
    recipe = recipe_for(images_npz, tmp_path / "mine.keras", fresh_weights=True)
    data, made = recipe.load_data(), []
    for name in ("a", "b"):
        with training.prepare(recipe, data, tmp_path / name, network=load(recipe, data)) as run:
            made.append(run.network)
    old = keras.saving.load_model(tmp_path / "mine.keras").layers
    kernels = [np.asarray(network.layers[-1].kernel) for network in made]
    assert np.array_equal(*kernels)  # the seed decides
    assert not np.array_equal(kernels[0], np.asarray(old[-1].kernel))
    normalization = next(layer for layer in made[0].layers if isinstance(layer, layers.Normalization))
    assert float(np.max(normalization.mean)) == 0.25
    assert float(np.max(normalization.variance)) == 4.0


def test_the_path_is_whole_and_weight_decay_means_nothing(images_npz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_for(images_npz, "mine.keras")
    assert recipe.network == str(tmp_path / "mine.keras")
    assert ka.Recipe.from_flags(recipe.to_flags()) == recipe
    assert recipe.unused()["weight_decay"] == f"network={recipe.network}"
    assert "fresh_weights" not in recipe.to_flags()
    with pytest.warns(UserWarning, match="not used: `fresh_weights` with `network=mlp`"):
        ka.Recipe.for_dataset("digits", network="mlp", fresh_weights=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 4}, "must give one logit for each of the 3 classes"),
        (None, "none.keras, which does not exist"),
    ],
)
def test_networks_that_do_not_fit_are_refused_in_one_line(change, message, images_npz, tmp_path, capsys):
    if change is not None:
        saved(tmp_path / "none.keras", **change)
    flags = [f"--dataset=npz:{images_npz}", f"--network={tmp_path}/none.keras", f"--run_dir={tmp_path}/run"]
    assert train.main(["train.py", *flags, "--batch_size=16", "--nodeterministic"]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_networks_in_code(images_npz, tmp_path):
    recipe = recipe_for(images_npz, tmp_path / "mine.keras")
    data = recipe.load_data()
    with pytest.raises(ValueError, match="`network=.*mine.keras` is a file: load it, and give the model as `net"):
        training.prepare(recipe, data, tmp_path / "run")
    for network, message in (
        (saved(tmp_path / "a.keras", ends_in="logits"), "Wrap it: networks.wrapped.network, inputs='bytes'"),
        (saved(tmp_path / "a.keras", scaled=False, ends_in="logits", width=4), r"from \(12, 12, 1\) to \(4,\)"),
        (saved(tmp_path / "a.keras", scaled=False), "must end in logits"),
    ):
        with pytest.raises(ValueError, match=message):
            training.prepare(recipe, data, tmp_path / "run", network=network)
    good = ka.networks.wrapped(saved(tmp_path / "a.keras", ends_in="logits"), inputs="bytes")  # as the message says
    with training.prepare(recipe, data, tmp_path / "run", network=good) as run:
        assert run.network is good
