"""A SavedModel as a classifier."""

import pathlib
from typing import Any, Self

import numpy as np
import tensorflow as tf

from keras_acet.classifiers.base import Classifier, Shape, logits_in_batches, one_line, only
from keras_acet.classifiers.savedmodel_graph import effects
from keras_acet.files import sha256_of_files


class SavedModelClassifier(Classifier):
    """A signature of a SavedModel: "serving_default", or the only one, with one float input.

    A SavedModel is a program, which TensorFlow runs with the rights of this process.

    Args:
        path: The directory with `saved_model.pb`.
        name, sha256: See `Classifier`.
        trusted: Whether it is loaded although its graph holds operations that touch files, the network or Python.

    Raises:
        ValueError: If it is damaged, is not from one batch of images to one of logits, or holds such operations and is
            not trusted; then nothing of it has run.
    """

    description = "a SavedModel"
    kind = "savedmodel"

    def __init__(
        self, path: pathlib.Path, *, name: str | None = None, sha256: str | None = None, trusted: bool = False
    ) -> None:
        found = [] if trusted else effects(path)
        if found:
            raise ValueError(
                f"{path} must be a SavedModel that computes and nothing else. Received: one with {', '.join(found)}, "
                "which reach files, the network or Python: a SavedModel is a program. If you trust who made it, load "
                "it with `trusted=True`."
            )
        try:
            self._model = tf.saved_model.load(str(path))  # kept: a signature does not keep its variables alive
        except Exception as error:  # a damaged file can fail in any way
            raise ValueError(f"{path} must be a SavedModel. Received: {one_line(error)}") from error
        signatures = dict(self._model.signatures)
        which = "serving_default" if "serving_default" in signatures else only(path, "signature", signatures)
        self._signature = signatures[which]
        inputs = self._signature.structured_input_signature[1]
        self._name = only(path, "input", inputs)
        self._input = inputs[self._name]
        if not self._input.dtype.is_floating or self._input.shape.rank is None:
            raise ValueError(f"{path} must take float images of a known rank. Received: input {self._input}.")
        outputs = self._signature.structured_outputs
        self._output = "logits" if "logits" in outputs else only(path, "output", outputs)
        self._batch_size, *image_shape = self._input.shape.as_list()
        shape: Shape = tuple(image_shape)
        logits = outputs[self._output].shape
        num_classes = logits[-1] if logits.rank == 2 else None
        super().__init__(image_shape=shape, num_classes=num_classes, path=path, name=name, sha256=sha256)

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        return (path / "saved_model.pb").is_file()

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Self:
        # Not `rglob` alone, which does not follow a link to a folder.
        below = {file for folder in (path, path / "variables", path / "assets") for file in folder.rglob("*")}
        files = [file for file in below if file.is_file()]
        others = sorted(file for file in below if not file.is_file() and not file.is_dir())
        if others:  # to open a pipe would wait for ever
            raise ValueError(f"{path} must be a SavedModel of files and folders alone. Received: {others[0]}.")
        return cls(path, sha256=sha256_of_files(path, files), trusted=trusted)

    def variables(self, image_shape: tuple[int, ...]) -> list[Any]:
        return list(self._signature.variables)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return logits_in_batches(self._run, images, self._batch_size)

    def _run(self, images: np.ndarray) -> np.ndarray:
        arguments = {self._name: tf.constant(images, self._input.dtype)}
        return self._signature(**arguments)[self._output].numpy()
