"""The paper's networks: LeNet, ResNet-20 v2 and a multilayer perceptron."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_acet.networks.checks import check_image_shape, check_integer, check_num_classes, check_weight_decay

_RESNET_STAGES = ((16, 1), (32, 2), (64, 2))  # (width, stride of the first unit)
_RESNET_UNITS = 3  # per stage


def lenet(
    image_shape: tuple[int, ...], num_classes: int, *, weight_decay: float = 0.0, name: str = "lenet"
) -> keras.Model:
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
    shape = check_image_shape(image_shape, name="lenet")
    num_classes = check_num_classes(num_classes)
    weight_decay = check_weight_decay(weight_decay)

    inputs = keras.Input(shape, name="images")
    x = inputs
    for index, filters in enumerate((32, 64), start=1):
        x = layers.Conv2D(
            filters,
            5,
            padding="same",
            data_format="channels_last",
            kernel_initializer=_conv_initializer(5 * 5 * x.shape[-1]),
            kernel_regularizer=_decay(weight_decay),
            bias_regularizer=_decay(weight_decay),
            name=f"conv{index}",
        )(x)
        x = layers.MaxPooling2D(2, padding="same", data_format="channels_last", name=f"pool{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    x = layers.Flatten(data_format="channels_last", name="flatten")(x)
    x = _dense(1024, weight_decay, activation="relu", name="hidden")(x)
    logits = _dense(num_classes, weight_decay, name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def resnet20(
    image_shape: tuple[int, ...], num_classes: int, *, weight_decay: float = 0.0, name: str = "resnet20"
) -> keras.Model:
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
    shape = check_image_shape(image_shape, name="resnet20")
    num_classes = check_num_classes(num_classes)
    weight_decay = check_weight_decay(weight_decay)
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
            data_format="channels_last",
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
    x = layers.GlobalAveragePooling2D(data_format="channels_last", name="mean")(x)
    logits = _dense(num_classes, weight_decay, name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def mlp(
    image_shape: tuple[int, ...],
    num_classes: int,
    *,
    hidden: Sequence[int] = (100, 100),
    weight_decay: float = 0.0,
    name: str = "mlp",
) -> keras.Model:
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
    shape = check_image_shape(image_shape, name="mlp", ranks=(1, 2, 3))
    num_classes = check_num_classes(num_classes)
    weight_decay = check_weight_decay(weight_decay)
    if isinstance(hidden, (str, bytes)) or not hasattr(hidden, "__iter__"):
        raise TypeError(f"`hidden` must be a sequence of integers. Received: hidden={hidden!r}.")
    hidden = tuple(check_integer(width, "hidden", minimum=1) for width in hidden)

    inputs = keras.Input(shape, name="images")
    x = inputs if len(shape) == 1 else layers.Flatten(data_format="channels_last", name="flatten")(inputs)
    for index, width in enumerate(hidden, start=1):
        x = _dense(width, weight_decay, "he_normal", activation="relu", name=f"hidden{index}")(x)
    logits = _dense(num_classes, weight_decay, "he_normal", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def _narrow_to_wide(shortcut, width, strides, prefix):
    """Shortcut where the width changes: average pooling, then zero channels on both sides."""
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, data_format="channels_last", name=f"{prefix}_shortcut_pool")(
            shortcut
        )
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
