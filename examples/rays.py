"""Theorem 3.1 on your own networks: their exact confidence along rays.

    python examples/rays.py --run_dir=runs/mnist-plain,runs/mnist-acet --output=rays.png

Follows each network from alpha = 1 to infinity, at alpha times uniform random images and at alpha times random
directions of that length, positive and negative. Prints on which share of the rays its confidence tends to 1 and the
alpha it takes to reach 99.9 %, and draws confidence against alpha with a dot at every break point. A hundred rays of a
LeNet take about ten seconds on one core; one of a ResNet-20 takes minutes.
"""

import pathlib
import sys

from absl import flags as absl_flags

from keras_acet.cli import commands

with commands.quiet_start():
    import numpy as np

    from keras_acet import classifiers, theory
    from keras_acet.evaluation import scaling
    from keras_acet.report.figures.rays import confidence_along_rays
    from keras_acet.report.figures.style import drawing


def define(values):
    absl_flags.DEFINE_string("run_dir", None, "Runs of train.py, with commas between them.", flag_values=values)
    absl_flags.DEFINE_string("model", None, ".keras files of your own, with commas between them.", flag_values=values)
    absl_flags.DEFINE_string("output", "rays.png", "The picture.", flag_values=values)
    absl_flags.DEFINE_integer(
        "num_directions", 100, "Rays of each kind.", lower_bound=1, upper_bound=10**6, flag_values=values
    )
    absl_flags.DEFINE_integer("seed", 0, "Seed of the rays.", lower_bound=0, flag_values=values)


def run(call):
    flags = call.flags
    paths = commands.split(filter(None, [flags.run_dir, flags.model]))
    if not paths:
        raise commands.UserError("name at least one --run_dir=RUN or --model=PATH.keras")
    commands.check_output("output", flags.output)
    with call.user_errors():
        models = [classifiers.load(path) for path in paths]
        networks = [(model.name, scaling.exact_network(model)) for model in models]
    grown = {}
    for kind in ("uniform images", "random directions"):
        for name, network in networks:
            images = np.random.default_rng(flags.seed).uniform(size=(flags.num_directions, *network.input_shape))
            growth = theory.confidence_growth(
                network,
                images if kind == "uniform images" else None,
                num_directions=flags.num_directions,
                seed=flags.seed,
            )
            grown[f"{name}, {kind}"] = growth
            print(f"{name}, {kind}: {growth}\n", flush=True)
    with drawing(), call.user_errors():
        pathlib.Path(flags.output).write_bytes(confidence_along_rays(grown, columns=len(networks)).png)
    print(f"Drawn: {flags.output}")


COMMAND = commands.Command(
    doc=__doc__, define=define, run=run, example="--run_dir=RUN", when_stopped="nothing was drawn"
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
