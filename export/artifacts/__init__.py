"""The formats that an export writes and verifies: each has a file of this folder and a line below.

A format of your own is a subclass of `Artifact`; put an object of it into the argument `formats`.
"""

from collections.abc import Iterable

from keras_acet._registry import members

# isort: off
from .base import Artifact as Artifact
from .base import Live as Live
from .base import Source as Source
from .base import Subject as Subject
from .base import Variant as Variant
from .base import check as _check
from .int8 import Int8OnnxFile as Int8OnnxFile
from .onnx_file import OnnxFile as OnnxFile
from .savedmodel import SavedModel as SavedModel
# isort: on

_ARTIFACTS = members(vars(), Artifact)


def names() -> list[str]:
    """Lists the names of the artifacts of this package, sorted."""
    return sorted(_ARTIFACTS)


def chosen(formats: Iterable[str | Artifact]) -> list[Artifact]:
    """Returns artifacts for their names, and those that are artifacts already.

    Raises:
        TypeError: If one is neither.
        ValueError: If there is no artifact of a name, none at all, or two of the same name or file.
    """
    formats = [formats] if isinstance(formats, (str, Artifact)) else list(formats)
    unknown = [name for name in formats if isinstance(name, str) and name not in _ARTIFACTS]
    if unknown or not formats:
        raise ValueError(f"`formats` must be some of {', '.join(names())}. Received: {', '.join(unknown) or 'none'}.")
    artifacts = [_ARTIFACTS[one]() if isinstance(one, str) else one for one in formats]
    for artifact in artifacts:
        _check(artifact)
    for what in ("name", "file"):
        values = [getattr(artifact, what) for artifact in artifacts]
        if len(set(values)) < len(values):
            raise ValueError(f"`formats` must each have a {what} of their own. Received: {', '.join(values)}.")
    return artifacts
