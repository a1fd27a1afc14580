"""Runs the ONNX file itself; needs onnxruntime and pillow, neither a server nor TensorFlow."""

import os
from typing import Any

import numpy as np

from . import images
from .about import check_threshold, read_about
from .errors import UserError


class OnnxModel:
    """An exported ONNX file in ONNX Runtime.

    Args:
        path: The file, `model.onnx` or `model.int8.onnx`.
        threshold: None for the model's own, or a float.

    Raises:
        UserError: If it is not such a file.
    """

    def __init__(self, path: str | os.PathLike[str], *, threshold: float | None = None) -> None:
        import onnxruntime

        if not os.path.isfile(path):  # a pipe would be waited for
            raise UserError(f"{path} cannot be loaded: it is no file")
        # As `keras_acet._onnx_runtime` does, which this file has to do without.
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of an input that may be left out
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base class of their own
            raise UserError(f"{path} cannot be loaded: {error}") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        if "metadata" not in properties:
            raise UserError(f"{path} is no exported model: it holds no metadata")
        self._about = read_about(properties["metadata"], path)
        missing = {"label", "confidence", "accepted"} - {output.name for output in self._session.get_outputs()}
        if missing:
            raise UserError(f"{path} is no exported model: it has no output {min(missing)}")
        check_threshold(threshold, self._about)
        self._more: dict[str, np.ndarray] = {} if threshold is None else {"threshold": np.array(threshold, np.float32)}

    def classify(self, content: bytes) -> dict[str, Any]:
        """Classifies a PNG or JPEG file.

        Args:
            content: bytes of the file.

        Returns:
            dict: "label", the class' name; "confidence"; "accepted".

        Raises:
            UserError: If the model does not take images.
            ValueError: If the file cannot be decoded, or has another size.
        """
        inputs = {"images": images.decode(content, self._about), **self._more}
        label, confidence, accepted = self._session.run(["label", "confidence", "accepted"], inputs)
        return {
            "label": self._about["data"]["class_names"][label.item()],
            "confidence": confidence.item(),
            "accepted": accepted.item(),
        }
