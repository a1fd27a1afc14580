"""The directory of a run: its lock, its files, and the checkpoint from which training continues."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import keras

from keras_acet._checks import notify
from keras_acet.datasets import sources
from keras_acet.files import LOCK, TEMPORARY, Lock, UnwritableError, sha256, sha256_of_file, whole_file, write_text
from keras_acet.training import flag_files
from keras_acet.training.runs.callbacks import AverageForValidation, Recorder, StopOnNonFiniteLoss
from keras_acet.training.runs.checkpoints import OtherModelError, epoch_of, read_checkpoint, state, write_checkpoint
from keras_acet.training.runs.progress import Progress

_FLAGS = "flags.flags"
_NUM_KEPT = 2
_RESULTS = "results.json"
_OWN_FILES = ("model.keras", "detector.keras", "provable.json", "metrics.csv")  # `results.json` holds their SHA-256


class RunDirectoryError(ValueError):
    """A run directory that cannot be used as asked; the message says why and what to do."""


class RunDirectory:
    """One training run on disk.

    The order of use is `check` (looks, changes nothing), `claim` (takes the directory), `restore`, training with
    `callbacks`, `save_network`, `finish`.

    Args:
        path: The directory. Nothing is created before `claim`.

    Raises:
        RunDirectoryError: From `check` and `claim`, when the directory is not free for this run.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self._lock: Lock | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end: `results.json` is there."""
        return (self.path / _RESULTS).exists()

    def flags(self) -> dict[str, str]:
        """Returns the flags that make the run, a dict name -> text.

        Raises:
            RunDirectoryError: If there is no run, or its flag file is damaged.
        """
        with _readable_errors(self.path):
            return self._flags()

    def extra_flags(self) -> dict[str, str]:
        """Returns the flags that may change from one start to the next, such as `data_dir`; a dict name -> text."""
        with _readable_errors(self.path):
            return self._read_flags().extra_flags

    def fingerprint(self) -> str | None:
        """Returns the fingerprint of the data that the run began with, see `Data.fingerprint`; None if it has none."""
        with _readable_errors(self.path):
            return self._fingerprint()

    def history(self) -> list[dict[str, float]]:
        """Returns the rows of `metrics.csv`, one dict name -> number per epoch; [] if there is none.

        What a row leaves empty is not in its dict; what is no number is NaN.

        Warns:
            Notice: If the file is not the one that the finished run wrote; it counts as none.
        """
        path = self.path / "metrics.csv"
        if path.exists() and not self._is_own(path):
            notify(f"{path} is not the file that this run wrote, and is left out")
            return []
        rows = csv.DictReader(_text(path).splitlines()) if path.exists() else []
        return [{name: _number(text) for name, text in row.items() if name and text} for row in rows]

    def check_files(self) -> None:
        """Raises `RunDirectoryError` if a file of the finished run was not written by it, such as a copied network.

        Runs of earlier versions do not say; there nothing is checked.
        """
        results, flags = self._results(), self.flags()
        if "sha256" not in results:
            return
        if any(flags.get(name, text) != text for name, text in results.get("flags", {}).items()):
            raise RunDirectoryError(
                f"{self.path / _RESULTS} and {self.path / _FLAGS} are of two runs: their flags differ. Put back the "
                "files of one run, or train it again."
            )
        for name in _OWN_FILES[:-1]:
            if not self._is_own(self.path / name):
                raise RunDirectoryError(
                    f"{self.path / name} is not the file that this run wrote: its SHA-256 is another than in "
                    f"{self.path / _RESULTS}. Put it back, or load it elsewhere, as a model without a run."
                )

    def _results(self) -> dict[str, Any]:
        text = _text(self.path / _RESULTS) if self.is_finished else "{}"
        try:
            results = json.loads(text)
        except ValueError:
            results = None
        if not isinstance(results, dict):
            raise RunDirectoryError(f"{self.path / _RESULTS} is damaged: it holds no results; train the run again.")
        return results

    def _is_own(self, path):
        digest = self._results().get("sha256", {}).get(path.name)
        return digest is None or (path.exists() and sha256_of_file(path) == digest)

    def check(self, flags: Mapping[str, str], *, overwrite: bool = False, complete: bool = False) -> None:
        """Raises if `claim` with the same arguments would, and changes nothing on disk.

        Args:
            flags: Dict name -> text of the flags that make the run.
            overwrite: Whether a finished run, or one made with other flags, may be replaced. An unfinished run
                with the same flags goes on all the same, so that a killed run that replaces another resumes too.
            complete: Whether `flags` are all flags of the run; if not, only those given are compared.
        """
        with _readable_errors(self.path):
            if not self.path.exists():
                _check_parent(self.path)
                return
            if not self.path.is_dir():
                raise RunDirectoryError(f"{self.path} is a file; `run_dir` must name a directory.")
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise RunDirectoryError(f"{self.path} is not writable; name another `run_dir`.")
            if self._lock is None and (self.path / LOCK).exists():
                self._take_lock().release()
            if not (self.path / _FLAGS).exists():
                if any(not _is_hidden(entry.name) for entry in self.path.iterdir()):
                    raise RunDirectoryError(
                        f"{self.path} is not empty and holds no run ({_FLAGS} is missing); name another `run_dir`."
                    )
            elif not overwrite:
                self._check_same_run(flags, complete)

    def claim(
        self,
        flags: Mapping[str, str],
        *,
        overwrite: bool = False,
        extra_flags: Mapping[str, str] | None = None,
        fingerprint: str | None = None,
        out_fingerprint: str | None = None,
    ) -> None:
        """Takes the directory for this process: creates it, locks it, removes a run to be replaced.

        The lock is held until `release`, or until the process ends, however it ends.

        Args:
            flags: Dict name -> text of all flags that make the run.
            overwrite: As for `check`.
            extra_flags: Dict of flags that are written into the flag file but may change from one start to the
                next, such as where the data lie.
            fingerprint: Text that identifies the data, or None. A run continues only with the data that it began with.
            out_fingerprint: The same of the images of the out-distribution.
        """
        with _readable_errors(self.path):
            self.check(flags, overwrite=overwrite, complete=True)
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
            self._lock = self._take_lock()
            try:
                self._take_over(flags, overwrite, extra_flags, fingerprint, out_fingerprint)
            except BaseException:
                self.release()
                raise

    def _take_over(self, flags, overwrite, extra_flags, fingerprint, out_fingerprint):
        self.check(flags, overwrite=overwrite, complete=True)  # again: another process may have been here meanwhile
        changed = self._changed(fingerprint, out_fingerprint)
        if changed and not overwrite:
            raise RunDirectoryError(
                f"{changed} have changed since the run in {self.path} began; name another `run_dir`, or give "
                "`overwrite=True` to begin anew."
            )
        if not overwrite and self._goes_on_longer(flags, complete=True):
            (self.path / _RESULTS).unlink(missing_ok=True)  # first: without it the run counts as unfinished
        elif self.is_finished or changed or self._differing(flags, complete=True):
            self._remove()
        for leftover in [*self.path.glob(TEMPORARY + "*"), *self.path.glob(f"checkpoints/{TEMPORARY}*")]:
            leftover.unlink()
        text = flag_files.write_run(
            flags, fingerprint=fingerprint, extra_flags=extra_flags, out_fingerprint=out_fingerprint
        )
        write_text(self.path / _FLAGS, text)
        (self.path / "checkpoints").mkdir(exist_ok=True)  # after the flags, which make the directory a run

    def release(self) -> None:
        """Lets other processes have the directory; the end of the process does so too."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def restore(self, model: keras.Model) -> Progress:
        """Sets all variables of a built and compiled model to the last whole checkpoint.

        A checkpoint that is damaged (cut short, altered, of another model) is passed over for the one before, and
        the progress has a note on it. Without any whole checkpoint the model stays as it is.

        Args:
            model: A built and compiled `keras.Model` whose optimizer is built.

        Returns:
            `Progress`.

        Raises:
            RunDirectoryError: If no checkpoint is left and one was passed over because it is whole but of another
                model, such as one of another version of this package: to begin anew would throw a run away.
        """
        variables = state(model)
        notes, of_other_model = [], False
        for path in reversed(self._checkpoints()):
            try:
                meta, arrays = read_checkpoint(path, variables)
                if meta.get("run") not in (None, self._identity()):
                    raise OtherModelError("it is of another run")
            except Exception as error:  # a damaged file can fail in any way
                of_other_model = of_other_model or isinstance(error, OtherModelError)
                notes.append(f"{path} is damaged and passed over ({_one_line(error)})")
                continue
            for (_, variable), array in zip(variables, arrays, strict=True):
                variable.assign(array)
            if notes:
                notes[-1] += f"; going on from {path}"
            extended_after = meta.get("extended_after", [])
            return Progress(meta["epoch"], meta["history"], meta["seconds"], notes, extended_after)
        if of_other_model:
            raise RunDirectoryError(
                f"the run in {self.path} cannot go on: {'; '.join(notes)}. Name another `run_dir`, or remove this one."
            )
        if notes:
            notes[-1] += "; no whole checkpoint is left, starting anew"
        return Progress(notes=notes)

    def callbacks(self, progress: Progress) -> list[keras.callbacks.Callback]:
        """Returns the Keras callbacks that write this directory while `fit` runs.

        Call `fit` with `initial_epoch=progress.epoch`; `progress` is kept up to date.

        Args:
            progress: What `restore` returned.
        """
        return [StopOnNonFiniteLoss(self), AverageForValidation(), Recorder(self, progress)]

    def save_checkpoint(self, model: keras.Model, progress: Progress) -> None:
        """Writes `checkpoints/epoch-NNNN.npz` and removes all but the last two."""
        path = self.path / "checkpoints" / f"epoch-{progress.epoch:04d}.npz"
        meta = {"epoch": progress.epoch, "seconds": progress.seconds, "history": progress.history}
        meta |= {"run": self._identity()} | _if_any("extended_after", progress.extended_after)
        write_checkpoint(path, state(model), meta)
        self.remove_old_checkpoints(progress)

    def remove_old_checkpoints(self, progress: Progress) -> None:
        """Leaves the two newest checkpoints up to `progress.epoch`; later ones are damaged."""
        numbers = {epoch_of(path) or 0: path for path in self._checkpoints()}
        kept = [number for number in numbers if number <= progress.epoch][-_NUM_KEPT:]
        for number, path in numbers.items():
            if number not in kept:
                path.unlink()

    def last_checkpoint(self) -> pathlib.Path | None:
        """Returns the path of the newest checkpoint, or None."""
        return next(reversed(self._checkpoints()), None)

    def save_network(self, network: keras.Model) -> None:
        """Writes `model.keras`: the network alone, images -> logits."""
        with whole_file(self.path / "model.keras") as temporary:
            network.save(temporary)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Writes `results.json`, which marks the run as finished.

        Args:
            results: Dict that the `json` module can write; the SHA-256 of the run's other files goes into it.
        """
        paths = [self.path / name for name in _OWN_FILES if (self.path / name).exists()]
        complete = {**results, "sha256": {path.name: sha256_of_file(path) for path in paths}}
        write_text(self.path / _RESULTS, json.dumps(complete, indent=2) + "\n")

    def _identity(self) -> str:
        """What a run is known by: its flags but the number of epochs, which may grow, and its data."""
        flags = {name: text for name, text in self._flags().items() if name != "epochs"}
        return sha256(json.dumps([flags, self._fingerprint()], sort_keys=True))[:16]

    def _checkpoints(self):
        paths = (self.path / "checkpoints").glob("epoch-*.npz")
        return sorted((path for path in paths if epoch_of(path) is not None), key=epoch_of)

    def _take_lock(self):
        try:
            return Lock(self.path / LOCK, wait=False)
        except BlockingIOError:
            raise RunDirectoryError(
                f"another process is training in {self.path}; wait for it or name another `run_dir`."
            ) from None

    def _check_same_run(self, flags, complete):
        if self._goes_on_longer(flags, complete):
            return
        differing = self._differing(flags, complete)
        if self.is_finished:
            differing.pop("epochs", None)  # which may grow
            others = f" with other settings: {_in_words(differing)}" if differing else ""
            same = f" and the same settings, those in {self.path / _FLAGS}," if differing else ""
            go_on = f"give a larger number of `epochs`{same} to go on, " if self.last_checkpoint() else ""
            raise RunDirectoryError(
                f"{self.path} holds a finished run{others}; name another `run_dir`, {go_on}or give "
                "`overwrite=True` to replace it."
            )
        if differing:
            raise RunDirectoryError(
                f"{self.path} was begun with other settings: {_in_words(differing)}. Give the same to "
                f"go on, those in {self.path / _FLAGS}, name another `run_dir`, or give `overwrite=True` to replace it."
            )

    def _goes_on_longer(self, flags, complete):
        """Whether the run is there, and all that differs is a larger number of epochs."""
        differing = self._differing(flags, complete)
        if set(differing) != {"epochs"} or self.last_checkpoint() is None:
            return False
        there, now = differing["epochs"]
        return (_number(now) or 0) > (_number(there) or 0)

    def _differing(self, flags, complete):
        """Name -> the texts there and now, None where there is none."""
        if not (self.path / _FLAGS).exists():
            return {}
        there = self._flags()
        own_files = sources.parse(there.get("dataset", ""))
        if own_files is not None:  # runs once stored the path as it was given
            there["dataset"] = own_files.absolute
        names = [name for name in there if name in flags] + [name for name in flags if name not in there]
        if complete:
            names += [name for name in there if name not in flags]
        return {name: (there.get(name), flags.get(name)) for name in names if there.get(name) != flags.get(name)}

    def _fingerprint(self):
        return self._read_flags().fingerprint if (self.path / _FLAGS).exists() else None

    def _changed(self, fingerprint, out_fingerprint):
        """What has changed since the run began; None if nothing has, or it is not known."""
        if not (self.path / _FLAGS).exists():
            return None
        there = self._read_flags()
        if fingerprint is not None and there.fingerprint not in (None, fingerprint):
            return "the data"
        if out_fingerprint is not None and there.out_fingerprint not in (None, out_fingerprint):
            return "the images of the out-distribution"
        return None

    def _read_flags(self) -> flag_files.RunFlags:
        return flag_files.read_run(_text(self.path / _FLAGS))

    def _flags(self) -> dict[str, str]:
        flags = self._read_flags().flags
        if not flags:
            raise RunDirectoryError(
                f"{self.path / _FLAGS} is damaged: it holds no flags; name another `run_dir`, or remove it."
            )
        return flags

    def _remove(self):
        # The order allows for a kill at any point: while results.json exists the run counts as finished, and while the
        # flags exist the directory counts as a run, so the same command removes the rest.
        last = [self.path / _RESULTS, self.path / _FLAGS]
        first = [entry for entry in self.path.iterdir() if entry not in last and entry.name != LOCK]
        for entry in [*first, *last]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


def _in_words(differing, num_told=4):
    """The settings that differ, as name -> the texts there and now."""
    told = [
        f"`{name}` was {there or 'not given'}, now {now or 'not given'}" for name, (there, now) in differing.items()
    ]
    more = f"; and {len(told) - num_told} more" if len(told) > num_told else ""
    return "; ".join(told[:num_told]) + more


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # damaged
        return ""


def _number(text):
    try:
        number = float(text)
    except (TypeError, ValueError):
        return float("nan")
    return int(number) if number.is_integer() and "." not in text else number


def _if_any(name, value):
    return {name: value} if value else {}


def _is_hidden(name):
    return name == LOCK or name.startswith(TEMPORARY)


def _check_parent(path):
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise RunDirectoryError(f"{path} cannot be created: {parent} is a file; name another `run_dir`.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{path} cannot be created: {parent} is not writable; name another `run_dir`.")


@contextlib.contextmanager
def _readable_errors(path):
    try:
        yield
    except UnwritableError as error:
        raise RunDirectoryError(f"{error}; name another `run_dir`.") from error
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"{path} cannot be used: {reason}; name another `run_dir`.") from error


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
