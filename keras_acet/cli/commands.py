"""The base of the command lines: flags, help, errors in one line, a quiet start."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags as absl_flags

from keras_acet._checks import Notice, check_one_line
from keras_acet.cli.output import until_output_closes
from keras_acet.files import LOCK, TEMPORARY, Lock, writing
from keras_acet.training import flag_files

PIXELS = ", in pixel units; for 8-bit levels divide by 255"
_HELP = ("--help", "-help", "-h", "-?", "--helpfull", "--helpshort")
_FLAG_FILE = "A file of flags, one per line; flags that are typed win over it. It may be given several times."
_ONLY_CHECK = "Check the flags and do nothing."
IN_ORDER = "the flags are in order"


class UserError(Exception):
    """Something only the user can mend: one line and an exit code.

    Args:
        message: The line, or an error whose text it is.
        code: The exit code: 2 for a mistake in what was asked, 1 for work that failed.
    """

    def __init__(self, message: object, code: int = 2) -> None:
        super().__init__(str(message))
        self.code = code


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a command.

    Attributes:
        flags: The flags of the command, parsed.
        argv: The command line; the first entry is the program.
        given: The flags that the user gave, name -> where: "" if it was typed, else the file, such as
            "--flagfile=mine.flags".
    """

    flags: absl_flags.FlagValues
    argv: Sequence[str]
    given: dict[str, str] = dataclasses.field(default_factory=dict)
    _held: list[list[str]] = dataclasses.field(default_factory=list)

    @property
    def program(self) -> str:
        """The name of the program that the user called, such as "train.py" or "keras-acet train"."""
        path = pathlib.Path(self.argv[0])
        return path.parent.name if path.name == "__main__.py" else path.name

    @property
    def line(self) -> str:
        """The command line, as it can be typed again."""
        program = shlex.split(self.program) if self.program.startswith("keras-acet") else ["python", self.argv[0]]
        return shlex.join([*program, *self.argv[1:]])

    def note(self, text: object) -> None:
        """Writes a line to stderr that names the program; within `user_errors`, at its end."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(text))  # Keras colours some of its messages
        line = " ".join(text.split())
        if self._held:
            self._held[-1].append(line)
        else:
            sys.stdout.flush()
            print(f"{self.program}: {line}", file=sys.stderr)

    def note_old_names(self) -> None:
        """Tells the new names of flags that were given by an old one."""
        for name in self.given:
            text = self.flags[name].help
            if isinstance(text, _Renamed):
                self.note(f"--{name} is now called --{text.name}; the old name goes with the next version")

    @contextlib.contextmanager
    def user_errors(self) -> Iterator[None]:
        """Turns the library's complaints about what the user gave into `UserError`, its arguments into flags.

        Notes wait until all is accepted, so that an error is the only line.
        """
        self._held.append([])
        try:
            yield
        except (ValueError, OSError, ImportError) as error:
            raise UserError(as_flags(str(error), self.flags)) from error
        finally:
            notes = self._held.pop()
        for line in notes:
            self.note(line)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command with flags of its own, so that several can be called in one process.

    Args:
        doc: Its help, the docstring of its module.
        define: Function that defines its flags in the `FlagValues` it is given.
        run: Function of a `Call` that does the work.
        example: A flag for the message to who gives something else than flags.
        when_stopped: What the user is told after Ctrl-C.
        read_recipe: Function from the value of --recipe to flags that can be typed; None where there is no such flag.
        checks_flags: Whether `run` heeds --only_check_args itself, because it checks more. It also calls
            `Call.note_old_names` then, when it is done with that.
    """

    doc: str
    define: Callable[[absl_flags.FlagValues], None]
    run: Callable[[Call], None]
    example: str
    when_stopped: str
    read_recipe: Callable[[str], list[str]] | None = None
    checks_flags: bool = False

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command and returns its exit code.

        Args:
            argv: The command line, the program first. Default: `sys.argv`.
        """
        return until_output_closes(lambda: self._main(argv))

    def _main(self, argv: Sequence[str] | None) -> int:
        call = Call(self._flags(), list(sys.argv if argv is None else argv))
        before = _on_termination(_Terminated)
        try:
            if any(text in _HELP for text in call.argv[1:]):
                print(self._help(call))
                return 0
            self._parse(call)
            if not self.checks_flags:
                call.note_old_names()
            if call.flags.only_check_args and not self.checks_flags:
                print(IN_ORDER)
                return 0
            check_backend()
            with _notices(call), _standard_keras():
                self.run(call)
        except KeyboardInterrupt as error:
            print(file=sys.stderr)
            call.note(f"stopped; {self.when_stopped}")
            return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
        except absl_flags.Error as error:
            call.note(f"error: {str(error).removeprefix('ERROR:: ')}")
            return 2
        except UserError as error:
            call.note(f"error: {error}")
            return error.code
        except BrokenPipeError:  # of the output: see `until_output_closes`
            raise
        except OSError as error:  # what the user gave is checked before: a disk that is full, or gone
            call.note(f"error: {error}; {self.when_stopped}")
            return 2
        finally:
            _on_termination(before)
        return 0

    def _flags(self) -> absl_flags.FlagValues:
        values = absl_flags.FlagValues()
        self.define(values)
        absl_flags.DEFINE_string("flagfile", None, _FLAG_FILE, flag_values=values)
        absl_flags.DEFINE_boolean("only_check_args", False, _ONLY_CHECK, flag_values=values)
        return values

    def _parse(self, call: Call) -> None:
        files, typed = _split_off_files(call.argv[1:])
        with call.user_errors():
            blocks = {f"--flagfile={file}": flag_files.arguments(file) for file in files}
        self._read(call, {**blocks, "": typed})
        if self.read_recipe is not None and call.flags.recipe is not None:
            with call.user_errors():
                recipe = self.read_recipe(call.flags.recipe)
            if any(line.lstrip("-").startswith("recipe=") for line in recipe):
                raise UserError(f"--recipe={call.flags.recipe} names another recipe; give that one")
            self._read(call, {f"--recipe={call.flags.recipe}": recipe, **blocks, "": typed})

    def _read(self, call: Call, blocks: Mapping[str, Sequence[str]]) -> None:
        """Sets the flags; those of a later block take the place of those of an earlier one.

        Args:
            call: The call.
            blocks: Where flags come from, as in `Call.given` -> the flags.
        """
        for where, lines in blocks.items():
            for name in call.flags:
                call.flags[name].present = 0  # else a flag that may be repeated would be added to
            try:
                if any(line.lstrip("-").partition("=")[0] == "undefok" for line in lines):  # hides mistakes
                    raise UserError("Unknown command line flag 'undefok'")
                rest = call.flags([call.argv[0], *lines])
                if len(rest) > 1:
                    raise UserError(f"expected only flags, such as {self.example}; received {' '.join(rest[1:])!r}")
                _check_texts(call.flags)
            except (absl_flags.Error, ValueError, UserError) as error:
                text = as_flags(str(error).removeprefix("ERROR:: "), call.flags)
                raise UserError(f"{where}: {text}" if where else text) from error
            call.given.update({name: where for name in call.flags if call.flags[name].present})

    def _help(self, call: Call) -> str:
        flags = [call.flags[name] for name in call.flags]
        shown = [_flag_help(flag) for flag in flags if not isinstance(flag.help, _Renamed)]
        return "\n".join([self.doc.strip(), "", f"Flags of {call.program}:", "", *shown])


class _Terminated(KeyboardInterrupt):
    """The process was told to end by SIGTERM, as batch systems and containers do."""


def _on_termination(handler: Any) -> Any:
    """Sets what happens on SIGTERM and returns what happened before; elsewhere than in the main thread nothing changes.

    Args:
        handler: An exception to raise, or what this function returned before.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    if isinstance(handler, type):
        exception = handler

        def handler(number: int, frame: Any) -> None:
            raise exception

    return None if handler is None else signal.signal(signal.SIGTERM, handler)


