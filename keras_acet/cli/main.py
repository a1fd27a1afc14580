"""The console script `keras-acet`, whose commands are those of `train.py`, `evaluate.py` and `python -m export`."""

import importlib
import sys
from collections.abc import Sequence

from keras_acet.cli.output import until_output_closes

_COMMANDS = {
    "train": "train an image classifier that knows when it does not know",
    "evaluate": "evaluate trained runs side by side: tables, figures and a report",
    "export": "export a trained run as verified SavedModel and ONNX file",
}
_CLIENTS = "python -m keras_acet.export.clients"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `keras-acet COMMAND FLAGS` and returns its exit code.

    Args:
        argv: The command line, the program first. Default: `sys.argv`.
    """
    argv = list(sys.argv if argv is None else argv)
    name = argv[1] if len(argv) > 1 else ""
    if name in _COMMANDS:
        command = importlib.import_module(f"keras_acet.cli.{name}")
        return command.main([f"keras-acet {name}", *argv[2:]])
    if name in ("--help", "-h", "-?", "help"):
        return until_output_closes(lambda: print(_help()) or 0)
    found = f"received {name!r}" if name else "there is none"
    if name == "clients":
        found += f"; those are {_CLIENTS}"
    print(f"keras-acet: error: the first word must be one of {', '.join(_COMMANDS)}; {found}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, _COMMANDS))
    lines = [f"  keras-acet {name:{width}}  {what}" for name, what in _COMMANDS.items()]
    return "\n".join(
        [
            "Image classifiers that know when they do not know.",
            "",
            *lines,
            "",
            "keras-acet COMMAND --help lists its flags.",
            f"{_CLIENTS} asks an exported model.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
