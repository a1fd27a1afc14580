"""What holds for every penalty of the package, and for those that the tests make of the seam."""

import importlib
import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import OnesNoise

from keras_acet import penalties
from keras_acet.attack import PGD
from keras_acet.noise import PaperNoise
from keras_acet.training import ACETModel
from keras_acet.training.methods import METHODS

IMAGES = np.random.default_rng(0).uniform(size=(16, 6, 6, 1)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, size=16)
ARGUMENTS = {"weight": 0.5, "seed": 3}


def attack():
    return PGD(epsilon=0.2, num_steps=2, seed=2)


# At least one way to make each penalty of the package.
PENALTIES = {
    "ConfidencePenalty": lambda: penalties.ConfidencePenalty(PaperNoise(seed=1), **ARGUMENTS),
    "ConfidencePenalty, attacked": lambda: penalties.ConfidencePenalty(
        PaperNoise(seed=1), attack(), noise_fraction=0.5, image_start_probability=0.5, **ARGUMENTS
    ),
    "ConfidencePenalty, pool": lambda: penalties.ConfidencePenalty(
        PaperNoise(seed=1), attack(), pool=penalties.NoisePool(24, 0.5), **ARGUMENTS
    ),
    "ConfidencePenalty, a user's noise": lambda: penalties.ConfidencePenalty(OnesNoise(), **ARGUMENTS),
}
every_penalty = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)


def model_of(make, **arguments):
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    model = ACETModel(keras.Sequential([keras.Input((6, 6, 1)), *layers]), make())
    model.compile(keras.optimizers.SGD(0.1), **arguments)
    return model


def fit(model):
    return model.fit(IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0).history


def test_the_list_covers_every_penalty():
    classes = [value for value in vars(penalties).values() if inspect.isclass(value)]
    kinds = {kind.__name__ for kind in classes if issubclass(kind, penalties.Penalty)} - {"Penalty"}
    assert kinds == {name.split(",")[0] for name in PENALTIES}


def test_every_method_of_the_command_line_makes_its_penalty_in_one_file():
    for name, method in METHODS.items():
        module = method.penalty
        assert module is None or callable(importlib.import_module(f"keras_acet.penalties.{module}").from_recipe), name


@every_penalty
def test_config_round_trip(make):
    penalty = make()
    config = keras.saving.serialize_keras_object(penalty)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert type(copy) is type(penalty)
    assert copy.get_config() == penalty.get_config()
    names = set(inspect.signature(type(penalty)).parameters)
    assert set(penalty.get_config()) == names
    assert all(hasattr(penalty, name) for name in names)


@every_penalty
def test_it_runs_in_fit_eagerly_as_traced(make):
    traced, eager = model_of(make), model_of(make, run_eagerly=True)
    logs, expected = fit(traced), fit(eager)
    assert set(logs) == {"loss", "cross_entropy", *(metric.name for metric in traced.penalty.metrics)}
    for name, values in logs.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for a, b in zip(traced.variables, eager.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, err_msg=a.path)


@every_penalty
def test_its_gradient_reaches_the_weights_of_the_network_alone(make):
    penalty = make()
    assert not penalty.trainable_variables
    keras.utils.set_random_seed(7)
    network = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    penalty.build((None, 6, 6, 1))
    step = tf.constant(0)
    sample = penalty.sample(tf.constant(IMAGES), network, step=step)
    with tf.GradientTape() as tape:
        logits = None if sample.images is None else network(sample.images, training=True)
        losses = penalty.loss(sample, logits, network)
        loss = penalty.join(tf.constant(0.0), losses, num_clean=tf.constant(16), regularisation=0.0, step=step)
    assert losses.dtype == tf.float32
    assert losses.shape.rank == 1
    assert loss.shape.rank == 0
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(np.abs(gradient).max() > 1e-4 for gradient in gradients)


@every_penalty
def test_a_weight_of_zero_leaves_the_clean_loss(make):
    penalty = make()
    penalty.weight = 0.0
    loss = penalty.join(
        tf.constant(2.5), tf.constant([4.0, 6.0]), num_clean=tf.constant(2), regularisation=0.5, step=tf.constant(0)
    )
    assert loss.numpy() == pytest.approx((2 * (2.5 - 0.5)) / 4 + 0.5)


@every_penalty
def test_the_model_is_saved_and_loaded_with_it(make, tmp_path):
    model = model_of(make)
    fit(model)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert json.dumps(copy.penalty.get_config()) == json.dumps(model.penalty.get_config())
    for a, b in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    np.testing.assert_array_equal(copy.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert np.isfinite(fit(copy)["loss"]).all()
