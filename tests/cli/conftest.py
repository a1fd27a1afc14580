"""Runs and models that the tables of inputs start from."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from helpers import inputs

from keras_acet.export import onnx_graph
from keras_acet.export.artifacts import savedmodel
from keras_acet.serving import ServingModel

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


@pytest.fixture(scope="session")
def stock(_server, tmp_path_factory):
    """A folder with data, a finished run, models in all formats, an export and pictures."""
    folder = tmp_path_factory.mktemp("stock")
    inputs.npz()(folder)
    inputs.file("7.png", inputs.encoded(inputs.gray()))(folder)
    request = {"cwd": str(folder), "stdout": str(folder / "stdout"), "stderr": str(folder / "stderr")}
    flags = "--dataset=npz:mine.npz --method=plain --network=mlp --batch_size=8 --epochs=1 --num_noise=4 --run_dir=run"
    pid = _server({"script": "train.py", "arguments": flags.split(), **request})
    keras.utils.set_random_seed(0)
    network = dense()
    network.save(folder / "net.keras")
    tf.saved_model.save(
        network,
        str(folder / "saved"),
        signatures=tf.function(network).get_concrete_function(tf.TensorSpec([None, *SHAPE], name="images")),
    )
    onnx_dense(folder / "net.onnx")
    (folder / "served").mkdir()
    (folder / "served/metadata.json").write_text(json.dumps(ABOUT))
    served = ServingModel(dense(use_bias=False), image_shape=SHAPE, num_classes=3, threshold=0.5)
    savedmodel.write_savedmodel(
        served, folder / "served", metadata=ABOUT, metadata_path=folder / "served/metadata.json"
    )
    wrapped = onnx_graph.wrap(onnx_dense(folder / "net.onnx"), served, metadata=json.dumps(ABOUT))
    onnx.save(wrapped, folder / "served/model.onnx")
    assert _server({"wait": pid}) == 0, (folder / "stderr").read_text()
    return folder


@pytest.fixture
def place(stock, tmp_path):
    """A copy of the stock to work in."""
    folder = tmp_path / "place"
    shutil.copytree(stock, folder)
    flags = folder / "run/flags.flags"
    flags.write_text(flags.read_text().replace(str(stock), str(folder)))
    return folder
