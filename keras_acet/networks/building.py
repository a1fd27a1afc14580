"""A network by its name."""

import keras

from keras_acet._checks import did_you_mean
from keras_acet.networks.applications import application_names, build_application
from keras_acet.networks.published import lenet, mlp, resnet20
from keras_acet.networks.rbf import rbf

_NETWORKS = {"lenet": lenet, "mlp": mlp, "rbf": rbf, "resnet20": resnet20}


def names() -> list[str]:
    """Lists the names of this module's own networks, sorted.

    >>> names()
    ['lenet', 'mlp', 'rbf', 'resnet20']
    """
    return sorted(_NETWORKS)


def build(name: str, image_shape: tuple[int, ...], num_classes: int, *, weight_decay: float = 0.0) -> keras.Model:
    """Builds a network by name: one of `names()` or of `application_names()`.

    A `keras.applications` model gets random weights (`weights=None`) and no final softmax. What it
    needs beyond images in `[0, 1]` happens inside the network, with stock layers: images smaller
    than it accepts are enlarged (bilinear, same aspect), gray images are repeated to 3 channels,
    and pixels are rescaled to `[0, 255]` for models that bring their own preprocessing
    (EfficientNet, EfficientNetV2, MobileNetV3, ConvNeXt) and to `[-1, 1]` for the others.

    Args:
        name: String, e.g. `"lenet"` or `"MobileNetV2"`; upper and lower case are the same.
        image_shape: Shape of one example, `(height, width, channels)`; `mlp` and `rbf` take others too.
            Applications take 1 or 3 channels.
        num_classes: Integer, at least 2.
        weight_decay: Float, at least 0. Adds `weight_decay * sum(w**2)` (no factor 1/2) to
            `model.losses`: for the tensors named at each of our own networks, and for every
            convolution and dense kernel of an application.

    Returns:
        `keras.Model` from float images `(batch, *image_shape)` with values in `[0, 1]` to float
        logits `(batch, num_classes)`.

    Raises:
        ValueError: If `name` is neither ours nor Keras', or a value is out of the network's range.
        TypeError: If `name` is not a string, a size not an integer, or `weight_decay` not a number.

    Example:

    >>> build("lenet", (8, 8, 1), 10).output_shape
    (None, 10)
    """
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string. Received: name={name!r}.")
    if name.lower() in _NETWORKS:
        return _NETWORKS[name.lower()](image_shape, num_classes, weight_decay=weight_decay)
    applications = {known.lower(): known for known in application_names()}
    if name.lower() not in applications:
        raise ValueError(_unknown_name_message(name))
    return build_application(applications[name.lower()], image_shape, num_classes, weight_decay)


def _unknown_name_message(name):
    return (
        f"The network must be one of {names()}, or a `keras.applications` model such as 'MobileNetV2' or 'VGG16'. "
        f"Received: {name!r}.{did_you_mean(name, names() + application_names())}"
    )
