"""Runs one artifact in a process of its own, which must do without keras_acet: `python -P fresh.py REQUEST.json`.

The request names the artifact, an `.npz` of inputs and the calls to make; the outputs go into another `.npz`. It is run
as a file, so that nothing of the package it lies in is imported.
"""

import json
import pathlib
import sys

import numpy as np


class _Absent:
    """Makes packages look as if they were not installed."""

    def __init__(self, *names):
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self._names:
            raise ImportError(f"{name} was imported in a process that must do without.")


def with_tensorflow(path, calls, inputs):
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    model = tf.saved_model.load(path)
    for call in calls:
        arguments = {name: tf.constant(inputs[key]) for name, key in call["inputs"].items()}
        yield {name: tensor.numpy() for name, tensor in model.signatures[call["signature"]](**arguments).items()}


def with_session(path, calls, inputs):
    """Loads the graph with its own restore operation, as a C++ server does; `with_tensorflow` restores objects."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def
        for call in calls:
            signature = signatures[call["signature"]]
            arguments = {signature.inputs[name].name: inputs[key] for name, key in call["inputs"].items()}
            yield session.run({name: tensor.name for name, tensor in signature.outputs.items()}, arguments)


def with_onnxruntime(path, calls, inputs):
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # it warns of an input that may be left out
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_outputs()]
    for call in calls:
        arguments = {name: inputs[key] for name, key in call["inputs"].items()}
        yield dict(zip(names, session.run(names, arguments), strict=True))


RUNTIMES = {"tensorflow": with_tensorflow, "tensorflow session": with_session, "onnxruntime": with_onnxruntime}


def main(request):
    sys.meta_path.insert(0, _Absent("keras_acet", "export"))
    runtime = RUNTIMES[request["runtime"]]
    with np.load(request["inputs"], allow_pickle=False) as archive:
        inputs = dict(archive)
    found = {}
    for call, outputs in zip(request["calls"], runtime(request["path"], request["calls"], inputs), strict=True):
        found |= {f"{call['case']}/{name}": array for name, array in outputs.items()}
    np.savez(request["outputs"], **found)


if __name__ == "__main__":
    try:
        main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    except Exception as error:  # TensorFlow's messages have many lines, of which the last tells least
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
