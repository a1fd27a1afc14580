"""The proof that every artifact says what the live model says, taken in fresh processes."""

import dataclasses
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from keras_acet._prediction import as_float
from keras_acet.serving import OUTPUTS

from .savedmodel import takes_bytes

TOLERANCE = 1e-5
_LOGITS_TOLERANCE = 1e-4  # relative to the largest logit in size, at least 1
_HERE = pathlib.Path(__file__).parent
_SECONDS = 600


class VerificationError(RuntimeError):
    """An artifact that does not load, or says something else than the live model."""


@dataclasses.dataclass
class Case:
    """One call of an artifact and what the live model says.

    Attributes:
        name: What it is called in `verification.json`.
        signature: Of the SavedModel.
        inputs: Dict input name -> array.
        expected: Dict output name -> array.
    """

    name: str
    signature: str
    inputs: dict
    expected: dict


def cases(model, sets, *, resize=False):
    """Returns the calls that an artifact has to pass.

    Args:
        model: `ServingModel`, or anything with `predict`, `image_shape` and `num_classes`: the live model.
        sets: List of `Measurements.sets`: test images, noise, and the worst case are taken from it.
        resize: Whether encoded images of another size are resized.

    Returns:
        List of `Case`: test images at batch sizes 0, 1, 7, 64 and up to 256; noise; all of the worst case; guard cases
        among good images; for images also 8-bit and encoded ones, with two files that cannot be decoded.
    """
    images = {found["kind"]: found["images"] for found in sets if not isinstance(found["images"], str)}
    test = as_float(images["test"][0][:256])
    test = np.resize(test, (max(len(test), 64), *test.shape[1:]))  # repeated where there are too few
    batches = {f"test images, batch of {size}": test[:size] for size in (0, 1, 7, 64, len(test))}
    batches["noise"] = images["noise"][0][:64]
    if "worst_case_noise" in images:
        candidates = images["worst_case_noise"]
        best = np.argmax([model.predict(points)["confidence"] for points in candidates], axis=0)
        batches["worst-case noise"] = np.stack(candidates)[best, np.arange(len(best))]
    batches["guard cases among test images"] = guard_cases(test)
    found = [Case(name, "serving_default", {"images": x}, model.predict(x)) for name, x in batches.items()]
    if len(model.image_shape) == 3:
        levels = np.round(test[:64] * 255).astype(np.uint8)
        expected = model.predict(levels)
        found.append(Case("8-bit images", "serving_uint8", {"images": levels}, expected))
        if takes_bytes(model.image_shape):
            files = [_png(image) for image in levels]
            broken = [b"not an image", files[0][:-20]]
            refused = model.predict(np.full((len(broken), *model.image_shape), np.nan))
            expected = {name: np.concatenate([expected[name], refused[name]]) for name in OUTPUTS}
            encoded = {"image_bytes": np.array([*files, *broken])}
            found.append(Case("encoded images, two of them broken", "serving_bytes", encoded, expected))
    return found


def guard_cases(images):
    """Returns images of which every second one is as given; the others have something outside the box, or not finite.

    Args:
        images: float32 array `(n, ...)`, values in [0, 1]; repeated where there are too few.
    """
    good = np.resize(images, (16, *images.shape[1:]))
    bad = good.copy().reshape(16, -1)
    bad[0, 0] = 1.01
    bad[1, -1] = -0.01
    bad[2, 0] = np.nan
    bad[3, -1] = np.inf
    bad[4, 0] = -np.inf
    bad[5] *= 1e30
    bad[6] = np.nan
    bad[7] = -1.0
    bad[8] = bad[8] * 255 + 2
    bad[9, :2] = np.inf, -np.inf
    bad[10] = np.finfo(np.float32).max
    bad[11, 0] = 1.002
    bad[12:, 0] = 1.0005  # within the tolerance
    return np.stack([good, bad.reshape(good.shape)], axis=1).reshape(32, *good.shape[1:])


def with_threshold(found, model, threshold):
    """Returns a case that names its own threshold, made of the first case of 64 or fewer images."""
    base = next(case for case in found if case.name.endswith(("batch of 7", "batch of 1")))
    expected = dict(base.expected)
    usable = np.isfinite(base.inputs["images"]).reshape(len(base.inputs["images"]), -1).all(axis=1)
    expected["accepted"] = usable & (expected["confidence"] >= np.float32(threshold))
    return Case("a threshold of the request", "serving_threshold", {**base.inputs, "threshold": threshold}, expected)


