"""The base class of all artifacts."""

import dataclasses
import inspect
import pathlib
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from keras_acet.calibration import CalibrationResult
    from keras_acet.classifiers import KerasClassifier
    from keras_acet.datasets import Data
    from keras_acet.export.measuring import Measurements
    from keras_acet.export.metadata import Metadata
    from keras_acet.export.verification import Case
    from keras_acet.scores import Score

T = TypeVar("T")
Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]
Load = Callable[[str], Run]


class Live(Protocol):
    """The model that an artifact has to agree with: a `serving.ServingModel`, or its equal for a variant."""

    image_shape: tuple[int, ...]
    num_classes: int
    temperature: float
    threshold: float

    def predict(self, images: Any) -> dict[str, np.ndarray]:
        """Computes the outputs of `serving.ServingModel` for all images, float or uint8."""


class Source:
    """The input of one export, known before anything is measured.

    Args:
        classifier: `classifiers.KerasClassifier`.
        data: `datasets.Data`.
        score: `scores.Score` of logits that decides.
    """

    def __init__(self, classifier: "KerasClassifier", data: "Data", score: "Score") -> None:
        self.classifier = classifier
        self.data = data
        self.score = score
        self._made: dict[Callable, Any] = {}

    def once(self, make: Callable[["Source"], T]) -> T:
        """Returns `make(source)`, computed once for all artifacts of an export."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]


@dataclasses.dataclass(frozen=True)
class Subject:
    """Everything that an artifact is written from, after the measurements.

    Attributes:
        source: `Source`.
        measurements: `measuring.Measurements`.
        model: The model that the artifact has to agree with: the `serving.ServingModel`, which holds network,
            temperature and threshold, or the artifact's own variant.
        metadata: `metadata.Metadata`, with the numbers of that model at its top; `to_json()` is what a file holds.
        cases: List of `verification.Case`, of that model.
        threshold: Name of the threshold, or its value.
        resize: Whether encoded images of another size are resized.
    """

    source: Source
    measurements: "Measurements"
    model: Any
    metadata: "Metadata"
    cases: "list[Case]"
    threshold: str | float
    resize: bool


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network that differs from the one that was trained, such as a quantised one.

    Attributes:
        live: `Live`.
        calibration: `calibration.CalibrationResult` behind its temperature and threshold.
    """

    live: Live
    calibration: "CalibrationResult"


class Artifact:
    """A format that an export writes and proves in fresh processes.

    One of your own is a subclass with `name`, `file`, `runtimes` and `write`; the rest where it differs. It goes into
    `formats=[...]` of `export_model`, which refuses the whole version, and leaves nothing behind, unless each runtime
    says what the live model says: labels and decisions equal, probabilities within 1e-5.

    Attributes:
        name: Name on the command line, in `formats`, and in "variants" of the metadata.
        file: The file that it writes and that `runtimes` load, relative to the folder of the version.
        runtimes: Dict name -> function `load(path)`, which returns a function `run(signature, inputs)`. That function
            takes a dict of arrays, "images" and other inputs of the signature, and returns a dict of arrays, the
            outputs of `serving.ServingModel`. The source of `load` runs alone, in a process without `keras_acet`, so it
            has to define or import everything that it needs inside.
        signatures: The calls it is proven on: "serving_default", "images" alone; "serving_threshold", with a
            "threshold" of shape (1,); "serving_uint8", 8-bit "images"; "serving_bytes", files as "image_bytes".
        may_refuse_empty_batches: Whether a runtime may fail on no image at all, as ONNX Runtime does for some networks.
            `verification.json` says so then.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    runtimes: ClassVar[Mapping[str, Load]]
    signatures: ClassVar[tuple[str, ...]] = ("serving_default",)
    may_refuse_empty_batches: ClassVar[bool] = False

    def limits(self, source: Source) -> None:
        """Raises ValueError for a classifier or data that it cannot hold, before anything is measured."""

    def variant(self, subject: Subject) -> Variant | None:
        """Returns the variant that the artifact holds; None if it holds the network as it was trained.

        A variant is measured and calibrated on its own, and stands in the metadata under "variants".
        """

    def write(self, folder: pathlib.Path, subject: Subject) -> None:
        """Writes `folder / file`, and what belongs to it.

        Args:
            folder: Folder of the version, not under its final name yet. It holds `metadata.json`.
            subject: `Subject`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `write(folder, subject)`.")

    def usage(self, version: pathlib.Path, metadata: "Metadata", clients: str) -> dict[str, str]:
        """Returns the commands that the command line prints at the end: purpose -> command.

        Args:
            version: Folder of the version.
            metadata: `metadata.Metadata`.
            clients: How to start the clients, such as "python -m keras_acet.export.clients".
        """
        return {}


def check(artifact: Any) -> None:
    """Raises TypeError unless an object is an artifact that says all that it has to."""
    if not isinstance(artifact, Artifact):
        raise TypeError(
            f"An artifact must be an `export.artifacts.Artifact`, or the name of one. Received: {artifact!r}. Make an "
            "object of the class."
        )
    for name, kind in (("name", str), ("file", str), ("runtimes", Mapping)):
        if not isinstance(getattr(artifact, name, None), kind) or not getattr(artifact, name):
            raise TypeError(f"{type(artifact).__name__} must have `{name}`, see `export.artifacts.Artifact`.")
    for load in artifact.runtimes.values():
        source_of(load)


def source_of(load: Load) -> str:
    """Returns the source of a function, which a fresh process runs alone.

    Raises:
        TypeError: If it has none.
    """
    try:
        source = textwrap.dedent(inspect.getsource(load))
    except (TypeError, OSError) as error:
        raise TypeError(
            f"A runtime must be a function whose source can be read, written with `def`. Received: {load!r}, {error}."
        ) from error
    if not source.startswith(("def ", "@staticmethod")):
        raise TypeError(f"A runtime must be a function, written with `def`. Received: {load!r}.")
    return source
