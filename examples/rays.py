"""Theorem 3.1 on your own networks: their exact confidence along rays.

    python examples/rays.py --run_dir=runs/mnist-plain,runs/mnist-acet --output=rays.png

Follows each network from alpha = 1 to infinity, at alpha times uniform random images and at alpha times random
directions of that length, positive and negative. Prints on which share of the rays its confidence tends to 1 and the
alpha it takes to reach 99.9 %, and draws confidence against alpha with a dot at every break point. A hundred rays of a
LeNet take about ten seconds on one core; one of a ResNet-20 takes minutes.
"""

import argparse
import pathlib

import numpy as np

from keras_acet import classifiers, theory
from keras_acet.report.figures.rays import confidence_along_rays
from keras_acet.report.figures.style import drawing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", help="runs of train.py, with commas between them")
    parser.add_argument("--model", help=".keras files of your own, with commas between them")
    parser.add_argument("--output", default="rays.png", type=pathlib.Path)
    parser.add_argument("--num_directions", default=100, type=int)
    parser.add_argument("--seed", default=0, type=int)
    options = parser.parse_args()
    paths = [path for given in (options.run_dir, options.model) if given for path in given.split(",")]
    if not paths:
        parser.error("name at least one --run_dir=RUN or --model=PATH.keras")
    models = [classifiers.load(path) for path in paths]
    grown = {}
    for kind in ("uniform images", "random directions"):
        for model in models:
            network = theory.PiecewiseAffine(model.network)
            images = np.random.default_rng(options.seed).uniform(size=(options.num_directions, *network.input_shape))
            growth = theory.confidence_growth(
                network,
                images if kind == "uniform images" else None,
                num_directions=options.num_directions,
                seed=options.seed,
            )
            grown[f"{model.name}, {kind}"] = growth
            print(f"{model.name}, {kind}: {growth}\n", flush=True)
    with drawing():
        options.output.write_bytes(confidence_along_rays(grown, columns=len(models)).png)
    print(f"Drawn: {options.output}")


if __name__ == "__main__":
    main()
