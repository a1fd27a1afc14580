"""Theorem 3.2: bounds the confidence of an RBF network by the distance to its centres."""

import math
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from keras_acet.networks import RBF


class RBFBound(NamedTuple):
    """The result of `rbf_confidence_bound`: float64 arrays `(n,)`.

    Attributes:
        distance: `r`, the distance to the nearest centre.
        lower, upper: Between them lies the probability of every class.
    """

    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def rbf_confidence_bound(network: keras.Model, x: npt.ArrayLike) -> RBFBound:
    """Bounds every class probability of an RBF network by the distance to the nearest centre.

    For `f_k(x) = sum_l alpha_kl exp(-gamma ||x - c_l||^2)` with K classes let `r = min_l ||x - c_l||` and
    `A = max_{j,k} sum_l |alpha_jl - alpha_kl|`. Then, with `s = A exp(-gamma r^2)`, for all classes

    `1 / (1 + (K - 1) exp(s)) <= p_k(x) <= 1 / (1 + (K - 1) exp(-s))`.

    Proof. No exponential exceeds `exp(-gamma r^2)`, so `|f_j - f_k| <= sum_l |alpha_jl - alpha_kl| exp(-gamma r^2)
    <= s`. And `p_k = 1 / sum_j exp(f_j - f_k)`, where the term of `j = k` is 1 and each of the other `K - 1` lies
    between `exp(-s)` and `exp(s)`. QED. From `|f_j - f_k| <= s` alone nothing better follows: both ends are reached
    when `f_k` is off by `s` and all other logits are equal.

    Computed in float64 from the network's weights. The network's own float32 can miss the bound by its rounding, about
    1e-6; where the bound says 1/K to more digits than float32 has, the network says 1/K.

    Args:
        network: `keras.Model` that ends in the layers `networks.RBF` and Dense without bias, before them nothing but
            Flatten: `networks.rbf`.
        x: Float array `(n, *image_shape)`, anywhere in space.

    Returns:
        `RBFBound`.

    Raises:
        TypeError: If `network` is not a `keras.Model`.
        ValueError: If `network` has other layers, or `x` another shape.

    Example: two centres at 0 and 1 for two classes, coefficients 2 and 0 each way, so `A = 4`.

    >>> from keras_acet import networks
    >>> network = networks.rbf((1,), 2, centers=[[0.0], [1.0]], gamma=1.0)
    >>> network.get_layer("logits").set_weights([np.array([[2.0, 0.0], [0.0, 2.0]])])
    >>> bound = rbf_confidence_bound(network, [[3.0]])  # r = 2, s = 4 exp(-4) = 0.0733
    >>> [round(number.item(), 4) for number in bound]
    [2.0, 0.4817, 0.5183]

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Theorem 3.2.
        Differs: the theorem states the distance for a given epsilon (`rbf_safe_radius`); this is the step before.
    """
    centers, gamma, num_classes, variation = _parts(network)
    shape, x = network.input_shape[1:], np.asarray(x, np.float64)
    if x.shape[1:] != shape:
        raise ValueError(f"`x` must have shape (n, {', '.join(map(str, shape))}). Received: shape {x.shape}.")
    x = x.reshape(len(x), centers.shape[1])
    distance = np.full(len(x), np.inf)
    for center in centers:
        distance = np.minimum(distance, np.linalg.norm(x - center, axis=1))
    spread = variation * np.exp(-gamma * distance**2)
    return RBFBound(distance, *_probabilities(spread, num_classes))


