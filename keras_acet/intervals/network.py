"""A Keras network as a list of steps, each affine, a ReLU or a maximum: the walk through its layers.

Everything is computed in float64, from the weights as they are when a step is called.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_acet.intervals.layers import as_layer, operations_of
from keras_acet.intervals.operations import DTYPE, Affine, Maximum, ReLU


class Step(NamedTuple):
    """`value[k + 1] = operation(*(value[i] for i in inputs))` for the step at `k`; `value[0]` is the input."""

    name: str  # of the layer
    operation: Affine | ReLU | Maximum
    inputs: tuple[int, ...]


class PiecewiseAffine:
    """A network that is affine on each of finitely many polytopes, step by step, in float64.

    Made of: Dense; Conv1D, 2D, 3D and DepthwiseConv1D, 2D with any stride, padding, dilation and groups; ReLU and
    LeakyReLU, also as `Activation` or `activation=`; max, average and global pooling; BatchNormalization, Normalization
    and Rescaling; Flatten, Reshape, Permute, RepeatVector, zero padding, cropping, UpSampling1D; Add, Average and
    Concatenate; `x + y`, relu, leaky_relu, add and concatenate of keras.ops, of tensors of one rank; Dropout and other
    layers that do nothing after training; models of these within models. Not supported, though piecewise affine:
    AveragePooling3D, UpSampling2D and 3D, Subtract, Maximum, ReLU6, constants such as 1 in `x + 1`.

    Weights are read at each call, and gradients flow to them. That they are finite is checked here and whenever a
    function of `intervals` or `theory` is called; in a `tf.function` only while it is traced.

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

    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])
    >>> [(step.name, type(step.operation).__name__, step.inputs) for step in PiecewiseAffine(network).steps]
    ... # doctest: +ELLIPSIS
    [('dense...', 'Affine', (0,)), ('dense...', 'ReLU', (1,)), ('dense...', 'Affine', (2,))]
    """

    def __init__(self, network: keras.Model) -> None:
        self.steps: list[Step] = []
        if not isinstance(network, keras.Model):
            raise TypeError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
        output = self._add_model(network, 0)
        if output != len(self.steps):
            self.steps.append(Step(network.name, Affine(lambda x: x), (output,)))
        self.input_shape: tuple[int, ...] = tuple(network.inputs[0].shape[1:])
        if None in self.input_shape or len(network.outputs[0].shape) != 2:
            raise ValueError(
                f"`network` must take inputs of a fixed shape and give a vector of logits. Received: {network.name} "
                f"from {tuple(network.inputs[0].shape)} to {tuple(network.outputs[0].shape)}. Build it with "
                "keras.Input(image_shape)."
            )
        self.num_classes: int = network.outputs[0].shape[1]
        self.check_weights()

    def __call__(self, x: Any) -> tf.Tensor:
        """Computes the logits of inputs `(batch, *input_shape)` as a float64 tensor `(batch, num_classes)`."""
        return self.run(tf.cast(x, DTYPE), lambda step, *inputs: step.operation(*inputs))

    def run(self, x: Any, call: Callable[..., Any]) -> Any:
        """Goes through the steps with `call(step, *inputs)` in place of each operation; values may be any objects."""
        values = [x]
        for index, step in enumerate(self.steps):
            values.append(call(step, *(values[i] for i in step.inputs)))
            for i in set(step.inputs):
                if self.last_uses[i] == index:
                    values[i] = None  # frees its memory
        return values[-1]

    @functools.cached_property
    def last_uses(self) -> dict[int, int]:
        """Dict from a value to the last step that takes it."""
        return {i: index for index, step in enumerate(self.steps) for i in step.inputs}

    def check_weights(self) -> None:
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
            known = as_layer(layer, tensors)
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
        for operation in operations_of(layer, shape):
            self.steps.append(Step(name, operation, indices))
            indices = (len(self.steps),)
        return indices[0]


def piecewise(network: keras.Model | PiecewiseAffine) -> PiecewiseAffine:
    """Returns a network as a `PiecewiseAffine`; one that is so already stays, if its weights are finite now."""
    if not isinstance(network, PiecewiseAffine):
        return PiecewiseAffine(network)
    network.check_weights()
    return network


def batch_of_inputs(network: PiecewiseAffine, x: Any) -> np.ndarray:
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
