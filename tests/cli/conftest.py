"""Runs and models that the tables of inputs start from."""

import json
import shutil

import keras
import onnx
import pytest
import tensorflow as tf
from helpers import inputs
from helpers.models import ABOUT, SHAPE, dense, onnx_dense

from keras_acet.export import onnx_graph
from keras_acet.export.artifacts import savedmodel
from keras_acet.serving import ServingModel


@pytest.fixture(scope="session")
def stock(_server, tmp_path_factory):
    """Where a folder lies, while it is used, with data, a finished run, models in all formats, an export and pictures.

    The folder itself lies beside it: what a run knows of its data holds at one place only.
    """
    folder = tmp_path_factory.mktemp("stock") / "place"
    folder.mkdir()
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
    folder.rename(folder.with_name("kept"))
    return folder


@pytest.fixture
def place(stock):
    """A copy of the stock to work in."""
    shutil.copytree(stock.with_name("kept"), stock, symlinks=True)
    yield stock
    shutil.rmtree(stock)
