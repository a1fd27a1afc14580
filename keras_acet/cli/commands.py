"""What the command lines share: flags, errors in one line, a quiet start."""

import contextlib
import logging
import os
import pathlib
import re
import sys
import tempfile
import time

from absl import app, flags

FLAGS = flags.FLAGS
PIXELS = ", in pixel units; for 8-bit levels divide by 255"


class UserError(Exception):
    """Something only the user can mend."""


def run(command):
    """Runs the module of a command: its `main(argv)` with absl's flags, its docstring and key flags as the help.

    A mistake of the user's ends it with one line and exit code 2.
    """

    def guarded(argv):
        try:
            command.main(argv)
        except UserError as error:
            _fail(error)

    sys.modules["__main__"].__doc__ = command.__doc__
    for flag in FLAGS.get_key_flags_for_module(command.__name__):
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(guarded, flags_parser=_parse_flags)


def check_backend():
    """Raises `UserError` if Keras was told to run on something else than TensorFlow."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(f"keras_acet needs the TensorFlow backend of Keras, but KERAS_BACKEND={backend}; unset it")


def between(name, low, high, *, low_allowed=False, high_allowed=False, hint=""):
    """Declares that a float flag lies between two numbers."""

    def is_inside(value):
        if value is None:
            return True
        above = value >= low if low_allowed else value > low
        below = value <= high if high_allowed else value < high
        return above and below  # false for nan

    interval = f"{'[' if low_allowed else '('}{low}, {high}{']' if high_allowed else ')'}"
    flags.register_validator(name, is_inside, message=f"must be in {interval}{hint}")


@contextlib.contextmanager
def quiet_start():
    """Keeps back what TensorFlow writes to stderr while it starts, unless TF_CPP_MIN_LOG_LEVEL=0 asks for it.

    Its first lines obey no setting, so the file descriptor is turned aside.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr.fileno(), 2)
    logging.getLogger("tensorflow").setLevel("ERROR")


@contextlib.contextmanager
def user_errors():
    """Turns the library's complaints about what the user gave into `UserError`."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise UserError(error) from error


def define_data_flags():
    """Defines the flags that say what a classifier is measured on; `load_data` reads them."""
    flags.DEFINE_string("dataset", None, "What to measure on, as for train.py (default: the data set of the runs).")
    flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets keeps its data (default: as in training).")
    flags.DEFINE_integer(
        "image_size", None, "Height and width that the images of folder:PATH are scaled to (default: as in training)."
    )
    flags.DEFINE_multi_string(
        "ood",
        [],
        "More out-distribution sets: names as for --dataset, cifar10_gray, lsun_classroom, photos, folder:PATH, "
        "npz:PATH.",
    )
    for name in ("dataset", "data_dir", "image_size", "ood"):
        flags.declare_key_flag(name)


def split(texts):
    """Parts between commas of a flag that may be repeated."""
    return [part for text in texts for part in text.split(",") if part]


def check_is_run(path):
    """Raises `UserError` unless `path` is a run directory."""
    if not (pathlib.Path(path) / "flags.flags").is_file():
        raise UserError(
            f"--run_dir={path} must name a run directory of train.py, which holds flags.flags; for other models "
            "there is --model"
        )


def data_settings(classifier):
    """The flags of a classifier's run, also those that do not make the run, such as where the data lie; its name."""
    from keras_acet.training import runs

    extra = runs.RunDirectory(classifier.path).extra_flags()
    return {"name": classifier.name, **extra, **classifier.flags}


def load_data(settings, *, resize=False):
    """Loads the data that the flags name, or that the runs were trained on.

    Args:
        settings: List of `data_settings`, one per run.
        resize: Whether the images of --ood are made to fit.
    """
    from keras_acet import datasets

    first = settings[0] if settings else {}
    for other in settings[1:]:
        for flag in ("dataset", "image_size"):
            if other.get(flag) != first.get(flag):
                raise ValueError(
                    f"the runs must be for the same data: {first['name']} has --{flag}={first.get(flag)}, "
                    f"{other['name']} --{flag}={other.get(flag)}; evaluate them one by one"
                )
    size = FLAGS.image_size or (int(first["image_size"]) if "image_size" in first else None)
    data_dir = FLAGS.data_dir or first.get("data_dir")
    data = datasets.load(
        FLAGS.dataset or first["dataset"],
        data_dir=data_dir,
        batch_size=1,
        image_size=size,
        download=False,
        # What any of the runs kept out of training, none of them may be calibrated on otherwise.
        calibration_fraction=min((float(run.get("calibration_fraction", 0)) for run in settings), default=0.0),
    )
    if FLAGS.ood:
        data.ood = data.ood.joined(
            datasets.ood_sets(split(FLAGS.ood), data.image_shape, data_dir=data_dir, resize=resize)
        )
    return data


def protocol(settings, *, quick=False, **numbers):
    """The `evaluation.Protocol` of the flags: at the radius of the runs' own tables, unless one is given.

    Args:
        settings: List of `data_settings`, one per run.
        quick: Whether numbers that are not given are those of a first look.
        **numbers: Of the protocol; None stands for the default.
    """
    from keras_acet import evaluation

    radii = sorted({float(run["eval_epsilon"]) for run in settings if "eval_epsilon" in run})
    if len(radii) > 1 and numbers["epsilon"] is None:
        raise ValueError(f"the runs have different --eval_epsilon, {radii}; say with --epsilon at which to attack them")
    chosen = evaluation.Protocol(epsilon=radii[0] if radii else 0.3, seed=FLAGS.seed)
    if quick:
        chosen = chosen.quick()
    return chosen.replace(**{name: value for name, value in numbers.items() if value is not None})


class Progress:
    """Writes to stderr what goes on: one line that changes on a terminal, else a line each time."""

    def __init__(self):
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, text):
        text = f"{_duration(self.seconds)}  {text}"
        print(
            f"\r\033[K{text[:100]}" if self._is_terminal else text,
            end="" if self._is_terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    @property
    def seconds(self):
        return time.monotonic() - self._began

    def end(self):
        """Clears the line on a terminal."""
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class TimedProgress(Progress):
    """The progress of an evaluation, with the time that it may take still."""

    def __init__(self):
        super().__init__()
        self._work = None

    def __call__(self, name, stage, done, remaining):
        if self._work is None:
            self._work = done + remaining
        left = ""
        if done > 0.02 * self._work:
            left = f", about {_duration(self.seconds * remaining / done)} left"
        super().__call__(f"{name}: {stage}{left}")


def _duration(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _parse_flags(argv):
    try:
        rest = FLAGS(argv)
        if FLAGS["verbosity"].using_default_value:
            FLAGS.verbosity = -1  # warnings; absl would let TensorFlow Datasets tell of every file it reads
        return rest
    except flags.Error as error:
        _fail(error)
    except SystemExit:
        sys.exit(0)  # --help was asked for and given; absl calls that a failure


def _fail(error):
    sys.stdout.flush()
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras colours some of its messages
    message = " ".join(message.removeprefix("ERROR:: ").split())
    print(f"{_program()}: error: {message}", file=sys.stderr)
    sys.exit(2)


def _program():
    path = pathlib.Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name
