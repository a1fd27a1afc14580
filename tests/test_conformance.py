"""Every public operation: eager, traced, compiled by XLA, and with an unknown batch size, with the same result."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import bright_network

import keras_acet as ka
from keras_acet import attack, losses, noise, penalties, projections

IMAGES = np.random.default_rng(0).uniform(size=(6, 8, 8, 2)).astype(np.float32)
LOGITS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def brightness(x):
    return tf.reduce_sum(tf.sin(3.0 * x), axis=[1, 2, 3])


def pgd(**arguments):
    defaults = {"epsilon": 0.3, "num_steps": 4, "step_size": attack.LinearDecay(0.1), "start": "input", "seed": 1}
    return attack.PGD(**(defaults | arguments))


# name -> (makes a fresh operation, input); an operation is made anew for each way to run it, since it owns its state.
OPERATIONS = {
    "losses.log_max_confidence": (lambda: losses.log_max_confidence, LOGITS),
    "losses.logit_gap": (lambda: losses.logit_gap, LOGITS),
    "projections.linf_bounds": (lambda: lambda x: projections.linf_bounds(x, epsilon=0.2)[0], IMAGES),
    "projections.project_linf": (lambda: lambda x: projections.project_linf(x, x + 0.0, epsilon=0.2), IMAGES),
    "noise.permute_pixels": (lambda: lambda x: noise.permute_pixels(x, seed=3), IMAGES),
    "noise.gaussian_blur": (lambda: lambda x: noise.gaussian_blur(x, sigma=1.2), IMAGES),
    "noise.rescale_range": (lambda: noise.rescale_range, IMAGES),
    "noise.PaperNoise": (lambda: noise.PaperNoise(seed=0), IMAGES),
    "noise.every_kind": (lambda: every_kind(), IMAGES),
    "noise.ImageSet": (lambda: noise.ImageSet(IMAGES, flip=True, seed=0), IMAGES),
    "noise.Mixture": (lambda: noise.Mixture([noise.UniformNoise(seed=0), noise.InvertedNoise()], seed=0), IMAGES),
    "attack.PGD": (lambda: lambda x, a=pgd(): a.maximize(brightness, x).images, IMAGES),
    "attack.PGD.momentum": (lambda: lambda x, a=pgd(momentum=0.75): a.maximize(brightness, x).images, IMAGES),
    "attack.PGD.random": (
        lambda: (
            lambda x, a=pgd(start="random", step_size=attack.LogUniformDecay(0.1, 0.2)): (
                a.maximize(brightness, x).images
            )
        ),
        IMAGES,
    ),
    "attack.AutoPGD": (
        lambda: lambda x, a=attack.AutoPGD(num_steps=9, start="input"): a.maximize(brightness, x).images,
        IMAGES,
    ),
    "penalties.ConfidencePenalty": (lambda: penalty_operation(), IMAGES),
    "penalties.ConfidencePenalty.pool": (lambda: penalty_operation(pool=penalties.NoisePool(8), seed=2), IMAGES),
}


def penalty_operation(**arguments):
    penalty = penalties.ConfidencePenalty(noise.PaperNoise(seed=0), pgd(), **arguments)
    penalty.build((None, 8, 8, 2))
    return lambda x: penalty.sample(x, bright_network).images


def every_kind():
    kinds = [noise.build(name, seed=seed, settings={"num_images": 20}) for seed, name in enumerate(noise.names())]
    return lambda x: tf.concat([kind(x) for kind in kinds], axis=0)


# XLA draws random numbers with another algorithm: the same seed gives another, equally reproducible, sequence there.
RANDOM = {
    "noise.permute_pixels",
    "noise.PaperNoise",
    "noise.every_kind",
    "noise.ImageSet",
    "noise.Mixture",
    "attack.PGD.random",
    "penalties.ConfidencePenalty",
    "penalties.ConfidencePenalty.pool",
}


SLOW = {"noise.every_kind"}  # the compiler takes seconds for each kind


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in OPERATIONS]
)
def test_all_ways_to_run_agree(name):
    make, example = OPERATIONS[name]
    expected = make()(tf.constant(example)).numpy()
    unknown_batch = [tf.TensorSpec((None, *example.shape[1:]), tf.float32)]
    ways = {
        "graph": tf.function(make()),
        "xla": tf.function(make(), jit_compile=True),
        "unknown batch size": tf.function(make(), input_signature=unknown_batch),
    }
    for way, run in ways.items():
        result = run(tf.constant(example)).numpy()
        if way == "xla" and name in RANDOM:
            again = tf.function(make(), jit_compile=True)(tf.constant(example)).numpy()
            np.testing.assert_array_equal(result, again)
            assert result.shape == expected.shape
            assert result.min() >= 0
            assert result.max() <= 1
        else:
            np.testing.assert_allclose(result, expected, atol=2e-5, err_msg=way)


def test_the_list_covers_every_public_operation():
    covered = {name.split(".")[1] for name in OPERATIONS} | {noise.kind(name).__name__ for name in noise.names()}
    parts = (losses, noise, projections, attack, penalties)
    for module in parts:
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith("_") or not getattr(value, "__module__", "").startswith(module.__name__):
                continue
            if value in (attack.LinfAttack, noise.Noise, penalties.Penalty):
                continue  # what their kinds have in common
            if value is penalties.NoisePool:
                continue  # a part of a penalty
            if module is noise and name in ("build", "kind", "kinds_without_content", "letters_like", "names"):
                continue  # look noise up
            if isinstance(value, type) and not issubclass(value, keras.layers.Layer):
                continue  # results and step sizes are no operations
            assert name in covered, f"{module.__name__}.{name} is not run by this test"
    assert {module.__name__.split(".")[1] for module in parts} <= set(ka.__all__)
