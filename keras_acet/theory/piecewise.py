"""A Keras network as a list of steps, each affine, a ReLU or a maximum: what the paper's theory is computed on.

Everything is computed in float64, from the weights as they are when a step is called.
"""

import functools
import operator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

DTYPE = tf.float64


class Affine:
    """`x -> linear(x) + bias`. `linear` is linear in all inputs together, `absolute` is the same with `|weights|`.

    Args:
        function: Linear function of one or several float64 tensors `(batch, ...)`; it takes the kernel as its last
            argument if there is one. Without kernel its own coefficients are not negative (pooling, padding, sums).
        kernel: Function that returns the float64 kernel, or None.
        bias: Function that returns what is added, as a float64 tensor that broadcasts; or None.
    """

    def __init__(self, function, kernel=None, bias=None):
        self._function = function
        self.kernel = kernel
        self._bias = bias

    def __call__(self, *inputs):
        outputs = self.linear(*inputs)
        return outputs if self._bias is None else outputs + self._bias()

    def homogeneous(self, weight, *inputs):
        """Computes `linear(x) + weight bias`, `weight` of shape `(batch,)`: 1 for points, 0 for directions."""
        outputs = self.linear(*inputs)
        if self._bias is None:
            return outputs
        return outputs + tf.reshape(weight, (-1, *[1] * (outputs.shape.rank - 1))) * self._bias()

    def linear(self, *inputs):
        return self._function(*inputs) if self.kernel is None else self._function(*inputs, self.kernel())

    def absolute(self, *inputs):
        return self._function(*inputs) if self.kernel is None else self._function(*inputs, tf.abs(self.kernel()))

    def is_finite(self):
        """Tells whether kernel and bias are finite as they are now."""
        parts = [part() for part in (self.kernel, self._bias) if part is not None]
        return all(tf.reduce_all(tf.math.is_finite(part)) for part in parts)


class ReLU:
    """`x -> x` where `x > 0`, else `negative_slope x`; the slope is at least 0, and rounded to float32 as in Keras."""

    def __init__(self, negative_slope=0.0):
        self.negative_slope = float(np.float32(negative_slope))

    def __call__(self, x):
        return tf.nn.relu(x) if self.negative_slope == 0 else tf.where(x > 0, x, self.negative_slope * x)


class Maximum:
    """The maximum over windows of positions, for each channel: `(batch, ..., channels)` to the same with fewer places.

    Args:
        windows: int array `(*output places, window size)` of positions in the flattened places of the input. What lies
            outside is left out; a position may be repeated to fill a window.
    """

    def __init__(self, windows):
        *self._places, self._size = windows.shape
        self._positions = windows.reshape(-1, self._size)

    def candidates(self, x):
        """Returns what the maximum is taken of: `(batch, places, window size, channels)`."""
        return tf.gather(tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1])), self._positions, axis=1)

    def choose(self, candidates, winners):
        """Takes the candidates with the indices `winners`, `(batch or 1, places, channels)`."""
        chosen = tf.reduce_sum(candidates * tf.one_hot(winners, self._size, axis=2, dtype=DTYPE), axis=2)
        return tf.reshape(chosen, (-1, *self._places, chosen.shape[-1]))

    def __call__(self, x):
        highest = tf.reduce_max(self.candidates(x), axis=2)
        return tf.reshape(highest, (-1, *self._places, highest.shape[-1]))


class Step(NamedTuple):
    """`value[k + 1] = operation(*(value[i] for i in inputs))` for the step at `k`; `value[0]` is the input."""

    name: str  # of the layer
    operation: Any  # an `Affine`, `ReLU` or `Maximum`
    inputs: tuple[int, ...]


