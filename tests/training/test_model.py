import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import OnesNoise

from keras_acet.attack import PGD, LogUniformDecay
from keras_acet.losses import log_max_confidence
from keras_acet.noise import PaperNoise, UniformNoise
from keras_acet.penalties import ConfidencePenalty, NoisePool
from keras_acet.training.model import ACETModel

IMAGES = np.random.default_rng(0).uniform(size=(32, 8, 8, 1)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, size=32)


def small_network(batch_norm=False, regularizer=None):
    keras.utils.set_random_seed(7)  # before the layers: their initializers draw their seeds when they are made
    layers = keras.layers
    stack = [layers.Conv2D(4, 3, kernel_regularizer=regularizer)]
    stack += [layers.BatchNormalization(momentum=0.5)] if batch_norm else []
    stack += [layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 1)), *stack])


def penalty(kind, **arguments):
    attack = PGD(num_steps=3, momentum=0.5, step_size=LogUniformDecay(0.05, 0.2), seed=2)
    noise = PaperNoise(seed=1)
    return {
        "plain": lambda: None,
        "ceda": lambda: ConfidencePenalty(noise, **arguments),
        "acet": lambda: ConfidencePenalty(noise, attack, **arguments),
        "persistent": lambda: ConfidencePenalty(noise, attack, pool=NoisePool(24), seed=3, **arguments),
    }[kind]()


def linear_model(noise=None, *, regularizer=None, weight=1.0, noise_fraction=1.0, **compile_arguments):
    """Logits (x log 3, 0): at x = 1 probabilities 3/4 and 1/4, at x = 0 one half each."""
    network = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, use_bias=False, kernel_regularizer=regularizer)]
    )
    network.layers[0].kernel.assign([[np.log(3.0), 0.0]])
    model = ACETModel(network, noise and ConfidencePenalty(noise, weight=weight, noise_fraction=noise_fraction))
    model.compile(keras.optimizers.SGD(compile_arguments.pop("learning_rate", 0.0)), **compile_arguments)
    return model


X, Y = np.array([[1.0], [0.0]], np.float32), np.array([0, 1])
CLEAN = [-np.log(3 / 4), np.log(2.0)]  # the two cross-entropies
PENALTY = np.log(3 / 4)  # at x = 1


def fit_one_batch(model, **arguments):
    history = model.fit(X, Y, batch_size=2, shuffle=False, verbose=0, **arguments).history
    return {name: values[0] for name, values in history.items()}


def test_loss_by_hand():
    logs = fit_one_batch(linear_model(OnesNoise()))
    assert logs["loss"] == pytest.approx((CLEAN[0] + CLEAN[1] + 2 * PENALTY) / 4, abs=1e-6)
    assert logs["cross_entropy"] == pytest.approx((CLEAN[0] + CLEAN[1]) / 2, abs=1e-6)
    assert logs["penalty"] == pytest.approx(PENALTY, abs=1e-6)
    assert logs["noise_confidence"] == logs["adversarial_confidence"] == pytest.approx(0.75, abs=1e-6)


def test_loss_with_weight_and_weight_decay_by_hand():
    decay = 0.1 * np.log(3.0) ** 2  # counted once, not once per half
    logs = fit_one_batch(linear_model(OnesNoise(), regularizer=keras.regularizers.L2(0.1), weight=3.0))
    assert logs["loss"] == pytest.approx((CLEAN[0] + CLEAN[1] + 3 * 2 * PENALTY) / 4 + decay, abs=1e-6)
    assert logs["cross_entropy"] == pytest.approx(sum(CLEAN) / 2, abs=1e-6)


def test_loss_with_fewer_noise_images_by_hand():
    model = linear_model(OnesNoise(), noise_fraction=0.5)
    assert fit_one_batch(model)["loss"] == pytest.approx((CLEAN[0] + CLEAN[1] + PENALTY) / 3, abs=1e-6)


