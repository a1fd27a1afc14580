"""The base class of all measurements."""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from keras_acet.datasets import Data
from keras_acet.evaluation import keys
from keras_acet.evaluation.finding import Finding, LeftOut
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell

if TYPE_CHECKING:
    from keras_acet.evaluation.attacks import Trial

OPEN: Any = None  # a setting that `Measurement.resolved` fills in, from the protocol or the data
Need = Literal["gradients", "layers", "images"]


class Measurement(abc.ABC):
    """One thing that is measured on a classifier. A subclass is a frozen dataclass whose fields are its settings.

    A measurement of your own defines `name`, `compute` and `finding`, and has `kw_only` fields with defaults, so that
    it can be made from its name. All fields, the classifier's digest and the data's fingerprint are the key of a stored
    result. If `compute` uses out-distribution sets or other measurements, `sets` and `builds_on` have to name them, so
    that they become part of the key.

    Attributes:
        name: Name of the measurement, on the command line and in `results.json`.
        needs: What the measurement requires, else it is left out. Of the classifier: "gradients" in the images, or
            "layers" that `theory.PiecewiseAffine` supports. Of the data: "images".
        version: Version of the code in `compute`; raise it when the same settings give other arrays.

    Example: the confidence on test images at half their brightness.

    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Dimmed(Measurement):
    ...     name = "dimmed"
    ...     factor: float = 0.5
    ...
    ...     def compute(self, subject, tell):
    ...         return subject.outputs(self.factor * subject.test_images)
    ...
    ...     def finding(self, subject, arrays):
    ...         finding = Finding()
    ...         finding.add_row(subject, arrays, kind="dimmed", set="test", label=f"test, {self.factor} as bright")
    ...         return finding
    """

    name: ClassVar[str]
    needs: ClassVar[Sequence[Need]] = ()
    version: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """Text in the progress line and at the beginning of the name of a stored result's file."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """Name in the report where the measurement is left out."""
        return self.title

    @property
    def sets(self) -> Sequence[str]:
        """Names of the out-distribution sets whose images `compute` uses."""
        return ()

    @property
    def builds_on(self) -> Sequence["Measurement"]:
        """Measurements of the same classifier whose arrays `compute` uses."""
        return ()

    @property
    def transfers(self) -> Sequence["Measurement"]:
        """Measurements of the other classifiers, `subject.others`, whose arrays `compute` uses."""
        return ()

    @classmethod
    def is_default(cls, protocol: Protocol, data: Data) -> bool:
        """Whether it is measured when the caller names no measurements."""
        return True

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        """Returns the measurement for these data, with all open settings filled in; one for each set of images.

        Args:
            protocol: `Protocol` for these data, where open settings come from.
            data: `datasets.Data`.
        """
        return [self]

    def as_done_on(self, subject: Subject) -> "Measurement":
        """Returns the measurement to compute instead of this one, such as a simpler one where there are no others."""
        return self

    def reason(self, subject: Subject) -> str | None:
        """Returns in words why a classifier cannot be measured; None if it can."""
        if "images" in self.needs and len(subject.data.image_shape) != 3:
            return f"the data are not images but of shape {subject.data.image_shape}"
        if "gradients" in self.needs and not subject.is_differentiable:
            return f"{subject.name}, {subject.classifier.description}, gives no gradients"
        if not subject.score_sees_logits and subject.classifier.network is None:
            return f"the score {subject.score.name} looks into a network, which {subject.classifier.description} hides"
        if "layers" in self.needs:
            try:
                subject.pieces()
            except (TypeError, ValueError) as error:
                return str(error)
        return next((reason for one in self.builds_on if (reason := one.reason(subject))), None)

    def cost(self, subject: Subject) -> float:
        """Returns about how many forward passes `compute` takes."""
        return len(subject.test_images)

    @abc.abstractmethod
    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        """Computes the arrays that are stored.

        Args:
            subject: The classifier, its images and its outputs.
            tell: Function of a text and the share of the work that is done, in [0, 1], to be called as the work goes
                on; both may be left out.

        Returns:
            dict of arrays; text becomes an array of text.
        """

    @abc.abstractmethod
    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        """Returns the rows, results and figures.

        Args:
            subject: The classifier.
            arrays: Dict of arrays, as `compute` returned it.
        """

    def finding_without(self, subject: Subject, reason: str) -> Finding:
        """Returns the entry of the report for a classifier that cannot be measured."""
        return Finding(left_out=[LeftOut(self.label, reason)])

    def settings(self) -> dict[str, Any]:
        """Returns the fields of `results.Settings` that this measurement sets, by name."""
        return {}

    def description(self) -> dict[str, Any]:
        """Returns name and settings, as in `results.json`."""
        described = keys.describe(self)
        return {"name": self.name, **{name: value for name, value in described.items() if name != "class"}}


def attack_cost(trials: Sequence["Trial"], num_images: int) -> float:
    """About how many forward passes attacks take: a step is one, and a backward pass of about twice its cost."""
    return 3 * num_images * sum(trial.attack.num_steps for trial in trials)