def rbf_safe_radius(network: keras.Model, epsilon: float) -> float:
    """Returns the distance from all centres beyond which every class probability is within `epsilon` of 1/K.

    `r^2 = max(0, log(A / log(1 + K epsilon)) / gamma)`, `A` as in `rbf_confidence_bound`.

    Proof. At such distances `s = A exp(-gamma r^2) <= log(1 + K epsilon)`, so `exp(s) - 1 <= K epsilon`. The upper
    bound `exp(s) / (exp(s) + K - 1)` has a denominator of at least K, so it exceeds 1/K by at most
    `(exp(s) - 1) / K <= epsilon`. The lower bound falls short of 1/K by `(K - 1) (exp(s) - 1) / (K (1 + (K - 1)
    exp(s)))`, which is at most `(exp(s) - 1) / K`, since `K - 1 <= 1 + (K - 1) exp(s)`. QED.

    Args:
        network: As in `rbf_confidence_bound`.
        epsilon: Positive float. (Not a radius here: a difference of probabilities.)

    Returns:
        float, in the units of the input; 0 if it holds everywhere.

    Raises:
        TypeError, ValueError: As `rbf_confidence_bound`; if `epsilon` is not positive.

    Example: `A = 4` and `log(1 + 2 * 0.01) = 0.0198`, so that `r^2 = log(4 / 0.0198)`.

    >>> from keras_acet import networks
    >>> network = networks.rbf((1,), 2, centers=[[0.0], [1.0]], gamma=1.0)
    >>> network.get_layer("logits").set_weights([np.array([[2.0, 0.0], [0.0, 2.0]])])
    >>> round(rbf_safe_radius(network, 0.01), 4)
    2.304

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Theorem 3.2.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"`epsilon` must be positive. Received: epsilon={epsilon}. To be within 1 % of 1/K use 0.01.")
    _, gamma, num_classes, variation = _parts(network)
    allowed = math.log1p(num_classes * epsilon)
    return math.sqrt(math.log(variation / allowed) / gamma) if variation > allowed else 0.0


def _probabilities(spread, num_classes):
    shrunk = np.exp(-spread)  # exp(spread) might overflow
    return shrunk / (shrunk + num_classes - 1), 1 / (1 + (num_classes - 1) * shrunk)


def _parts(network):
    """Centres `(num_centers, size)`, gamma, number of classes and `A`, in float64."""
    if not isinstance(network, keras.Model):
        raise TypeError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
    layers = [
        layer for layer in network.layers if not isinstance(layer, (keras.layers.InputLayer, keras.layers.Flatten))
    ]
    is_rbf = [type(layer) for layer in layers] == [RBF, keras.layers.Dense]
    if not is_rbf or layers[1].use_bias or layers[1].activation is not keras.activations.linear:
        raise ValueError(
            "`network` must be a layer networks.RBF and a Dense without bias and activation, as networks.rbf makes "
            f"them. Received: {network.name} of {', '.join(type(layer).__name__ for layer in network.layers)}."
        )
    centers, log_gamma = (keras.ops.convert_to_numpy(weight) for weight in (layers[0].centers, layers[0].log_gamma))
    alpha = keras.ops.convert_to_numpy(layers[1].kernel).astype(np.float64)
    centers, gamma = centers.astype(np.float64), math.exp(log_gamma)
    _check_formula(network, centers, gamma, alpha)
    variation = max(np.abs(alpha - alpha[:, [k]]).sum(axis=0).max() for k in range(alpha.shape[1]))
    return centers, gamma, alpha.shape[1], float(variation)


def _check_formula(network, centers, gamma, alpha):
    """Raises if the network is not what its layers say: they may be joined in another way, or used twice."""
    far = np.random.default_rng(0).normal(scale=10, size=(4, centers.shape[1]))
    points = np.concatenate([centers[:4], (centers[:4] + centers.mean(axis=0)) / 2 + 0.1, far])
    logits = network(points.reshape(len(points), *network.input_shape[1:]).astype(np.float32), training=False)
    squares = ((points[:, None] - centers) ** 2).sum(axis=2)
    expected = np.exp(-gamma * squares) @ alpha
    tolerance = 1e-4 * np.abs(alpha).sum()  # above float32's rounding
    error = np.abs(keras.ops.convert_to_numpy(logits) - expected)
    if not (error <= tolerance).all():  # nan is not
        raise ValueError(
            f"`network` must compute sum_l alpha_kl exp(-gamma ||x - c_l||^2) with finite weights. Received: "
            f"{network.name}, whose layers look like that, but whose outputs differ. Make it with networks.rbf."
        )