def test_sample_and_class_weight_weigh_the_clean_half_only():
    noise_part = 2 * PENALTY / 4
    logs = fit_one_batch(linear_model(OnesNoise()), sample_weight=np.array([3.0, 0.5]))
    assert logs["loss"] == pytest.approx((3 * CLEAN[0] + 0.5 * CLEAN[1]) / 4 + noise_part, abs=1e-6)
    logs = fit_one_batch(linear_model(OnesNoise()), class_weight={0: 2.0, 1: 4.0})
    assert logs["loss"] == pytest.approx((2 * CLEAN[0] + 4 * CLEAN[1]) / 4 + noise_part, abs=1e-6)


def test_gradient_step_by_hand():
    # d CE/d w for the two clean examples: x (p - y) = (3/4 - 1, 1/4) and 0. The penalty at x = 1 is log p_0 with
    # gradient x (y_max - p) = (1/4, -1/4), twice. Sum over four: ((-1/4, 1/4) + 2 (1/4, -1/4)) / 4 = (1/16, -1/16).
    model = linear_model(OnesNoise(), learning_rate=1.0)
    fit_one_batch(model)
    np.testing.assert_allclose(model.network.layers[0].kernel, [[np.log(3.0) - 1 / 16, 1 / 16]], atol=1e-6)


def test_weight_follows_a_schedule_over_the_steps():
    ramp = keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=2, end_learning_rate=1.0)
    model = linear_model(OnesNoise(), weight=ramp)
    losses = model.fit(X, Y, batch_size=2, epochs=4, shuffle=False, verbose=0).history["loss"]
    expected = [(sum(CLEAN) + weight * 2 * PENALTY) / 4 for weight in (0, 0.5, 1, 1)]
    np.testing.assert_allclose(losses, expected, atol=1e-6)


def test_plain_is_the_networks_own_training():
    wrapped, bare = small_network(batch_norm=True), small_network(batch_norm=True)
    bare.set_weights(wrapped.get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    results = []
    for model in (ACETModel(wrapped), bare):
        model.compile("sgd", loss, metrics=["accuracy"])
        results.append(model.fit(IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0).history)
    for a, b in zip(wrapped.get_weights(), bare.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(results[0]["loss"], results[1]["loss"], rtol=1e-6)
    np.testing.assert_allclose(results[0]["accuracy"], results[1]["accuracy"])


def test_batch_norm_sees_the_joint_batch_once_and_the_attack_leaves_its_averages():
    network = small_network(batch_norm=True)
    convolution, norm = network.layers[0], network.layers[1]
    model = ACETModel(network, penalty("acet"))
    model.compile(keras.optimizers.SGD(0.0))
    noise = penalty("acet").sample(IMAGES[:8], network).images
    features = convolution(tf.concat([IMAGES[:8], noise], axis=0)).numpy()
    model.fit(IMAGES[:8], LABELS[:8], batch_size=8, shuffle=False, verbose=0)
    # momentum .5, from 0: half the mean over clean and noise images together.
    np.testing.assert_allclose(norm.moving_mean, 0.5 * features.mean(axis=(0, 1, 2)), atol=1e-4)


@pytest.mark.parametrize("kind", ["plain", "ceda", "acet", "persistent"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_methods_learn_and_report(kind, precision):
    network = small_network()
    model = ACETModel(network, penalty(kind, attack_precision=precision))
    model.compile(keras.optimizers.Adam(1e-2), metrics=["accuracy"])
    history = model.fit(IMAGES, LABELS, batch_size=16, epochs=12, validation_data=(IMAGES, LABELS), verbose=0)
    logs = history.history
    always = {"loss", "accuracy", "cross_entropy", "val_loss", "val_accuracy"}
    of_noise = {"penalty", "noise_confidence", "adversarial_confidence", "val_noise_confidence"}
    assert set(logs) == (always if kind == "plain" else always | of_noise)
    assert logs["loss"][-1] < logs["loss"][0]
    assert all(weight.dtype == np.float32 for weight in network.get_weights())
    assert all(layer.compute_dtype == "float32" for layer in network.layers)
    if kind in ("acet", "persistent"):
        assert logs["adversarial_confidence"][0] > logs["noise_confidence"][0]


def test_bfloat16_attack_is_as_strong_as_float32():
    network = small_network()
    found = {}
    for precision in ("float32", "bfloat16"):
        attack = PGD(num_steps=10, seed=1)
        noise = ConfidencePenalty(UniformNoise(seed=0), attack, attack_precision=precision).sample(IMAGES, network)
        found[precision] = log_max_confidence(network(noise.images)).numpy().mean()
    # log-confidence gained by the attack is .1 to .3 here; bfloat16 gradients lose under a tenth of it.
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.02)


class CountedNoise(PaperNoise):
    """The paper's noise; it counts how often Python calls it, which is once in each trace of a step."""

    num_calls = 0

    def call(self, images):
        self.num_calls += 1
        return super().call(images)


def test_one_trace_serves_all_steps_and_steps_per_execution_changes_nothing():
    weights = []
    for steps_per_execution in (1, 2):
        noise = CountedNoise(seed=1)
        attack = PGD(num_steps=3, step_size=LogUniformDecay(0.05, 0.2), seed=2)
        model = ACETModel(small_network(), ConfidencePenalty(noise, attack, pool=NoisePool(24), seed=3))
        model.compile("sgd", steps_per_execution=steps_per_execution)
        # 4 batches an epoch, the last of another size.
        model.fit(IMAGES[:28], LABELS[:28], batch_size=8, epochs=2, shuffle=False, verbose=0)
        model.fit(IMAGES[:28], LABELS[:28], batch_size=8, shuffle=False, verbose=0)
        assert noise.num_calls == 1
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_an_epochs_loss_weighs_a_batch_by_its_clean_images():
    # Batches of two and of one clean image, with one noise image each; the third image is the first once more.
    model = linear_model(OnesNoise(), noise_fraction=0.5)
    images, labels = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1]])
    logs = model.fit(images, labels, batch_size=2, shuffle=False, verbose=0).history
    of_two, of_one = (sum(CLEAN) + PENALTY) / 3, (CLEAN[0] + PENALTY) / 2
    assert logs["loss"][0] == pytest.approx((2 * of_two + of_one) / 3, abs=1e-6)
    assert logs["cross_entropy"][0] == pytest.approx((2 * CLEAN[0] + CLEAN[1]) / 3, abs=1e-6)


