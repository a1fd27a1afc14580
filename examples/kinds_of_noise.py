"""Draws the kinds of images without content and letters, a row for each, made from photographs of scikit-learn.

python examples/kinds_of_noise.py --output=docs/kinds_of_noise.png
"""

import sys

from absl import flags as absl_flags

from keras_acet.cli import commands

with commands.quiet_start():
    import matplotlib.figure
    import numpy as np

    from keras_acet import datasets, noise

_NUM_IMAGES = 5


def define(values):
    absl_flags.DEFINE_string("output", "kinds_of_noise.png", "Where the picture is written.", flag_values=values)
    absl_flags.DEFINE_integer("seed", 0, "Seed of all draws.", lower_bound=0, flag_values=values)


def run(call):
    commands.check_output("output", call.flags.output)
    photos = datasets.photo_patches((32, 32, 3))
    photos = photos[np.argsort(photos.std(axis=(1, 2, 3)))[len(photos) // 2 :]]  # not of the sky alone
    images = photos[np.random.default_rng(call.flags.seed).permutation(len(photos))[:_NUM_IMAGES]]
    seen = noise.Outliers().sources
    names = [*seen, *(name for name in noise.kinds_without_content() if name not in seen), "letters"]
    figure = matplotlib.figure.Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots(-(-len(names) // 2), 2).T.ravel()
    for axis in axes:
        axis.axis("off")
    for axis, name in zip(axes, names, strict=False):
        drawn = np.asarray(noise.build(name, seed=call.flags.seed, settings={"num_images": 50})(images))
        framed = np.pad(drawn, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=1.0)
        axis.imshow(np.concatenate(framed, axis=1), interpolation="nearest")
        label = f"{name} *" if name in seen else name
        axis.text(-0.02, 0.5, label, transform=axis.transAxes, ha="right", va="center")
    with call.user_errors():
        figure.savefig(call.flags.output, format="png", dpi=80)
    print(f"Drawn: {call.flags.output}; * are the parts of outliers")


COMMAND = commands.Command(
    doc=__doc__, define=define, run=run, example="--output=kinds.png", when_stopped="nothing was drawn"
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
