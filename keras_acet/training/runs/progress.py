"""How far a run has come."""

from collections.abc import Iterable


class Progress:
    """The progress of a run.

    Attributes:
        epoch: Number of completed epochs.
        history: List of one dict per completed epoch, name -> number.
        seconds: Time spent in these epochs.
        notes: Lines for the user, on damaged checkpoints that had to be passed over.
        extended_after: The numbers of epochs after which the run was to end before it was told to go on.
    """

    def __init__(
        self,
        epoch: int = 0,
        history: Iterable[dict[str, float]] = (),
        seconds: float = 0.0,
        notes: Iterable[str] = (),
        extended_after: Iterable[int] = (),
    ) -> None:
        self.epoch = epoch
        self.history = list(history)
        self.seconds = seconds
        self.notes = list(notes)
        self.extended_after = list(extended_after)
