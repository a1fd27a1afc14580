"""The network of the user's own that `train.py --network=FILE.keras` trains on."""

import warnings
from typing import TYPE_CHECKING, Any

from keras_acet._checks import Notice
from keras_acet.cli import commands
from keras_acet.training.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from keras_acet.datasets import Data


def load(call: commands.Call, recipe: Recipe, data: "Data") -> "keras.Model":
    """Loads the network of a recipe so that it goes from images in [0, 1] to logits; a line tells what was changed.

    A softmax at its end is left out, and images for a network that takes pixels in 0..255 are multiplied by 255.

    Raises:
        ValueError: If it cannot be loaded, does not fit the data, or its logits have no gradient in the images.
    """
    from keras_acet import classifiers
    from keras_acet.networks.interface import kind_of_last_operation

    found: Any = classifiers.load(str(recipe.network))
    if kind_of_last_operation(found.network) == "softmax":
        found = classifiers.as_classifier(without_softmax(found.network))
        call.note(f"the softmax at the end of {recipe.network} is left out: the network is trained on its logits")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        checked = classifiers.check(found, data)
    for one in caught:
        call.note(str(one.message).partition(";")[0])  # without flags that training does not have
    if not checked.is_differentiable or checked.network is None:
        raise ValueError(f"`network={recipe.network}` must be differentiable. Received: one without gradients.")
    network: Any = checked.network
    return network


def without_softmax(network: "keras.Model") -> "keras.Model":
    """Returns a network without the softmax at its end; one of an activation is changed in place.

    Raises:
        ValueError: If the softmax is no layer, and no activation of one.
    """
    import keras

    from keras_acet.networks.interface import last_operation

    last = last_operation(network)
    if getattr(last, "activation", None) is not None:
        last.activation = keras.activations.linear
        return network
    if isinstance(last, keras.layers.Layer) and last is network.layers[-1]:
        return keras.Model(network.inputs[0], last.input)
    raise ValueError("`network` must end in logits. Received: one that ends in a softmax. Save it without.")
