"""Small models in the formats that the commands read."""

import keras
import numpy as np
import onnx

SHAPE, CLASSES = (8, 8, 1), ["cat", "dog", "cow"]
ABOUT = {"name": "served", "data": {"class_names": CLASSES}, "input": {"shape": list(SHAPE), "resize": False}}


def dense(classes=3, shape=SHAPE, **options):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes, **options)])


def onnx_dense(path, *, classes=3, kind=onnx.TensorProto.FLOAT, more=()):
    """An ONNX file by hand: images, made floats and flattened, times weights."""
    weights = np.random.default_rng(0).normal(size=(64, classes)).astype(np.float32)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Flatten", ["floats"], ["pixels"]),
            onnx.helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
        ],
        "by_hand",
        [value("images", kind, ["batch", *SHAPE]), *(value(one, kind, ["batch"]) for one in more)],
        [value("logits", onnx.TensorProto.FLOAT, ["batch", classes])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return model
