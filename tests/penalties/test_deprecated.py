"""The former names: they warn and make the penalty; what was saved under them loads without a warning."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_acet as ka

IMAGES = np.random.default_rng(0).uniform(size=(16, 4, 4, 1)).astype(np.float32)
LABELS = np.arange(16) % 3
NOISE = {
    "module": "keras_acet.noise",
    "class_name": "PaperNoise",
    "config": {"min_sigma": 1.0, "max_sigma": 2.5, "sigma_per": "batch", "seed": 1, "name": "paper_noise"},
    "registered_name": "keras_acet>PaperNoise",
}
PGD = {
    "module": "keras_acet.attack.pgd",
    "class_name": "PGD",
    "config": {
        "step_size": None,
        "momentum": 0.0,
        "epsilon": 0.3,
        "num_steps": 2,
        "start": "random",
        "seed": 2,
        "name": "pgd",
    },
    "registered_name": "keras_acet>PGD",
}


def saved_adversary(class_name, **config):
    """What the commit before the penalties wrote of an adversary."""
    starts = {"noise_fraction": 0.5, "image_start_probability": 0.25, "seed": 3}
    return {
        "module": "keras_acet.adversary",
        "class_name": class_name,
        "config": {"noise": NOISE, "attack": PGD, **starts, "name": "of_old", **config},
        "registered_name": f"keras_acet>{class_name}",
        "build_config": {"input_shape": [None, 4, 4, 1]},
    }


def saved_model(adversary, weight=2.0):
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    return {
        "module": "keras_acet.trainer",
        "class_name": "ACETModel",
        "config": {
            "network": keras.saving.serialize_keras_object(network),
            "adversary": adversary,
            "penalty_weight": weight,
            "attack_precision": "bfloat16",
            "name": "acet_model",
            "dtype": keras.saving.serialize_keras_object(keras.DTypePolicy("float32")),
        },
        "registered_name": "keras_acet>ACETModel",
        "build_config": {"input_shape": [None, 4, 4, 1]},
    }


def adversary_of_a_pool(**config):
    return saved_adversary("PersistentAdversary", pool_size=24, refresh_probability=0.2, **config)


def test_adversary_is_the_penalty():
    noise, attack = ka.noise.UniformNoise(seed=0), ka.attack.PGD(seed=1)
    with pytest.warns(DeprecationWarning, match=r"write penalties.ConfidencePenalty\(noise, attack\)\.") as caught:
        penalty = ka.Adversary(noise, attack, noise_fraction=0.5, seed=2)
    assert caught[0].filename == __file__
    assert type(penalty) is ka.penalties.ConfidencePenalty
    assert (penalty.noise, penalty.attack, penalty.noise_fraction, penalty.pool) == (noise, attack, 0.5, None)


def test_persistent_adversary_is_the_penalty_with_a_pool():
    with pytest.warns(DeprecationWarning, match=r"write penalties.ConfidencePenalty\(.*pool=penalties.NoisePool\("):
        penalty = ka.PersistentAdversary(ka.noise.UniformNoise(seed=0), ka.attack.PGD(seed=1), pool_size=64, seed=2)
    assert (penalty.pool.size, penalty.pool.refresh_probability, penalty.seed) == (64, 0.12, 2)
    with pytest.warns(DeprecationWarning, match="is deprecated"), pytest.raises(ValueError, match="give an `attack`"):
        ka.PersistentAdversary(ka.noise.UniformNoise(), None)


def network():
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


def test_the_models_former_arguments_go_into_the_penalty():
    penalty = ka.penalties.ConfidencePenalty(ka.noise.UniformNoise(seed=0))
    expected = (
        r"ACETModel\(network, adversary=..., penalty_weight=..., attack_precision=...\) is deprecated.*weight=..."
    )
    with pytest.warns(DeprecationWarning, match=expected) as caught:
        model = ka.ACETModel(network(), adversary=penalty, penalty_weight=0.5, attack_precision="bfloat16")
    assert caught[0].filename == __file__
    assert model.penalty is penalty
    assert (penalty.weight, penalty.attack_precision) == (0.5, "bfloat16")
    with (
        pytest.warns(DeprecationWarning, match="is deprecated"),
        pytest.raises(ValueError, match="`weight` must be a finite number.*weight=-1"),
    ):
        ka.ACETModel(network(), penalty_weight=-1)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        assert ka.ACETModel(network(), adversary=None, penalty_weight=0.5).penalty is None


@pytest.mark.parametrize("adversary", [None, saved_adversary("Adversary"), adversary_of_a_pool()])
def test_a_config_of_before_loads_without_a_warning(adversary):
    model = keras.saving.deserialize_keras_object(saved_model(adversary))
    if adversary is None:
        assert model.penalty is None
        return
    penalty = model.penalty
    assert type(penalty) is ka.penalties.ConfidencePenalty
    assert (penalty.weight, penalty.attack_precision, penalty.seed) == (2.0, "bfloat16", 3)
    assert (penalty.noise_fraction, penalty.image_start_probability) == (0.5, 0.25)
    assert penalty.noise.get_config() == NOISE["config"]
    assert penalty.attack.get_config() == PGD["config"]
    pool = penalty.pool and (penalty.pool.size, penalty.pool.refresh_probability)
    assert pool == (None if adversary["class_name"] == "Adversary" else (24, 0.2))


def test_a_schedule_of_before_loads():
    ramp = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 1.0)
    config = saved_model(adversary_of_a_pool(), weight=keras.saving.serialize_keras_object(ramp))
    assert keras.saving.deserialize_keras_object(config).penalty.weight.get_config() == ramp.get_config()


def test_a_file_of_before_loads_with_its_pool_and_is_saved_as_one_of_today(tmp_path):
    model = keras.saving.deserialize_keras_object(saved_model(adversary_of_a_pool()))
    model.compile("sgd")
    model.fit(IMAGES, LABELS, batch_size=8, verbose=0)
    new, old = tmp_path / "new.keras", tmp_path / "old.keras"
    model.save(new)
    with zipfile.ZipFile(new) as file:
        metadata, config = file.read("metadata.json"), json.loads(file.read("config.json"))
        file.extract("model.weights.h5", tmp_path)
    # The file of before: its config, and the pool's variables where they lay then.
    config = {**saved_model(adversary_of_a_pool()), "compile_config": config["compile_config"]}
    with h5py.File(tmp_path / "model.weights.h5", "r+") as weights:
        weights.create_group("adversary")
        weights.move("layers/confidence_penalty/pool/vars", "adversary/vars")
        del weights["layers/confidence_penalty"]
    with zipfile.ZipFile(old, "w") as file:
        file.writestr("metadata.json", metadata)
        file.writestr("config.json", json.dumps(config))
        file.write(tmp_path / "model.weights.h5", "model.weights.h5")

    loaded = keras.saving.load_model(old, safe_mode=True)
    loaded.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras", safe_mode=True)
    assert model.penalty.pool.filled.numpy().sum() >= 4
    for copy in (loaded, again):
        for a, b in zip(model.weights, copy.weights, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=a.path)
        assert copy.fit(IMAGES, LABELS, batch_size=8, verbose=0).history["loss"]
