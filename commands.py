"""What the command lines share: flags, errors in one line, a quiet start."""

import contextlib
import logging
import os
import pathlib
import re
import sys
import tempfile

from absl import app, flags

FLAGS = flags.FLAGS
PIXELS = ", in pixel units; for 8-bit levels divide by 255"


class UserError(Exception):
    """Something only the user can mend."""


def run(main):
    """Runs `main(argv)` with absl's flags; a mistake of the user's ends it with one line and exit code 2."""

    def guarded(argv):
        try:
            main(argv)
        except UserError as error:
            _fail(error)

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
    """Keeps back what TensorFlow writes to stderr while it starts, unless TF_CPP_MIN_LOG_LEVEL asks for it.

    Its first lines obey no setting, so the file descriptor is turned aside.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
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
    return pathlib.Path(sys.argv[0]).name