def test_same_seeds_same_run():
    runs = []
    for _ in range(2):
        model = ACETModel(small_network(), penalty("persistent"))
        model.compile("adam")
        model.fit(IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0)
        runs.append(model.network.get_weights())
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["plain", "ceda", "acet", "persistent"])
def test_save_and_load_round_trip(kind, tmp_path):
    model = ACETModel(small_network(), penalty(kind, weight=2.0, attack_precision="bfloat16"))
    model.compile("adam", metrics=["accuracy"])
    model.fit(IMAGES, LABELS, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert json.dumps(copy.get_config()) == json.dumps(model.get_config())
    np.testing.assert_array_equal(copy.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert copy.optimizer.iterations == model.optimizer.iterations
    for a, b in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    copy.fit(IMAGES, LABELS, batch_size=16, verbose=0)
    assert copy.optimizer.iterations == 4


@keras.saving.register_keras_serializable("keras_acet_tests")
class Subclassed(keras.Model):
    """A user's own model: not functional, not built, layers in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stack = [keras.layers.Flatten(), keras.layers.Dropout(0.1), keras.layers.Dense(3)]

    def call(self, x, training=None):
        for layer in self.stack:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_users_own_model(precision, tmp_path):
    model = ACETModel(Subclassed(), penalty("persistent", attack_precision=precision))
    model.compile("adam", metrics=["accuracy"])
    logs = model.fit(IMAGES, LABELS, batch_size=16, epochs=3, verbose=0).history
    assert logs["penalty"][-1] < logs["penalty"][0]
    model.save(tmp_path / "own.keras")
    copy = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_array_equal(copy.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))


def test_one_hot_labels_with_the_users_own_loss():
    model = ACETModel(small_network(), penalty("ceda"))
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    logs = model.fit(IMAGES, keras.utils.to_categorical(LABELS, 3), batch_size=16, verbose=0).history
    assert 0.5 < logs["cross_entropy"][0] < 3


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"`network` must be a keras.Model.*of type Dense"):
        ACETModel(keras.layers.Dense(3))
    with pytest.raises(TypeError, match=r"ACETModel takes network, penalty, name and dtype. Received: momentum"):
        ACETModel(small_network(), momentum=0.9)


@pytest.mark.parametrize("last", [keras.layers.Dense(3, activation="softmax"), keras.layers.Softmax()], ids=type)
def test_a_network_that_ends_in_softmax_is_refused(last):
    network = keras.Sequential([keras.Input((3,)), last])
    outer = keras.Sequential([keras.Input((3,)), network])
    for wrong in (network, outer):
        with pytest.raises(ValueError, match="`network` must end in logits.*classifier_activation=None"):
            ACETModel(wrong)


@pytest.mark.parametrize(
    "wrong",
    [UniformNoise(seed=0), PGD(seed=0), [1], "acet", ConfidencePenalty],
    ids=["noise", "attack", "list", "str", "class"],
)
def test_no_penalty(wrong):
    with pytest.raises(TypeError, match=r"an object such as penalties.ConfidencePenalty\(noise, attack\).*penalty="):
        ACETModel(small_network(), wrong)


def test_dtypes_of_images():
    model = ACETModel(small_network(), penalty("ceda"))
    model.compile("sgd")
    with pytest.raises(TypeError, match="Images must be floats in .*Received: uint8. For 8-bit levels divide by 255"):
        model.fit((IMAGES * 255).astype(np.uint8), LABELS, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((IMAGES.astype(np.float64), LABELS)).batch(16)
    logs = model.fit(data, shuffle=False, verbose=0).history
    assert 0.5 < logs["cross_entropy"][0] < 3


def test_several_replicas_are_refused():
    model = ACETModel(small_network(), penalty("ceda"))
    model.compile("sgd")
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.distribute, "get_strategy", lambda: two)
        with pytest.raises(ValueError, match="one replica only so far. Received: a strategy with 2 of them"):
            model.train_step((tf.constant(IMAGES), tf.constant(LABELS)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_a_model_keeps_its_precision_when_saved(policy, tmp_path):
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, dtype=policy)])
    model = ACETModel(network, penalty("acet"), dtype=policy)
    model.compile("adam")
    logs = model.fit(IMAGES, LABELS, batch_size=16, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.dtype_policy.name == policy
    assert type(copy.optimizer) is type(model.optimizer)
    np.testing.assert_array_equal(copy.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))


class TwoBranches(keras.layers.Layer):
    """A user's own block: layers in a dict and a list, their outputs added to the input."""

    def __init__(self, constant_dtype=None):
        super().__init__()
        self.branches = {"both": [keras.layers.Conv2D(1, 3, padding="same"), keras.layers.Conv2D(1, 1)]}
        self.constant = None if constant_dtype is None else tf.ones((), constant_dtype)

    def call(self, images):
        for layer in self.branches["both"]:
            images = images + layer(images)
        return images if self.constant is None else images * self.constant


def test_bfloat16_attack_reaches_the_layers_of_a_users_own_block():
    network = keras.Sequential([keras.Input((8, 8, 1)), TwoBranches(), keras.layers.Flatten(), keras.layers.Dense(3)])
    model = ACETModel(network, penalty("acet", attack_precision="bfloat16"))
    model.compile("adam")
    logs = model.fit(IMAGES, LABELS, batch_size=16, verbose=0).history
    assert logs["adversarial_confidence"][0] > logs["noise_confidence"][0]


def test_a_network_that_cannot_compute_in_bfloat16_says_so():
    block = TwoBranches(constant_dtype=tf.float32)
    network = keras.Sequential([keras.Input((8, 8, 1)), block, keras.layers.Flatten(), keras.layers.Dense(3)])
    model = ACETModel(network, penalty("acet", attack_precision="bfloat16"))
    model.compile("adam")
    with pytest.raises(TypeError, match="The network cannot compute in bfloat16.*Give attack_precision='float32'"):
        model.fit(IMAGES, LABELS, batch_size=16, verbose=0)
