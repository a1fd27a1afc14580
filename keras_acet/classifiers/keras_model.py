"""A Keras model as a classifier."""

import pathlib
from typing import Self

import keras

from keras_acet._keras_file import load_model
from keras_acet.classifiers.base import one_line
from keras_acet.classifiers.function import TracedClassifier
from keras_acet.files import sha256_of_files
from keras_acet.networks.interface import check_one_input_and_output
from keras_acet.training.model import ACETModel


class KerasClassifier(TracedClassifier):
    """A Keras model, live or from a `.keras` file.

    Args:
        network: `keras.Model` from images to logits; of an `ACETModel` the inner network is taken.
        path, sha256: See `Classifier`.
        name: What to call it; the default is that of `path`, else of the model.

    Raises:
        ValueError: If the model has more than one input or output.
    """

    description = "a Keras model"
    kind = "keras"

    def __init__(
        self,
        network: keras.Model,
        *,
        path: pathlib.Path | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        name = name or (None if path else network.name)
        while isinstance(network, ACETModel):
            network = network.network
        check_one_input_and_output(network, str(path or name))
        inputs, outputs = getattr(network, "inputs", None), getattr(network, "outputs", None)  # not of a subclass
        super().__init__(
            network,
            image_shape=tuple(inputs[0].shape[1:]) if inputs else None,
            num_classes=outputs[0].shape[-1] if outputs else None,
            path=path,
            name=name,
            sha256=sha256,
        )

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        return path.suffix == ".keras" and path.is_file()

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Self:
        return cls(read_keras(path), path=path, sha256=sha256_of_files(path.parent, [path]))


def read_keras(path: pathlib.Path) -> keras.Model:
    """Reads a `.keras` file with `safe_mode=True`, of a model that takes no more memory than its file can fill.

    Raises:
        ValueError: If it cannot be loaded here.
    """
    try:
        return load_model(path)
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(
            f"{path} must be a Keras model that can be loaded here; classes of your own must be registered with Keras "
            f"first. Received: {one_line(error)}"
        ) from error
