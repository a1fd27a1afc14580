"""Any `keras.applications` model on images in [0, 1] of any size, gray or colour."""

import inspect

import keras
from keras import layers

from keras_acet.networks.checks import check_image_shape, check_num_classes, check_weight_decay

# The smallest side that an application accepts; 32 for all others.
_MIN_SIDE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def application_names() -> list[str]:
    """Lists the names of the `keras.applications` models that `build` accepts, sorted.

    >>> "MobileNetV2" in application_names()
    True
    """
    return sorted(
        name for name, value in vars(keras.applications).items() if name[0].isupper() and inspect.isfunction(value)
    )


def build_application(name: str, image_shape: tuple[int, ...], num_classes: int, weight_decay: float) -> keras.Model:
    """Builds a `keras.applications` model on images in [0, 1] of any size, gray or colour."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")  # which they take from there
    try:
        return _build(name, image_shape, num_classes, weight_decay)
    finally:
        keras.config.set_image_data_format(before)


def _build(name, image_shape, num_classes, weight_decay):
    shape = check_image_shape(image_shape, name=name)
    num_classes = check_num_classes(num_classes)
    weight_decay = check_weight_decay(weight_decay)
    if shape[-1] not in (1, 3):
        raise ValueError(
            f"`image_shape` must have 1 or 3 channels for `{name}`. Received: image_shape={shape}. "
            "Use one of ['lenet', 'mlp', 'rbf', 'resnet20']."
        )
    constructor = getattr(keras.applications, name)

    inputs = keras.Input(shape, name="images")
    x = inputs
    min_side = _MIN_SIDE.get(name, 32)
    if min(shape[:2]) < min_side:
        scale = min_side / min(shape[:2])
        # min_side / side * side may round to just below min_side.
        height, width = (max(min_side, round(side * scale)) for side in shape[:2])
        # Resizing's own default is `training=True`, and Keras hands the first value it meets on to
        # all later layers: without this, `model(x)` would run batch norm in training mode.
        x = layers.Resizing(height, width, name="enlarge")(x, training=False)
    if shape[-1] == 1:
        x = layers.Concatenate(name="gray_to_rgb")([x, x, x])
    if _has_own_preprocessing(name, constructor):
        x = layers.Rescaling(255.0, name="to_0_255")(x)
    else:
        x = layers.Rescaling(2.0, offset=-1.0, name="to_minus_1_1")(x)
    application = constructor(
        weights=None,
        classes=num_classes,
        classifier_activation=None,
        input_shape=x.shape[1:],
    )
    if weight_decay:
        application = keras.models.clone_model(
            application,
            clone_function=lambda layer: _with_kernel_decay(layer, weight_decay),
            recursive=True,
        )
    return keras.Model(inputs, application(x), name=name.lower())


def _has_own_preprocessing(name, constructor):
    # The first EfficientNets always scale [0, 255] themselves and have no flag to say so.
    return "include_preprocessing" in inspect.signature(constructor).parameters or name.startswith("EfficientNet")


def _with_kernel_decay(layer, weight_decay):
    """Copies a layer, with decay on its kernels where it has any."""
    config = layer.get_config()
    for kernel in ("kernel", "depthwise", "pointwise"):
        if f"{kernel}_regularizer" in config:
            config[f"{kernel}_regularizer"] = keras.regularizers.L2(weight_decay)
    return layer.__class__.from_config(config)
