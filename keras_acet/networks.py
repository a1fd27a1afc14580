"""Classifiers from images to logits: LeNet, ResNet-20 v2, MLP, and any `keras.applications` model.

Every network is a functional `keras.Model` made of stock Keras layers, so a saved `.keras` file
loads with `safe_mode=True` in a process that does not have `keras_acet`. Images are float32 in
`[0, 1]`, channels last; the three networks of this module use them as they are, without mean and
standard deviation scaling (as published).

Weights are drawn from Keras' global generator: `keras.utils.set_random_seed` makes them repeatable.
"""

import difflib
import inspect
import math
import operator

import keras
from keras import layers

_RESNET_STAGES = ((16, 1), (32, 2), (64, 2))  # (width, stride of the first unit)
_RESNET_UNITS = 3  # per stage

# The smallest side that an application accepts; 32 for all others.
_APPLICATION_MIN_SIDE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def lenet(image_shape, num_classes, *, weight_decay=0.0, name="lenet"):
    """Builds the LeNet of the paper's MNIST models.

    conv 5x5x32 SAME, ReLU, max-pool 2; conv 5x5x64 SAME, ReLU, max-pool 2; dense 1024, ReLU; dense
    `num_classes`. No batch norm. 3,274,634 parameters for `(28, 28, 1)` and 10 classes. Any height
    and width are accepted; at odd ones the last row or column is pooled alone.

    Args:
        image_shape: `(height, width, channels)`, positive integers.
        num_classes: Integer, at least 2.
        weight_decay: Float, at least 0. Adds `weight_decay * sum(w**2)` (no factor 1/2) to
            `model.losses` for each of the 8 tensors, biases included; published: 5e-4.
        name: Name of the model.

    Returns:
        `keras.Model` from float images `(batch, height, width, channels)` with values in `[0, 1]`
        to float logits `(batch, num_classes)`.

    Raises:
        ValueError: If a value is out of range or `image_shape` is not of length 3.
        TypeError: If a size is not an integer or `weight_decay` not a number.

    Example:

    >>> lenet((28, 28, 1), 10).count_params()
    3274634

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' released code.
        Initialisers: convolutions truncated normal (cut at two standard deviations) with
        `stddev = sqrt(2 / fan_in)` before the cut, dense layers normal with
        `stddev = sqrt(2 / fan_in)`, zero biases.
        Differs: ReLU comes after the max-pool. The two commute, so the function and its input
        gradient are the same; four times fewer values pass through ReLU and its gradient.
        Forward and input gradient, batch 128, 2 cores: 1.1 times faster in bfloat16 (where the
        arithmetic is fast enough for passes over memory to count), 1.01 times in float32.
    """
    shape = _check_image_shape(image_shape, name="lenet")
    num_classes = _check_num_classes(num_classes)
    weight_decay = _check_weight_decay(weight_decay)

    inputs = keras.Input(shape, name="images")
    x = inputs
    for index, filters in enumerate((32, 64), start=1):
        x = layers.Conv2D(
            filters,
            5,
            padding="same",
            kernel_initializer=_conv_initializer(5 * 5 * x.shape[-1]),
            kernel_regularizer=_decay(weight_decay),
            bias_regularizer=_decay(weight_decay),
            name=f"conv{index}",
        )(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"pool{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = _dense(1024, weight_decay, activation="relu", name="hidden")(x)
    logits = _dense(num_classes, weight_decay, name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def resnet20(image_shape, num_classes, *, weight_decay=0.0, name="resnet20"):
    """Builds the ResNet-20 v2 of the paper's SVHN, CIFAR-10 and CIFAR-100 models.

    conv 3x3x16; three stages of three pre-activation units, widths 16, 32, 64, strides 1, 2, 2;
    batch norm, ReLU, global mean, dense `num_classes`. A unit is BN, ReLU, conv 3x3, BN, ReLU,
    conv 3x3, added to its shortcut. In the first unit of every stage the shortcut splits off after
    the first BN + ReLU, in the others before. Where the width changes the shortcut is average
    pooling and zero channels, half on each side. Convolutions have no bias; batch norm has momentum
    0.99 and epsilon 1e-5. 269,722 trainable parameters for `(32, 32, 3)` and 10 classes.

    Args:
        image_shape: `(height, width, channels)`; height and width are multiples of 4 (the network
            halves them twice), channels is positive.
        num_classes: Integer, at least 2.
        weight_decay: Float, at least 0. Adds `weight_decay * sum(w**2)` (no factor 1/2) to
            `model.losses` for each convolution kernel and for the dense kernel and bias, never for
            batch norm; published: 5e-4.
        name: Name of the model.

    Returns:
        `keras.Model` from float images `(batch, height, width, channels)` with values in `[0, 1]`
        to float logits `(batch, num_classes)`.

    Raises:
        ValueError: If a value is out of range, `image_shape` is not of length 3, or its height or
            width is not a multiple of 4.
        TypeError: If a size is not an integer or `weight_decay` not a number.

    Example:

    >>> model = resnet20((32, 32, 3), 10)
    >>> sum(math.prod(variable.shape) for variable in model.trainable_variables)
    269722

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' released code
        ("resnet_small"); He et al., ECCV 2016, arXiv:1603.05027. Initialisers as in `lenet`.
    """
    shape = _check_image_shape(image_shape, name="resnet20")
    num_classes = _check_num_classes(num_classes)
    weight_decay = _check_weight_decay(weight_decay)
    if shape[0] % 4 or shape[1] % 4:
        raise ValueError(
            "`image_shape` must have a height and width that are multiples of 4 for `resnet20`, "
            f"which halves them twice. Received: image_shape={shape}. "
            "Resize or pad the images, or use `lenet`."
        )

    def conv(x, filters, strides, layer_name):
        return layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=_conv_initializer(3 * 3 * x.shape[-1]),
            kernel_regularizer=_decay(weight_decay),
            name=layer_name,
        )(x)

    def norm_relu(x, layer_name):
        x = layers.BatchNormalization(momentum=0.99, epsilon=1e-5, name=layer_name)(x)
        return layers.ReLU(name=layer_name.replace("norm", "relu"))(x)

    inputs = keras.Input(shape, name="images")
    x = conv(inputs, _RESNET_STAGES[0][0], 1, "init_conv")
    for stage, (width, first_stride) in enumerate(_RESNET_STAGES, start=1):
        for unit in range(_RESNET_UNITS):
            prefix = f"block_{stage}_{unit}"
            strides = first_stride if unit == 0 else 1
            residual = norm_relu(x, f"{prefix}_norm1")
            shortcut = residual if unit == 0 else x
            residual = conv(residual, width, strides, f"{prefix}_conv1")
            residual = norm_relu(residual, f"{prefix}_norm2")
            residual = conv(residual, width, 1, f"{prefix}_conv2")
            if shortcut.shape[-1] != width:
                shortcut = _narrow_to_wide(shortcut, width, strides, prefix)
            x = layers.Add(name=f"{prefix}_add")([residual, shortcut])
    x = norm_relu(x, "last_norm")
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    logits = _dense(num_classes, weight_decay, name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def mlp(image_shape, num_classes, *, hidden=(100, 100), weight_decay=0.0, name="mlp"):
    """Builds a multilayer perceptron: dense layers with ReLU between them.

    The default is the 2-100-100-2 network of the paper's two moons when `image_shape` is `(2,)`.

    Args:
        image_shape: Shape of one example, e.g. `(2,)` for moons or `(28, 28, 1)`; from 1 to 3
            positive integers. Images are flattened.
        num_classes: Integer, at least 2.
        hidden: Widths of the hidden layers, positive integers; `()` gives a linear classifier.
        weight_decay: Float, at least 0. Adds `weight_decay * sum(w**2)` (no factor 1/2) to
            `model.losses` for each kernel and bias.
        name: Name of the model.

    Returns:
        `keras.Model` from float examples `(batch, *image_shape)` to float logits
        `(batch, num_classes)`.

    Raises:
        ValueError: If a value is out of range or `image_shape` is not of length 1 to 3.
        TypeError: If a size is not an integer or `weight_decay` not a number.

    Example:

    >>> mlp((2,), 2).count_params()  # 2*100+100 + 100*100+100 + 100*2+2
    10602

    Source: the two-moons notebook of Hein et al., CVPR 2019, arXiv:1812.05720. Initialisers: He
        normal (truncated, standard deviation `sqrt(2 / fan_in)` after the cut), zero biases.
    """
    shape = _check_image_shape(image_shape, name="mlp", ranks=(1, 2, 3))
    num_classes = _check_num_classes(num_classes)
    weight_decay = _check_weight_decay(weight_decay)
    if isinstance(hidden, (str, bytes)) or not hasattr(hidden, "__iter__"):
        raise TypeError(f"`hidden` must be a sequence of integers. Received: hidden={hidden!r}.")
    hidden = tuple(_check_integer(width, "hidden", minimum=1) for width in hidden)

    inputs = keras.Input(shape, name="images")
    x = inputs if len(shape) == 1 else layers.Flatten(name="flatten")(inputs)
    for index, width in enumerate(hidden, start=1):
        x = _dense(width, weight_decay, "he_normal", activation="relu", name=f"hidden{index}")(x)
    logits = _dense(num_classes, weight_decay, "he_normal", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


_NETWORKS = {"lenet": lenet, "mlp": mlp, "resnet20": resnet20}


def names():
    """Lists the names of this module's own networks, sorted.

    >>> names()
    ['lenet', 'mlp', 'resnet20']
    """
    return sorted(_NETWORKS)


def application_names():
    """Lists the names of the `keras.applications` models that `build` accepts, sorted.

    >>> "MobileNetV2" in application_names()
    True
    """
    return sorted(
        name for name, value in vars(keras.applications).items() if name[0].isupper() and inspect.isfunction(value)
    )


def build(name, image_shape, num_classes, *, weight_decay=0.0):
    """Builds a network by name: one of `names()` or of `application_names()`.

    A `keras.applications` model gets random weights (`weights=None`) and no final softmax. What it
    needs beyond images in `[0, 1]` happens inside the network, with stock layers: images smaller
    than it accepts are enlarged (bilinear, same aspect), gray images are repeated to 3 channels,
    and pixels are rescaled to `[0, 255]` for models that bring their own preprocessing
    (EfficientNet, EfficientNetV2, MobileNetV3, ConvNeXt) and to `[-1, 1]` for the others.

    Args:
        name: String, e.g. `"lenet"` or `"MobileNetV2"`; upper and lower case are the same.
        image_shape: Shape of one example, `(height, width, channels)`; `mlp` takes others too.
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
    return _application(applications[name.lower()], image_shape, num_classes, weight_decay)


def _application(name, image_shape, num_classes, weight_decay):
    """Builds a `keras.applications` model on images in [0, 1] of any size, gray or colour."""
    shape = _check_image_shape(image_shape, name=name)
    num_classes = _check_num_classes(num_classes)
    weight_decay = _check_weight_decay(weight_decay)
    if shape[-1] not in (1, 3):
        raise ValueError(
            f"`image_shape` must have 1 or 3 channels for `{name}`. Received: image_shape={shape}. "
            f"Use one of {names()}."
        )
    constructor = getattr(keras.applications, name)

    inputs = keras.Input(shape, name="images")
    x = inputs
    min_side = _APPLICATION_MIN_SIDE.get(name, 32)
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
            config[f"{kernel}_regularizer"] = _decay(weight_decay)
    return layer.__class__.from_config(config)


def _narrow_to_wide(shortcut, width, strides, prefix):
    """Shortcut where the width changes: average pooling, then zero channels on both sides."""
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, name=f"{prefix}_shortcut_pool")(shortcut)
    missing = width - shortcut.shape[-1]
    # Told that channels come first, ZeroPadding2D pads the last two axes: width (by nothing) and
    # channels. A stock layer, so the saved model needs no code of ours.
    return layers.ZeroPadding2D(
        ((0, 0), (missing // 2, missing - missing // 2)),
        data_format="channels_first",
        name=f"{prefix}_shortcut_pad",
    )(shortcut)


def _dense(units, weight_decay, kernel_initializer=None, **kwargs):
    if kernel_initializer is None:
        kernel_initializer = keras.initializers.VarianceScaling(
            scale=2.0, mode="fan_in", distribution="untruncated_normal"
        )
    return layers.Dense(
        units,
        kernel_initializer=kernel_initializer,
        kernel_regularizer=_decay(weight_decay),
        bias_regularizer=_decay(weight_decay),
        **kwargs,
    )


def _conv_initializer(fan_in):
    # Not VarianceScaling: that one enlarges stddev so that it holds after the cut.
    return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0 / fan_in))


def _decay(weight_decay):
    return keras.regularizers.L2(weight_decay) if weight_decay else None


def _check_integer(value, argument, *, minimum):
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"`{argument}` must hold integers. Received: {value!r}.") from None
    if integer < minimum:
        raise ValueError(f"`{argument}` must be at least {minimum}. Received: {integer}.")
    return integer


def _check_num_classes(num_classes):
    return _check_integer(num_classes, "num_classes", minimum=2)


def _check_weight_decay(weight_decay):
    try:
        value = float(weight_decay)
    except (TypeError, ValueError):
        raise TypeError(f"`weight_decay` must be a number. Received: weight_decay={weight_decay!r}.") from None
    if not 0.0 <= value < math.inf:
        raise ValueError(
            "`weight_decay` must be a finite number of at least 0 (published: 5e-4). "
            f"Received: weight_decay={weight_decay}."
        )
    return value


def _check_image_shape(image_shape, *, name, ranks=(3,)):
    if not hasattr(image_shape, "__iter__") or isinstance(image_shape, (str, bytes)):
        raise TypeError(f"`image_shape` must be a tuple of integers. Received: image_shape={image_shape!r}.")
    shape = tuple(image_shape)
    if len(shape) not in ranks:
        if ranks == (3,):
            expected = "(height, width, channels)"
            mend = "Add the channel axis to gray images; use `mlp` for vectors."
        else:
            expected = "of 1 to 3 numbers"
            mend = "Leave out the batch axis."
        raise ValueError(f"`image_shape` must be {expected} for `{name}`. Received: image_shape={shape}. {mend}")
    return tuple(_check_integer(size, "image_shape", minimum=1) for size in shape)


def _unknown_name_message(name):
    by_lower_case = {known.lower(): known for known in names() + application_names()}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.6)
    suggestions = " or ".join(repr(by_lower_case[match]) for match in near)
    did_you_mean = f" Did you mean {suggestions}?" if near else ""
    return (
        f"`name` must be one of {names()} or of the `keras.applications` models "
        f"{application_names()}. Received: name={name!r}.{did_you_mean}"
    )
