"""From a model and its data to one table: error, and confidence on test, noise, attacked noise and other images."""

import keras
import numpy as np
import tensorflow as tf

from keras_acet.attack import PGD, LinearDecay
from keras_acet.attack_mode import attack_mode
from keras_acet.losses import log_max_confidence, logit_gap
from keras_acet.noise import PaperNoise, UniformNoise

_BATCH_SIZE = 256


def worst_case_attacks(epsilon, *, seed=0):
    """Returns the attacks that, taken together, a network has to withstand at one radius.

    A network trained against one step size is flat just there, and a plain PGD run is weak evidence: on the authors'
    ACET weights it found a mean confidence of .100 where momentum found .692. The suite holds the published attack,
    a longer one with smaller steps, and three with momentum .75 whose steps fall linearly from `epsilon` divided by
    30, 5 and 1.5. The worst per image over them is the number to report.

    Args:
        epsilon: Radius in pixel units, in `(0, 1]`; the step sizes scale with it.
        seed: int; attack `i` draws its random starts from `seed + i`.

    Returns:
        dict from a name to a `PGD` object.

    Example:

    >>> [attack.num_steps for attack in worst_case_attacks(0.3).values()]
    [40, 200, 200, 200, 200]
    """
    return {
        "40 steps": PGD(epsilon=epsilon, num_steps=40, seed=seed),
        "200 short steps": PGD(epsilon=epsilon, num_steps=200, step_size=epsilon / 100, seed=seed + 1),
        "momentum, short": _momentum_attack(epsilon, epsilon / 30, seed + 2),
        "momentum, middle": _momentum_attack(epsilon, epsilon / 5, seed + 3),
        "momentum, long": _momentum_attack(epsilon, epsilon / 1.5, seed + 4),
    }


def _momentum_attack(epsilon, first_step, seed):
    return PGD(epsilon=epsilon, num_steps=200, step_size=LinearDecay(first_step), momentum=0.75, seed=seed)


def attack_noise(network, noise_images, *, epsilon, start_images=None, transfer_from=(), seed=0):
    """Attacks noise images with everything at hand and measures the network's confidence at what was found.

    Runs `worst_case_attacks` with the log-confidence as objective. A network may be so flat at the noise that its own
    gradient leads nowhere; two kinds of attack do without it: those that start from other images projected into the
    ball, with the logit gap as objective, and the points found on other networks.

    Args:
        network: `keras.Model` from images to logits, or a function that TensorFlow can differentiate.
        noise_images: Float array of shape `(n, ...)`, values in `[0, 1]`.
        epsilon: Radius in pixel units.
        start_images: Images of the same shape, test images say, to start two more attacks from; or None.
        transfer_from: Other networks with the same input and number of classes.
        seed: int.

    Returns:
        dict from the attack's name to a float array `(n,)` of confidences in `[1/num_classes, 1]`. The worst per
        image is the maximum over the values.
    """
    confidence = {}

    def run(name, attacked_network, attack, loss, start=None):
        found = _maximize(attacked_network, attack, loss, noise_images, start)
        confidence[name] = confidences(network, found)

    for name, attack in worst_case_attacks(epsilon, seed=seed).items():
        run(name, network, attack, log_max_confidence)
    if start_images is not None:
        for name, first_step in (("short", epsilon / 30), ("middle", epsilon / 5)):
            attack = _momentum_attack(epsilon, first_step, seed)
            run(f"from images, {name}", network, attack, logit_gap, start_images)
    for number, other in enumerate(transfer_from, start=1):
        for name, attack in worst_case_attacks(epsilon, seed=seed).items():
            run(f"transferred {number}: {name}", other, attack, log_max_confidence)
    return confidence


def _maximize(network, attack, loss, images, start):
    def objective(x):
        with attack_mode(network):
            return loss(_logits(network, x))

    def maximize(images, start=None):
        return attack.maximize(objective, images, start=start).images

    inputs = (images,) if start is None else (images, start)
    maximize = _traced(maximize, *inputs)
    found = []
    for i in range(0, len(images), _BATCH_SIZE):
        found.append(maximize(*(tf.constant(array[i : i + _BATCH_SIZE], tf.float32) for array in inputs)).numpy())
    return np.concatenate(found)


def _traced(function, *arrays):
    """Traces a function of float images once for all batch sizes.

    Calling a new `tf.function` for each network and attack instead would make TensorFlow warn of retracing.
    """
    specs = [tf.TensorSpec((None, *array.shape[1:]), tf.float32) for array in arrays]
    return tf.function(function).get_concrete_function(*specs)


def _logits(network, images):
    """Logits in float32, whatever precision the network computes in."""
    logits = network(images, training=False) if isinstance(network, keras.Model) else network(images)
    return tf.cast(logits, tf.float32)


