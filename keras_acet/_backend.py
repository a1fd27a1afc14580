"""Stops the import of the package with a clear message when Keras does not run on TensorFlow."""

import os


def _check(name):
    if name != "tensorflow":
        raise ImportError(
            "keras_acet needs Keras' TensorFlow backend. "
            f"Received: the {name} backend. Set the environment variable KERAS_BACKEND=tensorflow."
        )


# Importing Keras already fails where another backend is asked for and not installed.
_check(os.environ.get("KERAS_BACKEND", "tensorflow"))

import keras  # noqa: E402

_check(keras.backend.backend())  # Keras' own configuration file may name one too
