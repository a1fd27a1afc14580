"""The parts of a run, made from its recipe."""

import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_acet import attack, detectors, networks, schedules
from keras_acet.datasets import Data, OutDistribution, out_distribution
from keras_acet.networks.interface import check_one_input_and_output, takes_bytes
from keras_acet.noise import Noise
from keras_acet.penalties import Penalty
from keras_acet.training.detector_model import DetectorModel
from keras_acet.training.methods import METHODS
from keras_acet.training.model import ACETModel
from keras_acet.training.recipe import Recipe


def model(recipe: Recipe, parts: "Parts", own_network: keras.Model | None = None) -> ACETModel | DetectorModel:
    """Makes the compiled model of a recipe: with its method's penalty, or of a detector.

    Args:
        recipe, parts: As for `penalty`.
        own_network: A network of the user's own, images in [0, 1] -> logits; None for the recipe's.

    Raises:
        ValueError: If a network, noise or optimizer does not fit the data.
    """
    rate = schedules.learning_rate(
        recipe.schedule,
        recipe.learning_rate,
        epochs=recipe.epochs,
        steps_per_epoch=parts.steps_per_epoch,
        drop_epochs=recipe.drop_epochs,
        warmup_epochs=recipe.warmup_epochs,
    )
    data = parts.data
    made: ACETModel | DetectorModel
    if METHODS[recipe.method].trains_detector:
        made = _detector_model(recipe, parts)
        made.compile(optimizer=optimizer(recipe, rate))
    else:
        name, decay = str(recipe.network), recipe.weight_decay
        if own_network is not None:
            network = _fresh(own_network) if recipe.fresh_weights else own_network
            _check_network(network, data)
        elif recipe.has_own_network:
            raise ValueError(f"`network={name}` is a file: load it, and give the model as `network` to `train`.")
        else:
            network = networks.build(name, data.image_shape, data.num_classes, weight_decay=decay)
        made = ACETModel(network, penalty(recipe, parts))
        made.compile(optimizer=optimizer(recipe, rate), metrics=["accuracy"])
    made.build((None, *data.image_shape))
    made.optimizer.build(made.trainable_variables)
    return made


def _fresh(network: keras.Model) -> keras.Model:
    """A network of the same layers with new weights; what a `Normalization` learnt of the data stays."""
    made = keras.models.clone_model(network)
    for layer, before in zip(_layers_in(made), _layers_in(network), strict=True):
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights(before.get_weights())
    return made


def _layers_in(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _layers_in(layer)
        else:
            yield layer


def _check_network(network: keras.Model, data: Data) -> None:
    """Raises if a network does not go from the images of the data to a logit of each class."""
    check_one_input_and_output(network, "`network`")
    received, given = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    expected = (None, *data.image_shape), (None, data.num_classes)
    fits = [
        shape is None or (len(shape) == len(one) and all(a in (None, b) for a, b in zip(shape, one, strict=True)))
        for shape, one in zip((received, given), expected, strict=True)
    ]
    if not all(fits):
        raise ValueError(
            f"`network` must go from images of shape {data.image_shape} to {data.num_classes} logits, as {data.name} "
            f"needs them. Received: one from {tuple(received or ())[1:]} to {tuple(given or ())[1:]}."
        )
    if takes_bytes(network):
        raise ValueError(
            "`network` must take pixels in [0, 1]. Received: one whose first layers scale pixels in 0..255. Wrap it: "
            "networks.wrapped(network, inputs='bytes')."
        )


def _detector_model(recipe: Recipe, parts: "Parts") -> DetectorModel:
    detector = detectors.build("negative_head", parts.data.image_shape)
    num_steps = recipe.epochs * parts.steps_per_epoch
    radius = schedules.Ramp(recipe.epsilon, start=0.1 * num_steps, end=0.6 * num_steps)
    return DetectorModel(detector, parts.noise(), epsilon=radius, weight=recipe.penalty_weight)


def penalty(recipe: Recipe, parts: "Parts") -> Penalty | None:
    """Makes the penalty of a recipe's method: `from_recipe(recipe, parts)` of the module that `METHODS` names.

    Args:
        recipe: The recipe, with what it left to the data filled in.
        parts: The parts of the recipe.

    Returns:
        A `Penalty`; None for plain training.

    Raises:
        ValueError: If the noise does not fit the data.
    """
    module = METHODS[recipe.method].penalty
    if module is None:
        return None
    from_recipe = importlib.import_module(f"keras_acet.penalties.{module}").from_recipe
    return from_recipe(recipe, parts)


class Parts:
    """The parts that a penalty may need, each made when it is asked for.

    Args:
        recipe: The recipe, with what it left to the data filled in.
        data: What it trains on.
        steps_per_epoch: Length of an epoch, for a weight that rises.
        data_dir, download: Where sets of TensorFlow Datasets lie, and whether one that is not there may be downloaded.

    Attributes:
        data, steps_per_epoch: As in `Args`.
        seeds: Use -> seed.
        out: The out-distribution, once `noise` has made it.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        steps_per_epoch: int,
        *,
        data_dir: str | None = None,
        download: bool = False,
    ) -> None:
        self._recipe = recipe
        self.data = data
        self.steps_per_epoch = steps_per_epoch
        self._data_dir, self._download = data_dir, download
        self.seeds = recipe.seeds()
        self.out: OutDistribution | None = None

    def noise(self) -> Noise:
        """The out-distribution of the recipe."""
        self.out = out_distribution(
            str(self._recipe.out),
            self.data,
            seed=self.seeds["noise"],
            settings=dataclasses.asdict(self._recipe),
            data_dir=self._data_dir,
            download=self._download,
        )
        return self.out.noise

    def attack(self) -> attack.PGD:
        """The attack of the recipe."""
        recipe = self._recipe
        low: Any = recipe.step_size  # a recipe has checked it
        high: Any = recipe.step_size_max
        step_size = low
        if recipe.step_schedule == "loguniform":
            step_size = attack.LogUniformDecay(low, high)
        elif recipe.step_schedule == "linear":
            step_size = attack.LinearDecay(low)
        return attack.PGD(
            epsilon=recipe.epsilon,
            num_steps=recipe.num_steps,
            step_size=step_size,
            momentum=recipe.attack_momentum,
            start=recipe.attack_start,
            seed=self.seeds["attack"],
        )

    def weight(self) -> Any:
        """The weight of the penalty: a number, or a schedule that rises to it."""
        recipe = self._recipe
        if not recipe.penalty_ramp_epochs:
            return recipe.penalty_weight
        ramp_steps = max(round(recipe.penalty_ramp_epochs * self.steps_per_epoch), 1)
        return keras.optimizers.schedules.PolynomialDecay(0.0, ramp_steps, recipe.penalty_weight)


def optimizer(recipe: Recipe, rate: Any) -> keras.optimizers.Optimizer:
    """The optimizer as Keras has it.

    Differs from the authors' code, which uses that of TensorFlow 1:
    1. The velocity of `sgd` is in units of the weights' change (`v = momentum v - rate gradient`), not of the gradient,
       so the velocity from before a drop of the rate lives on at its old size for about `1 / (1 - momentum)` steps.
    2. The epsilon of `adam` is 1e-7, not 1e-8.
    """
    average: dict[str, Any] = {}
    if recipe.ema_momentum:
        average = {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(rate, name="adam", **average)
    return keras.optimizers.SGD(rate, momentum=recipe.momentum, name="sgd", **average)