def predict_logits(network, images):
    """Computes the logits of all images, in inference mode and in batches.

    Args:
        network: Function from a float32 tensor of images to logits; a `keras.Model` is called with `training=False`.
        images: Float array of shape `(n, ...)`, values in `[0, 1]`.

    Returns:
        Float array of shape `(n, num_classes)`.
    """
    predict = _traced(lambda x: _logits(network, x), images)
    parts = [
        predict(tf.constant(images[i : i + _BATCH_SIZE], tf.float32)).numpy()
        for i in range(0, len(images), _BATCH_SIZE)
    ]
    return np.concatenate(parts)


def confidences(network, images):
    """Computes the largest softmax probability of every image: shape `(n,)`, in `[1/num_classes, 1]`."""
    return np.exp(log_max_confidence(predict_logits(network, images)).numpy())


class Table:
    """One row per set of images; `print(table)` shows it, `table.rows` holds the numbers.

    Args:
        rows: List of dicts with `set`, `num_images`, `mmc` (mean maximal confidence), `share_above_half` (share of
            images with confidence above one half) and `note`; a set that could not be had has None in their place
            and says why in `note`.
    """

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, name):
        """Returns the row of the set with this name."""
        return next(row for row in self.rows if row["set"] == name)

    def __str__(self):
        width = max(len(row["set"]) for row in self.rows)
        lines = [f"{'set':{width}}  images    MMC  > 50 %"]
        for row in self.rows:
            if row["mmc"] is None:
                numbers = f"{'-':>6} {'-':>6} {'-':>7}"
            else:
                numbers = f"{row['num_images']:6d} {row['mmc']:6.3f} {row['share_above_half']:7.1%}"
            lines.append(f"{row['set']:{width}}  {numbers}  {row['note']}".rstrip())
        return "\n".join(lines)

    def to_dict(self):
        """Returns `{"rows": rows}`, ready for JSON."""
        return {"rows": self.rows}


def evaluate(model, data, *, epsilon=0.3, num_noise=512, seed=0):
    """Measures a classifier on its test set and away from it.

    Rows: the test set with its error; p_out noise made from test images; the same noise attacked, the worst per image
    over `worst_case_attacks`; and every out-distribution set of the data.

    Args:
        model: `keras.Model` from images to logits, an `ACETModel` too; or a function that TensorFlow can
            differentiate.
        data: `datasets.Data`.
        epsilon: Radius of the attacks in pixel units.
        num_noise: Number of noise images, at most the size of the test set.
        seed: int, for noise and attacks.

    Returns:
        `Table`. Nothing is dropped: every test image counts.
    """
    test_images = as_float(data.test_images)
    logits = predict_logits(model, test_images)
    error = float(np.mean(np.argmax(logits, axis=-1) != data.test_labels))
    rows = [_row(f"{data.name} (test)", np.exp(log_max_confidence(logits).numpy()), f"test error {error:.2%}")]
    rows[0]["test_error"] = error

    noise_images = evaluation_noise(test_images, num_noise, seed=seed)
    rows.append(_row("noise", confidences(model, noise_images)))
    found = attack_noise(model, noise_images, epsilon=epsilon, seed=seed)
    worst = np.max(list(found.values()), axis=0)
    rows.append(_row("adversarial noise", worst, f"worst of {len(found)} attacks, epsilon {epsilon:g}"))

    for name, images in data.ood.items():
        if isinstance(images, str):
            unavailable = {"num_images": 0, "mmc": None, "share_above_half": None}
            rows.append({"set": name, **unavailable, "note": f"not available: {images}"})
        else:
            rows.append(_row(name, confidences(model, images)))
    return Table(rows)


def evaluation_noise(test_images, num_noise, *, seed=0):
    """Makes noise for an evaluation: p_out with one sigma per image, from test images drawn without replacement.

    One sigma per batch, as in training, would measure a single sigma. Vectors get uniform noise.

    Args:
        test_images: Float array of shape `(n, ...)`, values in `[0, 1]`.
        num_noise: Number of noise images; no more than `n` are made.
        seed: int.

    Returns:
        Float array of shape `(min(num_noise, n), ...)`.
    """
    chosen = np.random.default_rng(seed).permutation(len(test_images))[:num_noise]
    images = tf.constant(test_images[chosen])
    if images.shape.rank == 4:
        return PaperNoise(sigma_per="image", seed=seed)(images).numpy()
    # Not the seed of the first attack, whose random start would be made of the same numbers.
    return UniformNoise(seed=seed + 1_000_003)(images).numpy()


def as_float(images):
    """Returns images as float32 in [0, 1]: uint8 is divided by 255, floats stay."""
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images.astype(np.float32)


def _row(name, confidence, note=""):
    return {
        "set": name,
        "num_images": len(confidence),
        "mmc": float(np.mean(confidence)),
        "share_above_half": float(np.mean(confidence > 0.5)),
        "note": note,
    }
