"""The authors' released checkpoints, read into `networks.resnet20`.

They are TensorFlow 1 checkpoints that store each tensor under its name (`model-100.index` beside
`model-100.data-00000-of-00001`), with the momentum of the optimiser next to every weight. Reading
them takes no pickle and no graph.
"""

import os

import keras
import tensorflow as tf

from keras_acet._checks import nearest

# Not weights: optimiser state, and the step counter, which the authors left without a name.
_OPTIMIZER_SLOTS = ("/Momentum", "/Adam", "/Adam_1")
_COUNTERS = ("Variable", "global_step", "beta1_power", "beta2_power")

_NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")


def load_published_weights(network: keras.Model, checkpoint: str) -> None:
    """Sets the weights of a ResNet-20 to those of a checkpoint that the authors released.

    Nothing is assigned before everything is checked: each variable of `network` gets exactly one
    tensor of its own shape, and no weight of the checkpoint is left over. Momentum and the step
    counter are ignored.

    Args:
        network: The `keras.Model` that `networks.resnet20` returns, with the checkpoint's number
            of classes and image shape; `resnet20((32, 32, 3), 10)` for CIFAR-10.
        checkpoint: Path of the checkpoint without `.index`, e.g. `cifar10-acet/model-100`.

    Returns:
        `network` itself, with the weights set.

    Raises:
        ValueError: If there is no such checkpoint, it cannot be read, or its tensors are not those
            of `network`.

    Source: the checkpoints that come with Hein et al., CVPR 2019, arXiv:1812.05720. The authors'
        LeNet cannot be read: the names of its tensors are not known.
    """
    variables = _variables_by_published_name(network)
    weights = _read_weights(checkpoint)

    _check_names(set(variables), set(weights), checkpoint)
    for name, variable in variables.items():
        expected, received = tuple(variable.shape), weights[name].shape
        if expected != received:
            raise ValueError(
                f"The tensor `{name}` of the checkpoint must have the network's shape {expected}. "
                f"Received: {received}. Build the network with the image shape and number of "
                "classes of the checkpoint."
            )
    for name, variable in variables.items():
        variable.assign(weights[name])
    return network


def _variables_by_published_name(network):
    """Maps the checkpoint's name of each tensor to the network's variable."""
    variables = {}
    for layer in network.layers:
        for variable in layer.weights:
            name = _published_name(layer.name, variable.name)
            if name is None or name in variables:
                raise ValueError(
                    "`network` must be what `keras_acet.networks.resnet20` returns. Received: "
                    f"`{network.name}` with the variable `{layer.name}/{variable.name}`."
                )
            variables[name] = variable
    if not variables:
        raise ValueError(
            "`network` must be what `keras_acet.networks.resnet20` returns. Received: "
            f"`{network.name}` without variables."
        )
    return variables


def _published_name(layer, variable):
    """Gives the checkpoint's name of a variable of `resnet20`, None for any other layer."""
    if layer == "init_conv":
        return "block_init/conv/weights"
    if layer == "logits":
        return {"kernel": "logit/fc/weights", "bias": "logit/fc/biases"}.get(variable)
    if layer == "last_norm" and variable in _NORM_VARIABLES:
        return f"unit_last/batch_normalization/{variable}"
    block, _, part = layer.rpartition("_")  # "block_1_0", "conv1"
    if not block.startswith("block_"):
        return None
    if part in ("conv1", "conv2") and variable == "kernel":
        return f"{block}/sub{part[-1]}/{part}/weights"
    if part == "norm1" and variable in _NORM_VARIABLES:
        scope = "shared_activation" if block.endswith("_0") else "residual_only_activation"
        return f"{block}/{scope}/batch_normalization/{variable}"
    if part == "norm2" and variable in _NORM_VARIABLES:
        return f"{block}/sub2/batch_normalization/{variable}"
    return None


def _read_weights(checkpoint):
    """Reads every tensor that is a weight: name -> numpy array."""
    checkpoint = os.fspath(checkpoint)
    if not tf.io.gfile.exists(f"{checkpoint}.index"):
        raise ValueError(_no_such_checkpoint_message(checkpoint))
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name not in _COUNTERS and not name.endswith(_OPTIMIZER_SLOTS)
        }
    # The reader raises RuntimeError where the error has no class of its own in TensorFlow.
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"The checkpoint `{checkpoint}` cannot be read; copy it again. TensorFlow says: {error}"
        ) from error


def _check_names(expected, received, checkpoint):
    missing, unknown = sorted(expected - received), sorted(received - expected)
    if not missing and not unknown:
        return
    if len(missing) == len(expected):
        detail = f"It holds none of the {len(expected)} expected tensors."
    else:
        detail = f"Missing: {_shorten(missing)}. Left over: {_shorten(unknown)}."
    raise ValueError(
        f"The checkpoint `{checkpoint}` must hold the tensors of the authors' ResNet-20, e.g. "
        f"`block_init/conv/weights`. Received: {_shorten(sorted(received))}. {detail}"
    )


def _shorten(names, limit=3):
    shown = ", ".join(names[:limit]) or "nothing"
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _no_such_checkpoint_message(checkpoint):
    folder = checkpoint if tf.io.gfile.isdir(checkpoint) else os.path.dirname(checkpoint) or "."
    message = (
        "`checkpoint` must be the path of a TensorFlow checkpoint without `.index`, e.g. "
        f"`cifar10-acet/model-100`. Received: `{checkpoint}`, and `{checkpoint}.index` does not "
        "exist."
    )
    if not tf.io.gfile.isdir(folder):
        return f"{message} The folder `{folder}` does not exist either."
    checkpoints = sorted(
        os.path.join(folder, file.removesuffix(".index"))
        for file in tf.io.gfile.listdir(folder)
        if file.endswith(".index")
    )
    if not checkpoints:
        return f"{message} There is no checkpoint in `{folder}`."
    near = nearest(checkpoint, checkpoints, at_least=0.0)
    return f"{message} In that folder: {', '.join(near)}."
