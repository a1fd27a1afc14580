"""A measurement of one's own: the confidence on mirrored test images, as a row of the table and the report."""

import dataclasses

import numpy as np

import keras_acet as ka
from keras_acet.evaluation import measurements


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mirrored(measurements.Measurement):
    """Confidence on mirrored test images; its fields, here the axis, are part of the key of a stored result."""

    name = "mirrored"
    needs = ("images",)
    axis: int = 2  # left to right; 1: upside down

    def compute(self, subject, tell):
        return subject.outputs_with_examples(np.flip(subject.test_images, self.axis))

    def finding(self, subject, arrays):
        finding = ka.evaluation.Finding()
        finding.add_row(subject, arrays, kind="mirrored", set=f"axis {self.axis}", label=f"mirrored, axis {self.axis}")
        return finding


if __name__ == "__main__":
    data = ka.datasets.load("digits")
    model = ka.ACETModel(ka.networks.mlp(data.image_shape, data.num_classes))
    model.compile(optimizer="adam", metrics=["accuracy"])
    model.fit(data.train, epochs=3, verbose=0, shuffle=False)
    evaluation = ka.evaluate(model, data, measurements=[measurements.TestSet(), Mirrored(), Mirrored(axis=1)])
    print(evaluation)
    ka.write_report(evaluation, "report")
