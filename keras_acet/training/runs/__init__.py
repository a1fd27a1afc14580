"""The run directory: the files of a training run, and how a run continues after it was killed.

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

# isort: off
from keras_acet.training.runs.callbacks import NonFiniteLossError
from keras_acet.training.runs.directory import RunDirectory
from keras_acet.training.runs.directory import RunDirectoryError
from keras_acet.training.runs.progress import Progress
# isort: on

__all__ = [
    "NonFiniteLossError",
    "Progress",
    "RunDirectory",
    "RunDirectoryError",
]
