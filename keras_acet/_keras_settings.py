"""Keras' global settings, as this package documents its numbers: another project's keras.json changes none of them."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def standard(*, dtype_policy: bool = False) -> Iterator[None]:
    """Sets Keras' floatx, epsilon and data format to float32, 1e-7 and channels last, and puts them back at the end.

    Keras reads them from `~/.keras/keras.json`, and whoever calls `keras.config.set_floatx` changes them for all.

    Args:
        dtype_policy: Whether the precision of layers made meanwhile is float32 too; else it stays what the user chose.
    """
    floatx, epsilon = keras.config.floatx(), keras.config.epsilon()
    data_format, policy = keras.config.image_data_format(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    if dtype_policy:
        keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_epsilon(epsilon)
        keras.config.set_image_data_format(data_format)
        if dtype_policy:
            keras.config.set_dtype_policy(policy)
