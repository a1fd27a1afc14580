"""Networks of every layer that theory knows, and how closely two ways to compute one of them agree."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_acet import networks

# float64 sums of up to some hundred terms of size 1 to 100 differ by their order, up to about 1e-12.
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def _dense():
    return keras.Sequential([keras.Input((6,)), layers.Dense(9, "relu"), layers.Dense(8, "relu"), layers.Dense(3)])


def _leaky():
    return keras.Sequential(
        [
            keras.Input((5,)),
            *(layers.Dense(8, "leaky_relu"), layers.Dense(8), layers.LeakyReLU(0.3)),
            *(layers.Dense(8), layers.ReLU(negative_slope=0.1), layers.Dense(7), layers.Activation("relu")),
            *(layers.Dense(6, activation=layers.LeakyReLU(0.2)), layers.Dense(3)),
        ]
    )


def _conv1d():
    return keras.Sequential(
        [
            keras.Input((14, 2)),
            *(layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"), layers.MaxPooling1D(2)),
            *(layers.Conv1D(4, 2, strides=2), layers.ReLU(), layers.UpSampling1D(2), layers.ZeroPadding1D(1)),
            *(layers.Cropping1D((0, 1)), layers.DepthwiseConv1D(2), layers.AveragePooling1D(2), layers.Flatten()),
            layers.Dense(3),
        ]
    )


def _conv2d():
    return keras.Sequential(
        [
            keras.Input((8, 9, 2)),
            *(layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"), layers.ZeroPadding2D((0, 1))),
            *(layers.Conv2D(6, (1, 2), groups=2), layers.ReLU(), layers.Cropping2D(((0, 0), (1, 0)))),
            *(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu"), layers.Flatten()),
            layers.Dense(3),
        ]
    )


def _conv3d():
    return keras.Sequential(
        [
            keras.Input((3, 4, 4, 1)),
            *(layers.Conv3D(2, (2, 3, 3), activation="relu"), layers.Cropping3D((0, 0, (0, 1)))),
            *(layers.Reshape((2, 2, 2)), layers.Permute((2, 1, 3)), layers.Flatten(), layers.RepeatVector(2)),
            *(layers.GlobalMaxPooling1D(), layers.Dense(3)),
        ]
    )


def _pools():
    inputs = keras.Input((7, 7, 2))
    x = layers.Conv2D(4, 3, dilation_rate=2)(inputs)
    mean = layers.AveragePooling2D(2, strides=2, padding="same")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)  # windows overlap and reach over the edge
    x = layers.Concatenate()([x, mean])
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    return keras.Model(inputs, layers.Dense(3)(x))


def _normalized():
    inputs = keras.Input((4, 4, 3))
    x = layers.Rescaling(2.0, offset=-1.0)(inputs)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 4.0, 0.25])(x)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(x))
    x = layers.GaussianNoise(1.0)(layers.Dropout(0.5)(layers.ReLU()(x)))
    x = layers.BatchNormalization(center=False, scale=False)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.ReLU()(x)))


def _branched():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, "relu"), layers.Dense(6)])
    shared = layers.ReLU()
    inputs = keras.Input((6,))
    x = layers.Add()([inputs, inner(inputs)])
    y = layers.Average()([shared(x), inner(shared(x))])
    outer = keras.Model(inputs, layers.Concatenate()([shared(y), x]))
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(3)(outer(layers.Identity()(inputs))))


def _operations():
    inputs = keras.Input((6,))
    x, y = layers.Dense(5)(inputs), layers.Dense(5)(inputs)
    x = keras.ops.add(keras.ops.relu(x), keras.activations.relu(y, negative_slope=0.3)) + x
    x = keras.ops.concatenate([keras.ops.leaky_relu(x), y, keras.activations.relu(x)], axis=1)
    x = layers.Dense(4, keras.ops.relu)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(4, keras.ops.leaky_relu)(x)))


def _ranks():
    inputs = keras.Input((3, 2))
    x = layers.Add()([inputs, layers.GlobalMaxPooling1D()(inputs)])  # adds at each place
    x = layers.Average()([layers.Dense(2)(layers.Flatten()(x)), x])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.ReLU()(x))))


def _linear():
    return keras.Sequential([keras.Input((2, 2)), layers.Flatten(), layers.Dense(3)])


NETWORKS = {
    "dense": _dense,
    "leaky": _leaky,
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "pools": _pools,
    "normalized": _normalized,
    "branched": _branched,
    "operations": _operations,
    "ranks": _ranks,
    "linear": _linear,
    "lenet": functools.partial(networks.lenet, (6, 7, 1), 4),
    "resnet20": functools.partial(networks.resnet20, (4, 4, 2), 3),
}


def make(build, seed=0):
    """A network with random weights, biases and averages, and the same in Keras' own float64."""
    rng = np.random.default_rng(seed)
    network = build()
    weights = []
    for variable in network.weights:
        if "variance" in variable.name:
            weights.append(rng.uniform(0.5, 2, variable.shape))
        elif "gamma" in variable.name:
            weights.append(rng.uniform(0.5, 1.5, variable.shape))
        else:
            fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 4
            weights.append(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))
    network.set_weights(weights)
    keras.config.set_floatx("float64")  # of the inputs
    keras.config.set_dtype_policy("float64")
    try:
        double = build()
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    double.set_weights(network.get_weights())
    assert double(np.zeros((1, *double.inputs[0].shape[1:]))).dtype == tf.float64
    return network, lambda x: double(np.asarray(x, np.float64), training=False).numpy()
