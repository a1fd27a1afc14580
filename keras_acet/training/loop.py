"""Runs a recipe: from data to a run directory with the trained network."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_acet import _keras_settings, version
from keras_acet.datasets import Data
from keras_acet.detectors import Detector
from keras_acet.training import building, runs
from keras_acet.training.detector_model import DetectorModel
from keras_acet.training.methods import METHODS
from keras_acet.training.model import ACETModel
from keras_acet.training.recipe import Recipe

_FEW_STEPS = 500  # of a detector
_ENOUGH_STEPS = 960
_NUM_LISTED = 12  # classes whose images are told one by one


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of training.

    Attributes:
        network: The trained network alone, images -> logits; also in `model.keras`. With `method="prood"` that of the
            detector, images -> the logit of `p_in`, in `detector.keras`; `ProvableClassifier(classifier,
            detectors.NegativeHead(network)).save(run_dir)` puts a classifier beside it.
        recipe: The recipe, with what it left to the data filled in.
        history: One dict per epoch, name -> number; also in `metrics.csv`.
        table: The rows of the final table, `[]` if there was none.
        notes: Lines about problems that did not stop the run, such as a damaged checkpoint that was passed over.
        run_dir: The run directory.
    """

    network: keras.Model
    recipe: Recipe
    history: list[dict[str, float]]
    table: list[Any]
    notes: list[str]
    run_dir: pathlib.Path


def train(
    recipe: Recipe,
    data: Data,
    run_dir: str | os.PathLike,
    *,
    network: keras.Model | None = None,
    overwrite: bool = False,
    verbose: int = 0,
    final_table: Callable[[keras.Model], list[Any]] | None = None,
    data_dir: str | None = None,
) -> TrainingResult:
    """Trains a network as a recipe says and keeps the run in a directory.

    A run that was killed goes on after its last completed epoch when this is called again with the same arguments, and
    one of fewer epochs, finished or not, where all else is the same; `notes` say what that means for its numbers. The
    seeds of Keras, Python and NumPy are set, and with `recipe.deterministic` TensorFlow is told to compute in one order
    for the rest of the process. Bit for bit the same numbers need that before TensorFlow's first operation, see
    `make_deterministic`; `notes` say where it came too late.

    Args:
        recipe: The settings of the run.
        data: What `recipe.load_data()` returns, or a `Data` of your own with the same batches, seed and share of images
            kept back.
        run_dir: Where the run is written; see `runs`.
        network: A network of your own, from images in [0, 1] to logits, which is trained on from its weights, or with
            `recipe.fresh_weights` a copy of it from new ones. Default: that of the recipe.
        overwrite: Whether a finished run, or one made with other settings, may be replaced: all that is in `run_dir`
            goes.
        verbose: What is printed, as in Keras: 0 nothing, 1 a progress bar, 2 a line per epoch.
        final_table: Function from the trained network to the rows of `results.json`'s table, which the `json` module
            can write. Default: none; `evaluate(result.run_dir, data)` measures.
        data_dir: Where TensorFlow Datasets keeps the sets that the out-distribution names, as for `load_data`; one that
            is not there is downloaded.

    Returns:
        A `TrainingResult`.

    Raises:
        runs.RunDirectoryError: If the directory is not free for this run.
        runs.NonFiniteLossError: If the loss becomes infinite or not a number; the message names the step.
        TypeError: If `recipe` is no `Recipe` or `data` no `Data`.
        ValueError: If the data are not what the recipe says, or a network, noise or optimizer does not fit them.
    """
    with prepare(recipe, data, run_dir, network=network, overwrite=overwrite, data_dir=data_dir) as run:
        run.fit(verbose=verbose)
        table = [] if final_table is None else final_table(run.network)
        return run.finish(table)


