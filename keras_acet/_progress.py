"""The progress of long work, on stderr: a line that changes on a terminal, else one line per change."""

import sys
import time

import tqdm

_SO_FAR = "{elapsed}  {desc}"
_WITH_REST = "{elapsed}  {desc}, about {remaining} left"


class Progress:
    """Tells of the stages of long work on stderr, with the time so far and, where it is known, the time left.

    On a terminal that is one line that changes; elsewhere each change is a line of its own.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._work: float | None = None
        # smoothing=0: the time left is worked out from all that was done, not from the last stage.
        self._bar = tqdm.tqdm(
            file=sys.stderr, leave=False, smoothing=0, bar_format=_SO_FAR, disable=not sys.stderr.isatty()
        )

    def __call__(self, text: str) -> None:
        """Tells what goes on now."""
        self._tell(text, _SO_FAR)

    def stage(self, name: str, stage: str, done: float, remaining: float) -> None:
        """Tells of a stage of an evaluation.

        Args:
            name: Name of the classifier that is evaluated.
            stage: Name of the current stage.
            done: Units of work that are behind.
            remaining: Units of work that are ahead.
        """
        if self._work is None:
            self._work = done + remaining
        # The first units tell too little of the others.
        self._tell(f"{name}: {stage}", _WITH_REST if done > 0.02 * self._work else _SO_FAR, done, done + remaining)

    def end(self) -> None:
        """Clears the line on a terminal."""
        self._bar.close()

    def _tell(self, text: str, line: str, done: float = 0, work: float | None = None) -> None:
        if self._bar.disable:
            seconds = time.monotonic() - self._began
            meter = tqdm.tqdm.format_meter(done, work, seconds, prefix=text, bar_format=line)
            print(meter, file=sys.stderr, flush=True)
        else:
            self._bar.bar_format, self._bar.n, self._bar.total = line, done, work
            self._bar.set_description_str(text)
