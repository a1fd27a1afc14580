"""Attacks trained networks with everything at hand and prints the worst case per image.

    python benchmarks/robustness.py --data_dir=DIR runs/mnist-acet runs/mnist-ceda

Each argument is a run directory or a `.keras` file, all for one data set; each network is also attacked with the points
found on all the others (transferred attacks). The columns are the mean confidence on noise after each attack, the worst
per image over the five attacks that use the network's own gradient at the noise (`evaluation.worst_case_attacks`), and
the worst per image over these, the starts from test images projected into the ball, and the transferred ones. With
`--num_candidates` each noise image gets the one start, of so many, where its logit gap is largest.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags

from keras_acet import datasets, evaluation, losses, projections

flags.DEFINE_string("dataset", "mnist", "Data set, as for train.py.")
flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets keeps its data.")
flags.DEFINE_float("epsilon", 0.3, "Radius of the attacks in pixel units.")
flags.DEFINE_integer("num_noise", 512, "Number of noise images.")
flags.DEFINE_integer("num_candidates", 1, "Test images tried as the start for each noise image.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of noise and attacks.")
flags.DEFINE_integer("num_victims", 0, "Attack only the first so many; 0: all. The others are transferred from.")
flags.DEFINE_string("json", None, "Also write the numbers to this file.")
FLAGS = flags.FLAGS

_CANDIDATES_AT_ONCE = 16


def best_starts(network, noise_images, test_images):
    """Returns, for each noise image, the candidate of the largest logit gap once projected into the ball."""
    draw = np.random.default_rng(FLAGS.seed + 1)
    best, best_gap = noise_images.copy(), np.full(len(noise_images), -np.inf)
    for done in range(0, FLAGS.num_candidates, _CANDIDATES_AT_ONCE):
        count = min(_CANDIDATES_AT_ONCE, FLAGS.num_candidates - done)
        balls = np.concatenate([noise_images] * count)
        candidates = test_images[draw.integers(0, len(test_images), len(balls))]
        candidates = projections.project_linf(candidates, balls, epsilon=FLAGS.epsilon).numpy()
        gaps = losses.logit_gap(evaluation.predict_logits(network, candidates)).numpy().reshape(count, -1)
        candidates = candidates.reshape(count, *noise_images.shape)
        for gap, candidate in zip(gaps, candidates, strict=True):
            better = gap > best_gap
            best[better], best_gap[better] = candidate[better], gap[better]
    return best


def summarise(network, data, noise_images, test_images, others):
    """Returns what one network does on test images, noise, attacked noise and other images."""
    started = time.monotonic()
    logits = evaluation.predict_logits(network, test_images)
    start_images = best_starts(network, noise_images, test_images)
    confidence = evaluation.attack_noise(
        network, noise_images, epsilon=FLAGS.epsilon, start_images=start_images, transfer_from=others, seed=FLAGS.seed
    )
    own = np.max([c for name, c in confidence.items() if not name.startswith(("from", "transferred"))], axis=0)
    everything = np.max(list(confidence.values()), axis=0)
    result = {
        "test error": float(np.mean(logits.argmax(axis=1) != data.test_labels)),
        "noise": float(evaluation.confidences(network, noise_images).mean()),
        **{name: float(c.mean()) for name, c in confidence.items()},
        "worst of five": float(own.mean()),
        "worst of all": float(everything.mean()),
        "share > 50 %": float((everything > 0.5).mean()),
    }
    for name, images in data.ood.items():
        if not isinstance(images, str):
            result[f"OOD {name}"] = float(evaluation.confidences(network, images).mean())
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def main(argv):
    paths = [pathlib.Path(path) for path in argv[1:]]
    if not paths:
        raise app.UsageError("name at least one run directory or .keras file")
    data = datasets.load(FLAGS.dataset, data_dir=FLAGS.data_dir, download=False)
    networks = [keras.saving.load_model(path / "model.keras" if path.is_dir() else path) for path in paths]
    test_images = evaluation.as_float(data.test_images)
    noise_images = evaluation.evaluation_noise(test_images, FLAGS.num_noise, seed=FLAGS.seed)
    results = {}
    for number, path in enumerate(paths[: FLAGS.num_victims or None]):
        others = networks[:number] + networks[number + 1 :]
        results[str(path)] = summarise(networks[number], data, noise_images, test_images, others)
        print(f"\n{path}: {len(noise_images)} noise images, epsilon {FLAGS.epsilon:g}")
        for name, value in results[str(path)].items():
            print(f"  {name:34} {value:.4f}", flush=True)
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
