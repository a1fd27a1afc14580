"""SavedModels in a session, which restores a graph as a C++ server does, and in a fresh process."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_acet.export import verification
from keras_acet.export.artifacts import savedmodel


class Twice(tf.Module):
    """A module that tracks its variable itself: what a C++ server can load."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable([[1.0, 2.0], [3.0, 4.0]])

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def linear(self, x):
        return {"product": x @ self.weight, "label": tf.argmax(x, axis=1), "large": x > 0.5}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.uint8, name="levels")])
    def levels(self, levels):
        return {"sum": tf.reduce_sum(tf.cast(levels, tf.int32))}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    def texts(self, texts):
        return {"double": texts + texts, "length": tf.strings.length(texts)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "1"
    module = Twice()
    tf.saved_model.save(module, str(path), signatures={n: getattr(module, n) for n in ("linear", "levels", "texts")})
    return path


def in_session(path, signature, **inputs):
    return savedmodel.load_graph(str(path / "saved_model.pb"))(signature, inputs)


def test_the_same_numbers_as_python(saved):
    images = np.random.default_rng(0).random((5, 2), np.float32)
    expected = tf.saved_model.load(str(saved)).signatures["linear"](x=tf.constant(images))
    found = in_session(saved, "linear", x=images)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-6)
    # By hand: [x, y] times the weight is [x + 3 y, 2 x + 4 y].
    by_hand = np.stack([images[:, 0] + 3 * images[:, 1], 2 * images[:, 0] + 4 * images[:, 1]], axis=1)
    np.testing.assert_allclose(found["product"], by_hand, rtol=1e-6)
    turned = in_session(saved, "linear", x=images[:2].T)["product"]
    np.testing.assert_allclose(turned, images[:2].T @ [[1, 2], [3, 4]], rtol=1e-6)  # not contiguous
    assert in_session(saved, "linear", x=images[:0])["product"].shape == (0, 2)
    assert in_session(saved, "levels", levels=np.array([255, 1], np.uint8))["sum"] == 256


def test_texts(saved):
    texts = [b"", b"\x00\xff\x00", b"x" * 1000]
    found = in_session(saved, "texts", texts=np.array(texts, object))
    assert found["double"].tolist() == [b"", b"\x00\xff\x00\x00\xff\x00", b"x" * 2000]
    assert found["length"].tolist() == [0, 3, 1000]
    assert in_session(saved, "texts", texts=np.array([], object))["length"].shape == (0,)


def test_a_module_that_holds_a_keras_model_fails_as_in_a_server(tmp_path):
    module = tf.Module()
    module.network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    module.call = tf.function(lambda x: module.network(x), input_signature=[tf.TensorSpec((None, 2), name="x")])
    path = tmp_path / "1"
    tf.saved_model.save(module, str(path), signatures=module.call)
    tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.zeros((1, 2)))  # Python sees nothing wrong
    case = verification.Case("one row", "serving_default", {"x": np.zeros((1, 2), np.float32)}, {})
    with pytest.raises(verification.VerificationError, match=r"\(tensorflow session\): .*Could not find variable"):
        verification.run(path / "saved_model.pb", [case], "tensorflow session", savedmodel.load_graph)


def _without_variables(path):
    shutil.rmtree(path / "variables")


def _of_another_model(path):
    other = tf.Module()
    other.name_of_its_own = tf.Variable(1.0)
    tf.saved_model.save(other, str(path.parent / "other"))
    shutil.rmtree(path / "variables")
    shutil.copytree(path.parent / "other" / "variables", path / "variables")


def _edited(change):
    def edit(path):
        file = path / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        change(model.meta_graphs[0])
        file.write_bytes(model.SerializeToString())

    return edit


def _for_training(graph):
    graph.meta_info_def.tags[:] = ["train"]


def _with_another_operation(graph):
    graph.graph_def.node.add(name="strange", op="NoSuchOperation")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "does not exist"),
        (_without_variables, "is not a valid checkpoint"),
        (_of_another_model, "No variables to save"),  # TensorFlow's words for a checkpoint without them
        (_edited(_for_training), "tags 'serve' could not be found"),
        (_edited(_with_another_operation), "Op type not registered 'NoSuchOperation'"),
    ],
)
def test_damaged_models(saved, tmp_path, damage, message):
    path = tmp_path / "1"
    shutil.copytree(saved, path)
    damage(path)
    with pytest.raises((OSError, ValueError, RuntimeError, tf.errors.OpError), match=message):
        in_session(path, "linear", x=np.zeros((1, 2), np.float32))


def test_an_asset_that_is_read_and_gone(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    rows = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"), tf.string, rows.WHOLE_LINE, tf.int64, rows.LINE_NUMBER
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer, -1)
    signature = [tf.TensorSpec((None,), tf.string, name="texts")]
    module.call = tf.function(lambda texts: {"row": module.table.lookup(texts)}, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.call)
    texts = np.array([b"b", b"c"], object)
    assert in_session(tmp_path / "1", "serving_default", texts=texts)["row"].tolist() == [1, -1]
    (tmp_path / "1" / "assets" / "words.txt").unlink()
    with pytest.raises(tf.errors.NotFoundError, match="words.txt; No such file"):
        in_session(tmp_path / "1", "serving_default", texts=texts)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.zeros((1, 3), np.float32)}, "Cannot feed value of shape"),
        ({}, "must feed a value for placeholder"),
        ({"texts": np.zeros((1, 2), np.float32)}, "name ''"),  # the signature has no such input
    ],
)
def test_bad_inputs(saved, inputs, message):
    with pytest.raises((TypeError, ValueError, tf.errors.OpError), match=message):
        in_session(saved, "linear", **inputs)
