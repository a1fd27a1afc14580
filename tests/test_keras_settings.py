"""Keras' global settings, as another project left them in keras.json or set them, change no numbers."""

import keras
import numpy as np
import pytest

import keras_acet as ka
from keras_acet import _keras_settings
from keras_acet.cli import train
from keras_acet.penalties import ConfidencePenalty, NoisePool

IMAGES = np.random.default_rng(0).random((16, 8, 8, 3), np.float32)
LABELS = np.arange(16) % 2
SETTINGS = {
    "channels_first": lambda: keras.config.set_image_data_format("channels_first"),
    "float16": lambda: keras.config.set_floatx("float16"),
    "float64": lambda: keras.config.set_floatx("float64"),
    "epsilon": lambda: keras.config.set_epsilon(0.1),
    "policy": lambda: keras.config.set_dtype_policy("mixed_float16"),
}


@pytest.fixture(autouse=True)
def _as_before():
    with _keras_settings.standard(dtype_policy=True):  # puts back what a test sets
        yield


def test_they_are_put_back():
    SETTINGS["channels_first"](), SETTINGS["float16"](), SETTINGS["epsilon"](), SETTINGS["policy"]()

    @_keras_settings.standard(dtype_policy=True)
    def within():
        assert keras.config.floatx() == "float32" and keras.config.image_data_format() == "channels_last"
        assert keras.config.epsilon() == 1e-7 and keras.config.dtype_policy().name == "float32"
        raise KeyError

    with pytest.raises(KeyError):
        within()
    assert keras.config.floatx() == "float16" and keras.config.image_data_format() == "channels_first"
    assert keras.config.epsilon() == 0.1 and keras.config.dtype_policy().name == "mixed_float16"


def trained(when=None, change=None):
    """The numbers of a training whose settings change before the network is made, before `compile`, or after `fit`."""
    keras.utils.set_random_seed(0)
    steps = iter(["compile", "fit", "again"])

    def now():
        if next(steps) == when:
            change()

    network = ka.networks.lenet(IMAGES.shape[1:], 2)
    now()
    attack = ka.attack.PGD(num_steps=2, seed=2, step_size=ka.attack.LogUniformDecay(0.05, 0.2))
    penalty = ConfidencePenalty(ka.noise.PaperNoise(seed=1), attack, pool=NoisePool(32), seed=3)
    model = ka.ACETModel(network, penalty)
    model.compile("sgd", metrics=["accuracy"])
    now()
    logs = model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0, validation_data=(IMAGES, LABELS)).history
    now()
    return logs, model.evaluate(IMAGES, LABELS, verbose=0), model.predict(IMAGES, verbose=0)


@pytest.fixture(scope="module")
def expected():
    with _keras_settings.standard(dtype_policy=True):
        return trained()


@pytest.mark.parametrize(
    ("when", "setting"),
    [
        *((w, "float16") for w in ("compile", "fit", "again")),
        ("compile", "channels_first"),
        ("compile", "epsilon"),
        ("compile", "policy"),
    ],
)
def test_training_is_the_same_whenever_they_change(expected, when, setting):
    logs, evaluated, predicted = trained(when, SETTINGS[setting])
    assert logs == expected[0]
    assert evaluated == expected[1]
    np.testing.assert_array_equal(predicted, expected[2])


@pytest.mark.parametrize("setting", ["channels_first", "float16", "float64"])
def test_noise_attacks_and_networks(setting):
    attack = ka.attack.PGD(num_steps=2, start="random", seed=2)

    def numbers():
        noise = ka.noise.PaperNoise(seed=1)(IMAGES)
        points = attack.from_config(attack.get_config()).maximize(lambda x: x[:, 0, 0, 0], noise)
        return np.asarray(noise), np.asarray(points.images)

    before = numbers()
    SETTINGS[setting]()
    for old, new in zip(before, numbers(), strict=True):
        assert new.dtype == np.float32
        np.testing.assert_array_equal(new, old)
    if setting == "channels_first":
        for name in ("lenet", "resnet20", "mlp", "rbf", "MobileNetV3Small"):
            network = ka.networks.build(name, (32, 32, 3), 5)
            formats = {getattr(layer, "data_format", "channels_last") for layer in network.layers}
            assert formats <= {"channels_last"} or name == "resnet20"  # whose padding of channels is told otherwise
            assert network.output_shape == (None, 5)


@pytest.mark.slow
def test_the_command_line_trains_the_same(tmp_path):
    arguments = ["--dataset=moons", "--method=ceda", "--epochs=1", "--steps_per_epoch=2", "--num_noise=2"]
    rows = []
    for change in (lambda: None, lambda: [SETTINGS[name]() for name in ("channels_first", "float16", "policy")]):
        change()
        assert train.main(["train.py", *arguments, f"--run_dir={tmp_path / str(len(rows))}"]) == 0
        rows.append((tmp_path / str(len(rows)) / "metrics.csv").read_bytes())
    assert rows[0] == rows[1]
    assert keras.config.floatx() == "float16"  # it is put back
