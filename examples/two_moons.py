"""Draws the confidence of two-moons classifiers over the plane: a row per run, on larger and larger squares.

    python train.py --dataset=moons --method=plain
    python train.py --dataset=moons --method=ceda
    python train.py --dataset=moons --method=acet
    python examples/two_moons.py --run_dir=runs/moons-plain,runs/moons-ceda,runs/moons-acet --output=docs/two_moons.png

The last column shows the linear regions of the network on the square of the second column.
"""

import io
import sys

from absl import flags as absl_flags

from keras_acet.cli import commands

with commands.quiet_start():
    import matplotlib.figure
    from PIL import Image

    from keras_acet import classifiers, datasets
    from keras_acet.evaluation import maps
    from keras_acet.report.figures.maps import draw_borders, draw_confidence, draw_points
    from keras_acet.report.figures.style import drawing


def define(values):
    absl_flags.DEFINE_string(
        "run_dir", None, "Runs of train.py --dataset=moons, with commas between them.", flag_values=values
    )
    absl_flags.DEFINE_string("output", "two_moons.png", "The picture.", flag_values=values)


def run(call):
    flags = call.flags
    paths = commands.split(filter(None, [flags.run_dir]))
    if not paths:
        raise commands.UserError("name at least one --run_dir=RUN of train.py --dataset=moons")
    commands.check_output("output", flags.output)
    with call.user_errors():
        data = datasets.load("moons")
        models = [classifiers.check(classifiers.load(path), data) for path in paths]
    buffer = io.BytesIO()
    with drawing():
        draw(models, data).savefig(buffer, dpi=100)
    with call.user_errors():  # 128 colours: a third of the bytes
        picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        picture.save(flags.output, format="PNG", optimize=True)
    print(f"Drawn: {flags.output}")


def draw(runs, data):
    columns = len(maps.RANGES) + 1
    figure = matplotlib.figure.Figure(figsize=(2.05 * columns, 1.9 * len(runs) + 0.7), layout="constrained")
    axes = figure.subplots(len(runs), columns, squeeze=False)
    for row, run in zip(axes, runs, strict=True):
        for ax, values, (low, high) in zip(row, maps.confidence_maps(run), maps.RANGES, strict=False):
            image = draw_confidence(ax, values, low, high, lowest=1 / data.num_classes)
            draw_points(ax, data.test_images, data.test_labels, low, high)
        row[0].set_ylabel(run.name)
        low, high = maps.RANGES[1]
        draw_borders(row[-1], maps.region_maps(run.network, [(low, high)])[0], low, high)
        draw_points(row[-1], data.test_images, data.test_labels, low, high)
        row[-1].set_title(f"regions, [{low}, {high}]")
    bar = figure.colorbar(image, ax=list(axes.ravel()), location="bottom", shrink=0.4, aspect=40)
    bar.set_label("confidence; white line: .95")
    return figure


COMMAND = commands.Command(
    doc=__doc__, define=define, run=run, example="--run_dir=RUN", when_stopped="nothing was drawn"
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
