"""Images of the user's own, by names of the form KIND:PATH: one class per kind, one parser for all of them.

Recipes, data sets, out-distribution sets and the command line ask `parse` what a name means. Loads no TensorFlow. A
new kind is a subclass of `Source` in a file of its own, and a line in `KINDS`.
"""

from collections.abc import Mapping

from keras_acet.datasets.sources.base import Source
from keras_acet.datasets.sources.folder import FolderSource
from keras_acet.datasets.sources.npz import NpzSource

KINDS: dict[str, type[Source]] = {source.kind: source for source in (FolderSource, NpzSource)}


def names() -> list[str]:
    """Returns what names of such sets look like; the capital `PATH` stands for a path.

    >>> names()
    ['folder:PATH', 'npz:PATH']
    """
    return [f"{kind}:PATH" for kind in KINDS]


def parse(text: str) -> Source | None:
    """Returns the source that a name stands for, None if it is no name of that form.

    Args:
        text: Such as "folder:photos", "npz:~/mine.npz" or "mnist". A path that is not absolute counts from the current
            folder, `~` is the user's.

    Raises:
        ValueError: If the path is missing.

    >>> parse("npz:/data/mine.npz").name, parse("mnist")
    ('mine.npz', None)
    """
    kind, colon, path = text.partition(":")
    if not colon or kind not in KINDS:
        return None
    if not path.strip() or "\0" in path:
        raise ValueError(f"A set must be a name, {' or '.join(names())}, with a path. Received: {text!r}.")
    return KINDS[kind](path)


def without_folders(flags: Mapping[str, str]) -> dict[str, str]:
    """Returns the flags of a run as a page or a model card may show them: own files by their last name alone.

    >>> without_folders({"dataset": "folder:/home/me/photos", "out": "paper,npz:/home/me/a.npz", "epochs": "3"})
    {'dataset': 'folder:photos', 'out': 'paper,npz:a.npz', 'epochs': '3'}
    """

    def shown(text: str) -> str:
        parts = [text] if parse(text) is not None else text.split(",")
        kept = [f"{source.kind}:{source.name}" if (source := parse(part)) else part for part in parts]
        return ",".join(kept)

    return {name: shown(text) if name in ("dataset", "out") else text for name, text in flags.items()}


__all__ = ["KINDS", "FolderSource", "NpzSource", "Source", "names", "parse", "without_folders"]
