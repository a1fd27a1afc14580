"""Converts a network to ONNX by tf2onnx, and adds the guard before it and the decision behind it as ONNX nodes."""

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_acet._onnx_runtime import onnx_session
from keras_acet._prediction import in_batches
from keras_acet.scores import Score
from keras_acet.serving import BOX_TOLERANCE, LARGEST_LOGITS, OUTPUTS, ServingModel

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the highest one of tf2onnx
_BATCH = "batch"
_PUBLIC = ("images", "threshold", "score", *OUTPUTS)
# Operation, inputs, output, attributes: `serving.ServingModel` in ONNX, before and behind the network.
_GUARD = [
    ("Clip", ["images", "low", "high"], "images_in_box", {}),
    ("Sub", ["images", "images_in_box"], "differences", {}),
    ("ReduceL1", ["differences", "pixel_axes"], "excess", {"keepdims": 0}),
    ("LessOrEqual", ["excess", "box_tolerance"], "in_box", {}),
]
_DECISION = [
    ("ReduceL1", ["network_logits", "class_axis"], "size_of_logits", {"keepdims": 0}),
    ("LessOrEqual", ["size_of_logits", "largest_logits"], "finite", {}),
    ("And", ["in_box", "finite"], "usable", {}),
    ("Unsqueeze", ["usable", "class_axis"], "usable_rows", {}),
    ("Where", ["usable_rows", "network_logits", "low"], "logits", {}),
    ("Div", ["logits", "temperature"], "scaled_logits", {}),
    ("Softmax", ["scaled_logits"], "probabilities", {"axis": 1}),
    ("ReduceMax", ["probabilities", "class_axis"], "confidence", {"keepdims": 0}),
    ("ArgMax", ["logits"], "label", {"axis": 1, "keepdims": 0}),
]


class UnsupportedOpError(ValueError):
    """A network with an operation that ONNX lacks."""


def convert_network(network: Callable, image_shape: tuple[int, ...]) -> "onnx.ModelProto":
    """Converts a network, images -> logits, by tf2onnx.

    Args:
        network: `keras.Model`.
        image_shape: Tuple such as `(28, 28, 1)`.

    Returns:
        `onnx.ModelProto` with input "images" and output "logits", float32, of a dynamic batch size "batch".

    Raises:
        UnsupportedOpError: If ONNX lacks an operation of the network; it is named.
    """
    import tensorflow as tf

    half = sorted({layer.compute_dtype for layer in _layers(network)} & {"float16", "bfloat16"})
    if half:
        raise UnsupportedOpError(
            f"The network must compute in float32 to become an ONNX file. Received: layers of {', '.join(half)}. Build "
            "it again under the policy float32 and load its weights, or export a SavedModel alone."
        )
    proto = _convert(
        "network", lambda x: tf.cast(network(x, training=False), tf.float32), image_shape, "images", "logits"
    )
    return _with_constant_shapes(proto)


def convert_score(score: Score, num_classes: int) -> "onnx.ModelProto":
    """Converts a score of logits, float32 `(batch, num_classes)`, by tf2onnx.

    Returns:
        `onnx.ModelProto` with input "logits" and output "score".

    Raises:
        UnsupportedOpError: If ONNX lacks an operation of the score; it is named.
    """
    return _convert("score", score, (num_classes,), "logits", "score")


def _convert(what, function, shape, name, output):
    """Converts a function of one batch, float32 `(batch, *shape)`; `name` and `output` are its tensors in ONNX."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    spec = tf.TensorSpec((None, *shape), tf.float32, name=name)
    traced = tf.function(lambda x: {output: function(x)}, input_signature=[spec])
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs what it cannot convert, and writes a file nevertheless
    try:
        with _inlined():
            concrete = traced.get_concrete_function()
        proto, _ = tf2onnx.convert.from_function(traced, input_signature=[spec], opset=OPSET)
    except Exception as error:  # it can fail in any way
        cause = " ".join(str(error).split())[:300]
        raise UnsupportedOpError(
            f"The {what} must be one that tf2onnx can convert. It fails: {cause}. Export a SavedModel alone, or put "
            "other operations in their place."
        ) from error
    finally:
        logger.setLevel(level)
    _embed_captured(proto, concrete)
    _replace_missing(proto)
    missing = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if missing:
        raise UnsupportedOpError(
            f"The {what} must be made of operations that ONNX has. Received: {', '.join(missing)}, which tf2onnx "
            "cannot convert. Export a SavedModel alone, or put other operations in their place."
        )
    names = [tensor.name for tensor in (*proto.graph.input, *proto.graph.output)]
    if names != [name, output]:
        raise UnsupportedOpError(
            f"The {what} must be a function of its {name} alone. Received: inputs and outputs {names}."
        )
    return proto


@contextlib.contextmanager
def _inlined():
    """Lets functions within a traced function become part of it.

    Keras compiles grouped convolutions by XLA, in a function of their own, which tf2onnx would leave as a call.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


