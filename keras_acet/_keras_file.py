"""Reads `.keras` files, which may come from elsewhere."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_acet._limits import readable

_MAX_RATIO = 16  # of what the archive unpacks to; Keras does not compress it
_SLACK = 2**20  # for what a model makes besides its weights, such as the state of random layers


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file with `safe_mode=True`: no lambda, no code of the file runs.

    A model is refused before it takes more than twice the memory of what its file unpacks to: a file of a few kilobytes
    may ask for layers of any size.

    Raises:
        Exception: Of any kind, for a file that is damaged or refused.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    size = os.path.getsize(path)
    if unpacked > _MAX_RATIO * size + _SLACK:
        raise ValueError(
            f"a file of {readable(size)} that unpacks to {readable(unpacked)}; Keras does not compress its files"
        )
    with _limited_variables(2 * unpacked + _SLACK):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextlib.contextmanager
def _limited_variables(limit: int) -> Iterator[None]:
    """Raises before the variables that are made take more than `limit` bytes."""
    total = 0

    def create(make: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        nonlocal total
        total += _size(arguments.get("initial_value"), arguments.get("dtype"))
        if total > limit:
            raise ValueError(f"a model whose weights take more than the {readable(limit)} that its file can hold")
        return make(**arguments)

    with tf.variable_creator_scope(create):
        yield


def _size(value: Any, dtype: Any) -> int:
    """The bytes of a variable's first value, or 0 if they are not known before it is computed."""
    try:
        with tf.Graph().as_default():  # where nothing is computed, only the shape
            tensor = tf.convert_to_tensor(value() if callable(value) else value, dtype)
    except Exception:  # an initializer of one's own can fail in any way
        return 0
    return (tensor.shape.num_elements() or 0) * tensor.dtype.size