class PiecewiseAffine:
    """A network that is affine on each of finitely many polytopes, step by step, in float64.

    Made of: Dense; Conv1D, 2D, 3D and DepthwiseConv1D, 2D with any stride, padding, dilation and groups; ReLU and
    LeakyReLU, also as `Activation` or `activation=`; max, average and global pooling; BatchNormalization, Normalization
    and Rescaling; Flatten, Reshape, Permute, RepeatVector, zero padding, cropping, UpSampling1D; Add, Average and
    Concatenate; `x + y`, relu, leaky_relu, add and concatenate of keras.ops, of tensors of one rank; Dropout and what
    else does nothing after training; models of these within models. Not known, though piecewise affine:
    AveragePooling3D, UpSampling2D and 3D, Subtract, Maximum, ReLU6, constants such as 1 in `x + 1`.

    Weights are read at each call, and gradients flow to them. That they are finite is checked here and whenever a
    function of `theory` is called; in a `tf.function` only while it is traced.

    Args:
        network: Built Sequential or functional `keras.Model` with one input and one output, a vector. Channels last.

    Attributes:
        steps: List of `Step`; the last one's value is the output.
        input_shape: Shape of one input, integers.
        num_classes: Length of the output.

    Raises:
        TypeError: If `network` is no `keras.Model`.
        ValueError: If the network has a layer of another kind, or with weights that are not finite, named in the
            message; or is not of this form.

    Example:

    >>> network = keras.Sequential([keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(2)])
    >>> [(step.name, type(step.operation).__name__, step.inputs) for step in PiecewiseAffine(network).steps]
    ... # doctest: +ELLIPSIS
    [('dense...', 'Affine', (0,)), ('dense...', 'ReLU', (1,)), ('dense...', 'Affine', (2,))]
    """

    def __init__(self, network):
        self.steps = []
        if not isinstance(network, keras.Model):
            raise TypeError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
        output = self._add_model(network, 0)
        if output != len(self.steps):
            self.steps.append(Step(network.name, Affine(lambda x: x), (output,)))
        self.input_shape = tuple(network.inputs[0].shape[1:])
        if None in self.input_shape or len(network.outputs[0].shape) != 2:
            raise ValueError(
                f"`network` must take inputs of a fixed shape and give a vector of logits. Received: {network.name} "
                f"from {tuple(network.inputs[0].shape)} to {tuple(network.outputs[0].shape)}. Build it with "
                "keras.Input(image_shape)."
            )
        self.num_classes = network.outputs[0].shape[1]
        self.check_weights()

    def __call__(self, x):
        """Computes the logits of inputs `(batch, *input_shape)` as a float64 tensor `(batch, num_classes)`."""
        return self.run(tf.cast(x, DTYPE), lambda step, *inputs: step.operation(*inputs))

    def run(self, x, call):
        """Goes through the steps with `call(step, *inputs)` in place of each operation; values may be any objects."""
        values = [x]
        for index, step in enumerate(self.steps):
            values.append(call(step, *(values[i] for i in step.inputs)))
            for i in set(step.inputs):
                if self.last_uses[i] == index:
                    values[i] = None  # frees its memory
        return values[-1]

    @functools.cached_property
    def last_uses(self):
        """Dict from a value to the last step that takes it."""
        return {i: index for index, step in enumerate(self.steps) for i in step.inputs}

    def check_weights(self):
        """Raises ValueError if a weight is NaN or infinite now."""
        with tf.init_scope():
            for step in self.steps:
                if isinstance(step.operation, Affine) and not step.operation.is_finite():
                    raise ValueError(
                        "The weights of `network` must be finite, and variances at least 0. Received: NaN or infinity "
                        f"from those of the layer `{step.name}`. Training may have diverged: load earlier weights."
                    )

    def _add_model(self, model, source):
        try:
            inputs, outputs = model.inputs, model.outputs
        except AttributeError:
            inputs = outputs = None
        if not inputs or not outputs:
            raise ValueError(
                f"`network` must be a built Sequential or functional model. Received: {model.name}, a "
                f"{type(model).__name__} without inputs. Begin a Sequential with keras.Input(image_shape); of a "
                "wrapper such as ACETModel pass the inner `.network`."
            )
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"`network` must have one input and one output. Received: {model.name} with {len(inputs)} and "
                f"{len(outputs)}. Join them by layers.Concatenate, or take the part with one of each."
            )
        index_of = {}  # from the id of a symbolic tensor to the tensor (so that it lives on) and its value's index

        def call(layer, *args, **kwargs):
            arguments = keras.tree.flatten((args, kwargs))
            tensors = [x for x in arguments if isinstance(x, keras.KerasTensor)]
            # The one tensor that no layer made is the input.
            indices = tuple(index_of.get(id(x), (x, source))[1] for x in tensors)
            if kwargs.get("training"):
                raise ValueError(
                    f"The layer `{layer.name}` ({type(layer).__name__}) must run in inference mode. Received: a "
                    "network that calls it with training=True."
                )
            known = _as_layer(layer, tensors)
            others = [x for x in arguments if not isinstance(x, keras.KerasTensor) and x is not None and x is not False]
            if others:
                raise ValueError(
                    f"The layer `{layer.name}` ({type(layer).__name__}) must be called on outputs of layers alone. "
                    f"Received: also {others[0]!r:.40}. To add a constant use layers.Rescaling(1.0, offset=constant)."
                )
            if isinstance(layer, keras.Model):
                index = self._add_model(layer, *indices)
            else:
                index = self._add_layer(layer.name, known, tensors[0].shape, indices)
            output = _Stand(layer.compute_output_spec(*args, **kwargs))(*tensors)
            index_of[id(output)] = output, index
            return output

        # A copy, since `clone_model` would compile what was compiled. Stand-ins leave the layers untouched.
        plain = keras.Model(inputs, outputs)
        walked = keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=call)
        return index_of.get(id(walked.outputs[0]), (None, source))[1]

    def _add_layer(self, name, layer, shape, indices):
        for operation in _operations(layer, shape):
            self.steps.append(Step(name, operation, indices))
            indices = (len(self.steps),)
        return indices[0]


