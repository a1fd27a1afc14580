"""Lets a network compute for an attack: in a chosen precision, with gradients of the images alone."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

PRECISIONS = ("bfloat16", "float32")

# The input gradient of a convolution has as many output channels as the input; up to this number they leave most of a
# CPU's vector lanes empty. For LeNet's first convolution it takes 12 ms of the 48 ms of a forward and backward pass
# with TensorFlow's own gradient, and 4 ms with `image_gradient_conv`.
_FEW_CHANNELS = 4
_BLOCK = 4  # measured with blocks of 2: 6.3 ms, of 4: 4.4 ms, of 7: 7.6 ms


@contextlib.contextmanager
def attack_mode(network: Any, *, precision: str = "float32") -> Iterator[None]:
    """Prepares `network` for the calls of an attack inside the context, and restores its layers at the end.

    1. All layers compute in `precision`; the variables stay what they are.
    2. Convolutions of few input channels compute the gradient of their input by `image_gradient_conv`. The gradient
       of their kernels is lost: an attack wants that of the images only.

    Args:
        network: `keras.Model`; anything else, such as a function, has no layers and stays as it is.
        precision: `"float32"` (leaves the layers' own precision alone) or `"bfloat16"`.
    """
    layers = list({id(layer): layer for layer in _layers_in([network])}.values())  # a shared layer once
    convolutions = [layer for layer in layers if _has_few_channels(layer)]
    policies = [layer.dtype_policy for layer in layers]
    try:
        for layer in convolutions:
            layer.convolution_op = functools.partial(image_gradient_conv, padding=layer.padding.upper())
        if precision != "float32":
            for layer in layers:
                layer.dtype_policy = f"mixed_{precision}"
        yield
    finally:
        if precision != "float32":
            for layer, policy in zip(layers, policies, strict=True):
                layer.dtype_policy = policy
        for layer in convolutions:
            del layer.convolution_op  # uncovers the method of the class


def image_gradient_conv(images: tf.Tensor, kernel: tf.Tensor, *, padding: str) -> tf.Tensor:
    """Convolves with stride 1, and computes the gradient of the images, and only that, in blocks of pixels.

    The gradient is a convolution of `dy` with the flipped kernel that has one output channel per channel of the
    images, one or three of them. Here one convolution of stride 4, with the flipped kernel at 4 x 4 places as so many
    output channels, makes 4 x 4 pixels at a time: more multiplications, but on full vectors.

    Args:
        images: Float tensor of shape `(batch, height, width, channels)`. Where height or width is not known when
            tracing, this is `tf.nn.conv2d` and no more.
        kernel: Float tensor of shape `(kernel_height, kernel_width, channels, filters)`.
        padding: `"SAME"` or `"VALID"`.

    Returns:
        Float tensor, equal to `tf.nn.conv2d(images, kernel, 1, padding)`; its gradient equals that function's up to
        rounding.
    """
    kernel = tf.convert_to_tensor(kernel)
    height, width = images.shape[1:3]
    if None in (height, width):
        return tf.nn.conv2d(images, kernel, 1, padding)

    @tf.custom_gradient
    def convolve(images):
        outputs = tf.nn.conv2d(images, kernel, 1, padding)

        def gradient(upstream):
            pads = [
                _block_padding(size, kernel_size, upstream_size, padding)
                for size, kernel_size, upstream_size in zip(
                    (height, width), kernel.shape[:2], upstream.shape[1:3], strict=True
                )
            ]
            blocks = tf.nn.conv2d(upstream, _kernel_at_all_places(kernel), _BLOCK, [[0, 0], *pads, [0, 0]])
            return tf.nn.depth_to_space(blocks, _BLOCK)[:, :height, :width]

        return outputs, gradient

    return convolve(images)


def _kernel_at_all_places(kernel):
    flipped = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
    places = [(row, column) for row in range(_BLOCK) for column in range(_BLOCK)]
    rest = _BLOCK - 1
    shifted = [tf.pad(flipped, [[r, rest - r], [c, rest - c], [0, 0], [0, 0]]) for r, c in places]
    return tf.concat(shifted, axis=-1)


def _block_padding(size, kernel_size, upstream_size, padding):
    before = kernel_size - 1 - ((kernel_size - 1) // 2 if padding == "SAME" else 0)
    num_blocks = -(-size // _BLOCK)
    needed = (num_blocks - 1) * _BLOCK + kernel_size + _BLOCK - 1
    return [before, needed - before - upstream_size]


def _has_few_channels(layer):
    return (
        type(layer) is keras.layers.Conv2D  # a subclass may mean something else
        and layer.built
        and layer.kernel.shape[2] <= _FEW_CHANNELS
        and (layer.strides, layer.dilation_rate, layer.groups) == ((1, 1), (1, 1), 1)
        and layer.padding in ("same", "valid")
        and layer.data_format == "channels_last"
    )


def _all_layers(layer):
    yield layer
    children = layer.layers if isinstance(layer, keras.Model) else vars(layer).values()
    yield from _layers_in(children)


def _layers_in(values):
    for value in values:
        if isinstance(value, keras.layers.Layer):
            yield from _all_layers(value)
        elif isinstance(value, (list, tuple)):
            yield from _layers_in(value)
        elif isinstance(value, dict):
            yield from _layers_in(value.values())
