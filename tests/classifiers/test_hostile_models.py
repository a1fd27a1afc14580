"""Model files from elsewhere: SavedModels that do more than compute, ONNX files with their weights beside them."""

import json
import os
import zipfile

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from keras_acet import classifiers
from keras_acet.classifiers import savedmodel_graph
from keras_acet.classifiers.onnx_weights import external_files
from keras_acet.files import sha256_of_file

_PARTS = {"tensor_names": ["a"], "shape_and_slices": [""]}
IMAGES = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2, 1)


def save(path, extra):
    """A SavedModel of two logits, whose call does something extra first."""

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((None, 2, 2, 1), tf.float32)])
        def serve(self, images):
            with tf.control_dependencies([extra()]):
                return {"logits": self.scale * tf.reshape(images, (-1, 4))[:, :2]}

    module = Module()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def write_in_a_condition(mark):
    return tf.cond(tf.constant(True), lambda: [tf.io.write_file(mark, "x"), tf.constant(1)][1], lambda: tf.constant(0))


@pytest.mark.parametrize(
    ("extra", "operation"),
    [
        (lambda mark: tf.io.write_file(mark, "x"), "WriteFile"),
        (lambda mark: tf.io.read_file(__file__), "ReadFile"),
        (lambda mark: tf.io.matching_files("/*"), "MatchingFiles"),
        (lambda mark: tf.py_function(lambda: 1.0, [], tf.float32), "EagerPyFunc"),
        (lambda mark: tf.numpy_function(lambda: 1.0, [], tf.float64), "PyFunc"),
        (lambda mark: tf.raw_ops.SaveV2(**_PARTS, prefix=mark, tensors=[1.0]), "SaveV2"),
        (lambda mark: tf.raw_ops.RestoreV2(**_PARTS, prefix=mark, dtypes=["float"])[0], "RestoreV2"),
        (lambda mark: tf.print("x", output_stream=f"file://{mark}"), "PrintV2 to a file"),
        (lambda mark: tf.raw_ops.DebugIdentityV3(input=[1.0], debug_urls=[f"file://{mark}"]), "DebugIdentityV3"),
        (lambda mark: next(iter(tf.data.TextLineDataset(__file__))), "TextLineDataset"),
        (write_in_a_condition, "WriteFile"),
    ],
)
def test_a_savedmodel_that_does_more_than_compute_is_refused_before_it_runs(extra, operation, tmp_path):
    mark = str(tmp_path / "mark")
    path = save(tmp_path / "model", lambda: extra(mark))
    for file in tmp_path.glob("mark*"):  # that of the trace
        file.unlink()
    with pytest.raises(ValueError, match=r"computes and nothing else. Received: one with .*trusted=True"):
        classifiers.load(path)
    assert savedmodel_graph.effects(path) == [operation]
    assert not list(tmp_path.glob("mark*")), "nothing of it has run"


def test_a_trusted_savedmodel_runs(tmp_path):
    path = save(tmp_path / "model", lambda: tf.io.write_file(str(tmp_path / "mark"), "x"))
    (tmp_path / "mark").unlink(missing_ok=True)
    logits = classifiers.load(path, trusted=True).logits(IMAGES)
    np.testing.assert_allclose(logits, 2 * IMAGES.reshape(2, 4)[:, :2])
    assert (tmp_path / "mark").exists()


def test_savedmodels_of_keras_and_tensorflow_pass(tmp_path):
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((2, 2, 1)), layers.Dropout(0.5), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)]
    )
    network.export(tmp_path / "keras", verbose=False)
    save(tmp_path / "print", lambda: tf.print("to the terminal"))
    for name in ("keras", "print"):
        assert savedmodel_graph.effects(tmp_path / name) == []


