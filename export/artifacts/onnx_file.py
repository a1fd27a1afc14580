"""The ONNX file for ONNX Runtime and other software that reads ONNX."""

import json
import pathlib
import shlex
from typing import TYPE_CHECKING, ClassVar

from keras_acet.scores import MaxSoftmax

from .. import onnx_graph
from ..clients.images import takes_files
from .base import Artifact, Run, Source, Subject

if TYPE_CHECKING:
    import onnx

    from ..metadata import Metadata


def load(path: str) -> Run:
    """Loads it in ONNX Runtime on the CPU."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    # Not the set-up of the package: a fresh process has to do without it.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # it warns of an input that may be left out
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_outputs()]

    def run(signature, inputs):
        if "threshold" in inputs:
            inputs = {**inputs, "threshold": inputs["threshold"].reshape(())}  # one for all images, a scalar
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def converted(source: Source) -> "onnx.ModelProto":
    """Converts the network; for `Source.once`."""
    return onnx_graph.convert_network(source.classifier.network, source.data.image_shape)


class OnnxFile(Artifact):
    """`model.onnx`, which takes float images, and the threshold if need be; see `onnx_graph.wrap`."""

    name = "onnx"
    file = "model.onnx"
    runtimes: ClassVar = {"onnxruntime": load}
    signatures = ("serving_default", "serving_threshold")
    may_refuse_empty_batches = True  # and it may break off the process

    def limits(self, source: Source) -> None:
        """Converts network and score: they may have an operation that ONNX lacks."""
        source.once(converted)
        if not isinstance(source.score, MaxSoftmax):
            onnx_graph.convert_score(source.score, source.data.num_classes)

    def proto(self, subject: Subject) -> "onnx.ModelProto":
        """Returns the `onnx.ModelProto` that is written, but for its metadata."""
        return onnx_graph.wrap(subject.source.once(converted), subject.model)

    def write(self, folder: pathlib.Path, subject: Subject) -> None:
        proto = self.proto(subject)
        onnx_graph.set_metadata(proto, json.dumps(subject.metadata.to_json()))
        (folder / self.file).write_bytes(proto.SerializeToString())

    def usage(self, version: pathlib.Path, metadata: "Metadata", clients: str) -> dict[str, str]:
        if not takes_files(metadata.input.shape):
            return {}
        return {f"Ask {self.file}": f"{clients} onnx --model {shlex.quote(str(version / self.file))} IMAGE.png"}
