"""A finished run as a classifier."""

import pathlib
from typing import Self

from keras_acet.classifiers.keras_model import KerasClassifier, read_keras
from keras_acet.files import sha256_of_files
from keras_acet.networks import Interface
from keras_acet.training.runs import RunDirectory


class RunClassifier(KerasClassifier):
    """The network of a finished run, with the flags and the history of its training.

    `load` makes one of a run directory; its images to calibrate on were kept from training.
    """

    description = "a run"
    kind = "run"
    interface = Interface()

    @classmethod
    def claims(cls, path: pathlib.Path) -> bool:
        return (path / "flags.flags").exists()

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Self:
        run = RunDirectory(path)
        flags = run.flags()
        model = path / "model.keras"
        if not run.is_finished:
            raise ValueError(
                f"{path} must hold a finished run. Received: one without results.json. Train it to the "
                f"end: give its training command again, or `ka.train` the recipe in {path / 'flags.flags'}."
            )
        if not model.is_file():
            raise ValueError(
                f"{path} must hold the trained network. Received: a run without model.keras. Train it again."
            )
        run.check_files()
        classifier = cls(read_keras(model), path=path, sha256=sha256_of_files(path, [model]))
        classifier.flags = flags
        classifier.history = run.history()
        classifier.trained_on = run.fingerprint()
        return classifier