def test_the_functions_that_save_variables_may_not_be_called_by_others(tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    path = save(tmp_path / "model", tf.no_op)
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph = model.meta_graphs[0].graph_def
    (saver,) = [one.signature.name for one in graph.library.function if "traced_save" in one.signature.name]
    serve = next(one for one in graph.library.function if "_serve_" in one.signature.name)
    call = serve.node_def.add(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = saver
    file.write_bytes(model.SerializeToString())
    assert savedmodel_graph.effects(path) == ["MergeV2Checkpoints", "SaveV2"]


def test_a_damaged_savedmodel_says_so(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"must be a SavedModel. Received: a saved_model.pb that cannot be read"):
        classifiers.load(tmp_path)


def test_the_digest_of_a_savedmodel_covers_its_variables_and_assets_behind_links_too(tmp_path):
    path = save(tmp_path / "model", tf.no_op)
    first = classifiers.load(path).sha256
    (path / "assets" / "classes.txt").write_text("cat")
    second = classifiers.load(path).sha256
    (path / "variables").rename(tmp_path / "elsewhere")
    (path / "variables").symlink_to(tmp_path / "elsewhere")
    assert classifiers.load(path).sha256 == second != first
    data = tmp_path / "elsewhere" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes().replace(np.float32(2).tobytes(), np.float32(3).tobytes()))
    assert savedmodel_digest(path) != second


@pytest.mark.parametrize("name", ["variables/variables.index", "assets/classes.txt", "fingerprint.pb"])
def test_a_pipe_in_a_savedmodel_is_refused(tmp_path, name):
    path = save(tmp_path / "model", tf.no_op)
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    with pytest.raises(ValueError, match=f"must be a SavedModel of files and folders alone. Received: .*{name}"):
        classifiers.load(path)


def savedmodel_digest(path):
    try:
        return classifiers.load(path).sha256
    except ValueError:  # TensorFlow keeps a checksum
        return None


def onnx_file(path, weights, location="weights.bin", nested=False):
    """logits = pixels x weights, with the weights in another file."""
    matrix = numpy_helper.from_array(weights.astype(np.float32), "matrix")
    shape = numpy_helper.from_array(np.array([-1, 4]), "shape")
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["flat"])]
    if nested:
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["chosen"], value=matrix)],
            "inner",
            [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [4, 2])],
        )
        nodes += [
            helper.make_node("Constant", [], ["always"], value=numpy_helper.from_array(np.array(True))),
            helper.make_node("If", ["always"], ["matrix"], then_branch=inner, else_branch=inner),
        ]
    nodes.append(helper.make_node("MatMul", ["flat", "matrix"], ["logits"]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 2, 2, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "net", [images], [logits], [shape] if nested else [shape, matrix])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, path, save_as_external_data=True, location=location, size_threshold=60, convert_attribute=True)
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_the_digest_of_an_onnx_file_covers_weights_beside_it(tmp_path, nested):
    path = tmp_path / "net.onnx"
    onnx_file(path, np.ones((4, 2)), nested=nested)
    assert [file.name for file in external_files(path)] == ["weights.bin"]
    before, content = classifiers.load(path), path.read_bytes()
    assert before.sha256 != sha256_of_file(path)
    (tmp_path / "weights.bin").unlink()
    onnx_file(path, np.full((4, 2), 2.0), nested=nested)
    after = classifiers.load(path)
    assert path.read_bytes() == content and after.sha256 != before.sha256
    np.testing.assert_allclose(after.logits(IMAGES), 2 * before.logits(IMAGES))


def test_an_onnx_file_and_its_weights_may_both_be_links_into_one_folder(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", np.ones((4, 2)))
    (tmp_path / "snapshot").mkdir()
    for name in ("net.onnx", "weights.bin"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / name)
    assert [file.name for file in external_files(tmp_path / "snapshot" / "net.onnx")] == ["weights.bin"]
    linked = classifiers.load(tmp_path / "snapshot" / "net.onnx")
    assert linked.sha256 == classifiers.load(path).sha256


def test_an_onnx_file_alone_has_the_digest_of_the_file(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", np.ones((4, 2)))
    onnx.save(onnx.load(path), path)
    (tmp_path / "weights.bin").unlink()
    assert classifiers.load(path).sha256 == sha256_of_file(path)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../weights.bin", "own folder. Received: weights in '../weights.bin'"),
        ("/etc/hostname", "own folder. Received: weights in '/etc/hostname'"),
        ("", "own folder. Received: weights in ''"),
        ("link.bin", "own folder. Received: weights in 'link.bin'"),
        ("missing.bin", "needs the file 'missing.bin' beside it"),
        ("pipe.bin", "needs the file 'pipe.bin' beside it"),
        ("short.bin", "at least 32 bytes. Received: 8 bytes"),
    ],
)
def test_weights_of_an_onnx_file_must_lie_beside_it_and_be_whole(tmp_path, location, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = onnx_file(folder / "net.onnx", np.ones((4, 2)))
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "short.bin").write_bytes(bytes(8))
    os.mkfifo(folder / "pipe.bin")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=message):
        classifiers.load(path)


