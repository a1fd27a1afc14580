"""The SavedModel: signatures for TensorFlow Serving around a `serving.ServingModel`."""

import csv
import io
import json
import pathlib
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from keras_acet.serving import ServingModel

from ..clients.images import takes_files
from ..image_graph import decode
from .base import Artifact, Run, Subject
from .warmup import write_warmup_requests

if TYPE_CHECKING:
    from ..metadata import Metadata


def load_objects(path: str) -> Run:
    """Loads it as Python does, which makes its variables anew from objects."""
    import pathlib

    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    model = tf.saved_model.load(str(pathlib.Path(path).parent))

    def run(signature, inputs):
        outputs = model.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


def load_graph(path: str) -> Run:
    """Loads the graph in a session with its own restore operation, as a C++ server does."""
    import pathlib

    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    session = tf.compat.v1.Session(graph=tf.Graph())
    signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(pathlib.Path(path).parent)).signature_def

    def run(signature, inputs):
        call = signatures[signature]
        arguments = {call.inputs[name].name: array for name, array in inputs.items()}
        return session.run({name: tensor.name for name, tensor in call.outputs.items()}, arguments)

    return run


class SavedModel(Artifact):
    """A SavedModel for TensorFlow Serving, with warm-up requests; see `write_savedmodel`."""

    name = "savedmodel"
    file = "saved_model.pb"
    # A SavedModel may load in Python and fail in a server.
    runtimes: ClassVar = {"tensorflow": load_objects, "tensorflow session": load_graph}
    signatures = ("serving_default", "serving_threshold", "serving_uint8", "serving_bytes")

    def write(self, folder: pathlib.Path, subject: Subject) -> None:
        write_savedmodel(
            subject.model,
            folder,
            metadata=subject.metadata.to_json(),
            metadata_path=folder / "metadata.json",
            resize=subject.resize,
        )
        (folder / "assets.extra").mkdir()
        path = folder / "assets.extra" / "tf_serving_warmup_requests"
        write_warmup_requests(path, subject.metadata.name, self._warmup_requests(subject.cases))

    def _warmup_requests(self, cases):
        """One for each signature; `metadata` asks for one output, so that a server that batches takes it."""
        requests = {"metadata": ({}, ["json"])}
        for case in cases:
            if len(case.expected["label"]) and case.signature not in requests:
                requests[case.signature] = ({name: array[:1] for name, array in case.inputs.items()}, None)
        return requests

    def usage(self, version: pathlib.Path, metadata: "Metadata", clients: str) -> dict[str, str]:
        name = shlex.quote(metadata.name)
        commands = {"Serve the SavedModel": _docker_run(version.parent.resolve(), metadata.name)}
        if takes_files(metadata.input.shape):
            about = shlex.quote(str(version / "metadata.json"))
            commands["Ask it"] = f"{clients} rest --model {name} --metadata {about} IMAGE.png"
        return commands


def _docker_run(folder, name):
    """The command that serves the model on this machine alone, confined as in `serving/docker-compose.yml`."""
    mount = io.StringIO()  # docker reads a line of CSV
    csv.writer(mount, lineterminator="").writerow(
        ["type=bind", f"source={folder}", f"target=/models/{name}", "readonly"]
    )
    options = {
        "publish": ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"],  # the server has no authentication
        "mount": [mount.getvalue()],
        "env": [f"MODEL_NAME={name}"],
        "user": ["65534:65534"],
        "tmpfs": ["/tmp"],
        "cap-drop": ["ALL"],
        "security-opt": ["no-new-privileges"],
        "memory": ["2g"],
        "cpus": ["2"],
        "pids-limit": ["512"],
        "log-opt": ["max-size=10m"],
    }
    given = [f"--{option}={value}" for option, values in options.items() for value in values]
    return shlex.join(["docker", "run", "--rm", "--init", "--read-only", *given, "tensorflow/serving:2.21.0"])


def write_savedmodel(
    model: ServingModel,
    directory: str | pathlib.Path,
    *,
    metadata: dict[str, Any],
    metadata_path: str | pathlib.Path,
    resize: bool = False,
) -> None:
    """Writes a `serving.ServingModel` as a SavedModel.

    Signatures; each but the last has the outputs of `ServingModel`, for any number of images, none included:

    * "serving_default": "images", float32 `(batch, *image_shape)`.
    * "serving_threshold": "images" and "threshold", float32 `(batch,)`, or `(1,)` for all. It has a batch dimension
      because TensorFlow Serving, where it batches requests, joins all inputs along the first one; then it must be
      `(batch,)`.
    * "serving_uint8": "images", uint8, for data of rank 3.
    * "serving_bytes": "image_bytes", string `(batch,)`, PNG or JPEG, for data of shape `(height, width, 1 or 3)`. What
      cannot be decoded, or has another size while `resize` is false, is refused in its row, as the guard refuses.
    * "metadata": no input; "json", and as tensors "temperature", "threshold" and "class_names".

    The module that is saved tracks the network's variables, not the Keras model: so they are stored once, and a C++
    server finds them.

    Args:
        model: `ServingModel` of a `keras.Model`.
        directory: Where to write.
        metadata: Dict as in `metadata.json`.
        metadata_path: File with the same as JSON, which becomes an asset.
        resize: Whether decoded images of another size are resized, without keeping the aspect, as
            `keras_acet.datasets.decoding` says.
    """
    module = tf.Module()
    network: Any = model.network
    module.variables_of_network = [variable.value for variable in network.variables]
    module.metadata_file = tf.saved_model.Asset(str(metadata_path))
    shape = model.image_shape
    images = tf.TensorSpec((None, *shape), tf.float32, name="images")
    threshold = tf.TensorSpec((None,), tf.float32, name="threshold")
    signatures = {
        "serving_default": tf.function(lambda images: model(images), [images]),
        "serving_threshold": tf.function(
            lambda images, threshold: model(images, threshold=threshold), [images, threshold]
        ),
        "metadata": tf.function(lambda: _constants(model, metadata), []),
    }
    if len(shape) == 3:
        levels = tf.TensorSpec((None, *shape), tf.uint8, name="images")
        signatures["serving_uint8"] = tf.function(lambda images: model(_to_pixels(images)), [levels])
    if takes_files(shape):
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        signatures["serving_bytes"] = tf.function(
            lambda image_bytes: model(decode(image_bytes, shape, resize=resize)), [encoded]
        )
    signatures = {name: function.get_concrete_function() for name, function in signatures.items()}
    module.signature_functions = list(signatures.values())
    tf.saved_model.save(module, str(directory), signatures=signatures)


def _to_pixels(images):
    return tf.cast(images, tf.float32) / 255.0


def _constants(model, metadata):
    return {
        "json": tf.constant(json.dumps(metadata)),
        "temperature": tf.constant(model.temperature),
        "threshold": tf.constant(model.threshold),
        "class_names": tf.constant(metadata["data"]["class_names"]),
    }
