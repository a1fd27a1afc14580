"""Tests of keras_acet.export.c_api, in processes that never import TensorFlow's Python."""

import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_acet.export

C_API = pathlib.Path(keras_acet.export.__file__).parent / "c_api.py"


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


def tensor_names(path):
    """Signature -> name -> tensor name, read as the exporter does."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
    return {
        name: {key: info.name for infos in (signature.inputs, signature.outputs) for key, info in infos.items()}
        for name, signature in graph.signature_def.items()
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "1"
    module = Twice()
    tf.saved_model.save(module, str(path), signatures={n: getattr(module, n) for n in ("linear", "levels", "texts")})
    return path


def run(code, *arguments):
    """Runs code in a fresh process, where `model` is the module; returns the process."""
    start = (
        "import sys, json, importlib.util, numpy as np\n"
        f"spec = importlib.util.spec_from_file_location('c_api', {str(C_API)!r})\n"
        "c_api = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(c_api)\n"
    )
    end = "\nassert not {'tensorflow', 'keras', 'keras_acet'} & set(sys.modules)\n"
    return subprocess.run(
        [sys.executable, "-I", "-c", start + code + end, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def last_line(result):
    return result.stderr.strip().splitlines()[-1]


def test_the_same_numbers_as_python(saved, tmp_path):
    images = np.random.default_rng(0).random((5, 2), np.float32)
    np.save(tmp_path / "x.npy", images)
    code = """
path, names, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
model = c_api.SavedModel(path)
x = np.load(folder + "/x.npy")
linear, outputs = names["linear"], ["large", "product", "label"]
found = dict(zip(outputs, model.run({linear["x"]: x}, [linear[name] for name in outputs])))
empty, = model.run({linear["x"]: x[:0]}, [linear["product"]])
turned, = model.run({linear["x"]: x[:2].T}, [linear["product"]])
total, = model.run({names["levels"]["levels"]: np.array([255, 1], np.uint8)}, [names["levels"]["sum"]])
np.savez(folder + "/found.npz", **found, empty=empty, turned=turned, total=total)
texts = [b"", b"\\x00\\xff\\x00", b"x" * 1000]
for _ in range(3):
    double, length = model.run({names["texts"]["texts"]: np.array(texts, object)},
                               [names["texts"]["double"], names["texts"]["length"]])
    assert double.tolist() == [text + text for text in texts] and length.tolist() == [0, 3, 1000]
"""
    result = run(code, saved, json.dumps(tensor_names(saved)), tmp_path)
    assert result.returncode == 0, result.stderr
    expected = tf.saved_model.load(str(saved)).signatures["linear"](x=tf.constant(images))
    with np.load(tmp_path / "found.npz") as found:
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.numpy().dtype
            np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-6)
        # By hand: [x, y] times the weight is [x + 3 y, 2 x + 4 y].
        by_hand = np.stack([images[:, 0] + 3 * images[:, 1], 2 * images[:, 0] + 4 * images[:, 1]], axis=1)
        np.testing.assert_allclose(found["product"], by_hand, rtol=1e-6)
        np.testing.assert_allclose(found["turned"], images[:2].T @ [[1, 2], [3, 4]], rtol=1e-6)  # not contiguous
        assert found["empty"].shape == (0, 2)
        assert found["total"].shape == () and found["total"] == 256


def test_a_module_that_holds_a_keras_model_fails_as_in_a_server(tmp_path):
    module = tf.Module()
    module.network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    module.call = tf.function(lambda x: module.network(x), input_signature=[tf.TensorSpec((None, 2))])
    path = tmp_path / "1"
    tf.saved_model.save(module, str(path), signatures=module.call)
    tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.zeros((1, 2)))  # Python sees nothing wrong
    names = tensor_names(path)["serving_default"]
    code = """
names = json.loads(sys.argv[2])
c_api.SavedModel(sys.argv[1]).run({names["x"]: np.zeros((1, 2), np.float32)}, [names["output_0"]])
"""
    result = run(code, path, json.dumps(names))
    assert result.returncode == 1
    assert last_line(result).startswith("RuntimeError: run: ")
    assert "Could not find variable" in last_line(result)


BAD_CALLS = {
    "c_api.SavedModel(path + '-absent')": "RuntimeError: .*-absent: Could not find SavedModel",
    "c_api.SavedModel(path, tags=('train',))": "RuntimeError: .*matching supplied tags: { train }",
    "model.run({}, ['nothing:0'])": "ValueError: .* Received: nothing:0.",
    "model.run({}, ['linear_x'])": "ValueError: .* Received: linear_x.",
    "model.run({}, ['linear_x:1'])": "ValueError: .* Received: linear_x:1.",
    "model.run({'linear_x:0': np.zeros(2, 'c8')}, [])": "TypeError: .* Received: complex64.",
    "model.run({'texts_texts:0': np.array(['a'], object)}, [])": "TypeError: Texts must be bytes.",
    # Types and shapes are TensorFlow's to check.
    "model.run({'linear_x:0': np.zeros((1, 2))}, [product])": "RuntimeError: run: .*double",
    "model.run({'linear_x:0': np.zeros((1, 3), 'f4')}, [product])": "RuntimeError: run: .*[Mm]atrix size",
    "model.run({}, [product])": "RuntimeError: run: .*linear_x",
}


def test_bad_calls(saved):
    code = """
path, product, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model, messages = c_api.SavedModel(path), []
for call in calls:
    try:
        messages.append(f"no error: {eval(call)}")
    except Exception as error:
        messages.append(f"{type(error).__name__}: {error}")
print(json.dumps(messages))
"""
    result = run(code, saved, tensor_names(saved)["linear"]["product"], json.dumps(list(BAD_CALLS)))
    assert result.returncode == 0, result.stderr
    for (call, pattern), message in zip(BAD_CALLS.items(), json.loads(result.stdout), strict=True):
        assert re.match(pattern, message), f"{call}: {message}"
