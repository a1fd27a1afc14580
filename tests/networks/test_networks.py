"""Tests of keras_acet.networks: shapes, counts, initialisers, decay, values, saving, errors."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import networks


def size(variables):
    return sum(math.prod(variable.shape) for variable in variables)


def unit_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


# --- counts and shapes -----------------------------------------------------------------------


def test_lenet_has_the_published_number_of_parameters():
    # 5*5*1*32+32 + 5*5*32*64+64 + 7*7*64*1024+1024 + 1024*10+10
    assert size(networks.lenet((28, 28, 1), 10).trainable_variables) == 3_274_634


def test_resnet20_has_the_published_number_of_parameters():
    model = networks.resnet20((32, 32, 3), 10)
    assert size(model.trainable_variables) == 269_722
    # Moving mean and variance of 19 norms: 2 * (16*7 + 32*6 + 64*6), the first of each wider stage
    # being as narrow as the stage before.
    assert size(model.non_trainable_variables) == 2 * (16 * 7 + 32 * 6 + 64 * 6)


def test_mlp_of_the_two_moons():
    model = networks.mlp((2,), 2)
    assert [layer.units for layer in model.layers[1:]] == [100, 100, 2]
    assert size(model.trainable_variables) == 10_602


@pytest.mark.parametrize(
    ("name", "image_shape"),
    [
        ("lenet", (8, 8, 1)),
        ("lenet", (7, 5, 3)),
        ("resnet20", (8, 12, 1)),
        ("mlp", (3,)),
        ("mlp", (4, 5)),
        ("rbf", (3,)),
        ("rbf", (4, 5, 2)),
        ("mlp", (8, 8, 1)),
    ],
)
def test_logits_have_one_column_per_class(name, image_shape):
    model = networks.build(name, image_shape, 7)
    logits = model(unit_images(2, *image_shape))
    assert logits.shape == (2, 7)
    assert logits.dtype == tf.float32


def test_names_of_own_networks_and_applications():
    assert networks.names() == ["lenet", "mlp", "rbf", "resnet20"]
    applications = networks.application_names()
    assert applications == sorted(applications)
    assert {"EfficientNetB0", "MobileNetV2", "ResNet50"} <= set(applications)


# --- initialisers ----------------------------------------------------------------------------


def test_convolutions_start_as_a_truncated_normal():
    keras.utils.set_random_seed(0)
    kernel = networks.lenet((28, 28, 1), 10).get_layer("conv2").kernel.numpy()
    stddev = math.sqrt(2 / (5 * 5 * 32))
    assert np.abs(kernel).max() <= 2 * stddev
    # A normal cut at 2 has standard deviation 0.8796 and kurtosis 2.4, so that of 51,200 values has
    # a relative standard error of sqrt(1.4 / 4 / 51200) = 0.26 %; five of them.
    np.testing.assert_allclose(kernel.std(), 0.8796 * stddev, rtol=0.013)
    np.testing.assert_allclose(kernel.mean(), 0, atol=5 * stddev / math.sqrt(kernel.size))


def test_dense_layers_start_as_a_normal_with_zero_bias():
    keras.utils.set_random_seed(0)
    layer = networks.lenet((28, 28, 1), 10).get_layer("hidden")
    kernel, stddev = layer.kernel.numpy(), math.sqrt(2 / 3136)
    # Relative standard error of 3.2 million values: sqrt(1 / 2 / 3.2e6) = 0.04 %; five of them.
    np.testing.assert_allclose(kernel.std(), stddev, rtol=0.002)
    assert np.abs(kernel).max() > 4 * stddev  # not cut
    assert not layer.bias.numpy().any()


def test_mlp_starts_as_he_normal():
    keras.utils.set_random_seed(0)
    kernel = networks.mlp((2,), 2).get_layer("hidden2").kernel.numpy()
    # Truncated, with the standard deviation after the cut; 10,000 values: 0.6 %, five of them.
    np.testing.assert_allclose(kernel.std(), math.sqrt(2 / 100), rtol=0.03)


def test_same_seed_same_weights():
    def draw():
        keras.utils.set_random_seed(3)
        return networks.mlp((2,), 2).get_weights()

    for first, second in zip(draw(), draw(), strict=True):
        np.testing.assert_array_equal(first, second)


# --- weight decay ----------------------------------------------------------------------------


def test_weight_decay_by_hand():
    model = networks.mlp((1,), 2, hidden=(), weight_decay=0.5)
    model.set_weights([np.array([[1.0, 2.0]]), np.array([3.0, 4.0])])
    # 0.5 * (1 + 4) + 0.5 * (9 + 16) = 15, without a factor 1/2
    assert float(sum(model.losses)) == pytest.approx(15.0)


def test_lenet_decays_all_eight_tensors():
    model = networks.lenet((8, 8, 1), 10, weight_decay=5e-4)
    model.get_layer("conv1").bias.assign(np.full(32, 2.0))
    expected = 5e-4 * sum(np.sum(np.square(weight)) for weight in model.get_weights())
    assert len(model.losses) == 8
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_resnet20_decays_kernels_and_the_dense_bias_but_not_batch_norm():
    model = networks.resnet20((8, 8, 3), 10, weight_decay=5e-4)
    model.get_layer("logits").bias.assign(np.full(10, 2.0))
    model.get_layer("last_norm").gamma.assign(np.full(64, 100.0))
    decayed = [w.numpy() for w in model.trainable_variables if w.name in ("kernel", "bias")]
    assert len(model.losses) == len(decayed) == 21  # 19 convolutions, dense kernel, dense bias
    expected = 5e-4 * sum(np.sum(np.square(weight)) for weight in decayed)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", networks.names())
def test_no_weight_decay_by_default(name):
    assert networks.build(name, (8, 8, 1), 10).losses == []


# --- values ----------------------------------------------------------------------------------


def published_lenet_float64(weights, images):
    """LeNet in float64, ReLU before the max-pool as published."""
    conv1, bias1, conv2, bias2, hidden, hidden_bias, logits, logits_bias = (
        tf.constant(weight, tf.float64) for weight in weights
    )
    x = tf.nn.relu(tf.nn.conv2d(images, conv1, 1, "SAME") + bias1)
    x = tf.nn.max_pool2d(x, 2, 2, "SAME")
    x = tf.nn.relu(tf.nn.conv2d(x, conv2, 1, "SAME") + bias2)
    x = tf.nn.max_pool2d(x, 2, 2, "SAME")
    x = tf.reshape(x, (x.shape[0], -1))
    x = tf.nn.relu(x @ hidden + hidden_bias)
    return x @ logits + logits_bias


def test_lenet_and_its_input_gradient_equal_the_published_order_in_float64():
    keras.utils.set_random_seed(0)
    model = networks.lenet((28, 28, 1), 10)
    generator = np.random.default_rng(1)
    # Biases too, with both signs: at zero biases an exchange of ReLU and pool could hide.
    model.set_weights([w + generator.normal(scale=0.05, size=w.shape) for w in model.get_weights()])
    images = tf.constant(unit_images(4, 28, 28, 1))
    images64 = tf.cast(images, tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([images, images64])
        logits = model(images)
        logits64 = published_lenet_float64(model.get_weights(), images64)
    np.testing.assert_allclose(logits, logits64, rtol=1e-4, atol=1e-4)
    gradient, gradient64 = tape.gradient(logits, images), tape.gradient(logits64, images64)
    np.testing.assert_allclose(gradient, gradient64, rtol=1e-3, atol=1e-4)


def test_resnet20_shortcuts_by_hand():
    model = networks.resnet20((8, 8, 1), 2)
    for layer in model.layers:
        if layer.name.endswith("conv2"):  # the end of each residual branch: only shortcuts are left
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    centre = np.zeros((3, 3, 1, 16))
    centre[1, 1, 0] = np.arange(16) - 4  # channel c holds (c - 4) * image
    model.get_layer("init_conv").kernel.assign(centre)
    to_class_1 = np.zeros((64, 2))
    to_class_1[:, 1] = np.arange(64)
    model.get_layer("logits").kernel.assign(to_class_1)
    image = unit_images(1, 8, 8, 1)
    # Four fresh norms are on the way (first unit of each stage, and the last), each dividing by
    # sqrt(1 + 1e-5); ReLU leaves channels 5 to 15. Average pooling leaves the mean. The zeros, 8
    # and then 16 on each side, move channel c to c + 24.
    channels = sum((c - 4) * (c + 24) for c in range(5, 16))
    expected = channels * image.mean() * (1 + 1e-5) ** -2
    np.testing.assert_allclose(model(image), [[0, expected]], rtol=1e-5, atol=1e-6)


def test_resnet20_pools_the_shortcut_and_pads_channels_evenly():
    model = networks.resnet20((8, 8, 1), 2)
    part = keras.Model(model.get_layer("block_2_0_relu1").output, model.get_layer("block_2_0_shortcut_pad").output)
    features = unit_images(1, 8, 8, 16)
    expected = features.reshape(1, 4, 2, 4, 2, 16).mean(axis=(2, 4))
    expected = np.pad(expected, ((0, 0), (0, 0), (0, 0), (8, 8)))
    np.testing.assert_allclose(part(features), expected, rtol=1e-6)


def test_only_first_units_put_the_norm_before_the_split():
    model = networks.resnet20((8, 8, 3), 10)
    for stage in (1, 2, 3):
        for unit in (0, 1, 2):
            shortcut = model.get_layer(f"block_{stage}_{unit}_add").input[1]
            producer = shortcut._keras_history.operation.name
            if unit == 0:
                expected = "relu1" if stage == 1 else "shortcut_pad"
                assert producer == f"block_{stage}_0_{expected}"
            else:
                assert producer == f"block_{stage}_{unit - 1}_add"


def test_resnet20_batch_norm_constants():
    norms = [
        layer for layer in networks.resnet20((8, 8, 3), 10).layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 19
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.99, 1e-5)}


# --- applications ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image_shape", "prepared_shape", "pixel_range"),
    [
        ("MobileNetV2", (32, 32, 3), (32, 32, 3), (-1, 1)),
        ("mobilenetv3small", (28, 14, 1), (64, 32, 3), (0, 255)),
        ("EfficientNetB0", (32, 32, 1), (32, 32, 3), (0, 255)),
        ("VGG16", (28, 28, 3), (32, 32, 3), (-1, 1)),
    ],
)
def test_application_at_the_datas_size(name, image_shape, prepared_shape, pixel_range):
    model = networks.build(name, image_shape, 5)
    application = model.layers[-1]
    assert application.input_shape[1:] == prepared_shape
    prepare = keras.Model(model.input, model.layers[-2].output)
    for pixel, expected in zip((0.0, 1.0), pixel_range, strict=True):
        prepared = prepare(np.full((1, *image_shape), pixel, np.float32))
        np.testing.assert_allclose(prepared, np.full((1, *prepared_shape), expected), atol=1e-4)
    images = unit_images(2, *image_shape)
    before = model.get_weights()
    logits = model(images)
    assert logits.shape == (2, 5)
    assert application.layers[-1].get_config().get("activation") in (None, "linear")
    # Called bare, the network is in inference mode: same logits again, batch norm left alone.
    np.testing.assert_array_equal(model(images), logits)
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_application_resizes_with_a_gradient():
    model = networks.build("MobileNet", (8, 8, 1), 3)
    images = tf.constant(unit_images(2, 8, 8, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = model(images, training=False)
    gradient = tape.gradient(logits, images).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max(axis=(1, 2, 3)).min() > 0


def test_application_decays_its_kernels():
    model = networks.build("MobileNet", (32, 32, 3), 3, weight_decay=1e-3)
    kernels = [w.numpy() for w in model.trainable_variables if w.name == "kernel"]
    assert len(kernels) == len(model.losses) == 28  # 13 depthwise, 13 pointwise, first, last
    expected = 1e-3 * sum(np.sum(np.square(kernel)) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)
    assert networks.build("MobileNet", (32, 32, 3), 3).losses == []


# --- saving ----------------------------------------------------------------------------------

_LOAD_ALONE = """
import sys, keras, numpy as np
for name in sys.argv[1:]:
    model = keras.saving.load_model(name + ".keras", safe_mode=True)
    data = np.load(name + ".npz")
    np.testing.assert_allclose(model(data["images"]), data["logits"], rtol=1e-5, atol=1e-5)
    assert len(model.losses) == data["num_losses"], name
