"""Makes a `Classifier` of a path, a model or a function."""

import os
import pathlib
from typing import Any

import keras

from keras_acet.classifiers.base import Classifier
from keras_acet.classifiers.function import FunctionClassifier
from keras_acet.classifiers.keras_model import KerasClassifier
from keras_acet.classifiers.onnx_file import ONNXClassifier
from keras_acet.classifiers.provable import ProvableClassifier
from keras_acet.classifiers.run import RunClassifier
from keras_acet.classifiers.savedmodel import SavedModelClassifier
from keras_acet.classifiers.wrapping import wrap
from keras_acet.networks import Interface

# Each is asked in turn whether a path is its own.
KINDS: list[type[Classifier]] = [
    *(ProvableClassifier, RunClassifier, SavedModelClassifier, KerasClassifier, ONNXClassifier),
]


def load(path: str | os.PathLike[str], *, trusted: bool = False) -> Classifier:
    """Loads a classifier.

    * A directory with `flags.flags` is a finished run of `train.py`; its network is `model.keras`.
    * A directory with `provable.json` is a classifier with a detector, a `ProvableClassifier`, also if it is a run.
    * A `.keras` file is a Keras model, loaded with `safe_mode=True`; of an `ACETModel` the inner network is taken.
      Classes of your own must be registered with Keras beforehand.
    * A directory with `saved_model.pb` is a SavedModel: its signature "serving_default", or the only one, with one
      float input, and the output "logits", or the only one. A SavedModel is a program: one whose graph reads or writes
      files, speaks to the network or calls Python is refused before anything of it runs, unless `trusted`.
    * An `.onnx` file runs in ONNX Runtime on the CPU, with one float32 input, and the output "logits", or the only one.
      A fixed batch size is kept to. Weights in files beside it must lie in its folder.

    Args:
        path: One of these.
        trusted: Whether to load a SavedModel whatever its graph holds, because you trust who made it.

    Returns:
        `Classifier`. Its `sha256` is that of the one file, as `sha256sum` prints it. Where there are several (a
        SavedModel; an ONNX file and those that hold its weights) it is that of the lines `DIGITS  NAME`, sorted by
        name.

    Raises:
        ImportError: If ONNX Runtime is needed and missing.
        ValueError: If there is no such thing, it is damaged, it is not from one batch of images to one of logits, or
            it is a SavedModel that is more than a computation and not trusted.
    """
    path = pathlib.Path(path).expanduser()
    for kind in KINDS:
        if kind.claims(path):
            return kind.load(path, trusted=trusted)
    if not path.exists():
        received = "which does not exist"
    elif path.is_dir():
        received = "a directory without flags.flags (of a run) or saved_model.pb"
    else:
        received = "which ends otherwise; save a Keras model with model.save('NAME.keras')"
    raise ValueError(
        "A classifier must be a run directory, a .keras file, a SavedModel directory or an .onnx file. Received: "
        f"{path}, {received}."
    )


def as_classifier(model: Any, *, inputs: str | None = None, outputs: str | None = None) -> Classifier:
    """Returns a classifier for a model, a function or a path: the one way to make one of a live model.

    `evaluate` and `export_model` find out what a model takes and gives where they are not told here, see `check`.

    Args:
        model: `Classifier`, which is returned as it is; `keras.Model` from images to logits, an `ACETModel` too; a
            function from images to logits that TensorFlow can trace; or a path, see `load`.
        inputs: What the model takes: `"unit"` for pixels in [0, 1], `"bytes"` for pixels in 0..255; None if not known.
        outputs: What it gives: `"logits"` or `"probabilities"`; None if not known. Given one of the two, the other
            is `"unit"` or `"logits"`.

    Raises:
        TypeError: If it is something else.
        ValueError: If a model has more than one input or output; if `inputs` or `outputs` is another word, or given for
            a classifier of which it is known; or see `load`.

    Example:

    >>> as_classifier(lambda images: 2 * images).description
    'a function'
    """
    classifier = _as_classifier(model)
    if inputs is None and outputs is None:
        return classifier
    if classifier.interface is not None:
        raise ValueError(
            f"`inputs` and `outputs` must be left out for {classifier.name}, which is known to go from "
            f"{classifier.interface}. Received: inputs={inputs!r}, outputs={outputs!r}."
        )
    return wrap(classifier, Interface(inputs=inputs or "unit", outputs=outputs or "logits"))


def _as_classifier(model: Any) -> Classifier:
    if isinstance(model, Classifier):
        return model
    if isinstance(model, keras.Model):
        return KerasClassifier(model)
    if isinstance(model, str | os.PathLike):
        return load(model)
    if callable(model):
        return FunctionClassifier(model, name=getattr(model, "name", None))
    raise TypeError(
        "A classifier must be a keras.Model, a function from images to logits, a path, or a `Classifier`. Received: "
        f"{type(model).__name__}."
    )
