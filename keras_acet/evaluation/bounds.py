"""What is proven beside what is found: interval bounds and attacks on the same noise images, at rising radii."""

import numpy as np

from keras_acet import theory
from keras_acet.evaluation import attacks

SHARES = (1 / 300, 1 / 100, 1 / 30, 1 / 10, 1 / 3, 1)  # of epsilon
SURE = 0.95
_BATCH_SIZE = 16


def interval_bounds(network, attacker, images, known_points, epsilon, *, seed=0):
    """Encloses the worst case of noise images within shares of a radius.

    Args:
        network: `keras.Model`.
        attacker: `attacks.Attacker` of the same network and images.
        images: Float array `(n, ...)`, values in [0, 1].
        known_points: Float array `(n, ...)`, where confidence was found at the whole radius; projected into each ball.
        epsilon: The whole radius.
        seed: int.

    Returns:
        dict of float arrays: `radius` `(6,)`; `bound`, what no attack exceeds, and `found`, what one reached, `(6, n)`.
        Or of one text, `reason`: why the network has no bound.
    """
    try:
        network = theory.PiecewiseAffine(network)
    except (TypeError, ValueError) as error:
        return {"reason": str(error)}
    radii = np.array([share * epsilon for share in SHARES])
    bound, found = np.empty((len(radii), len(images))), np.empty((len(radii), len(images)))
    for i, radius in enumerate(radii.tolist()):
        for j in range(0, len(images), _BATCH_SIZE):
            part = slice(j, j + _BATCH_SIZE)
            bound[i, part] = theory.confidence_upper_bound(network, images[part], radius)
        trials = attacks.short_suite(radius, seed=seed)[:1]
        found[i] = attacker.run(trials, known_points={"whole radius": known_points}).confidence
    return {"radius": radii, "bound": bound, "found": found}


def summarize_interval_bounds(arrays):
    """Returns what a table shows of the arrays of `interval_bounds`: a dict as in `results.json`."""
    return {
        "num_images": arrays["bound"].shape[1],
        "level": SURE,
        "radii": [
            {
                "radius": float(radius),
                "found": float(found.mean()),
                "bound": float(bound.mean()),
                "share_below": float(np.mean(bound < SURE)),
            }
            for radius, found, bound in zip(arrays["radius"], arrays["found"], arrays["bound"], strict=True)
        ],
    }