_settings: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def _standard_keras() -> Iterator[None]:
    """Keeps a `keras.json` from changing what a command computes, once it has loaded Keras: see `quiet_start`."""
    with contextlib.ExitStack() as stack:
        _settings.append(stack)
        try:
            yield
        finally:
            _settings.remove(stack)


def _set_standard_keras() -> None:
    if _settings:
        from keras_acet import _keras_settings

        _settings[-1].enter_context(_keras_settings.standard(dtype_policy=True))


@contextlib.contextmanager
def _notices(call: Call) -> Iterator[None]:
    """Prints what the library has to say, its `Notice` warnings, as lines of the program, each once."""
    before, told = warnings.showwarning, set()

    def show(message: Any, category: Any, *where: Any, **options: Any) -> None:
        text = as_flags(str(message), call.flags)
        if not issubclass(category, Notice):
            before(message, category, *where, **options)
        elif text not in told:
            told.add(text)
            call.note(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        warnings.showwarning = show
        yield


def _split_off_files(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flag files that a command line names, and the rest of it."""
    files: list[str] = []
    rest: list[str] = []
    remaining = list(arguments)
    while remaining:
        one = remaining.pop(0)
        name, equals, value = one.partition("=")
        if one == "--":
            return files, [*rest, one, *remaining]
        if name not in ("--flagfile", "-flagfile"):
            rest.append(one)
        elif equals or remaining:
            files.append(value if equals else remaining.pop(0))
        else:
            raise UserError("--flagfile needs the path of a file")
    return files, rest


def _check_texts(flags: absl_flags.FlagValues) -> None:
    """Raises ValueError if a text is empty, as that of an unset variable of the shell is, or not in one line."""
    for name in flags:
        values = flags[name].value
        if flags[name].present and values in ("", [], [""]):
            raise ValueError(f"--{name} is empty; give it a value or leave it out")
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                check_one_line(value, name)


class _Renamed(str):
    """The help of a flag that has another name now."""

    name = ""


def define_old_name(old: str, name: str, values: absl_flags.FlagValues) -> None:
    """Lets a flag still be given by its name of the version before; the user is told the new one."""
    absl_flags.DEFINE_alias(old, name, flag_values=values)
    text = _Renamed(f"Now called --{name}.")
    text.name = name
    values[old].help = text


def as_flags(message: str, names: Iterable[str]) -> str:
    """Turns the arguments that a message names into flags, where there is a flag of that name.

    A message of the library has arguments in backticks, alone or with a value.

    >>> as_flags("`epsilon` must be in (0, 1]. Give `resize=True`, or `download=False`.", ["epsilon", "resize"])
    '--epsilon must be in (0, 1]. Give --resize, or `download=False`.'
    >>> as_flags("name another `run_dir`, or `noise='uniform'`", ["run_dir", "noise"])
    'name another --run_dir, or --noise=uniform'
    """
    names = set(names)

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in names:
            return match[0]
        if value in (None, "True"):
            return f"--{name}"
        return f"--no{name}" if value == "False" else f"--{name}={value.strip(chr(39))}"

    return re.sub(r"`([a-z_]+)(?:=([^`]*))?`", flag, message)


def check_backend() -> None:
    """Raises `UserError` if Keras was told to run on something else than TensorFlow."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(f"keras_acet needs the TensorFlow backend of Keras, but KERAS_BACKEND={backend}; unset it")


def between(
    name: str,
    low: float,
    high: float,
    values: absl_flags.FlagValues,
    *,
    low_allowed: bool = False,
    high_allowed: bool = False,
    hint: str = "",
) -> None:
    """Declares that a float flag lies between two numbers."""

    def is_inside(value: float | None) -> bool:
        if value is None:
            return True
        above = value >= low if low_allowed else value > low
        below = value <= high if high_allowed else value < high
        return above and below  # false for nan

    interval = f"{'[' if low_allowed else '('}{low}, {high}{']' if high_allowed else ')'}"
    absl_flags.register_validator(name, is_inside, message=f"must be in {interval}{hint}", flag_values=values)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps back what TensorFlow writes to stderr while it starts, unless TF_CPP_MIN_LOG_LEVEL=0 asks for it.

    Its first lines obey no setting, so the file descriptor is turned aside.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        yield
        _set_standard_keras()
        return
    sys.stderr.flush()
    with open(os.devnull, "wb") as aside, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(aside.fileno(), 2)
        try:
            yield
            _set_standard_keras()
        finally:
            sys.stderr.flush()
            os.dup2(stderr.fileno(), 2)
    logging.getLogger("tensorflow").setLevel("ERROR")


def check_output(name: str, path: str, ending: str = ".png") -> None:
    """Raises `UserError` unless a file can be written at the path that a flag names."""
    file = pathlib.Path(path)
    if file.suffix.lower() != ending:
        raise UserError(f"--{name}={path} must end in {ending}")
    if not file.parent.is_dir():
        raise UserError(f"--{name}={path} must lie in a folder that exists; there is no folder {file.parent}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"--{name}={path} cannot be written; name another file")


@contextlib.contextmanager
def only_process(folder: pathlib.Path, flag: str) -> Iterator[None]:
    """Makes a folder and holds it for this process; a second one gets a `UserError`.

    Args:
        folder: The folder; what a killed process left unfinished in it goes.
        flag: The flag that names it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    try:
        lock: contextlib.AbstractContextManager[Any] = Lock(folder / LOCK, wait=False)
    except BlockingIOError:
        raise UserError(f"another process writes into {folder}; wait for it or name another --{flag}") from None
    except ImportError:  # Windows has no such locks
        lock = contextlib.nullcontext()
    with lock:
        for leftover in folder.glob(f"**/{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        yield


def split(texts: Iterable[str]) -> list[str]:
    """Parts between commas of a flag that may be repeated."""
    return [part for text in texts for part in text.split(",") if part]


def _flag_help(flag: absl_flags.Flag) -> str:
    head = f"--[no]{flag.name}:" if flag.boolean else f"--{flag.name}:"
    parts = [f"{head} {flag.help}"]
    if flag.default not in (None, False, [], ""):
        parts.append(f"(default: {str(flag.default_as_str).strip(chr(39))})")
    width = min(absl_flags.get_help_width(), 120)
    return "\n".join(
        absl_flags.text_wrap(part, width, indent="    ", firstline_indent="" if part is parts[0] else "    ")
        for part in parts
    )
