"""A radial basis function network: far from its centres its confidence tends to 1 / `num_classes` (Theorem 3.2)."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers, ops

from keras_acet.networks.checks import check_image_shape, check_integer, check_num_classes, check_weight_decay


@keras.saving.register_keras_serializable("keras_acet")
class RBF(layers.Layer):
    """Computes `out[i, l] = exp(-gamma ||x_i - c_l||^2)`, in `[0, 1]`.

    `gamma` is one trainable number, kept as its logarithm, so that no step of an optimizer makes it negative. The
    squared distance is a sum of squared differences, in float32 (float64 if the layer's weights are) whatever
    precision the layer is set to: exact 0 at a centre, never negative, relative error at most `size + 2` roundings.
    Expanded into `||x||^2 - 2 x c + ||c||^2` it would cost less and cancel. Takes `batch * num_centers * size` floats
    of memory.

    Args:
        num_centers: Integer, at least 1.
        gamma: Positive float, where `gamma` starts; in units of one over squared pixels.
        train_centers: Whether training moves the centres.

    Call arguments:
        inputs: Float tensor of shape `(batch, size)`.

    Attributes:
        centers: Variable of shape `(num_centers, size)`; starts uniform in `[0, 1]`.
        log_gamma: Variable of shape `()`.

    Raises:
        ValueError: If a number is out of range.

    Example: centres 0 and 2 on a line, seen from 1 and from 2.

    >>> layer = RBF(2, gamma=1.0)
    >>> layer.build((None, 1))
    >>> layer.centers.assign([[0.0], [2.0]])  # doctest: +ELLIPSIS
    <...>
    >>> layer(np.array([[1.0], [2.0]])).numpy().round(4)  # exp(-1), exp(-4)
    array([[0.3679, 0.3679],
           [0.0183, 1.    ]], dtype=float32)
    """

    def __init__(self, num_centers: int, gamma: float, *, train_centers: bool = True, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.num_centers = check_integer(num_centers, "num_centers", minimum=1)
        if not 0 < gamma < math.inf:
            raise ValueError(
                f"`gamma` must be a positive finite number. Received: gamma={gamma}. A basis function of width s, as "
                "in exp(-d^2 / (2 s^2)), has gamma = 1 / (2 s^2)."
            )
        self.gamma = float(gamma)
        self.train_centers = train_centers

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.centers = self.add_weight(
            shape=(self.num_centers, input_shape[-1]),
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            trainable=self.train_centers,
            name="centers",
        )
        self.log_gamma = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(math.log(self.gamma)), name="log_gamma"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        inputs, centers = ops.cast(inputs, dtype), ops.cast(self.centers, dtype)
        distance = ops.sum(ops.square(inputs[:, None] - centers), axis=-1)
        return ops.cast(ops.exp(-ops.exp(ops.cast(self.log_gamma, dtype)) * distance), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.num_centers)

    def get_config(self) -> dict[str, Any]:
        own = {"num_centers": self.num_centers, "gamma": self.gamma, "train_centers": self.train_centers}
        return {**super().get_config(), **own}


def rbf(
    image_shape: tuple[int, ...],
    num_classes: int,
    *,
    num_centers: int = 300,
    centers: npt.ArrayLike | None = None,
    gamma: float | None = None,
    train_centers: bool = True,
    weight_decay: float = 0.0,
    name: str = "rbf",
) -> keras.Model:
    """Builds a radial basis function network, `f_k(x) = sum_l alpha_kl exp(-gamma ||x - c_l||^2)`.

    There is no bias: far from all centres every logit tends to 0 and every class to the probability 1 / `num_classes`;
    `theory.rbf_confidence_bound` says how fast. All centres share one `gamma`, which is trained like the coefficients.
    Images are flattened. Train it with ten times the learning rate of a ReLU network, 0.01 with Adam, because its
    features are small and similar to each other at first.

    Args:
        image_shape: Shape of one example, e.g. `(2,)` for moons or `(28, 28, 1)`; from 1 to 3 positive integers.
        num_classes: Integer, at least 2.
        num_centers: Integer, at least 1. Not used if there are `centers`.
        centers: None for centres that start uniform in the box `[0, 1]^size`, or a float array
            `(num_centers, *image_shape)`, such as some training images.
        gamma: Positive float where `gamma` starts, or None for 24 / size: two uniform points of the box are `size / 6`
            apart in the mean of squares, where a feature is then `exp(-4)`. (The usual median heuristic needs
            data.) Training changes it: in examples/rbf.py from 12 to 21 on moons, from .38 to .17 on digits.
        train_centers: Whether training moves the centres.
        weight_decay: Float, at least 0. Adds `weight_decay * sum(alpha**2)` (no factor 1/2) to `model.losses`. It does
            not apply to centres and `gamma`, whose value 0 is no simpler than any other.
        name: Name of the model.

    Returns:
        `keras.Model` from float examples `(batch, *image_shape)` to float logits `(batch, num_classes)`. To load a
        saved one `keras_acet` must be imported, for the layer `RBF`; `safe_mode=True` is fine.

    Raises:
        ValueError: If a value is out of range, or `centers` are not finite or of another shape.
        TypeError: If a size is not an integer or `weight_decay` not a number.

    Example:

    >>> rbf((2,), 2, num_centers=50).count_params()  # 50*2 + 1 + 50*2
    201

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Theorem 3.2, has RBF networks of this form; the authors' released
        code trains none, so centres, initial values and rate are ours.
    """
    shape = check_image_shape(image_shape, name="rbf", ranks=(1, 2, 3))
    num_classes = check_num_classes(num_classes)
    weight_decay = check_weight_decay(weight_decay)
    size = math.prod(shape)
    if centers is not None:
        centers = np.asarray(centers, np.float32)
        if centers.shape[1:] != shape or not len(centers) or not np.isfinite(centers).all():
            raise ValueError(
                f"`centers` must be finite, of shape (num_centers, {', '.join(map(str, shape))}). Received: shape "
                f"{centers.shape}. Pixels are floats in [0, 1]."
            )
        num_centers = len(centers)

    inputs = keras.Input(shape, name="images")
    x = inputs if len(shape) == 1 else layers.Flatten(data_format="channels_last", name="flatten")(inputs)
    features = RBF(num_centers, 24 / size if gamma is None else gamma, train_centers=train_centers, name="rbf")
    logits = layers.Dense(
        num_classes,
        use_bias=False,
        kernel_regularizer=keras.regularizers.L2(weight_decay) if weight_decay else None,
        name="logits",
    )
    model = keras.Model(inputs, logits(features(x)), name=name)
    if centers is not None:
        features.centers.assign(centers.reshape(num_centers, size))
    return model
