"""The run directory: what a training run leaves behind, and how it goes on after being killed.

    flags.flags              the run's flags, an absl flag file that repeats the run
    checkpoints/epoch-*.npz  everything the next epoch needs; the last two epochs
    metrics.csv              one row per epoch
    tensorboard/             the same numbers as TensorBoard scalars
    model.keras              the trained network alone
    results.json             the final table; written last, so its presence marks a finished run

Every file but TensorBoard's log is written under a temporary name, flushed to disk and renamed: it is there whole or
not at all. The checkpoint is the one source of truth. `metrics.csv` and the TensorBoard log are made again from the
history inside it, so a kill between two files neither loses nor doubles a row.
"""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import time

import keras
import numpy as np
import tensorflow as tf

_FLAGS = "flags.flags"
_LOCK = ".lock"
_TEMPORARY = ".tmp-"
_NOT_COMPARED = "# May be changed when the run goes on:"
_NUM_KEPT = 2


class RunDirectoryError(ValueError):
    """A run directory that cannot be used as asked; the message says why and what to do."""


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number; the message names the step."""


class Progress:
    """How far a run has come.

    Attributes:
        epoch: Number of completed epochs.
        history: List of one dict per completed epoch, name -> number.
        seconds: Time spent in these epochs.
        notes: Lines for the user, on damaged checkpoints that had to be passed over.
    """

    def __init__(self, epoch=0, history=(), seconds=0.0, notes=()):
        self.epoch = epoch
        self.history = list(history)
        self.seconds = seconds
        self.notes = list(notes)


class RunDirectory:
    """One training run on disk.

    The order of use is `check` (looks, changes nothing), `claim` (takes the directory), `restore`, training with
    `callbacks`, `save_network`, `finish`.

    Args:
        path: The directory. Nothing is created before `claim`.

    Raises:
        RunDirectoryError: From `check` and `claim`, when the directory is not free for this run.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock_file = None

    @property
    def is_finished(self):
        """Whether the run came to its end: `results.json` is there."""
        return (self.path / "results.json").exists()

    def check(self, flags, *, overwrite=False, complete=False):
        """Raises if `claim` with the same arguments would, and changes nothing on disk.

        Args:
            flags: Dict name -> text of the flags that make the run.
            overwrite: Whether a finished run, or one made with other flags, may be replaced. An unfinished run
                with the same flags goes on all the same, so that a killed `--overwrite` run resumes too.
            complete: Whether `flags` are all flags of the run; if not, only those given are compared.
        """
        with _readable_errors(self.path):
            if not self.path.exists():
                _check_parent(self.path)
                return
            if not self.path.is_dir():
                raise RunDirectoryError(f"{self.path} is a file; --run_dir must name a directory.")
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise RunDirectoryError(f"{self.path} is not writable; name another --run_dir.")
            if self._lock_file is None and (self.path / _LOCK).exists():
                with (self.path / _LOCK).open() as file:
                    self._lock(file)
            if not (self.path / _FLAGS).exists():
                if any(not _is_hidden(entry.name) for entry in self.path.iterdir()):
                    raise RunDirectoryError(
                        f"{self.path} is not empty and holds no run ({_FLAGS} is missing); name another --run_dir."
                    )
            elif not overwrite:
                self._check_same_run(flags, complete)

    def claim(self, flags, *, overwrite=False, extra_flags=None):
        """Takes the directory for this process: creates it, locks it, removes a run to be replaced.

        The lock is held until `release`, or until the process ends, however it ends.

        Args:
            flags: Dict name -> text of all flags that make the run.
            overwrite: As for `check`.
            extra_flags: Dict of flags that are written into the flag file but may change from one start to the
                next, such as where the data lie.
        """
        with _readable_errors(self.path):
            self.check(flags, overwrite=overwrite, complete=True)
            self.path.mkdir(parents=True, exist_ok=True)
            lock_file = (self.path / _LOCK).open("a")
            try:
                self._lock(lock_file)
            except RunDirectoryError:
                lock_file.close()
                raise
            self._lock_file = lock_file
            self.check(flags, overwrite=overwrite, complete=True)  # again: another process may have been here meanwhile
            if self.is_finished or self._differences(flags, complete=True):
                self._remove()
            for leftover in [
                *self.path.glob(_TEMPORARY + "*"),
                *self.path.glob(f"*/{_TEMPORARY}*"),
            ]:
                leftover.unlink()
            head = "# Repeats this run: python train.py --flagfile=THIS_FILE --run_dir=ANOTHER_DIRECTORY"
            lines = [head, *_flag_lines(flags)]
            if extra_flags:
                lines += [_NOT_COMPARED, *_flag_lines(extra_flags)]
            _write_text(self.path / _FLAGS, "\n".join([*lines, ""]))
            (self.path / "checkpoints").mkdir(exist_ok=True)  # after the flags, which make the directory a run

    def release(self):
        """Lets other processes have the directory; the end of the process does so too."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def restore(self, model):
        """Sets all variables of a built and compiled model to the last whole checkpoint.

        A checkpoint that is damaged (cut short, altered, of another model) is passed over for the one before, and
        the progress has a note on it. Without any whole checkpoint the model stays as it is.

        Args:
            model: A built and compiled `keras.Model` whose optimizer is built.

        Returns:
            `Progress`.
        """
        variables = _state(model)
        notes = []
        for path in reversed(self._checkpoints()):
            try:
                meta, arrays = _read_checkpoint(path, variables)
            except Exception as error:  # a damaged file can fail in any way
                notes.append(f"{path} is damaged and passed over ({_one_line(error)})")
                continue
            for (_, variable), array in zip(variables, arrays, strict=True):
                variable.assign(array)
            if notes:
                notes[-1] += f"; going on from {path}"
            return Progress(meta["epoch"], meta["history"], meta["seconds"], notes)
        if notes:
            notes[-1] += "; no whole checkpoint is left, starting anew"
        return Progress(notes=notes)

    def callbacks(self, progress):
        """Returns the Keras callbacks that write this directory while `fit` runs.

        Call `fit` with `initial_epoch=progress.epoch`; `progress` is kept up to date.

        Args:
            progress: What `restore` returned.
        """
        return [_StopOnNonFiniteLoss(self), _AverageForValidation(), _Recorder(self, progress)]

    def save_checkpoint(self, model, progress):
        """Writes `checkpoints/epoch-NNNN.npz` and removes all but the last two.

        The file holds the arrays of all variables of the model and its optimizer, and `meta`: their paths and
        shapes, the metrics so far, the epoch, and a SHA-256 over all of it. It needs no pickle to be read.
        """
        variables = _state(model)
        arrays = [_to_numpy(variable) for _, variable in variables]
        meta = {
            "epoch": progress.epoch,
            "seconds": progress.seconds,
            "history": progress.history,
            "paths": [path for path, _ in variables],
        }
        meta = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        entries = {f"{index:05d}": array for index, array in enumerate(arrays)}
        digest = np.array(_digest([meta, *arrays]))
        path = self.path / "checkpoints" / f"epoch-{progress.epoch:04d}.npz"
        with _whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, meta=meta, sha256=digest, **entries)
        self.remove_old_checkpoints(progress)

    def remove_old_checkpoints(self, progress):
        """Leaves the two newest checkpoints up to `progress.epoch`; later ones are damaged."""
        numbers = {_epoch_of(path): path for path in self._checkpoints()}
        kept = [number for number in numbers if number <= progress.epoch][-_NUM_KEPT:]
        for number, path in numbers.items():
            if number not in kept:
                path.unlink()

    def last_checkpoint(self):
        """Returns the path of the newest checkpoint, or None."""
        return next(reversed(self._checkpoints()), None)

    def save_network(self, network):
        """Writes `model.keras`: the network alone, images -> logits."""
        with _whole_file(self.path / "model.keras") as temporary:
            network.save(temporary)

    def finish(self, results):
        """Writes `results.json`, which marks the run as finished.

        Args:
            results: Dict that the `json` module can write.
        """
        _write_text(self.path / "results.json", json.dumps(results, indent=2) + "\n")

    def _checkpoints(self):
        paths = (self.path / "checkpoints").glob("epoch-*.npz")
        return sorted((path for path in paths if _epoch_of(path) is not None), key=_epoch_of)

    def _lock(self, file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(
                f"another process is training in {self.path}; wait for it or name another --run_dir."
            ) from None

    def _check_same_run(self, flags, complete):
        if self.is_finished:
            raise RunDirectoryError(
                f"{self.path} holds a finished run; name another --run_dir, or give --overwrite to replace it."
            )
        differences = self._differences(flags, complete)
        if differences:
            more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
            raise RunDirectoryError(
                f"{self.path} was begun with other flags: {'; '.join(differences[:4])}{more}. Give the same flags to "
                "go on, name another --run_dir, or give --overwrite to replace it."
            )

    def _differences(self, flags, complete):
        if not (self.path / _FLAGS).exists():
            return []
        there = _read_flags(self.path / _FLAGS)
        names = [name for name in there if name in flags] + [name for name in flags if name not in there]
        if complete:
            names += [name for name in there if name not in flags]
        return [
            f"--{name} was {there.get(name, 'not given')}, now {flags.get(name, 'not given')}"
            for name in names
            if there.get(name) != flags.get(name)
        ]

    def _remove(self):
        # In an order that can break off anywhere: while results.json is there the run still counts as finished, and
        # while the flags are there as a run, so the same command does it again.
        last = [self.path / "results.json", self.path / _FLAGS]
        first = [entry for entry in self.path.iterdir() if entry not in last and entry.name != _LOCK]
        for entry in [*first, *last]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


class _StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` after the first step whose loss is not a finite number."""

    def __init__(self, run):
        super().__init__()
        self._run = run
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        # `loss` is the mean over the epoch so far; it is finite until the step that is not.
        if np.isfinite(logs["loss"]):
            return
        checkpoint = self._run.last_checkpoint()
        raise NonFiniteLossError(
            f"the loss is {float(logs['loss'])} at step {int(self.model.optimizer.iterations)} (epoch "
            f"{self._epoch + 1}, batch {batch + 1}); "
            + (f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet")
            + ". A lower --learning_rate often helps."
        )


class _AverageForValidation(keras.callbacks.Callback):
    """Validates the averaged weights when the optimizer averages, since they are the ones training ends with.

    `keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which leaves rounding errors in the weights
    that are trained on; this one keeps a copy.
    """

    def on_train_begin(self, logs=None):
        self._kept = None

    def on_test_begin(self, logs=None):
        if self.model.optimizer.use_ema:
            weights = self.model.trainable_variables
            self._kept = [keras.ops.convert_to_numpy(weight) for weight in weights]
            self.model.optimizer.finalize_variable_values(weights)

    def on_test_end(self, logs=None):
        if self._kept is not None:
            for weight, value in zip(self.model.trainable_variables, self._kept, strict=True):
                weight.assign(value)
            self._kept = None


class _Recorder(keras.callbacks.Callback):
    """Writes checkpoint, `metrics.csv` and TensorBoard scalars after each epoch."""

    def __init__(self, run, progress):
        super().__init__()
        self._run = run
        self._progress = progress
        self._writer = None

    def on_train_begin(self, logs=None):
        events = self._run.path / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)  # what an interrupted epoch wrote would be there twice
        self._writer = tf.summary.create_file_writer(str(events))
        for row in self._progress.history:
            self._write_scalars(row)
        if self._progress.history:
            self._write_csv()
            self._run.remove_old_checkpoints(self._progress)
        self._writer.flush()

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()
        # At the epoch's first step: at its last one a schedule already gives the rate of the step to come.
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate}
        row.update({name: float(value) for name, value in logs.items()})
        self._progress.epoch = epoch + 1
        self._progress.history.append(row)
        self._progress.seconds += time.monotonic() - self._start
        self._run.save_checkpoint(self.model, self._progress)
        self._write_csv()
        self._write_scalars(row)
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()

    def _write_csv(self):
        history = self._progress.history
        names = list(dict.fromkeys(name for row in history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        _write_text(self._run.path / "metrics.csv", text.getvalue())

    def _write_scalars(self, row):
        with self._writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value)


def _state(model):
    """All variables that decide how training goes on, as `(path, variable)`; each once."""
    variables = {}
    for variable in [*model.variables, *model.optimizer.variables]:
        variables.setdefault(id(variable), (variable.path, variable))
    return list(variables.values())


def _to_numpy(variable):
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    # bfloat16 is no type of numpy's own; float32 holds it exactly.
    return array if array.dtype.isbuiltin else array.astype(np.float32)


def _read_checkpoint(path, variables):
    """Returns the meta data and arrays of a checkpoint that is whole and fits `variables`, or raises."""
    # np.load leaves a damaged file open that it opened itself.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        meta = file["meta"]
        arrays = [file[name] for name in sorted(set(file.files) - {"meta", "sha256"})]
        digest = str(file["sha256"])
    if _digest([meta, *arrays]) != digest:
        raise ValueError("its contents do not match its SHA-256")
    meta = json.loads(meta.tobytes())
    paths = [path for path, _ in variables]
    if meta["paths"] != paths:
        other = sorted(set(meta["paths"]) ^ set(paths))
        raise ValueError(f"it is of another model: {', '.join(other[:3]) or 'the order of variables'} differs")
    for (name, variable), array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            raise ValueError(f"{name} has shape {tuple(variable.shape)} here and {array.shape} there")
    return meta, arrays


def _digest(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _epoch_of(path):
    match = re.fullmatch(r"epoch-(\d+)\.npz", path.name)
    return int(match[1]) if match else None


def _flag_lines(flags):
    return [f"--{name}={text}" for name, text in sorted(flags.items())]


def _read_flags(path):
    lines = path.read_text().partition(_NOT_COMPARED)[0].splitlines()
    return dict(line[2:].split("=", 1) for line in lines if line.startswith("--") and "=" in line)


def _is_hidden(name):
    return name == _LOCK or name.startswith(_TEMPORARY)


def _check_parent(path):
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise RunDirectoryError(f"{path} cannot be created: {parent} is a file; name another --run_dir.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{path} cannot be created: {parent} is not writable; name another --run_dir.")


@contextlib.contextmanager
def _readable_errors(path):
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"{path} cannot be used: {reason}; name another --run_dir.") from error


@contextlib.contextmanager
def _whole_file(path):
    """Yields a temporary path beside `path`; what was written there appears under `path` at the end, on disk."""
    temporary = path.with_name(_TEMPORARY + path.name)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write_text(path, text):
    with _whole_file(path) as temporary:
        temporary.write_text(text)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
