"""What a measurement is."""

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
    """One thing that is measured on a classifier; a subclass is a frozen dataclass, its fields all that can be set.

    A measurement of your own needs `name`, `compute` and `finding`; `kw_only` fields with a default, so that it can be
    made from its name. All fields, the classifier's digest and the data's fingerprint are the key of a stored result.
    What else `compute` depends on it names: out-distribution sets in `sets`, other measurements in `builds_on`.

    Attributes:
        name: What it is called, on the command line and in `results.json`.
        needs: What a classifier has to have, else the measurement is left out: "gradients" in the images; "layers" that
            `theory.PiecewiseAffine` knows. Or what the data have to be: "images".
        version: Of the code in `compute`; raise it where the same settings give other arrays.

    Example: how sure a network is of its test images at half their brightness.

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
        """What the progress says, and how the file of a stored result begins."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """What the report calls it where it is left out."""
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
        """Whether it is measured where nobody says what is to be measured."""
        return True

    def resolved(self, protocol: Protocol, data: Data) -> Sequence[Self]:
        """Returns what this is for these data: settings that were left open filled in, one measurement per set.

        Args:
            protocol: `Protocol` for these data, where open settings come from.
            data: `datasets.Data`.
        """
        return [self]

    def as_done_on(self, subject: Subject) -> "Measurement":
        """Returns what is computed in place of this one on a classifier that has nothing to be compared with."""
        return self

    def reason(self, subject: Subject) -> str | None:
        """Returns why the measurement cannot be had of a classifier, in words; None if it can."""
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
        """Computes what is worth keeping.

        Args:
            subject: The classifier, its images and what it says to them.
            tell: Function of a text and the share that is done, in [0, 1]; both may be left out.

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
        """Returns what stands in the report where the measurement cannot be had."""
        return Finding(left_out=[LeftOut(self.label, reason)])

    def settings(self) -> dict[str, Any]:
        """Returns which fields of `results.Settings` this measurement is behind."""
        return {}

    def description(self) -> dict[str, Any]:
        """Returns name and settings, as in `results.json`."""
        described = keys.describe(self)
        return {"name": self.name, **{name: value for name, value in described.items() if name != "class"}}


def attack_cost(trials: Sequence["Trial"], num_images: int) -> float:
    """About how many forward passes attacks take: a step is one, and a backward pass of about twice its cost."""
    return 3 * num_images * sum(trial.attack.num_steps for trial in trials)
