"""Which settings mean something for which method: what is made of a recipe depends on those alone."""

import dataclasses
import json
import re

import numpy as np
import pytest

import keras_acet as ka
from keras_acet.cli import train as train_command
from keras_acet.training import building, methods
from keras_acet.training.methods import METHODS

# Another value than the default of digits, for every setting that may mean nothing.
OTHER = {
    "out": "permuted",
    "min_sigma": 0.5,
    "max_sigma": 3.0,
    "sigma_per": "image",
    "noise_fraction": 0.5,
    "penalty_weight": 2.0,
    "penalty_ramp_epochs": 3.0,
    "epsilon": 0.25,
    "num_steps": 7,
    "step_size": 0.04,
    "step_size_max": 0.1,
    "step_schedule": "linear",
    "attack_momentum": 0.5,
    "attack_start": "input",
    "image_start_probability": 0.25,
    "attack_precision": "bfloat16",
    "adversary": "fresh",
    "pool_size": 999,
    "refresh_probability": 0.5,
    "momentum": 0.5,
}


@pytest.fixture(scope="module")
def data():
    images = np.zeros((16, 8, 8, 1), np.uint8)
    split = (images, np.arange(16) % 2)
    return ka.datasets.Data(name="digits", train=split, test=split, batch_size=4)


def made_of(recipe, data):
    """All that a recipe's penalty and optimizer are made of."""
    penalty = building.penalty(recipe, building.Parts(recipe, data, 4))
    config = {} if penalty is None else penalty.get_config()
    if config.get("attack") is None:
        config.pop("attack_precision", None)  # of no attack
    text = json.dumps([config, building.optimizer(recipe, 0.1).get_config()])
    return re.sub(r'_\d+"', '"', text)  # Keras counts its objects in their names


def with_setting(recipe, name, value):
    if name == "step_schedule":  # goes with no largest step
        return dataclasses.replace(recipe, step_schedule=value, step_size_max=None)
    return dataclasses.replace(recipe, **{name: value})


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("adversary", ["fresh", "persistent"])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "prood"])
def test_settings_that_are_unused_change_nothing(method, adversary, optimizer, data):
    recipe = ka.Recipe.for_dataset("digits", method=method).for_data(data)
    recipe = dataclasses.replace(recipe, adversary=adversary, optimizer=optimizer)
    before = made_of(recipe, data)
    for name, value in OTHER.items():
        changed = with_setting(recipe, name, value)
        if changed != recipe:
            assert (name in changed.unused()) == (made_of(changed, data) == before), name


def test_settings_that_are_unused_change_nothing_of_a_detector(data):
    recipe = ka.Recipe.for_dataset("digits", method="prood").for_data(data)

    def config(recipe):
        model = building.model(recipe, building.Parts(recipe, data, 4)).get_config()
        return re.sub(r'_\d+"', '"', json.dumps({name: model[name] for name in ("noise", "epsilon", "weight")}))

    before = config(recipe)
    for name, value in OTHER.items():
        changed = with_setting(recipe, name, value)
        if changed != recipe and name not in ("step_schedule", "momentum"):
            assert (name in changed.unused()) == (config(changed) == before), name


def test_the_list_above_is_whole():
    assert {name for method in METHODS.values() for name in method.settings} <= {*OTHER, "classifier"}
    assert set(ka.Recipe.settings()) >= set(OTHER)


def test_settings_of_the_loop():
    recipe = ka.Recipe.for_dataset("digits")
    assert recipe.unused() == {
        "momentum": "optimizer=adam",
        "drop_epochs": "schedule=cosine",
        "crop_padding": "augmentation=none",
    }
    assert ka.Recipe.for_dataset("npz:a.npz").unused() == {
        "momentum": "optimizer=adam",
        "drop_epochs": "schedule=cosine",
        "pool_size": "adversary=fresh",
        "refresh_probability": "adversary=fresh",
    }
    sigmas = {"min_sigma", "max_sigma", "sigma_per"}
    assert set(ka.Recipe.for_dataset("digits", out="uniform").unused()) >= sigmas
    assert set(ka.Recipe.for_dataset("digits", out="outliers=2,uniform").unused()) >= sigmas
    assert not set(ka.Recipe.for_dataset("digits", out="uniform,paper=2").unused()) & sigmas


def test_changes_in_code_that_mean_nothing_are_warned_of():
    with pytest.warns(UserWarning, match=r"^not used: `epsilon`, `pool_size` with `method=plain`\.$"):
        ka.Recipe.for_dataset("digits", method="plain", epsilon=0.2, pool_size=300)
    ka.Recipe.for_dataset("digits", method="plain", epsilon=0.33)  # the default
    plain = dataclasses.replace(ka.Recipe.for_dataset("digits", epsilon=0.2), method="plain")
    assert ka.Recipe.from_flags(plain.to_flags()) == plain  # a run's file holds all settings


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["--method=plain", "--epsilon=0.33", "--num_steps=3"], "not used: --epsilon, --num_steps with --method=plain"),
        (["--method=ceda", "--pool_size=2048"], "not used: --pool_size with --method=ceda"),
        (["--adversary=fresh", "--refresh_probability=0.2"], "not used: --refresh_probability with --adversary=fresh"),
        (["--momentum=0.5", "--crop_padding=2"], "not used: --momentum with --optimizer=adam; --crop_padding with"),
        (["--recipe=own/digits_acet", "--method=ceda"], None),
        (["--flagfile={file}"], "not used: --num_steps with --method=plain"),
    ],
)
def test_flags_that_mean_nothing_are_told(arguments, note, tmp_path, monkeypatch):
    """Typed ones always, those of a file where they differ from the default: a run's file holds them all."""
    (tmp_path / "a.flags").write_text("--method=plain\n--num_steps=3\n--epsilon=0.33\n--pool_size=2048\n")
    calls = []
    command = dataclasses.replace(train_command.COMMAND, run=calls.append)
    assert command.main(["train.py", *(argument.format(file=tmp_path / "a.flags") for argument in arguments)]) == 0
    recipe = train_command._recipe(calls[0].flags)
    dropped = train_command._dropped(calls[0], recipe)
    line = train_command.commands.as_flags(methods.as_line(dropped), calls[0].flags) if dropped else None
    assert line == note or (note and line.startswith(note))