def piecewise(network):
    """Returns a network as a `PiecewiseAffine`; one that is so already stays, if its weights are finite now."""
    if not isinstance(network, PiecewiseAffine):
        return PiecewiseAffine(network)
    network.check_weights()
    return network


def batch_of_inputs(network, x):
    """Returns inputs as a float64 array `(n, *input_shape)`, raises ValueError if they have another shape."""
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("The inputs must be finite. Received: some that are NaN or infinite.")
    if x.shape[1:] != network.input_shape or not x.ndim:
        raise ValueError(
            f"The inputs must have the shape {network.input_shape}, with the batch in front where there are several. "
            f"Received: {x.shape[1:]} after the batch axis. For one input add or leave out that axis."
        )
    return x


class _Stand(keras.Operation):
    """Stands for a layer in the graph that is walked."""

    def __init__(self, spec):
        super().__init__()
        self._spec = spec

    def compute_output_spec(self, *args):
        return self._spec

    def call(self, *args):
        raise NotImplementedError("A stand-in is never computed.")


def _as_layer(operation, tensors):
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


def _operations(layer, shape):
    """The operations that make up a layer, in order; none for one that does nothing."""
    make = _LAYERS.get(type(layer))
    if make is None:
        raise _unknown(layer)
    return [*make(layer, shape), *_activation(layer, getattr(layer, "activation", None), shape)]


def _unknown(layer, what=""):
    return ValueError(
        "`network` must be made of layers that are piecewise affine and known here: see theory.PiecewiseAffine. "
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
        return _operations(activation, shape)
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
    """Positions in each window of a pool, `(*output places, window size)`; for one in the padding the nearest inside.

    That one lies in the same window, so the maximum is the same.
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


# By the very class: of a subclass nobody knows what it computes.
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
