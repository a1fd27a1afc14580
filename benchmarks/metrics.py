"""Times the OOD metrics of 10,000 against 10,000 scores beside scikit-learn, on one core in one run.

    python benchmarks/metrics.py [--num_scores=10000] [--rounds=15] [--dtype=float64]

`ood_metrics` gives AUROC with ties as half and as losses, FPR@95 in both conventions and AUPR both ways. scikit-learn
is timed on AUROC alone and on the same set without the ties (`roc_auc_score`, `roc_curve`, `average_precision_score`
twice, and `np.quantile`). The last line is one bootstrap replicate of `bootstrap_ood_metrics`, from 20 of them.

Times are processor time, summed over all threads: what one core takes, also while others keep the machine busy. The
variants take turns in every round, so that a loaded cache or a slow clock meets them all.
"""

import statistics
import time

import numpy as np
from absl import app, flags
from sklearn import metrics as sklearn_metrics

from keras_acet import metrics

flags.DEFINE_integer("num_scores", 10_000, "Scores on either side.", lower_bound=1)
flags.DEFINE_integer("rounds", 15, "Alternating rounds; median and range are printed.", lower_bound=1)
flags.DEFINE_enum("dtype", "float64", ["float32", "float64"], "Of the scores.")
FLAGS = flags.FLAGS

NUM_RESAMPLES = 20


def sklearn_all(is_id, scores, id_confidence, ood_confidence):
    fpr, tpr, _ = sklearn_metrics.roc_curve(1 - is_id, -scores, drop_intermediate=False)
    return (
        sklearn_metrics.roc_auc_score(is_id, scores),
        np.mean(ood_confidence >= np.quantile(id_confidence, 0.05)),
        fpr[tpr >= 0.95].min(),
        sklearn_metrics.average_precision_score(is_id, scores),
        sklearn_metrics.average_precision_score(1 - is_id, -scores),
    )


def _milliseconds(measure):
    started = time.process_time()
    measure()
    return 1000 * (time.process_time() - started)


def main(_):
    rng = np.random.default_rng(0)
    ours = (rng.uniform(size=FLAGS.num_scores) ** 0.2).astype(FLAGS.dtype)
    others = rng.uniform(size=FLAGS.num_scores).astype(FLAGS.dtype)
    scores, is_id = np.concatenate([ours, others]), np.repeat([1, 0], FLAGS.num_scores)
    variants = {
        "ood_metrics": lambda: metrics.ood_metrics(ours, others),
        "scikit-learn, AUROC": lambda: sklearn_metrics.roc_auc_score(is_id, scores),
        "scikit-learn, all": lambda: sklearn_all(is_id, scores, ours, others),
        "bootstrap replicate": lambda: metrics.bootstrap_ood_metrics(ours, others, num_resamples=NUM_RESAMPLES),
    }
    milliseconds = {name: [] for name in variants}
    for measure in variants.values():
        measure()  # warm up
    for _ in range(FLAGS.rounds):
        for name, measure in variants.items():
            milliseconds[name].append(_milliseconds(measure))
    milliseconds["bootstrap replicate"] = [t / NUM_RESAMPLES for t in milliseconds["bootstrap replicate"]]
    print(f"{FLAGS.num_scores} against {FLAGS.num_scores} {FLAGS.dtype} scores, processor time, {FLAGS.rounds} rounds")
    print(f"{'':20} {'ms':>8}  (median; smallest to largest)")
    for name, times in milliseconds.items():
        print(f"{name:20} {statistics.median(times):8.2f}  ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    app.run(main)
