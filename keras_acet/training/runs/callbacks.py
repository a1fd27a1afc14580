"""The Keras callbacks of a run."""

import contextlib
import csv
import io
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet.files import UnwritableError, write_text

if TYPE_CHECKING:
    from keras_acet.training.runs.directory import RunDirectory
    from keras_acet.training.runs.progress import Progress


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number; the message names the step."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` after the first step whose loss is not a finite number.

    A loss tells of the update before it, so an epoch's last update is looked at before the epoch is recorded.
    """

    def __init__(self, run: "RunDirectory") -> None:
        super().__init__()
        self._run = run
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None  # `fit` passes them, here and below
        # `loss` is the mean over the epoch so far; it is finite until the step that is not.
        if not np.isfinite(logs["loss"]):
            self._stop(f"the loss is {float(logs['loss'])} at", f", batch {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        for variable in [*self.model.trainable_variables, *self.model.optimizer.variables]:
            values = keras.ops.convert_to_numpy(variable)
            if not np.isfinite(values.astype("float32")).all():
                self._stop(f"{variable.path} has values that are not finite after", ", its last")
        for name, value in logs.items():
            if not np.isfinite(value):
                self._stop(f"{name} is {float(value)} after", ", its last")

    def _stop(self, what, batch):
        checkpoint = self._run.last_checkpoint()
        raise NonFiniteLossError(
            f"{what} step {int(self.model.optimizer.iterations)} (epoch {self._epoch + 1}{batch}); "
            + (f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet")
            + ". A lower `learning_rate` often helps."
        )


class AverageForValidation(keras.callbacks.Callback):
    """Validates the averaged weights when the optimizer averages, since they are the ones training ends with.

    `keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which leaves rounding errors in the weights
    that are trained on; this one keeps a copy.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._kept: list[np.ndarray] | None = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.model.optimizer.use_ema:
            weights = self.model.trainable_variables
            self._kept = [keras.ops.convert_to_numpy(weight) for weight in weights]
            self.model.optimizer.finalize_variable_values(weights)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._kept is not None:
            for weight, value in zip(self.model.trainable_variables, self._kept, strict=True):
                weight.assign(value)
            self._kept = None


class Recorder(keras.callbacks.Callback):
    """Writes checkpoint, `metrics.csv` and TensorBoard scalars after each epoch."""

    def __init__(self, run: "RunDirectory", progress: "Progress") -> None:
        super().__init__()
        self._run = run
        self._progress = progress
        self._events = run.path / "tensorboard"
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        shutil.rmtree(self._events, ignore_errors=True)  # what an interrupted epoch wrote would be there twice
        with self._writing_events():
            self._writer = tf.summary.create_file_writer(str(self._events))
        self._write_scalars(*self._progress.history)
        if self._progress.history:
            self._write_csv()
            self._run.remove_old_checkpoints(self._progress)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.monotonic()
        # At the epoch's first step: at its last one a schedule already gives the rate of the step to come.
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate}
        row.update({name: float(value) for name, value in logs.items()})
        self._progress.epoch = epoch + 1
        self._progress.history.append(row)
        self._progress.seconds += time.monotonic() - self._start
        self._run.save_checkpoint(self.model, self._progress)
        self._write_csv()
        self._write_scalars(row)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        with self._writing_events():
            self._writer.close()

    @contextlib.contextmanager
    def _writing_events(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            raise UnwritableError(f"{self._events} cannot be written: {error.message}") from error

    def _write_csv(self):
        history = self._progress.history
        names = list(dict.fromkeys(name for row in history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(self._run.path / "metrics.csv", text.getvalue())

    def _write_scalars(self, *rows):
        with self._writing_events():
            for row in rows:
                for name, value in row.items():
                    if name != "epoch":
                        with self._writer.as_default(step=row["epoch"]):
                            tf.summary.scalar(name, value)
            self._writer.flush()
