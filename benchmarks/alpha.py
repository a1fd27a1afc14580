"""Times the scan and the exact search for the smallest alpha of Table 2 on the same inputs, and compares their results.

    python benchmarks/alpha.py --run_dir=runs/mnist-plain [--num_inputs=100]

The scan (`evaluation.alpha_scaling`, without its second part) evaluates the float32 network on a grid of alpha and
bisects; the exact search (`theory.smallest_alpha`) goes through all linear pieces in float64. Times are processor time,
summed over all threads: what one core takes, also while others keep the machine busy. The last column counts inputs
where the scan missed a stretch of confidence: its alpha is more than 0.1 % above the exact one.
"""

import time

import numpy as np
from absl import app, flags

from keras_acet import classifiers, theory
from keras_acet.evaluation import scaling

flags.DEFINE_multi_string("run_dir", [], "Runs of train.py.")
flags.DEFINE_multi_string("model", [], ".keras files of your own.")
flags.DEFINE_integer("num_inputs", 100, "Uniform random inputs.", lower_bound=1)
FLAGS = flags.FLAGS


def main(_):
    print(f"{'':24} {'median alpha':>24} {'seconds per input':>20}  largest excess of")
    print(f"{'':24} {'scan':>12}{'exact':>12} {'scan':>10}{'exact':>10}  {'scan':>8} {'exact':>8}  missed")
    for path in [*FLAGS.run_dir, *FLAGS.model]:
        classifier = classifiers.load(path)
        network = theory.PiecewiseAffine(classifier.network)
        x = np.random.default_rng(0).uniform(size=(FLAGS.num_inputs, *network.input_shape)).astype(np.float32)
        classifier.logits(x[:1])  # warm up
        started = time.process_time()
        scan = scaling.scan_alpha(classifier.logits, x)
        middle = time.process_time()
        exact = theory.smallest_alpha(network, x, level=scaling.LEVEL)
        ended = time.process_time()
        reached = np.isfinite(scan) & np.isfinite(exact)
        excess = scan[reached] / exact[reached] - 1
        seconds = (middle - started) / len(x), (ended - middle) / len(x)
        print(
            f"{classifier.name:24} {np.median(scan):12.6g}{np.median(exact):12.6g} {seconds[0]:10.4f}{seconds[1]:10.3f}"
            f"  {excess.max(initial=0):8.1e} {(-excess).max(initial=0):8.1e}  {(excess > 1e-3).sum()}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
