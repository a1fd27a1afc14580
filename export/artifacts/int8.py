"""The ONNX file of the network in 8-bit integers, calibrated and measured on its own."""

import pathlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from keras_acet.files import writing

from .. import onnx_graph
from .base import Subject, Variant
from .onnx_file import OnnxFile, converted

if TYPE_CHECKING:
    import onnx

_NUM_IMAGES = 512


class Int8OnnxFile(OnnxFile):
    """`model.int8.onnx`: a quarter of the size; its logits differ, so it has its own temperature and threshold."""

    name = "int8"
    file = "model.int8.onnx"

    def variant(self, subject: Subject) -> Variant:
        """Quantises the network by ranges of training images, as they should not depend on test images."""
        measurements = subject.measurements
        data = measurements.data
        chosen = np.random.default_rng(measurements.protocol.seed).permutation(len(data.train_labels))[:_NUM_IMAGES]
        network = quantize(subject.source.once(converted), data.some_images("train", np.sort(chosen)))
        uncalibrated = measurements.serving_model(None, 0.0)
        plain = onnx_graph.Predictor(onnx_graph.wrap(network, uncalibrated), uncalibrated)
        calibrated = measurements.calibrated(
            plain.predict(measurements.calibration_images)["logits"],
            plain.predict(measurements.test_images)["logits"],
        )
        model = measurements.serving_model(calibrated, subject.threshold)
        return Variant(onnx_graph.Predictor(onnx_graph.wrap(network, model), model), calibrated)

    def proto(self, subject: Subject) -> "onnx.ModelProto":
        return subject.model.proto


def quantize(network_proto: "onnx.ModelProto", images: np.ndarray) -> "onnx.ModelProto":
    """Quantises a converted network to 8-bit integers: static, QDQ, per channel, ranges from calibration images.

    Args:
        network_proto: `onnx.ModelProto` from `convert_network`.
        images: float32 array `(n, *image_shape)` of training images.

    Returns:
        `onnx.ModelProto` with the same input and output.
    """
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder, writing(pathlib.Path(folder)):
        source, prepared, target = (pathlib.Path(folder) / f"{name}.onnx" for name in ("float", "prepared", "int8"))
        onnx.save(network_proto, source)
        quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # without VNNI, products of 8-bit pairs overflow 16 bits
        )
        return onnx.load(target)


class _Reader:
    """The calibration images, as ONNX Runtime asks for them."""

    def __init__(self, images, batch_size=64):
        self._batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))

    def get_next(self):
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.ascontiguousarray(batch, np.float32)}