def run_savedmodel(path, found, runtime):
    """Runs cases in a fresh process, by "tensorflow" or "tensorflow session"; returns a list of dicts of outputs."""
    return _run(path, found, runtime, [{"signature": case.signature} for case in found])


def run_onnx(path, found):
    """Runs cases in a fresh process by ONNX Runtime; returns a list of dicts of outputs."""
    return _run(path, found, "onnxruntime", [{} for _ in found])


def _run(path, found, runtime, calls):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        inputs = {f"{i}/{name}": array for i, case in enumerate(found) for name, array in case.inputs.items()}
        np.savez(folder / "inputs.npz", **inputs)
        for i, (call, case) in enumerate(zip(calls, found, strict=True)):
            call |= {"case": i, "inputs": {name: f"{i}/{name}" for name in case.inputs}}
        request = {
            "runtime": runtime,
            "path": str(path),
            "inputs": str(folder / "inputs.npz"),
            "outputs": str(folder / "outputs.npz"),
            "calls": calls,
        }
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-P", str(_HERE / "fresh.py"), str(folder / "request.json")]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise VerificationError(
                f"{path.name} takes more than {_SECONDS} s in a fresh process ({runtime})"
            ) from error
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1].removesuffix(".")
            raise VerificationError(f"{path.name} does not run in a fresh process ({runtime}): {last}")
        with np.load(folder / "outputs.npz", allow_pickle=False) as archive:
            return [
                {name.partition("/")[2]: archive[name] for name in archive.files if name.partition("/")[0] == str(i)}
                for i in range(len(found))
            ]


def compare(case, outputs, threshold):
    """Compares the outputs of an artifact with those of the live model.

    Labels and decisions have to be equal, save where the live model is itself undecided: where another class is within
    `2 TOLERANCE` of the largest probability, or the confidence within `TOLERANCE` of the threshold. How many images
    that were is reported.

    Returns:
        dict with "images", "ties", the largest difference of "probabilities", "confidence" and "logits", and
        "failures", a list of texts.
    """
    expected, failures = case.expected, []
    if sorted(outputs) != sorted(OUTPUTS):
        return {"images": 0, "failures": [f"outputs {sorted(outputs)} instead of {sorted(OUTPUTS)}"]}
    for name in OUTPUTS:
        if outputs[name].shape != expected[name].shape or outputs[name].dtype != expected[name].dtype:
            got, wanted = (f"{x[name].dtype} {x[name].shape}" for x in (outputs, expected))
            failures.append(f"{name} is {got} instead of {wanted}")
    if failures:
        return {"images": len(expected["label"]), "failures": failures}
    result = {"images": len(expected["label"])}
    for name in ("probabilities", "confidence", "logits"):
        difference = np.abs(outputs[name].astype(np.float64) - expected[name])
        result[name] = float(difference.max(initial=0.0))
        scale = max(1.0, float(np.abs(expected[name]).max(initial=0.0)))
        if not result[name] <= (_LOGITS_TOLERANCE * scale if name == "logits" else TOLERANCE):
            failures.append(f"{name} differ by {result[name]:.2g}")
    rows = np.arange(result["images"])
    probabilities = expected["probabilities"]
    label_is_tied = probabilities.max(axis=1, initial=0) - probabilities[rows, outputs["label"]] <= 2 * TOLERANCE
    decision_is_tied = np.abs(expected["confidence"] - np.asarray(threshold)) <= TOLERANCE
    other_label = outputs["label"] != expected["label"]
    other_decision = outputs["accepted"] != expected["accepted"]
    result["ties"] = int((other_label & label_is_tied | other_decision & decision_is_tied).sum())
    for what, other, tied in (("labels", other_label, label_is_tied), ("decisions", other_decision, decision_is_tied)):
        if (other & ~tied).any():
            failures.append(f"{int((other & ~tied).sum())} {what} differ")
    return {**result, "failures": failures}


def report(runtime, path, found, outputs, threshold):
    """Compares all cases and returns the entry of `verification.json`.

    Raises:
        VerificationError: If a case failed; the message names the first one.
    """
    entry = {"runtime": runtime, "file": path, "cases": {}}
    for case, got in zip(found, outputs, strict=True):
        result = compare(case, got, case.inputs.get("threshold", threshold))
        if result["failures"]:
            raise VerificationError(
                f"{path} ({runtime}) differs from the live model on {case.name}: {result['failures'][0]}"
            )
        del result["failures"]
        entry["cases"][case.name] = result
    return entry


def _png(image):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, "PNG")
    return stream.getvalue()