def test_a_huge_declared_tensor_is_refused_by_its_file(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", np.ones((4, 2)))
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[-1].dims[:] = [4, 2**40]
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"by their shape \(4, 1099511627776\). Received: 32 bytes"):
        classifiers.load(path)


@pytest.mark.parametrize("how", ["initializer", "constant"])
@pytest.mark.parametrize("operation", ["ConstantOfShape", "Expand"])
def test_a_huge_tensor_made_of_a_shape_is_refused(tmp_path, operation, how):
    path = onnx_file(tmp_path / "net.onnx", np.ones((4, 2)))
    proto = onnx.load(path)
    shape = numpy_helper.from_array(np.array([2**20, 2**20]), "huge")
    if how == "initializer":
        proto.graph.initializer.append(shape)
    else:
        proto.graph.node.append(helper.make_node("Constant", [], ["huge"], value=shape))
    inputs = ["huge"] if operation == "ConstantOfShape" else ["flat", "huge"]
    proto.graph.node.append(helper.make_node(operation, inputs, ["more"]))
    onnx.save(proto, path)
    with pytest.raises(ValueError, match=rf"more than 2 GiB. Received: {operation} of shape \(1048576, 104"):
        classifiers.load(path)


def test_an_operation_that_onnx_runtime_does_not_have_is_named_in_one_line(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", np.ones((4, 2)))
    proto = onnx.load(path)
    proto.graph.node[-1].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(proto, path)
    with pytest.raises(ValueError, match=r"must be an ONNX file. Received: .*MatMul") as raised:
        classifiers.load(path)
    assert "\n" not in str(raised.value)


def keras_file(path, *layers):
    keras.Sequential([keras.Input((2, 2, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(2)]).save(path)
    return path


def changed(path, change=lambda config: None, **options):
    """Writes the archive anew with another configuration."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_code_in_a_keras_file_is_refused(tmp_path):
    path = keras_file(tmp_path / "lambda.keras", keras.layers.Lambda(lambda images: 2 * images))
    with pytest.raises(ValueError, match="whose `function` is a Python lambda"):
        classifiers.load(path)
    save(tmp_path / "saved", lambda: tf.io.write_file(str(tmp_path / "mark"), "x"))
    inputs = keras.Input((2, 2, 1))
    layer = keras.layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serving_default")
    keras.Model(inputs, layer(inputs)["logits"]).save(tmp_path / "outside.keras")
    (tmp_path / "mark").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="which loads an external SavedModel"):
        classifiers.load(tmp_path / "outside.keras")
    assert not (tmp_path / "mark").exists()


def test_a_small_keras_file_of_a_huge_model_is_refused_before_it_takes_memory(tmp_path):
    def widen(config):
        config["config"]["layers"][-1]["config"]["units"] = 10**12

    path = changed(keras_file(tmp_path / "huge.keras"), widen)
    with pytest.raises(ValueError, match=r"a model whose weights take more than the .* that its file can hold"):
        classifiers.load(path)


def test_a_keras_file_that_unpacks_to_much_more_is_refused(tmp_path):
    path = keras_file(tmp_path / "bomb.keras")
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(2**25))
    with pytest.raises(ValueError, match=r"a file of .* KiB that unpacks to 32 MiB"):
        classifiers.load(path)


def test_a_keras_file_that_was_compressed_loads(tmp_path):
    path = keras_file(tmp_path / "mine.keras", keras.layers.Dropout(0.5), keras.layers.BatchNormalization())
    logits = classifiers.load(path).logits(IMAGES)
    again = classifiers.load(changed(path, compression=zipfile.ZIP_DEFLATED))
    np.testing.assert_array_equal(again.logits(IMAGES), logits)
