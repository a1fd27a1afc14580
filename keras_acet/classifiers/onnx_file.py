"""An ONNX file as a classifier."""

import pathlib
from typing import Self

import numpy as np

from keras_acet._onnx_runtime import onnx_session
from keras_acet.classifiers.base import Classifier, logits_in_batches, one_line, only
from keras_acet.classifiers.onnx_weights import external_files
from keras_acet.files import sha256_of_files


class ONNXClassifier(Classifier):
    """An ONNX file in ONNX Runtime on the CPU, with one float32 input.

    Args:
        path: The file.
        name, sha256: See `Classifier`.

    Raises:
        ImportError: If ONNX Runtime is missing.
        ValueError: If it is damaged, or not from one batch of images to one of logits.
    """

    description = "an ONNX file"
    kind = "onnx"

    def __init__(self, path: pathlib.Path, *, name: str | None = None, sha256: str | None = None) -> None:
        try:
            self._session = onnx_session(str(path))
        except ImportError as error:
            raise ImportError(f"{path} needs ONNX Runtime: `pip install onnxruntime`. Cause: {error}.") from error
        except Exception as error:  # a damaged file can fail in any way
            raise ValueError(f"{path} must be an ONNX file. Received: {one_line(error)}") from error
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        images = inputs[only(path, "input", inputs)]
        if images.type != "tensor(float)" or not images.shape:
            raise ValueError(
                f"{path} must take a batch of float32 images. Received: {images.type} of shape {images.shape}."
            )
        outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
        self._input, self._output = images.name, "logits" if "logits" in outputs else only(path, "output", outputs)
        # A size that may vary has a name, or none.
        sizes = [size if isinstance(size, int) else None for size in images.shape]
        self._batch_size = sizes[0]
        logits = outputs[self._output].shape
        num_classes = logits[1] if len(logits) == 2 and isinstance(logits[1], int) else None
        super().__init__(image_shape=tuple(sizes[1:]), num_classes=num_classes, path=path, name=name, sha256=sha256)

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        return path.suffix == ".onnx" and path.is_file()

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Self:
        return cls(path, sha256=sha256_of_files(path.parent, [path, *external_files(path)]))

    def logits(self, images: np.ndarray) -> np.ndarray:
        return logits_in_batches(self._run, images, self._batch_size)

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run([self._output], {self._input: images})[0]
