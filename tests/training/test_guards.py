"""What a training model refuses, on every path, and that following the advice works."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import detectors, networks
from keras_acet.attack import PGD
from keras_acet.noise import PaperNoise, UniformNoise
from keras_acet.penalties import ConfidencePenalty, NoisePool
from keras_acet.training.detector_model import DetectorModel
from keras_acet.training.model import ACETModel

layers = keras.layers
SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).random((32, *SHAPE), np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0.5).astype(np.int64)


def network(*front, last=None, units=2):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(SHAPE), *front, layers.Flatten(), layers.Dense(units, activation=last)])


def model_of(net=None, penalty=None, optimizer=None, **compiled):
    penalty = penalty or ConfidencePenalty(UniformNoise(seed=1), validation=None)
    model = ACETModel(net or network(), penalty)
    model.compile(optimizer or keras.optimizers.SGD(0.0), **compiled)
    return model


def fit(model, images=IMAGES, labels=LABELS, **arguments):
    return model.fit(images, labels, verbose=0, shuffle=False, **arguments).history


PATHS = {
    "fit": lambda model, x: fit(model, x),
    "fit on a dataset": lambda model, x: fit(model, tf.data.Dataset.from_tensor_slices((x, LABELS)).batch(16), None),
    "validation_data": lambda model, x: fit(model, validation_data=(x, LABELS)),
    "evaluate": lambda model, x: model.evaluate(x, LABELS, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x, LABELS),
    "test_on_batch": lambda model, x: model.test_on_batch(x, LABELS),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "a call": lambda model, x: model(x),
}


@pytest.mark.parametrize("path", PATHS)
def test_images_outside_the_box_are_refused_on_every_path(path):
    model = model_of()
    with pytest.raises(ValueError, match=r"Images must lie in \[0, 1\]. Received: values from .* to 25\d.*by 255"):
        PATHS[path](model, 255 * IMAGES)
    with pytest.raises(TypeError, match="Images must be floats in .*Received: uint8. For 8-bit levels divide by 255"):
        PATHS[path](model, (255 * IMAGES).astype(np.uint8))
    PATHS[path](model, (255 * IMAGES).round().astype(np.uint8) / np.float32(255))


@pytest.mark.parametrize(
    ("images", "advice", "follow"),
    [
        (2 * IMAGES - 1, "Bring them into", lambda x: (x + 1) / 2),
        (1.1 * IMAGES, "Clip them: tf.clip_by_value", lambda x: tf.clip_by_value(x, 0.0, 1.0).numpy()),
        (np.where(IMAGES > 0.9, np.nan, IMAGES), "Remove the images that are not finite", np.nan_to_num),
    ],
)
def test_advice_on_pixels(images, advice, follow):
    model = model_of()
    with pytest.raises(ValueError, match=advice):
        model(images)
    model(follow(images))
    model(IMAGES * np.float32(1.0000002))  # a rounding above 1


@keras.saving.register_keras_serializable("test_guards")
class Own(keras.Model):
    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.flat, self.dense = layers.Flatten(), layers.Dense(2, activation=activation)

    def call(self, x):
        return self.dense(self.flat(x))


def functional(end):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, end(layers.Dense(2)(layers.Flatten()(inputs))))


DISGUISED = {
    "tf.nn.softmax": lambda: network(last=tf.nn.softmax),
    "sigmoid": lambda: network(last="sigmoid"),
    "operation": lambda: functional(keras.ops.softmax),
    "linear behind it": lambda: functional(lambda z: layers.Activation("linear")(layers.Softmax()(z))),
    "reshaped": lambda: functional(lambda z: layers.Reshape((2,))(layers.Softmax()(z))),
    "mean of two": lambda: functional(lambda z: layers.Average()([layers.Softmax()(z), layers.Softmax()(2 * z)])),
    "subclassed": lambda: Own("softmax"),
    "subclassed sigmoid": lambda: Own("sigmoid"),
}


@pytest.mark.parametrize("kind", DISGUISED)
def test_outputs_that_are_probabilities_are_refused_and_wrapped(kind):
    with pytest.raises(ValueError, match=r"`network` must end in logits. .*or wrap it, networks.wrapped"):
        fit(model_of(DISGUISED[kind]()))
    wrapped = networks.wrapped(DISGUISED[kind](), outputs="probabilities", image_shape=SHAPE)
    before = wrapped.get_weights()
    assert np.isfinite(fit(model_of(wrapped, optimizer=keras.optimizers.SGD(0.1)))["loss"][0])
    assert all(np.abs(new - old).max() > 1e-6 for new, old in zip(wrapped.get_weights(), before, strict=True))


def test_networks_on_bytes_are_refused_and_wrapped():
    with pytest.raises(ValueError, match=r"`network` must take images in \[0, 1\].*wrapped\(network, inputs='bytes'\)"):
        model_of(network(layers.Rescaling(1 / 255)))
    plain, wrapped = network(), networks.wrapped(network(layers.Rescaling(1 / 255)), inputs="bytes")
    assert fit(model_of(wrapped))["loss"] == pytest.approx(fit(model_of(plain))["loss"], rel=1e-5)


def test_logits_are_never_taken_for_something_else():
    keras.utils.set_random_seed(0)
    for net in (network(), Own(None), networks.rbf(SHAPE, 2), networks.mlp(SHAPE, 2), network(last="tanh")):
        fit(model_of(net))
    fit(model_of(functional(layers.Activation("log_softmax"))))


def test_outputs_of_other_shapes():
    with pytest.raises(ValueError, match="a column for each of two classes or more.*networks.wrapped.network. makes"):
        fit(model_of(network(units=1)))
    fit(model_of(networks.wrapped(network(units=1))))
    with pytest.raises(ValueError, match=r"logits of shape \(batch, num_classes\). Received: \(16, 2, 2, 3\). End it"):
        fit(model_of(keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 3)])))
    with pytest.raises(ValueError, match=r"must give one tensor, its logits. Received: a dict of \['logits'\]"):
        fit(model_of(functional(lambda z: {"logits": z})))
    with pytest.raises(ValueError, match="`network` must have one output. Received: 2 of them"):
        model_of(functional(lambda z: [z, z]))


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.sparse_categorical_crossentropy,
        lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p),
        lambda y, p: -tf.reduce_sum(y * tf.math.log(p), axis=-1),
        functools.partial(keras.losses.categorical_crossentropy, from_logits=False),
    ],
)
def test_a_loss_of_probabilities_is_refused(loss):
    model = ACETModel(network())
    with pytest.raises(ValueError, match="`loss` must take logits, .*Leave `loss` out for integer labels"):
        model.compile("sgd", loss)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (None, LABELS),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS),
        (keras.losses.CategoricalCrossentropy(from_logits=True), keras.utils.to_categorical(LABELS, 2)),
        (functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True), LABELS),
        (lambda y, z: keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True), LABELS),
        ("mse", keras.utils.to_categorical(LABELS, 2)),
    ],
)
def test_losses_of_logits_are_taken(loss, labels):
    assert np.isfinite(fit(model_of(loss=loss), labels=labels)["loss"][0])


def test_a_metric_of_probabilities_is_refused():
    for metric in ("sparse_categorical_crossentropy", keras.metrics.SparseCategoricalCrossentropy()):
        with pytest.raises(ValueError, match="A metric must take logits, .*from_logits=True"):
            model_of(metrics=["accuracy", metric])
    fit(model_of(metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True)]))


def test_labels_and_weights_in_words():
    model = model_of()
    with pytest.raises(ValueError, match=r"Labels must be integers of shape \(batch,\).*CategoricalCrossentropy"):
        fit(model, labels=keras.utils.to_categorical(LABELS, 2))
    with pytest.raises(ValueError, match="Labels must count classes from 0, here up to 1, .*Received: 7"):
        fit(model, labels=np.where(LABELS == 1, 7, 0))
    with pytest.raises(ValueError, match="`fit` needs labels. Received: images alone"):
        fit(model, labels=None)
    with pytest.raises(ValueError, match=r"`sample_weight` must be of shape \(batch,\), one number per image"):
        fit(model, sample_weight=np.ones((32, 2)))
    weighted = fit(model, sample_weight=np.ones(32), class_weight=None)["loss"]
    assert weighted == pytest.approx(fit(model, class_weight={0: 1.0, 1: 1.0})["loss"], abs=0.05)


def test_inputs_in_words():
    model = model_of()
    for images, received in (([IMAGES, IMAGES], "2 of them"), ({"image": IMAGES}, r"a dict of \['image'\]")):
        with pytest.raises(ValueError, match=f"takes one tensor of images. Received: {received}. Pick it out"):
            fit(model, images)
    dataset = tf.data.Dataset.from_tensor_slices(({"image": IMAGES}, LABELS)).batch(16)
    fit(model, dataset.map(lambda inputs, labels: (inputs["image"], labels)), None)
    with pytest.warns(UserWarning, match="ran out of data"), pytest.raises(ValueError, match="at least one image"):
        fit(model, dataset.map(lambda inputs, labels: (inputs["image"], labels)).take(0), None)


@pytest.mark.parametrize(
    "noise", [None, PaperNoise(seed=1), UniformNoise(seed=1)], ids=["plain", "paper noise", "uniform noise"]
)
def test_images_of_no_static_size(noise):
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16)

    def forget(shape):
        return lambda x, y: (tf.ensure_shape(tf.numpy_function(lambda z: z, [x], tf.float32), shape), y)

    for shape in ((None, None, None, 1), None):
        penalties = [noise and ConfidencePenalty(noise, PGD(num_steps=2, seed=2))]
        if noise is not None:
            penalties.append(ConfidencePenalty(noise, PGD(num_steps=2, seed=2), pool=NoisePool(32)))
        for penalty in penalties:
            model = ACETModel(network(), penalty)
            model.compile(keras.optimizers.SGD(0.0))
            fit(model, batches.map(forget(shape)), None)
    free = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()])
    model = ACETModel(free, noise and ConfidencePenalty(noise, PGD(num_steps=2, seed=2)))
    model.compile("sgd")
    fit(model, batches.map(forget((None, None, None, 1))), None)


def test_labels_of_no_static_rank():
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16)
    batches = batches.map(lambda x, y: (x, tf.numpy_function(lambda z: z, [y], tf.int64)))
    with pytest.raises(ValueError, match=re.escape("tf.ensure_shape(y, (None,))")):
        fit(model_of(), batches, None)
    fit(model_of(), batches.map(lambda x, y: (x, tf.ensure_shape(y, (None,)))), None)


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_a_pool_smaller_than_the_batch(drop_remainder):
    model = model_of(penalty=ConfidencePenalty(UniformNoise(seed=1), PGD(num_steps=1, seed=2), pool=NoisePool(8)))
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16, drop_remainder=drop_remainder)
    with pytest.raises(ValueError, match="A pool of 8 slots cannot hold a batch of more .*Raise its `size`"):
        fit(model, batches, None)
    fit(model, IMAGES[:8], LABELS[:8], batch_size=8)


CHANGES = {
    "weight": (lambda penalty: setattr(penalty, "weight", 100.0), "loss"),
    "noise_fraction": (lambda penalty: setattr(penalty, "noise_fraction", 0.25), "loss"),
    "radius": (lambda penalty: setattr(penalty.attack, "epsilon", 1e-6), "adversarial_confidence"),
    "steps": (lambda penalty: setattr(penalty.attack, "num_steps", 0), "adversarial_confidence"),
    "step size": (lambda penalty: setattr(penalty.attack, "step_size", 1e-6), "adversarial_confidence"),
    "start": (lambda penalty: setattr(penalty.attack, "start", "input"), "adversarial_confidence"),
    "blur": (lambda penalty: setattr(penalty.noise, "max_sigma", 20.0), "noise_confidence"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings_that_change_count_from_the_next_step_on(change):
    def losses(change):
        keras.utils.set_random_seed(0)
        penalty = ConfidencePenalty(PaperNoise(seed=1), PGD(num_steps=2, seed=2), weight=0.5, seed=3)
        model = model_of(penalty=penalty)
        fit(model)
        change(penalty)
        return fit(model)

    apply, name = CHANGES[change]
    assert abs(losses(apply)[name][0] - losses(lambda penalty: None)[name][0]) > 1e-6


def test_a_setting_counts_within_fit_too_and_is_checked():
    model = model_of()

    def heavier(epoch, logs):
        model.penalty.weight = 10.0

    logs = fit(model, epochs=2, callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: None)])
    changed = fit(model, epochs=2, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=heavier)])
    assert abs(logs["loss"][1] - logs["loss"][0]) < 0.05 < abs(changed["loss"][1] - changed["loss"][0])
    model.penalty.weight = -1.0
    with pytest.raises(ValueError, match="`weight` must be a finite number, at least 0. Received: weight=-1.0"):
        fit(model)


def test_parts_that_stay_what_they_are():
    model = model_of(penalty=ConfidencePenalty(UniformNoise(seed=1), PGD(num_steps=1, seed=2), pool=NoisePool(64)))
    for name, value in (("penalty", None), ("network", network())):
        with pytest.raises(AttributeError, match=r"stays what it is. .*ACETModel\(model.network, penalty\)"):
            setattr(model, name, value)
    for name in ("adversary", "penalty_weight", "attack_precision"):
        with pytest.raises(AttributeError, match=f"`{name}` is now called penalty"):
            setattr(model, name, 1.0)
    with pytest.raises(AttributeError, match="`noise` of a penalty in use stays what it is"):
        model.penalty.noise = PaperNoise()
    with pytest.raises(AttributeError, match="`seed` counts when the object is made"):
        model.penalty.attack.seed = 5
    with pytest.raises(AttributeError, match="`size` of a pool that holds images stays what it is"):
        model.penalty.pool.size = 8
    again = ACETModel(model.network, ConfidencePenalty(PaperNoise(seed=1), weight=2.0))  # as the messages advise
    again.compile("sgd")
    fit(again)


def test_seeds_of_numpy_are_integers_too():
    for seed in (np.int64(3), np.uint8(3)):
        penalty = ConfidencePenalty(UniformNoise(seed=seed), PGD(num_steps=1, seed=seed), seed=seed)
        copy = ConfidencePenalty.from_config(penalty.get_config())
        np.testing.assert_array_equal(copy.noise(IMAGES), UniformNoise(seed=3)(IMAGES))


def test_validation_noise_is_the_same_each_time_and_leaves_training_alone():
    def run(validation, **arguments):
        model = model_of(penalty=ConfidencePenalty(PaperNoise(seed=1), PGD(num_steps=2, seed=2), validation=validation))
        return fit(model, epochs=2, validation_data=(IMAGES, LABELS), **arguments), model

    alone, model = run(None)
    assert "val_noise_confidence" not in alone
    watched, model = run("attack")
    for name, values in alone.items():
        assert watched[name] == values, name  # the weights stay, so the noise does
    noise, attacked = watched["val_noise_confidence"], watched["val_adversarial_confidence"]
    assert noise[0] == noise[1] and attacked[0] == attacked[1] > noise[0]  # nothing learns
    assert noise[0] == pytest.approx(watched["noise_confidence"][0], abs=0.05)
    assert set(model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)) == {"loss"}
    stop = keras.callbacks.EarlyStopping("val_noise_confidence", mode="min", patience=1)
    stopped, _ = run("noise", callbacks=[stop])
    assert stop.stopped_epoch == 1 and len(stopped["loss"]) == 2
    stop = keras.callbacks.EarlyStopping("val_adversarial_confidence", mode="min")
    with pytest.raises(ValueError, match="not measured on validation data.*give the penalty validation='noise'"):
        run("noise", callbacks=[stop])
    with pytest.raises(ValueError, match="`validation` must be 'noise', 'attack' where there is an attack, or None"):
        ConfidencePenalty(PaperNoise(), validation="attack")


def test_what_was_saved_can_be_loaded_whatever_its_network(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_acet.training.guards.check_network", lambda network: None)
        old = model_of(network(layers.Rescaling(1 / 255)))
    old.save(tmp_path / "old.keras")
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), old.predict(IMAGES, verbose=0))
    with pytest.raises(ValueError, match="`network` must take images in"):
        fit(loaded)


def test_settings_of_a_detector_model_change_after_compile_only():
    model = DetectorModel(detectors.build("negative_head", SHAPE), UniformNoise(seed=1), epsilon=0.0)
    model.compile("sgd")
    model.fit(IMAGES, LABELS, verbose=0)
    with pytest.raises(AttributeError, match="`weight` is part of a step .*Received: weight=3.0. Call `compile` again"):
        model.weight = 3.0
    model.compile("sgd")
    model.weight = 3.0
    model.fit(IMAGES, LABELS, verbose=0)
