"""The factor by which an input has to be scaled until the network is confident: the paper's Table 2."""

from collections.abc import Callable

import keras
import numpy as np

from keras_acet import metrics, theory
from keras_acet.classifiers import Classifier
from keras_acet.evaluation.results import AlphaScalingResult, ExactAlphaResult, measured
from keras_acet.theory.search import first_alpha

LEVEL = 0.999
CLIPPED_LEVEL = 0.95
LARGEST_ALPHA = 1e18
# Close together where natural images lie, then by doubling: some networks need 1e15.
_ALPHAS = np.concatenate([1.1 ** np.arange(49), 2.0 ** np.arange(1, 54) * 1.1**48])
_ALPHAS = np.append(_ALPHAS[_ALPHAS < LARGEST_ALPHA], LARGEST_ALPHA)
_NUM_BISECTIONS = 12


def alpha_scaling(
    predict: Callable[[np.ndarray], np.ndarray],
    image_shape: tuple[int, ...],
    *,
    num_trials: int = 10_000,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, np.ndarray]:
    """Scales uniform random inputs `x ~ U[0, 1]^d` until the network is confident in a class.

    1. `alpha*(x)`: the smallest `alpha >= 1` with confidence at least 99.9 % at `alpha x`, found on a grid (steps of
       10 % up to 97, doubling from there to 1e18) and refined by bisection within the step. A stretch of confidence
       shorter than a step can be missed, so it is an upper bound.
    2. Whether some `alpha >= 1` of the fine grid, which goes on until all pixels are 1, makes the network more than
       95 % confident at `clip(alpha x, 0, 1)`, an image.

    Args:
        predict: Function from a float32 array `(n, *image_shape)` to logits `(n, num_classes)`.
        image_shape: Tuple such as `(28, 28, 1)`.
        num_trials: Number of inputs.
        seed: int >= 0.
        progress: None, or a function called with the share of the inputs that are done, in [0, 1].

    Returns:
        dict of float arrays `(num_trials,)`: `alpha`, infinite where 1e18 does not suffice; and bool `is_confident`.

    Where the linear pieces of the network are known, `exact_alpha` computes the smallest `alpha` without a grid.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Table 2; the authors released no code for it. The second row of
        the table is understood to ask for *any* alpha: with the smallest alpha alone its numbers cannot be reproduced.
    """
    alpha, is_confident = np.empty(num_trials), np.empty(num_trials, bool)
    for part, x in _inputs(image_shape, num_trials, seed):
        alpha[part] = scan_alpha(predict, x)
        is_confident[part] = _ever_confident(predict, x)
        if progress is not None:
            progress(part.stop / num_trials)
    return {"alpha": alpha, "is_confident": is_confident}


def exact_alpha(
    network: keras.Model | theory.PiecewiseAffine,
    image_shape: tuple[int, ...],
    *,
    num_trials: int = 10_000,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, np.ndarray]:
    """Computes `alpha*(x)` of `alpha_scaling` exactly and for the same inputs, with `theory.smallest_alpha`.

    The exact `alpha` is at most that of the scan, up to the rounding of the scan's float32 logits, and close to it
    unless the scan missed a stretch of confidence. The work grows with the number of linear pieces on the ray: about
    100 per input for a LeNet on MNIST, 50,000 to 100,000 for the paper's ResNet-20 on CIFAR-10. Each piece costs about
    half a forward pass: one to three minutes of one core per input of the ResNet-20.

    Args:
        network: `keras.Model` from inputs to logits, or `theory.PiecewiseAffine`.
        image_shape, num_trials, seed, progress: As for `alpha_scaling`.

    Returns:
        dict of the float array `(num_trials,)`: `alpha`, infinite where no `alpha` suffices, however large.

    Raises:
        ValueError: If the network is not piecewise affine.
    """
    alpha = np.empty(num_trials)
    for part, x in _inputs(image_shape, num_trials, seed):

        def tell(share, part=part):
            if progress is not None:
                progress((part.start + share * (part.stop - part.start)) / num_trials)

        alpha[part] = theory.smallest_alpha(network, x, level=LEVEL, progress=tell)
    return {"alpha": alpha}


def exact_network(classifier: Classifier) -> theory.PiecewiseAffine:
    """Returns the `theory.PiecewiseAffine` of a `classifiers.Classifier`, or raises ValueError that says why not."""
    if not isinstance(classifier.network, keras.Model):
        raise ValueError(
            f"The exact alpha needs a Keras model, whose layers can be seen. Received: {classifier.name}, "
            f"{classifier.description}. Leave it to the scan: alpha='scan'."
        )
    try:
        return theory.PiecewiseAffine(classifier.network)
    except ValueError as error:
        raise ValueError(f"The exact alpha of {classifier.name} cannot be computed. {error}") from error


def _inputs(image_shape, num_trials, seed):
    """The random inputs, in parts, each with its slice of all of them."""
    draw = np.random.default_rng(seed)
    for i in range(0, num_trials, 1000):
        part = slice(i, min(i + 1000, num_trials))
        yield part, draw.uniform(size=(part.stop - i, *image_shape)).astype(np.float32)


def _scaled(x, alpha):
    return (x * np.reshape(alpha, (-1, *[1] * (x.ndim - 1)))).astype(np.float32)


def _confidence(predict, x):
    logits = predict(x)
    finite = np.isfinite(logits).all(axis=1)  # float32 may end before 1e18
    confidence = np.zeros(len(x))
    if finite.any():
        confidence[finite] = metrics.max_confidence(logits[finite])
    return confidence


def scan_alpha(predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Searches the first number of `alpha_scaling` for float32 inputs `(n, ...)`: float array `(n,)`, see there."""

    def reached(rows, alpha):
        return _confidence(predict, _scaled(x[rows], alpha)) >= LEVEL

    return first_alpha(
        reached, len(x), _ALPHAS, middle=lambda low, high: np.sqrt(low * high), num_bisections=_NUM_BISECTIONS
    )


def _ever_confident(predict, x):
    is_confident = np.zeros(len(x), bool)
    left = np.arange(len(x))
    smallest = x.reshape(len(x), -1).min(axis=1)
    alpha = 1.0
    while len(left):
        images = np.minimum(_scaled(x[left], alpha), 1)
        is_confident[left] = _confidence(predict, images) > CLIPPED_LEVEL
        # Once all pixels are 1, nothing changes any more; a pixel of 0 stays 0, so the number of steps is limited.
        ends = is_confident[left] | (alpha * smallest[left] >= 1) | (alpha > 1e6)
        left, alpha = left[~ends], alpha * 1.1
    return is_confident


def summarize_alpha_scaling(
    arrays: dict[str, np.ndarray], exact: dict[str, np.ndarray] | None = None
) -> AlphaScalingResult:
    """Summarizes the arrays of `alpha_scaling` and `exact_alpha` for a table."""
    alpha, is_confident = arrays["alpha"], arrays["is_confident"]
    median, share_reached = _summarize(alpha)
    return AlphaScalingResult(
        num_trials=len(alpha),
        median_alpha=median,
        share_reached=share_reached,
        exact=None if exact is None else ExactAlphaResult(*_summarize(exact["alpha"])),
        level=LEVEL,
        share_confident_clipped=measured(metrics.share(int(is_confident.sum()), len(is_confident))),
        clipped_level=CLIPPED_LEVEL,
        largest_alpha=LARGEST_ALPHA,
    )


def _summarize(alpha: np.ndarray) -> tuple[float | None, float]:
    median = float(np.median(alpha))
    return median if np.isfinite(median) else None, float(np.isfinite(alpha).mean())
