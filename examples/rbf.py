"""Theorem 3.2 in a picture: far from the data an RBF network is unsure, and a ReLU network is not.

    python examples/rbf.py --output=rbf.png

Trains both networks on two moons and on digits, in about a minute. The upper panels show the confidence on the plane.
The lower panels show the confidence on digits that are moved away along random rays, against the distance to the
nearest centre of the RBF network; the line is the proven bound of the RBF network.
"""

import sys

from absl import flags as absl_flags

from keras_acet.cli import commands

with commands.quiet_start():
    import keras
    import matplotlib.figure
    import numpy as np

    from keras_acet import datasets, metrics, networks, theory
    from keras_acet.report.figures.maps import draw_confidence, draw_points
    from keras_acet.report.figures.style import COLORS, drawing

LOW, HIGH = -2, 3  # of the plane
EPSILON = 0.05


def define(values):
    absl_flags.DEFINE_string("output", "rbf.png", "The picture.", flag_values=values)


def run(call):
    output = call.flags.output
    commands.check_output("output", output)
    moons, digits = datasets.load("moons", batch_size=100), datasets.load("digits")
    with drawing(), call.user_errors():
        figure = matplotlib.figure.Figure(figsize=(7, 6.4), layout="constrained")
        above, below = figure.subplots(2, 2)
        image = draw_plane(above, {"ReLU": trained(networks.mlp, moons), "RBF": trained(networks.rbf, moons)}, moons)
        figure.colorbar(image, ax=list(above), shrink=0.9).set_label("confidence")
        draw_rays(below, trained(networks.mlp, digits), trained(networks.rbf, digits), digits)
        figure.savefig(output, format="png", dpi=110)
    print(f"Drawn: {output}")


def trained(make_network, data, epochs=40):
    keras.utils.set_random_seed(0)
    network = make_network(data.image_shape, data.num_classes)
    rate = keras.optimizers.schedules.CosineDecay(0.01, epochs * data.steps_per_epoch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    network.fit(data.train, epochs=epochs, shuffle=False, verbose=0)  # the batches come shuffled
    accuracy = network.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]
    print(f"{data.name}, {network.name}: test error {1 - accuracy:.2%}")
    return network


def confidence(network, x):
    return metrics.max_confidence(network.predict(x, batch_size=4096, verbose=0))


def draw_plane(axes, named, data):
    axis = np.linspace(LOW, HIGH, 300)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for ax, (name, network) in zip(axes, named.items(), strict=True):
        values = confidence(network, points).reshape(len(axis), len(axis))
        image = draw_confidence(ax, values, LOW, HIGH, lowest=1 / data.num_classes)
        draw_points(ax, data.test_images, data.test_labels, LOW, HIGH)
        ax.set_title(f"{name}, two moons; white line: .95")
    return image


def draw_rays(axes, relu, rbf, data):
    draw = np.random.default_rng(0)
    starts = data.test_images[:100, None]
    directions = draw.normal(size=starts.shape)
    directions /= np.linalg.norm(directions, axis=(2, 3), keepdims=True)
    along = np.append(0, np.geomspace(0.3, 300, 60)).reshape(-1, 1, 1, 1)
    x = (starts + along * directions).reshape(-1, *data.image_shape)
    bound = theory.rbf_confidence_bound(rbf, x)
    order = np.argsort(bound.distance)
    for ax, network, name, color in zip(axes, (relu, rbf), ("ReLU", "RBF"), COLORS, strict=False):
        ax.plot(bound.distance, confidence(network, x), ".", color=color, markersize=3, alpha=0.4, markeredgewidth=0)
        ax.set_xscale("log")
        ax.set_xticks([2, 10, 100], ["2", "10", "100"])
        ax.minorticks_off()
        ax.set(title=f"{name}, digits", ylim=(0, 1.02), xlabel="distance to the nearest centre")
    axes[0].set_ylabel("confidence")
    axes[1].plot(bound.distance[order], bound.upper[order], color="black", linewidth=1, label="bound")
    radius = theory.rbf_safe_radius(rbf, EPSILON)
    axes[1].axvline(radius, color="#5a626c", linestyle=":", linewidth=1, label=f"1/K + {EPSILON} from here")
    axes[1].legend(loc="center right")


COMMAND = commands.Command(
    doc=__doc__, define=define, run=run, example="--output=rbf.png", when_stopped="nothing was drawn"
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