# What tf2onnx leaves as it is: an ONNX operation, and the operands of a subtraction behind it. That costs a unit in the
# last place of 1.
_DIFFERENCES = {"Erfc": ("Erf", ["one", "inner"]), "Expm1": ("Exp", ["inner", "one"])}


def _replace_missing(proto):
    """Replaces Erfc, of the exact GELU, and Expm1, of CELU."""
    import onnx

    nodes = []
    for node in proto.graph.node:
        if node.op_type not in _DIFFERENCES:
            nodes.append(node)
            continue
        op, operands = _DIFFERENCES[node.op_type]
        names = {"one": _own("one"), "inner": _own(f"{node.output[0]}/{op}")}
        nodes.append(onnx.helper.make_node(op, node.input, [names["inner"]]))
        nodes.append(onnx.helper.make_node("Sub", [names[name] for name in operands], node.output))
    if len(nodes) > len(proto.graph.node):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), _own("one")))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)


def _layers(network):
    """The layers of a model, and those of the models among them."""
    for layer in getattr(network, "layers", []):
        yield layer
        yield from _layers(layer)


def _embed_captured(proto, concrete):
    """Makes constants of the tensors that the function captured besides its variables; tf2onnx makes inputs of them."""
    import onnx

    captured = {}
    for tensor, value in zip(concrete.inputs[-len(concrete.captured_inputs) :], concrete.captured_inputs, strict=False):
        if value.dtype.name != "resource":
            captured[tensor.name] = value.numpy()
    for tensor in [tensor for tensor in proto.graph.input if tensor.name in captured]:
        proto.graph.input.remove(tensor)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(captured[tensor.name], tensor.name))


def _with_constant_shapes(proto):
    """Replaces shapes that are computed anew for every batch by `(-1, ...)` where all but the first size is known.

    Keras' Flatten becomes seven nodes that work out the size of the batch; -1 leaves that to the Reshape.
    """
    import onnx

    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        return proto  # a loop or a branch may use what looks unused
    inferred = onnx.shape_inference.infer_shapes(proto)
    sizes = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes[value.name] = [size.dim_value or None for size in value.type.tensor_type.shape.dim]
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constants:
            first, *others = sizes.get(node.output[0]) or [None, None]
            if first is None and None not in others:
                shape = onnx.numpy_helper.from_array(np.array([-1, *others]), f"{node.output[0]}/constant_shape")
                proto.graph.initializer.append(shape)
                node.input[1] = shape.name
    return _without_unused_nodes(proto)


def _without_unused_nodes(proto):
    nodes, needed = [], {tensor.name for tensor in proto.graph.output}
    for node in reversed(proto.graph.node):  # in topological order
        if needed & set(node.output):
            nodes.append(node)
            needed |= {name for name in node.input if name}
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    return proto


