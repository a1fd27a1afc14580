"""The standard output of a command, which its reader may close."""

import contextlib
import os
import sys
from collections.abc import Callable


def until_output_closes(run: Callable[[], int]) -> int:
    """Returns the exit code of `run()`, or 141 once nobody reads its output, as after `| head`."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # what is still in their buffers goes nowhere
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
        return 128 + 13  # SIGPIPE, which not every system has
