"""Expresses each layer of Keras by the operations of `intervals.operations`.

To support another layer, add it to the table at the end.
"""

import operator

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_acet.intervals.operations import DTYPE, Affine, Maximum, ReLU


def as_layer(operation: keras.Operation, tensors: list[keras.KerasTensor]) -> layers.Layer:
    """A layer as it is; for an operation of keras.ops the layer that computes the same."""
    if isinstance(operation, layers.Layer):
        return operation
    # The classes have no public names.
    make = _OPERATIONS.get(type(operation).__name__) if type(operation).__module__.startswith("keras.") else None
    if make is None or len({len(x.shape) for x in tensors}) > 1:  # layers broadcast ranks in another way
        raise ValueError(
            "`network` may hold of keras.ops only `x + y`, add, concatenate, relu and leaky_relu, of tensors of one "
            f"rank. Received: the operation `{operation.name}` ({type(operation).__name__}) of "
            f"{', '.join(str(x.shape) for x in tensors)}. Use a layer in its place, such as layers.Add() for `x + y`, "
            "layers.Rescaling(2.0) for `2 * x`, layers.Reshape for reshape."
        )
    return make(operation)


def operations_of(layer: layers.Layer, shape: tuple[int | None, ...]) -> list[Affine | ReLU | Maximum]:
    """The operations that make up a layer, in order; none for one that does nothing."""
    make = _LAYERS.get(type(layer))
    if make is None:
        raise _unknown(layer)
    return [*make(layer, shape), *_activation(layer, getattr(layer, "activation", None), shape)]


def _unknown(layer, what=""):
    return ValueError(
        "`network` must be made of layers that are piecewise affine and known here: see intervals.PiecewiseAffine. "
        f"Received: the layer `{layer.name}` ({type(layer).__name__}{what}). Of a network that ends in a softmax pass "
        "the part up to its logits."
    )


def _activation(layer, activation, shape):
    if activation is None or activation is keras.activations.linear:
        return []
    if activation in (keras.activations.relu, keras.ops.relu, tf.nn.relu):
        return [ReLU()]
    if activation in (keras.activations.leaky_relu, keras.ops.leaky_relu, tf.nn.leaky_relu):
        return [ReLU(0.2)]  # the functions' default
    if isinstance(activation, layers.Layer):
        return operations_of(activation, shape)
    raise _unknown(layer, f" with activation {getattr(activation, '__name__', activation)}")


def _read(variable):
    return lambda: tf.cast(tf.convert_to_tensor(variable), DTYPE)


def _bias(layer):
    return _read(layer.bias) if layer.use_bias else None


def _dense(layer, shape):
    return [Affine(keras.ops.matmul, _read(layer.kernel), _bias(layer))]


def _conv(layer, shape):
    _check_channels_last(layer)
    options = {"strides": layer.strides, "dilation_rate": layer.dilation_rate, "data_format": layer.data_format}
    padding, before = layer.padding, 0
    if padding == "causal":
        padding, before = "valid", layer.dilation_rate[0] * (layer.kernel_size[0] - 1)

    def linear(x, kernel):
        if before:
            x = tf.pad(x, ((0, 0), (before, 0), (0, 0)))
        # Group by group: TensorFlow has no grouped convolution on the CPU.
        groups = zip(tf.split(x, layer.groups, axis=-1), tf.split(kernel, layer.groups, axis=-1), strict=True)
        return tf.concat([keras.ops.conv(*group, padding=padding, **options) for group in groups], axis=-1)

    return [Affine(linear, _read(layer.kernel), _bias(layer))]


def _depthwise_conv(layer, shape):
    _check_channels_last(layer)
    options = {name: getattr(layer, name) for name in ("strides", "padding", "data_format", "dilation_rate")}
    return [Affine(lambda x, kernel: keras.ops.depthwise_conv(x, kernel, **options), _read(layer.kernel), _bias(layer))]


def _check_channels_last(layer):
    if layer.data_format != "channels_last":
        raise _unknown(layer, " with channels first")


def _relu(layer, shape):
    if layer.max_value is not None or layer.threshold != 0:
        raise _unknown(layer, " with max_value or threshold")
    return [ReLU(layer.negative_slope)]


def _leaky_relu(layer, shape):
    return [ReLU(layer.negative_slope)]


def _max_pool(layer, shape):
    _check_channels_last(layer)
    return [Maximum(_windows(shape[1:-1], layer.pool_size, layer.strides, layer.padding))]


