"""Asks TensorFlow Serving over gRPC; needs grpcio and tensorflow-serving-api, which imports TensorFlow."""

import contextlib
import os
import sys
from typing import Any

from . import images
from .about import check_threshold, read_about
from .errors import UserError

_SECONDS = 30


@contextlib.contextmanager
def _quiet():
    """Keeps back what TensorFlow writes to stderr while it is loaded; its first lines obey no setting."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with open(os.devnull, "wb") as aside, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)


class GrpcClient:
    """A model behind TensorFlow Serving's gRPC API.

    Args:
        server: "host:port".
        model: What the server calls the model.
        version: None for the latest version; a number or a label, such as "2" or "canary".
        threshold: None for the model's own, or a float, which goes to the server with each image, decoded here.
    """

    def __init__(self, server: str, model: str, *, version: str | None = None, threshold: float | None = None) -> None:
        with _quiet():  # the protos bring TensorFlow, which tells of itself
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._server, self._model, self._version, self._threshold = server, model, version, threshold
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server))
        # A server that batches takes a request without inputs if it does not ask for all outputs of the signature.
        text = self._predict("metadata", {}, outputs=["json"])["json"].item()
        self._about = read_about(text, f"{model} at {server}")
        check_threshold(threshold, self._about)

    def classify(self, content: bytes) -> dict[str, Any]:
        """Classifies a PNG or JPEG file.

        Args:
            content: bytes of the file.

        Returns:
            dict: "label", the class' name; "confidence"; "accepted".

        Raises:
            UserError: If no server answers, or with an error.
            ValueError: If the file cannot be decoded, or has another size.
        """
        if self._threshold is None:
            images.check(content, self._about)
            answer = self._predict("serving_bytes", {"image_bytes": [content]})
            images.check_answer({"logits": answer["logits"].flat})
        else:  # the threshold has as many rows as the images: a server that batches insists
            inputs = {"images": images.decode(content, self._about), "threshold": [self._threshold]}
            answer = self._predict("serving_threshold", inputs)
        return {
            "label": self._about["data"]["class_names"][answer["label"].item()],
            "confidence": answer["confidence"].item(),
            "accepted": answer["accepted"].item(),
        }

    def _predict(self, signature, inputs, outputs=()):
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version and self._version.isdecimal():
            request.model_spec.version.value = int(self._version)
        elif self._version:
            request.model_spec.version_label = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._stub.Predict(request, timeout=_SECONDS)
        except grpc.RpcError as error:
            raise UserError(self._reason(error.code(), error.details())) from error
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def _reason(self, code, details):
        if code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"):
            return f"no TensorFlow Serving answers at {self._server}: {details}; name another --server"
        return f"{self._model} at {self._server} answers {code.name}: {details}"
