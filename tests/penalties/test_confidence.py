import types
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import OnesNoise, bright_network, brightness

from keras_acet.attack import PGD
from keras_acet.noise import PaperNoise, UniformNoise
from keras_acet.penalties import ConfidencePenalty, NoisePool
from keras_acet.penalties.confidence import from_recipe

IMAGES = np.random.default_rng(0).uniform(size=(8, 4, 4, 1)).astype(np.float32)


def pooled(size=20, refresh_probability=0.25, **arguments):
    attack = PGD(epsilon=0.3, num_steps=1, step_size=0.01, start="input")
    pool = NoisePool(size, refresh_probability)
    return ConfidencePenalty(UniformNoise(seed=0), attack, **({"pool": pool, "seed": 1} | arguments))


def log_confidence(x):
    """log of 1 / (1 + exp(-b / 10)), the confidence of `bright_network`."""
    return -np.log1p(np.exp(-brightness(x).numpy() / 10))


def test_without_attack_it_hands_out_the_noise():
    batch = ConfidencePenalty(UniformNoise(seed=3)).sample(IMAGES, bright_network)
    np.testing.assert_array_equal(batch.images, UniformNoise(seed=3)(IMAGES))
    assert batch.value is None
    assert batch.clean_value is None


def test_with_attack_it_hands_out_the_best_point():
    attack = PGD(epsilon=0.25, num_steps=5, start="input")
    batch = ConfidencePenalty(UniformNoise(seed=3), attack).sample(IMAGES, bright_network)
    noise = UniformNoise(seed=3)(IMAGES).numpy()
    np.testing.assert_allclose(batch.images, np.minimum(noise + 0.25, 1), atol=1e-6)
    np.testing.assert_allclose(batch.clean_value, log_confidence(noise), rtol=1e-5)
    np.testing.assert_allclose(batch.value, log_confidence(batch.images), rtol=1e-5)


def test_loss_by_hand():
    # Of logits (log 3, 0) the confidence is 3/4, of two equal ones 1/2.
    logits = tf.constant([[np.log(3.0), 0.0], [7.0, 7.0]], tf.float32)
    penalty = ConfidencePenalty(UniformNoise(seed=0))
    np.testing.assert_allclose(penalty.loss(None, logits, None), [np.log(3 / 4), np.log(1 / 2)], atol=1e-6)


