"""What is measured before an export: temperature, thresholds, and what the deployable model says to every set."""

import numpy as np

from keras_acet import evaluation, metrics
from keras_acet.evaluation.measurements.calibration import Calibration, calibrate, calibration_images
from keras_acet.evaluation.measurements.worst_case_noise import AttackedNoise
from keras_acet.serving import ServingModel
from keras_acet.typed_json import to_json

# Thresholds are lowered by this, so that rounding in another runtime does not turn away the very image that set one.
ROUNDING = 1e-6
THRESHOLDS = {"95": 0, "99": 1, "conformal": 2}  # the order of `calibration.thresholds`


class Measurements:
    """The sets that a classifier is measured on before it is exported, and the attacks that noise went through.

    Args:
        classifier: `classifiers.Classifier` of kind "run" or "keras".
        data: `datasets.Data`.
        protocol: `evaluation.Protocol` for these data; `epsilon`, `num_noise`, `num_images` and `seed` matter.
        suite: Function `(epsilon, *, seed)` that returns the attacks on noise.
        store: `evaluation.Store`. That of an evaluation of the same classifier spares the attacks.
        progress: None, or a function of a text, told what goes on.

    Attributes:
        calibration: Dict of `calibration.calibrate`, with "is_held_out" beside.
    """

    def __init__(self, classifier, data, protocol, suite, store, progress=None):
        self.classifier = classifier
        self.data = data
        self.protocol = protocol
        self._tell = progress or (lambda text: None)
        self._subject = evaluation.Subject(classifier, data, protocol, store)
        self._suite = suite
        self._tell("temperature and thresholds")
        self._held_out = self._subject.arrays(Calibration())["logits"]
        self._sets = None
        self.calibration = self.calibrated(self._held_out, self._subject.test_arrays()["logits"])

    @property
    def calibration_images(self):
        """The images behind `calibration`, float32."""
        return calibration_images(self._subject)[0]

    def calibrated(self, held_out_logits, test_logits):
        """Fits temperature and thresholds for logits at the calibration and test images, of a quantised network say.

        Returns:
            Dict of `calibration.calibrate`; "is_held_out" beside says whether training was kept from these images, None
            if nobody knows.

        Raises:
            ValueError: If there are fewer than two calibration images.
        """
        count = len(self._held_out)
        if count < 2:
            raise ValueError(
                f"A temperature and thresholds need at least 2 images of {self.data.name} besides the test set. "
                f"Received: {count}."
            )
        return to_json(calibrate(self._subject, held_out_logits, test_logits))

    def serving_model(self, calibrated, threshold):
        """Returns the `ServingModel` with a temperature and a threshold.

        Args:
            calibrated: Dict of `calibrated`.
            threshold: "95", "99" or "conformal", or a float.
        """
        value = served_thresholds(calibrated)[THRESHOLDS[threshold]] if threshold in THRESHOLDS else float(threshold)
        return ServingModel(
            self.classifier.network,
            image_shape=self.data.image_shape,
            num_classes=self.data.num_classes,
            temperature=calibrated["temperature"],
            threshold=value,
        )

    def sets(self):
        """Returns the images of every set: list of dicts of "set", "kind", "radius", "note" and "images".

        "images" is a list of arrays, one image each of which counts, the most confident; or a text that says why there
        are none.
        """
        if self._sets is None:
            self._sets = [self._set(f"{self.data.name} (test)", "test", [self._subject.test_images])]
            for name, images in self.data.ood.items():
                chosen = images if isinstance(images, str) else [self._subject.some(images)]
                self._sets.append(self._set(name, "ood", chosen))
            self._sets.append(self._set("noise", "noise", [self._subject.noise_images()]))
            if self.classifier.is_differentiable:
                self._sets.append(self._worst_case())
        return self._sets

    def _set(self, name, kind, images, radius=None, note=""):
        return {"set": name, "kind": kind, "radius": radius, "note": note, "images": images}

    def _worst_case(self):
        radius = self.protocol.epsilon

        def tell(detail="", share=0.0):
            self._tell(f"worst-case noise: {detail} ({share:.0%})")

        attacked = AttackedNoise(trials=tuple(self._suite(radius, seed=self.protocol.seed)))
        (attacked,) = attacked.resolved(self.protocol, self.data)
        found = self._subject.arrays(attacked, tell)
        points = list(found["points"])  # the worst of each image, then what the attacks found
        if self.calibration["temperature"] != 1:
            points.append(self._attacked_after_temperature(found))
        note = f"of {len(found['noise'])} noise images, the most confident of each ball of radius {radius:g}"
        return self._set("worst-case noise", "worst_case_noise", points, radius, note)

    def _attacked_after_temperature(self, found):
        """What is most confident may change with the temperature: the strongest attack goes on from there."""
        network, temperature = self.classifier.network, self.calibration["temperature"]
        attacker = evaluation.Attacker(
            lambda images: network(images, training=False) / temperature,
            found["noise"],
            self._subject.test_images,
            seed=self.protocol.seed,
        )
        known = [evaluation.KnownPoints("before the temperature", found["images"])]
        strongest = self._suite(self.protocol.epsilon, seed=self.protocol.seed)[-1:]
        return attacker.run(strongest, known_points=known).images

    def outputs(self, model):
        """Runs a model on all sets, each image where the model is most confident.

        Args:
            model: `ServingModel`, or anything with its `predict`.

        Returns:
            List of `sets` with "confidence", "accepted" and "label", arrays, in the place of "images"; a set that is
            missing keeps its text.
        """
        found = []
        for about in self.sets():
            if not isinstance(about["images"], str):
                self._tell(f"confidence on {about['set']}")
                candidates = [model.predict(images) for images in about["images"]]
                about = {name: value for name, value in about.items() if name != "images"}
                about["confidence"] = np.max([outputs["confidence"] for outputs in candidates], axis=0)
                about["accepted"] = np.any([outputs["accepted"] for outputs in candidates], axis=0)
                about["label"] = candidates[0]["label"]
            found.append(about)
        return found

    def threshold_rows(self, calibrated, outputs):
        """Returns the thresholds as served, with what they accept by a model's own `outputs`."""
        confidence = {found["kind"]: found.get("confidence") for found in outputs}
        rows = []
        for row, value in zip(calibrated["thresholds"], served_thresholds(calibrated), strict=True):
            rows.append(
                {
                    "name": row["name"],
                    "threshold": value,
                    "num_images": row["num_images"],
                    "accepted_test": _share_reaching(confidence["test"], value),
                    "accepted_worst_noise": _share_reaching(confidence.get("worst_case_noise"), value),
                    "guarantee": row["guarantee"],
                }
            )
        return rows

    def test_error(self, outputs):
        """Share of test images that a model labels otherwise, by its `outputs`."""
        labels = next(found["label"] for found in outputs if found["kind"] == "test")
        share = metrics.share(int((labels != self._subject.test_labels).sum()), len(labels))
        return {**share, "n": len(labels)}


def confidence_rows(outputs):
    """Returns a row per set, as under "confidence" in `metadata.json`, from `Measurements.outputs`."""
    rows = []
    for found in outputs:
        row = {name: found[name] for name in ("set", "kind", "radius", "note")}
        if "images" in found:  # a text, why there are none
            rows.append({**row, "n": 0, "mmc": None, "accepted": None, "note": found["images"]})
            continue
        confidence, accepted = found["confidence"], found["accepted"]
        mmc = float(confidence.mean(dtype=np.float64))
        rows.append({**row, "n": len(confidence), "mmc": mmc, "accepted": float(accepted.mean())})
    return rows


def _share_reaching(confidence, threshold):
    return None if confidence is None else float((confidence >= np.float32(threshold)).mean())


def served_thresholds(calibrated):
    """Returns the three thresholds as floats that float32 holds, lowered by `ROUNDING`, at least 0."""
    return [max(float(np.float32(row["threshold"] - ROUNDING)), 0.0) for row in calibrated["thresholds"]]
