import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import networks
from keras_acet.attack_mode import attack_mode, image_gradient_conv


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kernel_size", [(1, 1), (2, 3), (5, 5), (3, 7)])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (10, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolution_and_its_gradient_equal_tensorflows(padding, kernel_size, size, channels):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(2, *size, channels)).astype(np.float32))
    kernel = tf.constant(rng.normal(size=(*kernel_size, channels, 6)).astype(np.float32))

    def run(convolve):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = convolve(images)
            loss = tf.reduce_sum(tf.sin(outputs))  # every output has a gradient of its own
        return outputs, tape.gradient(loss, images)

    expected = run(lambda x: tf.nn.conv2d(x, kernel, 1, padding))
    for ours, theirs in zip(run(lambda x: image_gradient_conv(x, kernel, padding=padding)), expected, strict=True):
        # Up to 5 * 5 * 6 products of size 1 each: float32 rounding of the sum stays under 150 * 1.2e-7 = 2e-5.
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def gradient(network, images, **mode):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        with attack_mode(network, **mode):
            value = tf.reduce_logsumexp(tf.cast(network(images, training=False), tf.float32))
    return tape.gradient(value, images)


@pytest.mark.parametrize("name", ["lenet", "resnet20"])
def test_networks_have_the_same_gradient(name):
    network = networks.build(name, (28, 28, 1), 10)
    images = tf.random.stateless_uniform((4, 28, 28, 1), seed=(0, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_logsumexp(network(images, training=False))
    expected = tape.gradient(value, images)
    np.testing.assert_allclose(gradient(network, images), expected, atol=1e-5 * np.abs(expected).max())


def test_unknown_height_falls_back_to_tensorflow():
    network = keras.Sequential(
        [keras.Input((None, None, 1)), keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D()]
    )
    traced = tf.function(
        lambda x: gradient(network, x), input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32)]
    )
    images = tf.random.stateless_uniform((2, 9, 6, 1), seed=(0, 1))
    np.testing.assert_allclose(traced(images), gradient(network, images), atol=1e-6)


def test_layers_are_as_before_even_after_an_error():
    shared = keras.layers.Conv2D(2, 3, padding="same")
    inputs = keras.Input((6, 6, 2))
    network = keras.Model(inputs, keras.layers.Flatten()(shared(shared(inputs))))
    seen = []

    def fail():
        with attack_mode(network, precision="bfloat16"):
            seen.extend([shared.compute_dtype, "convolution_op" in vars(shared)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == ["bfloat16", True]
    assert shared.compute_dtype == "float32"
    assert "convolution_op" not in vars(shared)


@pytest.mark.parametrize(
    "arguments",
    [{"strides": 2}, {"dilation_rate": 2}, {"groups": 2, "filters": 4}, {"filters": 4, "channels": 6}],
    ids=str,
)
def test_other_convolutions_are_left_alone(arguments):
    arguments = {"filters": 4, "kernel_size": 3, "channels": 2, **arguments}
    network = keras.Sequential([keras.Input((8, 8, arguments.pop("channels"))), keras.layers.Conv2D(**arguments)])
    with attack_mode(network):
        assert "convolution_op" not in vars(network.layers[0])