@_keras_settings.standard(dtype_policy=True)
def prepare(
    recipe: Recipe,
    data: Data,
    run_dir: str | os.PathLike,
    *,
    network: keras.Model | None = None,
    overwrite: bool = False,
    extra_flags: dict[str, str] | None = None,
    data_dir: str | None = None,
    download: bool = True,
) -> "PreparedRun":
    """Builds all that a run needs and takes its directory; the first part of `train`.

    Everything that can fail for the arguments' reasons fails here, before the directory is touched.

    Args:
        recipe, data, run_dir, network, overwrite: As for `train`.
        extra_flags: Flags that are written into the run's flag file but may change from one start to the next, such as
            `data_dir`; name -> text.
        data_dir, download: As for `load_data`, for the sets that the out-distribution names.

    Returns:
        A `PreparedRun`, to be used as a context: its directory is locked until the end.

    Raises:
        runs.RunDirectoryError, TypeError, ValueError: As `train`.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"`recipe` must be a Recipe. Received: {type(recipe).__name__}.")
    if not isinstance(data, Data):
        raise TypeError(f"`data` must be a Data, such as recipe.load_data(). Received: {type(data).__name__}.")
    in_time = not recipe.deterministic or make_deterministic()
    keras.utils.set_random_seed(recipe.seeds()["weights"])
    if network is not None and recipe.network is None:
        recipe = dataclasses.replace(recipe, network=network.name)
    recipe = recipe.for_data(data)
    _check_data(recipe, data)
    run = runs.RunDirectory(run_dir)
    run.check(recipe.to_flags(), overwrite=overwrite)
    steps_per_epoch = recipe.steps_per_epoch or data.steps_per_epoch
    parts = building.Parts(recipe, data, steps_per_epoch, data_dir=data_dir, download=download)
    model = building.model(recipe, parts, network)
    planned = int(run.flags().get("epochs", recipe.epochs)) if run.last_checkpoint() else recipe.epochs
    there = run.fingerprint()  # it may be one of an earlier version, which goes on
    fingerprint = there if there is not None and data.is_of(there) else data.fingerprint
    run.claim(
        recipe.to_flags(),
        overwrite=overwrite,
        extra_flags=extra_flags,
        fingerprint=fingerprint,
        out_fingerprint=parts.out.fingerprint if parts.out else None,
    )
    try:
        progress = run.restore(model)
    except BaseException:
        run.release()
        raise
    if parts.out:
        progress.notes.extend(parts.out.notes)
    if METHODS[recipe.method].trains_detector and recipe.epochs * steps_per_epoch < _FEW_STEPS:
        progress.notes.append(_few_steps(recipe, data, steps_per_epoch))
    if progress.epoch and planned < recipe.epochs:
        progress.extended_after.append(planned)
        progress.notes.append(_extended(recipe, progress.epoch, planned))
    if not in_time:
        progress.notes.append(
            "TensorFlow was at work before: sums over several threads may differ in their last bits from another "
            "run's; `training.make_deterministic()` in a fresh process prevents that"
        )
    return PreparedRun(recipe, data, model, run, progress, steps_per_epoch)


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to train: `fit`, then `finish`.

    Attributes:
        recipe: The recipe, with what it left to the data filled in.
        data: The data.
        model: The compiled model, as far as the last whole checkpoint.
        directory: The run directory, locked.
        progress: The progress of the run; its notes name damaged checkpoints and sets of the out-distribution.
        steps_per_epoch: Length of an epoch.
    """

    recipe: Recipe
    data: Data
    model: ACETModel | DetectorModel
    directory: runs.RunDirectory
    progress: runs.Progress
    steps_per_epoch: int

    @property
    def network(self) -> keras.Model:
        """The network alone, images -> logits; of a detector images -> the logit of `p_in`."""
        return self.model.network if isinstance(self.model, ACETModel) else self.model.detector().network

    @property
    def detector(self) -> Detector | None:
        """The detector, as it is trained now; None where a classifier is trained."""
        return None if isinstance(self.model, ACETModel) else self.model.detector()

    def summary(self) -> str:
        """Returns one line: the data, images of each class, network, method, radius, epochs, where the run is written.

        For example "digits: images (8, 8, 1), 1293 to train on (0: 128, ...), ...; 30 epochs of 10 steps; in runs/x".
        """
        recipe, data = self.recipe, self.data
        counts = np.bincount(data.train_labels, minlength=data.num_classes)
        if data.num_classes <= _NUM_LISTED:
            each = ", ".join(f"{name}: {count}" for name, count in zip(data.class_names, counts, strict=True))
        else:
            each = f"{data.num_classes} classes of {counts.min()} to {counts.max()}"
        kept_back = f", {len(data.calibration_labels)} kept back" if len(data.calibration_labels) else ""
        used = METHODS[recipe.method].settings
        network = "a detector" if METHODS[recipe.method].trains_detector else recipe.network
        how = [recipe.method]
        how += [f"{recipe.adversary} adversary"] if "adversary" in used else []
        how += [f"radius {recipe.epsilon:g}"] if "epsilon" in used else []
        how += [f"out-distribution {recipe.out}"] if "out" in used else []
        return (
            f"{data.name}: images {data.image_shape}, {len(data.train_labels)} to train on ({each}){kept_back}, "
            f"{len(data.test_labels)} to test with; {network}; {', '.join(how)}; {recipe.epochs} epochs of "
            f"{self.steps_per_epoch} steps of {data.batch_size}; written to {self.directory.path}"
        )

    def fit(self, *, verbose: int = 0) -> None:
        """Trains from the last completed epoch to the end and writes `model.keras`, or `detector.keras`.

        Args:
            verbose: As for `train`.

        Raises:
            runs.NonFiniteLossError: As `train`.
        """
        self.model.fit(
            _batches_from(self.data, self.progress.epoch * self.steps_per_epoch),
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.recipe.epochs,
            initial_epoch=self.progress.epoch,
            validation_data=self.data.test,
            callbacks=self.directory.callbacks(self.progress),
            shuffle=False,  # the batches come shuffled
            verbose=verbose,
        )
        if self.detector is None:
            self.directory.save_network(self.network)
        else:
            self.detector.save(self.directory.path / "detector.keras")

    def finish(self, table: list[Any]) -> TrainingResult:
        """Writes `results.json`, which marks the run as finished.

        Args:
            table: Rows of the final table, which the `json` module can write.
        """
        self.directory.finish(
            {
                "flags": self.recipe.to_flags(),
                "table": table,
                "last_epoch": self.progress.history[-1],
                "training_seconds": round(self.progress.seconds, 1),
                "data_fingerprint": self.data.fingerprint,
                "versions": version.installed_versions(),
                **({"extended_after": self.progress.extended_after} if self.progress.extended_after else {}),
            }
        )
        return TrainingResult(
            self.network, self.recipe, self.progress.history, table, self.progress.notes, self.directory.path
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.directory.release()


def make_deterministic() -> bool:
    """Tells TensorFlow to compute everything in one order, for the rest of the process.

    Its own switch does not cover the order in which gradients of several paths are summed on the CPU; that depends on
    which operation ends first, so there must be one at a time. This can be set only before
    TensorFlow's first operation.

    Returns:
        Whether that was in time.
    """
    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow is at work already
        return False
    return True


def _few_steps(recipe: Recipe, data: Data, steps_per_epoch: int) -> str:
    """What is to be said of a detector with too few steps, with numbers that make it enough of them."""
    batch_size = recipe.batch_size if recipe.steps_per_epoch else min(recipe.batch_size, 16)
    epochs = -(-_ENOUGH_STEPS // (recipe.steps_per_epoch or len(data.train_labels) // batch_size))
    advice = [f"`batch_size={batch_size}`"] if batch_size != recipe.batch_size else []
    return (
        f"a detector needs some hundreds of steps while its radius rises, and these are "
        f"{recipe.epochs * steps_per_epoch}: it may accept everything; give "
        f"{' and '.join([*advice, f'`epochs={epochs}`'])}"
    )


def _extended(recipe: Recipe, epoch: int, planned: int) -> str:
    """What is to be said of a run that goes on longer than it was to."""
    begin = f"after epoch {epoch} a run of {planned} epochs goes on to {recipe.epochs}"
    if recipe.schedule == "cosine":
        return (
            f"{begin}: until there the learning rate is that of {planned} epochs, then that of {recipe.epochs}, so the "
            f"numbers are not those of a run of {recipe.epochs} epochs from the start"
        )
    return f"{begin}, and ends as a run of {recipe.epochs} epochs from the start"


def _check_data(recipe: Recipe, data: Data) -> None:
    expected = {
        "name": recipe.data_name,
        "batch_size": recipe.batch_size,
        "seed": recipe.seeds()["data"],
    }
    received = {name: getattr(data, name) for name in expected}
    if recipe.augmentation in ("none", "crop", "flip_crop"):
        expected["augmentation"] = "none" if recipe.augmentation == "none" else "some"
        received["augmentation"] = "none" if data.augmentation is None else "some"
    expected["calibration images"] = "some" if recipe.calibration_fraction else "none"
    received["calibration images"] = "some" if len(data.calibration_labels) else "none"
    for name, value in expected.items():
        if received[name] != value:
            raise ValueError(
                f"`data` must be what the recipe says, as recipe.load_data() gives it: {name} {value}. Received: data "
                f"with {name} {received[name]}."
            )


def _batches_from(data: Data, step: int) -> tf.data.Dataset:
    """The endless stream of batches that an undisturbed run would see from `step` on."""
    epoch, skipped = divmod(step, data.steps_per_epoch)
    batches = data.train_from(epoch)
    return batches.skip(skipped) if skipped else batches
