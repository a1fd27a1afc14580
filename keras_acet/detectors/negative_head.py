"""A small network whose last weights are negative, so that its logit is bounded everywhere."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_acet.detectors import bounds
from keras_acet.detectors.base import METHODS, Detector, TrainingForm

_UNIT = 2.0**-24
_FIRST_BIAS = 5.0
_LARGEST_MAP = 10  # height or width of the last convolution's maps; larger ones get another convolution
FAR_SHARE = 0.02  # of p_in, at a total excess of 1


class NegativeHead(Detector):
    """The detector `g(x) = b - sum_j a_j h_j(x) - c sum_i [relu(x_i - 1) + relu(-x_i)]`, with `a, h >= 0` and `c > 0`.

    `h` are the values of a chain of convolutions and dense layers that ends in a ReLU. In training `a = exp(w)`. Then,
    without sampling,

    * `g <= b` everywhere, and an upper bound over a box needs only lower bounds of `h`;
    * for every x in R^d: `p_in(x) <= sigma(b - c dist_1(x, [0, 1]^d))`, because the last sum is that distance. Inside
      the box of pixels it is 0 and changes nothing that was trained.

    Args:
        network: `keras.Model` as `assemble` makes it, such as one from the file of a detector.

    Attributes:
        bias: b.
        excess_weight: c.
        chain: The layers up to `h`.

    Raises:
        TypeError, ValueError: If the network is none of this kind.

    Source: Meinke, Bitterwolf, Hein, NeurIPS 2022 (ProoD). Differs:
        1. The last sum is ours: without it the network may be sure of images far away, where all of `h` are 0.
        2. The convolutions are fewer and larger.
    """

    name = "negative_head"

    def __init__(self, network: keras.Model) -> None:
        super().__init__(network)
        by_name = {layer.name: layer for layer in network.layers}
        if not {"head", "excess"} <= by_name.keys():
            raise ValueError(
                f"`network` must be that of a detector, with the layers `head` and `excess`. Received: {network.name} "
                f"with {', '.join(by_name)}. Load the detector.keras of a run."
            )
        self.chain = [
            layer
            for layer in network.layers
            if not isinstance(layer, layers.InputLayer | layers.Add)
            and layer.name != "head"
            and not layer.name.startswith("excess")
        ]
        self._links = bounds.links(self.chain)
        self._head, excess = by_name["head"], by_name["excess"].kernel.numpy()
        kernel, bias = self._head.kernel.numpy(), self._head.bias.numpy()
        if not self._links or not self._links[-1].has_relu or kernel.max() > 0:
            raise ValueError(
                "`network` must have values of at least 0 before `head`, and weights of at most 0 in it. Received: "
                f"{network.name}, with weights up to {kernel.max():g}."
            )
        self.bias = float(bias[0])
        self.excess_weight = float(-excess.max())
        if not 0 < self.excess_weight < math.inf:
            raise ValueError(f"`excess` must have negative weights. Received: weights up to {excess.max():g}.")
        self._check_chain()

    @classmethod
    def build(cls, image_shape: Sequence[int]) -> Self:
        chain = chain_for(image_shape)
        size = int(chain[-1].units)
        return cls(assemble(image_shape, chain, np.full(size, 1 / size, np.float32), _FIRST_BIAS))

    def training_form(self) -> "NegativeHeadTraining":
        return NegativeHeadTraining(self.network)

    @property
    def limit(self) -> float:
        return self.bias + (abs(self.bias) * 2**-10)

    def upper_bound(self, low: tf.Tensor, high: tf.Tensor, *, method: str = "intervals") -> tf.Tensor:
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {METHODS}. Received: method={method!r}.")
        box = bounds.Box(tf.cast(low, tf.float32), tf.cast(high, tf.float32))
        kernel, bias = self._head.kernel, self._head.bias[0]
        lowest = bounds.enclose(self._links, box).low
        # As in `bounds`: n products and b, here and in the network. Their error is largest where h is.
        share = 4 * (int(kernel.shape[0]) + 8) * _UNIT
        bound = bias + (1 - share) * tf.matmul(lowest, kernel)[:, 0]
        bound += share * tf.abs(bias) - self._excess(box)
        bound += 4 * _UNIT * tf.abs(bound) + 2.0**-100
        if method == "intervals":
            return bound
        slope = tf.cast(kernel[:, 0], tf.float64) * (1 - share)
        linear = bounds.linear_upper_bound(self._links, slope, bias, box)
        linear += tf.cast(share * tf.abs(bias) - self._excess(box), tf.float64)
        linear += 8 * _UNIT * tf.abs(linear) + 2.0**-100
        return tf.minimum(bound, tf.cast(linear, tf.float32))

    def closed_bound(self, images: np.ndarray) -> np.ndarray:
        """Bounds `g` by `b - c dist_1(x, [0, 1]^d)`, with the allowance that float32 sums of that many terms need.

        Args:
            images: Float array `(n, ...)`, any finite values.

        Returns:
            float64 array `(n,)`.
        """
        images = np.asarray(images, np.float64).reshape(len(images), -1)
        distance = (np.maximum(images - 1, 0) + np.maximum(-images, 0)).sum(axis=1)
        share = 4 * (2 * images.shape[1] + 8) * _UNIT
        return (self.bias + share * abs(self.bias)) - self.excess_weight * distance * (1 - share)

    def _excess(self, box: bounds.Box) -> tf.Tensor:
        """The least of `c dist_1(z, [0, 1]^d)` over boxes, rounded down."""
        least = tf.nn.relu(box.low - 1) + tf.nn.relu(-box.high)
        share = 4 * (2 * int(np.prod(self.image_shape)) + 8) * _UNIT
        return self.excess_weight * (1 - share) * tf.reduce_sum(tf.reshape(least, (tf.shape(least)[0], -1)), axis=1)

    def _check_chain(self) -> None:
        """Raises ValueError unless the layers, taken in order, compute what the network does."""
        images = np.random.default_rng(0).uniform(-0.1, 1.1, (4, *self.image_shape)).astype(np.float32)
        h = bounds.enclose(self._links, bounds.Box(tf.constant(images), tf.constant(images)), roundoff=False).low
        excess = self.excess_weight * (np.maximum(images - 1, 0) + np.maximum(-images, 0)).reshape(4, -1).sum(axis=1)
        expected = (tf.matmul(h, self._head.kernel)[:, 0] + self._head.bias).numpy() - excess
        if not np.allclose(self.logit(tf.constant(images)).numpy(), expected, rtol=1e-3, atol=1e-3):
            raise ValueError(
                "`network` must compute `head` of its other layers, in order, less `excess`. Received: "
                f"{self.network.name}, which computes something else."
            )


@keras.saving.register_keras_serializable("keras_acet")
class NegativeHeadTraining(TrainingForm):
    """A `NegativeHead` while it is trained: `g(x) = b - sum_j exp(w_j) h_j(x)`, with w and b free.

    Args:
        network: The network of a `NegativeHead`, whose weights it begins with. Its `head` stays as it is.
    """

    def __init__(self, network: keras.Model, *, name: str | None = None) -> None:
        super().__init__(tuple(network.input_shape[1:]), name=name)
        detector = NegativeHead(network)
        kernel, bias = network.get_layer("head").get_weights()
        for layer in network.layers:
            layer.trainable = layer in detector.chain
        self.network = network
        self._links = bounds.links(detector.chain)
        start = np.log(np.maximum(-kernel[:, 0], 1e-30))
        self.log_weights = self.add_weight(
            shape=start.shape, initializer=lambda shape, dtype: tf.constant(start, dtype), name="log_weights"
        )
        self.bias = self.add_weight(shape=(), initializer=keras.initializers.Constant(bias[0]), name="bias")
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.upper_bound(images, images)

    def upper_bound(self, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        lowest = bounds.enclose(self._links, bounds.Box(low, high), roundoff=False).low
        return self.bias - tf.linalg.matvec(lowest, tf.exp(self.log_weights))

    def trained(self) -> NegativeHead:
        network = keras.models.clone_model(self.network)
        network.set_weights(self.network.get_weights())
        weights, bias = np.exp(self.log_weights.numpy()), float(self.bias.numpy())
        network.get_layer("head").set_weights([-weights[:, None], np.array([bias], np.float32)])
        excess = network.get_layer("excess")
        excess.set_weights([np.full(excess.kernel.shape, -excess_weight_for(bias), np.float32)])
        return NegativeHead(network)

    def get_config(self) -> dict[str, Any]:
        return {"network": keras.saving.serialize_keras_object(self.network), **super().get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(keras.saving.deserialize_keras_object(config["network"]), name=config["name"])


def chain_for(image_shape: Sequence[int]) -> list[layers.Layer]:
    """Makes the untrained layers of a detector: of images conv5x5 32, conv3x3 64, stride 2 each, dense 128.

    Large images get further convolutions, vectors two dense layers. All compute in float32, whatever the global policy.

    Raises:
        ValueError: If the shape is none of an image or a vector.
    """
    shape = tuple(image_shape)
    chain: list[layers.Layer] = []
    if len(shape) == 3:
        sides = [-(-side // 4) for side in shape[:2]]
        chain = [_conv(32, 5), _conv(64, 3)]
        while max(sides) > _LARGEST_MAP:
            chain.append(_conv(64, 3))
            sides = [-(-side // 2) for side in sides]
        chain.append(layers.Flatten(data_format="channels_last", dtype="float32"))
    elif len(shape) == 1:
        chain = [layers.Dense(128, activation="relu", dtype="float32")]
    else:
        raise ValueError(
            f"A detector needs images of shape (height, width, channels), or vectors. Received: shape {shape}."
        )
    return [*chain, layers.Dense(128, activation="relu", dtype="float32")]


def assemble(
    image_shape: Sequence[int],
    chain: Sequence[layers.Layer],
    weights: np.ndarray,
    bias: float,
    excess_weight: float | None = None,
) -> keras.Model:
    """Makes the network of a detector, of plain Keras layers.

    Args:
        image_shape: Shape of one image.
        chain: Layers from images to `h`; they become part of the network.
        weights: a, at least 0, of shape `(size of h,)`.
        bias: b.
        excess_weight: c; None for `excess_weight_for(bias)`.
    """
    if excess_weight is None:
        excess_weight = excess_weight_for(bias)
    inputs = keras.Input(tuple(image_shape), dtype="float32")
    x = inputs
    for layer in chain:
        x = layer(x)
    # Before their weights are loaded or set, both layers have ones that a detector may have.
    negative = keras.initializers.Constant(-1 / len(weights))
    head = layers.Dense(1, kernel_initializer=negative, name="head", dtype="float32")
    g = head(x)
    above = layers.ReLU(name="excess_above", dtype="float32")(
        layers.Rescaling(1.0, offset=-1.0, name="excess_over_one", dtype="float32")(inputs)
    )
    below = layers.ReLU(name="excess_below", dtype="float32")(
        layers.Rescaling(-1.0, name="excess_under_zero", dtype="float32")(inputs)
    )
    excess = layers.Add(name="excess_sides", dtype="float32")([above, below])
    if len(image_shape) > 1:
        excess = layers.Flatten(data_format="channels_last", name="excess_flat", dtype="float32")(excess)
    negative = keras.initializers.Constant(-excess_weight)
    total = layers.Dense(1, use_bias=False, kernel_initializer=negative, name="excess", dtype="float32")
    network = keras.Model(inputs, layers.Add(name="logit", dtype="float32")([g, total(excess)]), name="detector")
    head.set_weights([-np.asarray(weights, np.float32)[:, None], np.array([bias], np.float32)])
    return network


def excess_weight_for(bias: float) -> float:
    """Returns the c with which a total excess of 1 gives `p_in <= 0.02`, a confidence of at most `1/K + 0.02`.

    `sigma(b - c) = 0.02` at `c = b + log 49`; with a little more for rounding, and at least 1.

    >>> round(excess_weight_for(3.0), 2)
    6.9
    """
    return max(bias + math.log((1 - FAR_SHARE) / FAR_SHARE), 1.0) * (1 + 2.0**-10)


def _conv(filters: int, size: int) -> layers.Conv2D:
    return layers.Conv2D(
        filters,
        size,
        strides=2,
        padding="same",
        activation="relu",
        data_format="channels_last",
        dtype="float32",
    )