@pytest.mark.parametrize(("fraction", "expected"), [(1.0, 8), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_noise_fraction_rounds_up(fraction, expected):
    penalty = ConfidencePenalty(UniformNoise(), noise_fraction=fraction)
    assert penalty.sample(IMAGES, bright_network).images.shape[0] == expected


def test_pool_continues_where_its_attacks_were():
    # Every slot is drawn in every batch and never replaced, so after k batches each state has climbed k steps.
    penalty = pooled(size=8, refresh_probability=1e-9)
    penalty.sample(IMAGES, bright_network)
    noise = penalty.pool.noise_images.numpy()
    for _ in range(4):
        penalty.sample(IMAGES, bright_network)
    np.testing.assert_array_equal(penalty.pool.noise_images.numpy(), noise)
    np.testing.assert_allclose(penalty.pool.states.numpy(), np.minimum(noise + 5 * 0.01, 1), atol=1e-6)


def test_a_batch_uses_different_slots_and_fills_empty_ones():
    penalty = pooled()
    penalty.sample(IMAGES, bright_network)
    assert penalty.pool.filled.numpy().sum() == 8
    for _ in range(40):
        penalty.sample(IMAGES, bright_network)
    assert penalty.pool.filled.numpy().all()


def test_replacement_happens_with_the_given_probability():
    penalty = pooled(size=8)
    penalty.sample(IMAGES, bright_network)
    replaced = []
    for _ in range(200):
        before = penalty.pool.noise_images.numpy()
        penalty.sample(IMAGES, bright_network)
        replaced.append((penalty.pool.noise_images.numpy() != before).any(axis=(1, 2, 3)))
    # 1600 draws with probability 1/4: standard deviation .011, five of them.
    assert np.mean(replaced) == pytest.approx(0.25, abs=0.055)


def test_probability_one_is_fresh_noise():
    fresh = ConfidencePenalty(UniformNoise(seed=0), PGD(num_steps=3, start="input"))
    pool = ConfidencePenalty(UniformNoise(seed=0), PGD(num_steps=3, start="input"), pool=NoisePool(64, 1.0))
    for _ in range(3):
        expected = fresh.sample(IMAGES, bright_network).images
        np.testing.assert_allclose(pool.sample(IMAGES, bright_network).images, expected, atol=1e-6)


def test_same_seed_same_run_and_state_can_be_carried_over():
    a, b, late = pooled(), pooled(), pooled()
    late.build((None, 4, 4, 1))
    for penalty in (a, b):
        for _ in range(5):
            penalty.sample(IMAGES, bright_network)
    for source, target in zip(a.variables, late.variables, strict=True):
        target.assign(source)
    expected = a.sample(IMAGES, bright_network).images
    np.testing.assert_array_equal(b.sample(IMAGES, bright_network).images, expected)
    np.testing.assert_array_equal(late.sample(IMAGES, bright_network).images, expected)


def test_state_holds_every_generator():
    penalty = ConfidencePenalty(PaperNoise(seed=0), PGD(seed=1), seed=2, pool=NoisePool(16))
    penalty.build((None, 8, 8, 1))
    paths = [variable.path for variable in penalty.variables]
    assert len(paths) == 6, paths  # noise images, states, filled; generators of noise, attack and penalty


@pytest.mark.parametrize("with_pool", [False, True])
def test_attacks_may_start_from_training_images(with_pool):
    # The attack has no step, so that it stays where it starts: at the image, projected into the ball.
    attack = PGD(epsilon=0.3, num_steps=1, step_size=1e-9, start="input")
    pool = NoisePool(64) if with_pool else None
    penalty = ConfidencePenalty(UniformNoise(seed=3), attack, image_start_probability=1.0, pool=pool)
    noise = UniformNoise(seed=3)(IMAGES).numpy()

    def sure_of_the_images(x, training=False):
        closeness = -tf.reduce_sum((x - IMAGES) ** 2, axis=[1, 2, 3])
        return tf.stack([10 + closeness, tf.zeros_like(closeness)], axis=1)

    batch = penalty.sample(IMAGES, sure_of_the_images)
    np.testing.assert_allclose(batch.images, np.clip(IMAGES, noise - 0.3, noise + 0.3), atol=1e-6)


def test_image_starts_happen_with_the_given_probability():
    attack = PGD(epsilon=1.0, num_steps=0, start="input")
    penalty = ConfidencePenalty(
        UniformNoise(seed=3), attack, pool=NoisePool(2000), image_start_probability=0.25, seed=0
    )
    images = np.full((2000, 1), 2.0, np.float32)  # projected onto 1, where no noise is
    penalty.sample(images, bright_network)
    # 2000 draws with probability 1/4: standard deviation .01, five of them.
    assert np.mean(penalty.pool.states.numpy() == 1) == pytest.approx(0.25, abs=0.05)


def test_bad_numbers():
    with pytest.raises(ValueError, match=r"`image_start_probability` must be in \[0, 1\].*=1.5"):
        ConfidencePenalty(UniformNoise(), PGD(), image_start_probability=1.5)
    with pytest.raises(ValueError, match=r"`noise_fraction` must be in \(0, 1\].*noise_fraction=0"):
        ConfidencePenalty(UniformNoise(), noise_fraction=0)
    with pytest.raises(ValueError, match=r"`refresh_probability` must be in \(0, 1\].*refresh_probability=0"):
        NoisePool(refresh_probability=0)
    with pytest.raises(ValueError, match="`size` must be a whole number.*size=0"):
        NoisePool(0)
    with pytest.raises(ValueError, match="`weight` must be a finite number, at least 0. Received: weight=-1"):
        ConfidencePenalty(UniformNoise(), weight=-1)
    with pytest.raises(ValueError, match="`weight` must be a finite number.*weight=nan"):
        ConfidencePenalty(UniformNoise(), weight=float("nan"))
    with pytest.raises(ValueError, match="`attack_precision` must be one of.*Received: attack_precision='float16'"):
        ConfidencePenalty(UniformNoise(), attack_precision="float16")
    with pytest.raises(ValueError, match="pool of 4 slots cannot hold.*Raise its `size`"):
        pooled(size=4).sample(IMAGES, bright_network)


NOISE = UniformNoise(seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": PaperNoise}, r"`noise` must be a layer.*a class; write PaperNoise\(\)"),
        ({"noise": None}, r"`noise` must be a layer.*an object such as noise.PaperNoise\(\). Received: noise=None"),
        ({"noise": "paper"}, "`noise` must be a layer.*Received: noise='paper'"),
        ({"noise": PGD(seed=0)}, "`noise` must be a layer.*Received: noise=<PGD"),
        ({"noise": ConfidencePenalty(NOISE)}, "`noise` must be a layer.*Received: noise=<ConfidencePenalty"),
        ({"noise": NOISE, "attack": PGD}, r"`attack` must be None or an attack.*a class; write PGD\(\)"),
        ({"noise": NOISE, "attack": 0.3}, r"`attack` must be None or an attack.*attack.PGD\(epsilon=0.3.*attack=0.3"),
        ({"noise": NOISE, "attack": NOISE}, "`attack` must be None or an attack.*Received: attack=<UniformNoise"),
        (
            {"noise": NOISE, "attack": PGD(), "pool": 2048},
            r"`pool` must be None or a pool.*NoisePool\(size=2048\).*=2048",
        ),
        ({"noise": NOISE, "attack": PGD(), "pool": NoisePool}, r"`pool` must be None.*write NoisePool\(\)"),
        ({"noise": NOISE, "weight": "1"}, "`weight` must be a number or a keras.*weight='1' of type str"),
        ({"noise": NOISE, "weight": None}, "`weight` must be a number or a keras.*weight=None"),
    ],
)
def test_types_are_checked_when_it_is_made(arguments, message):
    with pytest.raises(TypeError, match=message):
        ConfidencePenalty(**arguments)


@pytest.mark.parametrize("arguments", [{"pool": NoisePool()}, {"image_start_probability": 0.5}])
def test_starts_of_attacks_need_an_attack(arguments):
    with pytest.raises(ValueError, match=r"say where attacks start; give an `attack`.*Received: attack=None"):
        ConfidencePenalty(NOISE, **arguments)


def test_any_layer_may_be_the_noise():
    batch = ConfidencePenalty(OnesNoise()).sample(IMAGES, bright_network)
    np.testing.assert_array_equal(batch.images, np.ones_like(IMAGES))


def test_a_pool_needs_images_of_one_size():
    with pytest.raises(ValueError, match=r"A pool needs images of one size. Received: .*\(None, None, None, 1\)"):
        pooled().build((None, None, None, 1))


@pytest.mark.parametrize(
    "penalty",
    [
        ConfidencePenalty(UniformNoise(seed=0), PGD(seed=1), noise_fraction=0.5, weight=0.3),
        ConfidencePenalty(
            NOISE, weight=keras.optimizers.schedules.PolynomialDecay(0.0, 5, 1.0), attack_precision="bfloat16"
        ),
        pooled(),
    ],
)
def test_config_round_trip(penalty):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(penalty))
    assert copy.get_config() == penalty.get_config()


class Parts:
    """What makes the parts of a run, with objects that can be told apart."""

    seeds: ClassVar = {"pool": 7}

    def noise(self):
        return NOISE

    def attack(self):
        return PGD(num_steps=3, seed=1)

    def weight(self):
        return 0.5


@pytest.mark.parametrize(("method", "adversary"), [("ceda", "fresh"), ("acet", "fresh"), ("acet", "persistent")])
def test_settings_of_a_run_make_it(method, adversary):
    recipe = types.SimpleNamespace(method=method, adversary=adversary, attack_precision="bfloat16", noise_fraction=0.5)
    recipe.pool_size, recipe.refresh_probability, recipe.image_start_probability = 30, 0.2, 0.25
    made = from_recipe(recipe, Parts())
    assert (made.noise, made.weight, made.attack_precision, made.noise_fraction) == (NOISE, 0.5, "bfloat16", 0.5)
    assert (None if made.attack is None else made.attack.num_steps) == (None if method == "ceda" else 3)
    assert (made.image_start_probability, made.seed) == ((0, None) if method == "ceda" else (0.25, 7))
    pool = made.pool and (made.pool.size, made.pool.refresh_probability)
    assert pool == ((30, 0.2) if adversary == "persistent" else None)