assert "keras_acet" not in sys.modules
print("equal")
"""


def test_saved_models_load_in_safe_mode_without_keras_acet(tmp_path):
    models = {
        "lenet": networks.lenet((28, 28, 1), 10, weight_decay=5e-4),
        "resnet20": networks.resnet20((32, 32, 3), 10, weight_decay=5e-4),
        "mlp": networks.mlp((2,), 2, weight_decay=5e-4),
        "MobileNetV3Small": networks.build("MobileNetV3Small", (8, 8, 1), 10, weight_decay=5e-4),
    }
    for name, model in models.items():
        images = unit_images(3, *model.input_shape[1:])
        model.save(tmp_path / f"{name}.keras")
        np.savez(
            tmp_path / f"{name}.npz",
            images=images,
            logits=model(images).numpy(),
            num_losses=len(model.losses),
        )
    result = subprocess.run(
        [sys.executable, "-c", _LOAD_ALONE, *models],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "equal", result.stderr


@pytest.mark.parametrize("name", networks.names())
def test_config_round_trip(name):
    model = networks.build(name, (8, 8, 3), 4, weight_decay=1e-3)
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    images = unit_images(2, 8, 8, 3)
    np.testing.assert_array_equal(copy(images), model(images))
    assert len(copy.losses) == len(model.losses)


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("lenett", (28, 28, 1), 10), ValueError, r"\['lenet', 'mlp', 'rbf', 'resnet20'\].*mean 'lenet'"),
        (("mobilenet_v2", (32, 32, 3), 10), ValueError, "Did you mean 'MobileNetV2'"),
        (("qqq", (28, 28, 1), 10), ValueError, r"Received: 'qqq'\.$"),
        ((3, (28, 28, 1), 10), TypeError, "`name` must be a string. Received: name=3"),
        (("lenet", (28, 28, 1), 1), ValueError, "`num_classes` must be at least 2. Received: 1"),
        (("lenet", (28, 28, 1), 2.5), TypeError, "`num_classes` must hold integers"),
        (("lenet", (28, 28), 10), ValueError, "Add the channel axis to gray images"),
        (("lenet", (28, 0, 1), 10), ValueError, "`image_shape` must be at least 1. Received: 0"),
        (("lenet", (28, None, 1), 10), TypeError, "`image_shape` must hold integers"),
        (("lenet", 28, 10), TypeError, "`image_shape` must be a tuple of integers"),
        (("mlp", (2, 8, 8, 1), 10), ValueError, "Leave out the batch axis"),
        (("resnet20", (30, 32, 3), 10), ValueError, r"multiples of 4.*image_shape=\(30, 32, 3\)"),
        (("resnet20", (2,), 10), ValueError, "use `mlp` for vectors"),
        (("MobileNetV2", (32, 32, 4), 10), ValueError, "must have 1 or 3 channels for `MobileNet"),
        (("MobileNetV2", (32, 32), 10), ValueError, "for `MobileNetV2`. Received"),
        (("MobileNetV2", (32, 32, 3), 0), ValueError, "`num_classes` must be at least 2"),
    ],
)
def test_build_errors(arguments, error, match):
    with pytest.raises(error, match=match):
        networks.build(*arguments)


@pytest.mark.parametrize("weight_decay", [-1e-4, math.nan, math.inf])
@pytest.mark.parametrize("name", ["lenet", "mlp", "rbf", "resnet20", "MobileNet"])
def test_weight_decay_out_of_range(name, weight_decay):
    with pytest.raises(ValueError, match="`weight_decay` must be a finite number of at least 0"):
        networks.build(name, (8, 8, 1), 10, weight_decay=weight_decay)


def test_weight_decay_of_another_type():
    with pytest.raises(TypeError, match="`weight_decay` must be a number"):
        networks.lenet((8, 8, 1), 10, weight_decay="much")


@pytest.mark.parametrize("hidden", [100, "100"])
def test_hidden_must_be_a_sequence(hidden):
    with pytest.raises(TypeError, match="`hidden` must be a sequence of integers"):
        networks.mlp((2,), 2, hidden=hidden)


def test_hidden_must_be_positive():
    with pytest.raises(ValueError, match="`hidden` must be at least 1. Received: 0"):
        networks.mlp((2,), 2, hidden=(100, 0))
