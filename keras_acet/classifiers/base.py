"""The base class of classifiers, and functions that several kinds of classifiers use."""

import abc
import copy
import pathlib
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import BATCH_SIZE, as_float
from keras_acet.datasets import Data
from keras_acet.networks import Interface

Shape = tuple[int | None, ...]


class Classifier(abc.ABC):
    """A classifier from images to logits, whatever it was stored as; `load` and `as_classifier` make one.

    A kind is a subclass with `logits`, and with `claims` and `load` where it can be a file. Whoever is given a
    classifier changes nothing of it: `replace` makes another one.

    Args:
        image_shape: Tuple such as `(28, 28, 1)`, None where any size goes; or None if the model does not say.
        num_classes: Number of logits, or None if the model does not say.
        path: Where it was loaded from, or None.
        name: Its name; the default is the last part of `path` without ".keras" or ".onnx", else "model".
        sha256: Hex digits of the SHA-256 of its files, see `load`; or None. It is part of the key of stored results.

    Attributes:
        description: The kind of classifier in words, such as "an ONNX file".
        kind: The same in one word, as in `results.json`.
        network: The `keras.Model`, or function, from images to logits that TensorFlow can trace; None if there is none.
        is_differentiable: Whether the kind gives gradients with respect to the images; `check` tests the model itself.
        flags: Dict name -> text, the flags of its run; or None.
        history: List of one dict per epoch, name -> number, as in the run's `metrics.csv`.
        trained_on: Fingerprint of the `Data` that it was trained on; None if nothing says so.
        interface: `networks.Interface`, what the stored model takes and gives; `logits` and `network` go from [0, 1] to
            logits whatever it is. None until `as_classifier` is told, or `check` finds out.
        is_foreign: Whether nothing says what it was trained on, so that test and calibration images may be part of it.
    """

    description: ClassVar[str]
    kind: ClassVar[str]
    network: keras.Model | Callable[[tf.Tensor], tf.Tensor] | None = None
    is_differentiable: bool = False
    flags: dict[str, str] | None = None
    history: list[dict[str, Any]]
    trained_on: str | None = None
    interface: Interface | None = None

    def __init__(
        self,
        *,
        image_shape: Shape | None = None,
        num_classes: int | None = None,
        path: pathlib.Path | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.path = path
        self.name = name or (_name_of(path) if path else "model")
        self.sha256 = sha256
        self.history = []

    @abc.abstractmethod
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of all images, in inference mode and in batches.

        Args:
            images: Array of shape `(n, ...)`, n at least 1: float in [0, 1], or uint8, which is divided by 255.

        Returns:
            float32 array of shape `(n, num_classes)`.
        """

    @property
    def is_foreign(self) -> bool:
        return self.trained_on is None

    def variables(self, image_shape: tuple[int, ...]) -> list[Any]:
        """Returns the TensorFlow variables that a call with images of this shape could change; none of other models."""
        return []

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        """Whether a path is a classifier of this kind, by its name and the files there; then `load` loads it."""
        return False

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> "Classifier":
        """Loads the classifier at a path that the class claims.

        Args:
            path: The path.
            trusted: Whether a program may be loaded that could do more than compute; see `SavedModelClassifier`.

        Raises:
            ImportError: If a package is needed and missing.
            ValueError: If it is damaged, or not from one batch of images to one of logits.
        """
        raise NotImplementedError(f"{cls.__name__} claims no path.")

    def replace(
        self,
        *,
        name: str | None = None,
        is_differentiable: bool | None = None,
        interface: Interface | None = None,
        trained_on: Data | None = None,
    ) -> Self:
        """Returns a copy about which something else is known.

        Args:
            name: Its name.
            is_differentiable, interface: See `Classifier`.
            trained_on: `datasets.Data` whose `train` it was trained on, and nothing else; say so only where you know:
                reports and exports then call the other images of the data held out.
        """
        other = copy.copy(self)
        other.trained_on = self.trained_on if trained_on is None else trained_on.fingerprint
        other.name = self.name if name is None else name
        other.is_differentiable = self.is_differentiable if is_differentiable is None else is_differentiable
        other.interface = self.interface if interface is None else interface
        return other


def logits_in_batches(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch_size: int | None
) -> np.ndarray:
    """Calls a function of NumPy batches for all images.

    Args:
        run: Function from float32 images `(n, ...)` to logits `(n, num_classes)`.
        images: Array `(n, ...)`: float, or uint8.
        batch_size: The only size of a batch that `run` takes, or None. The last batch is filled up by repetition.

    Returns:
        float32 array `(n, num_classes)`.
    """
    size = batch_size or BATCH_SIZE
    logits = []
    for i in range(0, max(len(images), 1), size):
        batch = as_float(images[i : i + size])
        filled = batch if batch_size is None else np.resize(batch, (size, *batch.shape[1:]))
        logits.append(run(filled)[: len(batch)].astype(np.float32))
    return np.concatenate(logits)


def only(path: pathlib.Path, what: str, names: Iterable[str]) -> str:
    """Returns the one name there is, or raises ValueError."""
    names = sorted(names)
    if len(names) != 1:
        raise ValueError(f"{path} must have one {what}. Received: {names or 'none'}.")
    return names[0]


def one_line(error: Exception) -> str:
    """Returns what an error says, in one line of at most 400 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    cause = text.rpartition("Exception encountered: ")[2]  # Keras puts a whole configuration before it
    return textwrap.shorten(cause, 400, placeholder=" ...")


def _name_of(path: pathlib.Path) -> str:
    return path.stem if path.suffix in (".keras", ".onnx") else path.resolve().name  # of "." too
