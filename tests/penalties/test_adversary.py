import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet.adversary import Adversary, PersistentAdversary
from keras_acet.attack import PGD
from keras_acet.noise import PaperNoise, UniformNoise

IMAGES = np.random.default_rng(0).uniform(size=(8, 4, 4, 1)).astype(np.float32)


def brightness(x):
    """An objective whose ascent moves every pixel up by the step size."""
    return tf.reduce_sum(x, axis=[1, 2, 3])


def persistent(**arguments):
    defaults = {"pool_size": 20, "refresh_probability": 0.25, "seed": 1}
    attack = PGD(epsilon=0.3, num_steps=1, step_size=0.01, start="input")
    return PersistentAdversary(UniformNoise(seed=0), attack, **(defaults | arguments))


def test_without_attack_it_hands_out_the_noise():
    batch = Adversary(UniformNoise(seed=3)).sample(IMAGES, brightness)
    np.testing.assert_array_equal(batch.images, UniformNoise(seed=3)(IMAGES))
    assert batch.value is None
    assert batch.clean_value is None


def test_with_attack_it_hands_out_the_best_point():
    attack = PGD(epsilon=0.25, num_steps=5, start="input")
    batch = Adversary(UniformNoise(seed=3), attack).sample(IMAGES, brightness)
    noise = UniformNoise(seed=3)(IMAGES).numpy()
    np.testing.assert_allclose(batch.images, np.minimum(noise + 0.25, 1), atol=1e-6)
    np.testing.assert_allclose(batch.clean_value, brightness(noise), rtol=1e-6)
    np.testing.assert_allclose(batch.value, brightness(batch.images), rtol=1e-6)


@pytest.mark.parametrize(("fraction", "expected"), [(1.0, 8), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_noise_fraction_rounds_up(fraction, expected):
    assert Adversary(UniformNoise(), noise_fraction=fraction).sample(IMAGES, brightness).images.shape[0] == expected


def test_pool_continues_where_its_attacks_were():
    # Every slot is drawn in every batch and never replaced, so after k batches each state has climbed k steps.
    adversary = persistent(pool_size=8, refresh_probability=1e-9)
    adversary.sample(IMAGES, brightness)
    noise = adversary.noise_images.numpy()
    for _ in range(4):
        adversary.sample(IMAGES, brightness)
    np.testing.assert_array_equal(adversary.noise_images.numpy(), noise)
    np.testing.assert_allclose(adversary.states.numpy(), np.minimum(noise + 5 * 0.01, 1), atol=1e-6)


def test_a_batch_uses_different_slots_and_fills_empty_ones():
    adversary = persistent()
    adversary.sample(IMAGES, brightness)
    assert adversary.filled.numpy().sum() == 8
    for _ in range(40):
        adversary.sample(IMAGES, brightness)
    assert adversary.filled.numpy().all()


def test_replacement_happens_with_the_given_probability():
    adversary = persistent(pool_size=8)
    adversary.sample(IMAGES, brightness)
    replaced = []
    for _ in range(200):
        before = adversary.noise_images.numpy()
        adversary.sample(IMAGES, brightness)
        replaced.append((adversary.noise_images.numpy() != before).any(axis=(1, 2, 3)))
    # 1600 draws with probability 1/4: standard deviation .011, five of them.
    assert np.mean(replaced) == pytest.approx(0.25, abs=0.055)


def test_probability_one_is_the_fresh_adversary():
    fresh = Adversary(UniformNoise(seed=0), PGD(num_steps=3, start="input"))
    pool = PersistentAdversary(UniformNoise(seed=0), PGD(num_steps=3, start="input"), refresh_probability=1.0)
    for _ in range(3):
        np.testing.assert_allclose(
            pool.sample(IMAGES, brightness).images, fresh.sample(IMAGES, brightness).images, atol=1e-6
        )


def test_same_seed_same_run_and_state_can_be_carried_over():
    a, b, late = persistent(), persistent(), persistent()
    late.build((None, 4, 4, 1))
    for adversary in (a, b):
        for _ in range(5):
            adversary.sample(IMAGES, brightness)
    for source, target in zip(a.variables, late.variables, strict=True):
        target.assign(source)
    expected = a.sample(IMAGES, brightness).images
    np.testing.assert_array_equal(b.sample(IMAGES, brightness).images, expected)
    np.testing.assert_array_equal(late.sample(IMAGES, brightness).images, expected)


def test_state_holds_every_generator():
    adversary = PersistentAdversary(PaperNoise(seed=0), PGD(seed=1), seed=2, pool_size=16)
    adversary.build((None, 8, 8, 1))
    paths = [variable.path for variable in adversary.variables]
    assert len(paths) == 6, paths  # noise images, states, filled; generators of noise, attack and pool


@pytest.mark.parametrize("adversary", [Adversary(UniformNoise(seed=0), PGD(seed=1), noise_fraction=0.5), persistent()])
def test_config_round_trip(adversary):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(adversary))
    assert copy.get_config() == adversary.get_config()


@pytest.mark.parametrize("kind", [Adversary, PersistentAdversary])
def test_attacks_may_start_from_training_images(kind):
    # The objective is flat, so that the attack stays where it starts: at the image, projected into the ball.
    attack = PGD(epsilon=0.3, num_steps=1, step_size=1e-9, start="input")
    adversary = kind(UniformNoise(seed=3), attack, image_start_probability=1.0)
    noise = UniformNoise(seed=3)(IMAGES).numpy()
    batch = adversary.sample(IMAGES, lambda x: -tf.reduce_sum((x - IMAGES) ** 2, axis=[1, 2, 3]))
    np.testing.assert_allclose(batch.images, np.clip(IMAGES, noise - 0.3, noise + 0.3), atol=1e-6)


def test_image_starts_happen_with_the_given_probability():
    attack = PGD(epsilon=1.0, num_steps=0, start="input")
    adversary = PersistentAdversary(UniformNoise(seed=3), attack, pool_size=2000, image_start_probability=0.25, seed=0)
    images = np.full((2000, 1), 2.0, np.float32)  # projected onto 1, where no noise is
    adversary.sample(images, lambda x: x[:, 0])
    # 2000 draws with probability 1/4: standard deviation .01, five of them.
    assert np.mean(adversary.states.numpy() == 1) == pytest.approx(0.25, abs=0.05)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`image_start_probability` must be in \[0, 1\].*=1.5"):
        Adversary(UniformNoise(), image_start_probability=1.5)
    with pytest.raises(ValueError, match=r"`noise_fraction` must be in \(0, 1\].*noise_fraction=0"):
        Adversary(UniformNoise(), noise_fraction=0)
    with pytest.raises(ValueError, match=r"`refresh_probability` must be in \(0, 1\].*refresh_probability=0"):
        persistent(refresh_probability=0)
    with pytest.raises(ValueError, match="`pool_size` must be a whole number.*pool_size=0"):
        persistent(pool_size=0)
    with pytest.raises(ValueError, match="needs an attack to continue"):
        PersistentAdversary(UniformNoise(), None)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pool of 4 slots cannot hold.*Raise `pool_size`"):
        persistent(pool_size=4).sample(IMAGES, brightness)


def test_a_pool_needs_images_of_one_size():
    with pytest.raises(ValueError, match=r"A pool needs images of one size. Received: .*\(None, None, None, 1\)"):
        persistent().build((None, None, None, 1))