def wrap(network_proto: "onnx.ModelProto", model: ServingModel, *, metadata: str | None = None) -> "onnx.ModelProto":
    """Puts the guard before a converted network, and temperature and decision behind it.

    The operations are those of `serving.ServingModel`, one ONNX node each: as tf2onnx writes them they cost ONNX
    Runtime several times as much (two nodes instead of Clip, six instead of Where).

    Args:
        network_proto: `onnx.ModelProto` from `convert_network` or `quantize`.
        model: `serving.ServingModel` with shape, temperature and threshold.
        metadata: None or text, for `metadata_props["metadata"]`.

    Returns:
        `onnx.ModelProto`. Inputs: "images", and "threshold", a scalar that may be left out. Outputs: those of
        `ServingModel`. It has passed `onnx.checker` in full.
    """
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.ModelProto()
    proto.CopyFrom(network_proto)
    graph = proto.graph
    for node in graph.node:
        renamed = {"images": _own("images_in_box"), "logits": _own("network_logits")}
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    del graph.value_info[:]
    constants = {
        "low": np.float32(0),
        "high": np.float32(1),
        "pixel_axes": np.arange(1, len(model.image_shape) + 1),
        "class_axis": np.array([1]),
        "box_tolerance": np.float32(BOX_TOLERANCE),
        "largest_logits": np.float32(LARGEST_LOGITS),
        "temperature": np.float32(model.temperature),
        "threshold": np.float32(model.threshold),
    }
    first, last = ([_node(*description) for description in nodes] for nodes in (_GUARD, _DECISION))
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), _own(n)) for n, v in constants.items())
    _add_acceptance(graph, model)
    inputs: dict[str, tuple[int, list[Any]]] = {
        "images": (TensorProto.FLOAT, [_BATCH, *model.image_shape]),
        "threshold": (TensorProto.FLOAT, []),  # with a value among the initializers: it may be left out
    }
    outputs: dict[str, tuple[int, list[Any]]] = {
        "label": (TensorProto.INT64, [_BATCH]),
        "confidence": (TensorProto.FLOAT, [_BATCH]),
        "probabilities": (TensorProto.FLOAT, [_BATCH, model.num_classes]),
        "logits": (TensorProto.FLOAT, [_BATCH, model.num_classes]),
        "accepted": (TensorProto.BOOL, [_BATCH]),
        "score": (TensorProto.FLOAT, [_BATCH]),
    }
    del graph.input[:], graph.output[:]
    graph.input.extend(helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items())
    graph.output.extend(helper.make_tensor_value_info(name, *outputs[name]) for name in model.outputs)
    if metadata is not None:
        set_metadata(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _add_acceptance(graph, model):
    """Compares the score with the threshold: the confidence, or what another score makes of the logits."""
    import onnx

    if "score" in model.outputs:
        score = convert_score(model.score, model.num_classes)
        score = onnx.compose.add_prefix(score, _own(""), rename_inputs=False, rename_outputs=False)
        graph.node.extend(score.graph.node)
        graph.initializer.extend(score.graph.initializer)
    decides = "score" if "score" in model.outputs else "confidence"
    graph.node.append(_node("GreaterOrEqual", [decides, "threshold"], "reaches", {}))
    graph.node.append(_node("And", ["usable", "reaches"], "accepted", {}))


def set_metadata(proto: "onnx.ModelProto", text: str) -> None:
    """Sets `metadata_props["metadata"]`, and nothing else there."""
    import onnx

    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {"metadata": text})


class Predictor:
    """A wrapped ONNX model in ONNX Runtime, with the `predict` of `serving.ServingModel`.

    Args:
        proto: `onnx.ModelProto` from `wrap`.
        model: `ServingModel` it was wrapped for.

    Attributes:
        proto, image_shape, num_classes, temperature, threshold, outputs: As given.
    """

    def __init__(self, proto: "onnx.ModelProto", model: ServingModel) -> None:
        self._session = onnx_session(proto.SerializeToString())
        self.proto = proto
        self.image_shape = model.image_shape
        self.num_classes = model.num_classes
        self.temperature = model.temperature
        self.threshold = model.threshold
        self.outputs = list(model.outputs)

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the outputs of all images, float or uint8, in batches; a dict of arrays."""
        return in_batches(self._run, np.asarray(images))

    def _run(self, images):
        return dict(zip(self.outputs, self._session.run(self.outputs, {"images": images.numpy()}), strict=True))


def _node(op, inputs, output, attributes):
    import onnx

    names = [_own(name) for name in inputs]
    return onnx.helper.make_node(op, names, [_own(output)], name=_own(f"{output}/{op}"), **attributes)


def _own(name):
    """A name that no tensor of the network has."""
    return name if name in _PUBLIC else f"serving/{name}"
