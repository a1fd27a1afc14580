"""Maps of the plane, for data of two numbers."""

import dataclasses

import numpy as np

from keras_acet._prediction import as_float
from keras_acet.datasets import Data
from keras_acet.evaluation import maps
from keras_acet.evaluation.arrays import PlaneMaps
from keras_acet.evaluation.finding import Finding, LeftOut
from keras_acet.evaluation.measurements.base import Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.subject import ArrayDict, Subject, Tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane(Measurement):
    """Confidence and linear regions on four squares of the plane, the last far outside the data.

    Args:
        ranges: Pairs `(low, high)`, the squares.
    """

    name = "plane"
    ranges: tuple[tuple[float, float], ...] = maps.RANGES

    @property
    def title(self) -> str:
        return "maps of the plane"

    @classmethod
    def is_default(cls, protocol: Protocol, data: Data) -> bool:
        return tuple(data.image_shape) == (2,)

    def reason(self, subject: Subject) -> str | None:
        if tuple(subject.data.image_shape) != (2,):
            return f"the data are not points of the plane but of shape {tuple(subject.data.image_shape)}"
        return super().reason(subject)

    def cost(self, subject: Subject) -> float:
        return len(self.ranges) * (maps.SIZE**2 + maps.FINE**2)

    def compute(self, subject: Subject, tell: Tell) -> ArrayDict:
        arrays = {"confidence": maps.confidence_maps(subject.classifier, self.ranges)}
        if _has_pieces(subject):
            arrays["regions"] = maps.region_maps(subject.pieces(), self.ranges)
        return arrays

    def finding(self, subject: Subject, arrays: ArrayDict) -> Finding:
        finding = Finding()
        finding.arrays.maps = PlaneMaps(
            self.ranges,
            arrays["confidence"],
            arrays.get("regions"),
            as_float(subject.data.test_images),
            np.asarray(subject.data.test_labels),
        )
        if "regions" not in arrays:
            reason = "they can be computed for ReLU networks made of Keras' own layers only"
            finding.left_out = [LeftOut("linear regions", reason)]
        return finding


def _has_pieces(subject: Subject) -> bool:
    try:
        subject.pieces()
    except (TypeError, ValueError):
        return False
    return True
