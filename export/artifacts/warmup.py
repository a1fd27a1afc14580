"""Warm-up requests, which TensorFlow Serving replays before it serves a version."""

import os
from typing import Any

import numpy as np
import tensorflow as tf


def write_warmup_requests(
    path: str | os.PathLike[str], model_name: str, requests: dict[str, tuple[dict[str, Any], list[str] | None]]
) -> None:
    """Writes the file `assets.extra/tf_serving_warmup_requests` of a SavedModel.

    It is a TFRecord of `PredictionLog`. Without it the first request of each signature waits for TensorFlow's lazy
    initialisation, and a request that the model cannot answer fails for a user; with it, it fails while the server
    loads.

    Args:
        path: Where to write; the directory must exist.
        model_name: What the server calls the model.
        requests: Dict signature name -> `(inputs, output_filter)`: a dict input name -> array, and None for all the
            outputs, or a list of those to ask for, on which a server that batches insists where there are no inputs.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (inputs, output_filter) in requests.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(array)))
            request.output_filter.extend(output_filter or ())
            writer.write(log.SerializeToString())
