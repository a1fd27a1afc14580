"""Times one training step against the published loop written plainly, side by side in one run.

    python benchmarks/train_step.py [--num_steps=40] [--rounds=7] [--network=lenet]

Each variant is a whole training step on 128 clean and 128 noise images: noise, attack, joint forward and backward
pass, optimizer. `published` spends two forward passes and one backward pass per attack step, as the authors' code does,
on the network as it is; its iterates and best images are those of `float32` up to rounding (tests/test_attack.py). The
variants take turns in every round, so that a busy machine slows them all; the ratio of a round is taken within it, and
the median over the rounds is printed.

Every round traces every variant anew, because a plain loop is not equally fast from trace to trace: whether TensorFlow
finds the fast kernel for the gradient of its max-pools is chance (see `attack.Objective`). Look at the range.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_acet import ACETModel, attack, losses, networks, noise, penalties

flags.DEFINE_string("network", "lenet", "lenet (28x28 gray) or resnet20 (32x32 colour).")
flags.DEFINE_integer("num_steps", 40, "Steps of the attack.", lower_bound=1)
flags.DEFINE_integer("rounds", 7, "Alternating rounds; the median is reported.", lower_bound=1)
FLAGS = flags.FLAGS

BATCH_SIZE = 128


class PublishedLoop(attack.PGD):
    """The inner maximisation as the authors' code has it: a pass for the gradient, then a pass for the new value."""

    network = None  # set below: the loop calls the network as it is, not as the trainer's objective does

    def maximize(self, objective, images, *, start=None, num_steps=None):
        def objective(x):
            return losses.log_max_confidence(self.network(x, training=False))

        step_size = self.epsilon / self.num_steps
        clean_value = objective(images)
        x = self.start_images(images)

        def keep_best(best, best_value, x, value):
            better = value > best_value
            return tf.where(better[:, None, None, None], x, best), tf.where(better, value, best_value)

        best, best_value = keep_best(images, clean_value, x, objective(x))
        for _ in tf.range(self.num_steps):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = objective(x)
            x = x + step_size * tf.sign(tape.gradient(value, x))
            x = tf.clip_by_value(x, 0.0, 1.0)
            x = images + tf.clip_by_value(x - images, -self.epsilon, self.epsilon)
            best, best_value = keep_best(best, best_value, x, objective(x))
        return attack.AttackResult(*(tf.stop_gradient(t) for t in (best, best_value, clean_value, x)))


def make_step(image_shape, attack_class, precision):
    network = networks.build(FLAGS.network, image_shape, 10, weight_decay=5e-4)
    inner = attack_class(epsilon=0.3, num_steps=FLAGS.num_steps, seed=0)
    if attack_class is PublishedLoop:
        inner.network = network
    penalty = penalties.ConfidencePenalty(noise.PaperNoise(seed=0), inner, attack_precision=precision)
    model = ACETModel(network, penalty)
    model.compile(keras.optimizers.Adam(1e-3))
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(size=(BATCH_SIZE, *image_shape)).astype(np.float32))
    labels = tf.constant(rng.integers(0, 10, size=BATCH_SIZE))
    step = tf.function(lambda: model.train_step((images, labels))["loss"])
    step()  # trace and warm up
    return lambda: min(_seconds(step) for _ in range(2))


def _seconds(step):
    started = time.perf_counter()
    step().numpy()
    return time.perf_counter() - started


def main(_):
    image_shape = {"lenet": (28, 28, 1), "resnet20": (32, 32, 3)}[FLAGS.network]
    variants = {
        "published": (PublishedLoop, "float32"),
        "float32": (attack.PGD, "float32"),
        "bfloat16": (attack.PGD, "bfloat16"),
    }
    seconds = {name: [] for name in variants}
    for _ in range(FLAGS.rounds):
        steps = {name: make_step(image_shape, *variant) for name, variant in variants.items()}
        for name, step in steps.items():
            seconds[name].append(step())
    print(f"{FLAGS.network}, {BATCH_SIZE} + {BATCH_SIZE} images, {FLAGS.num_steps} steps, {FLAGS.rounds} rounds")
    print(f"{'attack':10} {'s per step':>10} {'times faster':>13}  (median; smallest to largest ratio of a round)")
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds["published"], times, strict=True))
        print(
            f"{name:10} {statistics.median(times):10.3f} {statistics.median(ratios):13.2f}  "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    app.run(main)