def _global_max_pool(layer, shape):
    _check_channels_last(layer)
    operations = [Maximum(np.arange(np.prod(shape[1:-1])))]
    if layer.keepdims:
        ones = [1] * (len(shape) - 2)
        operations.append(Affine(lambda x: tf.reshape(x, (-1, *ones, shape[-1]))))
    return operations


def _windows(shape, size, strides, padding):
    """Positions in each window of a pool, `(*output places, window size)`.

    A position in the padding is replaced by the nearest one inside, which lies in the same window, so that the maximum
    is the same.
    """
    positions = np.zeros((1, 1), np.int64)
    counts = []
    for length, width, stride in zip(shape, size, strides, strict=True):
        count, first = (length - width) // stride + 1, 0
        if padding == "same":
            count = -(-length // stride)
            first = -(max((count - 1) * stride + width - length, 0) // 2)
        along = np.clip(first + stride * np.arange(count)[:, None] + np.arange(width), 0, length - 1)
        positions = positions[:, None, :, None] * length + along[None, :, None, :]
        positions = positions.reshape(-1, positions.shape[2] * width)
        counts.append(count)
    return positions.reshape(*counts, -1)


def _batch_normalization(layer, shape):
    place = [1] * len(shape)
    place[layer.axis] = -1

    def scale():
        factor = tf.math.rsqrt(_read(layer.moving_variance)() + layer.epsilon)
        return tf.reshape(factor * _read(layer.gamma)() if layer.scale else factor, place)

    def shift():
        shifted = -tf.reshape(_read(layer.moving_mean)(), place) * scale()
        return shifted + tf.reshape(_read(layer.beta)(), place) if layer.center else shifted

    return [Affine(operator.mul, scale, shift)]


def _normalization(layer, shape):
    def std():
        return tf.maximum(tf.sqrt(_read(layer.variance)()), keras.config.epsilon())

    if layer.invert:
        return [Affine(operator.mul, std, _read(layer.mean))]
    return [Affine(operator.mul, lambda: 1 / std(), lambda: -_read(layer.mean)() / std())]


def _rescaling(layer, shape):
    return [Affine(operator.mul, _read(layer.scale), _read(layer.offset))]


def _merge(layer, shape):
    if getattr(layer, "axis", -1) in (0, -len(shape)):
        raise _unknown(layer, " along the batch axis")
    twin = _twin(layer)
    return [Affine(lambda *inputs: twin(list(inputs)))]


def _in_float64(layer, shape):
    """A layer without weights that is linear with coefficients of at least 0."""
    return [Affine(_twin(layer))]


def _twin(layer):
    """A layer without weights made again for float64."""
    return type(layer).from_config({**layer.get_config(), "dtype": "float64"})


def _nothing(layer, shape):
    return []


# Looked up by the exact class, because a subclass may compute something else.
_LAYERS = {
    layers.Dense: _dense,
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _conv),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise_conv),
    layers.ReLU: _relu,
    layers.LeakyReLU: _leaky_relu,
    **dict.fromkeys((layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D), _max_pool),
    **dict.fromkeys(
        (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D), _global_max_pool
    ),
    layers.BatchNormalization: _batch_normalization,
    layers.Normalization: _normalization,
    layers.Rescaling: _rescaling,
    **dict.fromkeys((layers.Add, layers.Average, layers.Concatenate), _merge),
    **dict.fromkeys(
        (
            *(layers.AveragePooling1D, layers.AveragePooling2D),  # TensorFlow has none of 3D in float64
            *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
            *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
            *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D),
            *(layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector, layers.UpSampling1D),
        ),
        _in_float64,
    ),
    **dict.fromkeys(
        (
            *(layers.Activation, layers.Identity, layers.ActivityRegularization, layers.Dropout, layers.AlphaDropout),
            *(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
            *(layers.GaussianNoise, layers.GaussianDropout),
        ),
        _nothing,
    ),
}

# By name, from what `x + y` and functions of keras.ops and keras.activations leave in a functional model.
_OPERATIONS = {
    "Add": lambda operation: layers.Add(),
    "Concatenate": lambda operation: layers.Concatenate(operation.axis),
    "Relu": lambda operation: layers.ReLU(),
    "ReLU": lambda operation: layers.ReLU(operation.max_value, operation.negative_slope, operation.threshold),
    "LeakyRelu": lambda operation: layers.LeakyReLU(operation.negative_slope),
}
