"""Verifies in fresh processes that every artifact gives the outputs of the live model."""

import collections
import dataclasses
import io
import json
import math
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_acet._prediction import as_float
from keras_acet.datasets import decoding
from keras_acet.files import writing
from keras_acet.serving import deciding

from .artifacts.base import Artifact, Live, Load, source_of
from .clients.images import takes_files
from .measuring import ImageSet

TOLERANCE = 1e-5
_LOGITS_TOLERANCE = 1e-4  # relative to the largest logit in size, at least 1
_HERE = pathlib.Path(__file__).parent
_OTHER_THRESHOLD = 0.5
_SECONDS = 600
_BATCH, _BYTES = 256, 64 * 2**20
TEST_SET = "test set"


class VerificationError(RuntimeError):
    """An artifact that does not load, or whose outputs differ from those of the live model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One call of an artifact and the outputs of the live model.

    Attributes:
        name: Name of the case in `verification.json`.
        signature: Which call it is, see `artifacts.Artifact`.
        inputs: Dict input name -> array.
        expected: Dict output name -> array.
        labels: The right classes, where the test error is told; else None.
        batch_size: Number of images of one call, where there are several calls; else None.
    """

    name: str
    signature: str
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    batch_size: int | None = None


def cases(model: Live, sets: list[ImageSet], labels: np.ndarray) -> list[Case]:
    """Returns the calls that an artifact has to pass.

    Args:
        model: `ServingModel`, or anything with `predict`, `image_shape` and `num_classes`: the live model.
        sets: List of `Measurements.sets`: test images, noise, and the worst case are taken from it.
        labels: Those of the test images.

    Returns:
        List of `Case`: test images at batch sizes 0, 1, 7, 64 and up to 256; the test set, or as much of it as 64 MB
        hold; noise; all of the worst case; guard cases among good images; for images also 8-bit and encoded ones, every
        other a photograph turned by its EXIF segment, with two files that cannot be decoded; one with a threshold of
        its own.
    """
    images = {one.kind: one.images for one in sets if one.images}
    whole = as_float(images["test"][0][: max(_BATCH, _BYTES // (4 * math.prod(model.image_shape)))])
    test = whole[:_BATCH]
    test = np.resize(test, (max(len(test), 64), *test.shape[1:]))  # repeated where there are too few
    batches = {f"test images, batch of {size}": test[:size] for size in (0, 1, 7, 64, len(test))}
    batches["noise"] = images["noise"][0][:64]
    if "worst_case_noise" in images:
        candidates = images["worst_case_noise"]
        best = np.argmax([model.predict(points)["confidence"] for points in candidates], axis=0)
        batches["worst-case noise"] = np.stack(candidates)[best, np.arange(len(best))]
    batches["guard cases among test images"] = guard_cases(test)
    calls = [Case(name, "serving_default", {"images": x}, model.predict(x)) for name, x in batches.items()]
    expected = model.predict(whole)
    calls.append(Case(TEST_SET, "serving_default", {"images": whole}, expected, labels[: len(whole)], _BATCH))
    if len(model.image_shape) == 3:
        levels = np.round(test[:64] * 255).astype(np.uint8)
        expected = model.predict(levels)
        calls.append(Case("8-bit images", "serving_uint8", {"images": levels}, expected))
        if takes_files(model.image_shape):
            files = [_photograph(image) if i % 2 else _png(image) for i, image in enumerate(levels)]
            expected = model.predict(
                np.stack([decoding.fit(decoding.decode(file), model.image_shape) for file in files])
            )
            broken = [b"not an image", files[0][:-20]]
            refused = model.predict(np.full((len(broken), *model.image_shape), np.nan))
            expected = {name: np.concatenate([expected[name], refused[name]]) for name in expected}
            encoded = {"image_bytes": np.array([*files, *broken])}
            calls.append(Case("encoded images, two of them broken", "serving_bytes", encoded, expected))
    one = next(case for case in calls if len(case.expected["label"]))  # of test images, which are all usable
    calls.append(_with_threshold(one, _OTHER_THRESHOLD))
    return calls


def guard_cases(images: np.ndarray) -> np.ndarray:
    """Returns the given images and, after each of them, a copy with a pixel that is outside the box or not finite.

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


def _with_threshold(case, threshold):
    """The same images with a threshold of the request."""
    inputs = {**case.inputs, "threshold": np.array([threshold], np.float32)}
    expected = {**case.expected, "accepted": deciding(case.expected) >= np.float32(threshold)}
    return Case("a threshold of the request", "serving_threshold", inputs, expected)


def verify(
    artifact: Artifact, folder: pathlib.Path, found: list[Case], threshold: float, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Runs an artifact in fresh processes, one per runtime, on the cases whose signatures it takes.

    Args:
        artifact: `artifacts.Artifact`.
        folder: Where it was written.
        found: List of `cases` of the model that it has to agree with.
        threshold: The threshold of that model.
        tell: Function of a text, told what goes on.

    Returns:
        List of entries of `verification.json`.

    Raises:
        VerificationError: If it does not load, or a case failed; the message names the first one.
    """
    found = [case for case in found if case.signature in artifact.signatures]
    apart = [case for case in found if artifact.may_refuse_empty_batches and not len(case.expected["label"])]
    needed = [case for case in found if case not in apart]
    path, entries = folder / artifact.file, []
    for runtime, load in artifact.runtimes.items():
        tell(f"verifying {artifact.file} ({runtime})")
        entry = report(runtime, artifact.file, needed, run(path, needed, runtime, load), threshold)
        if artifact.may_refuse_empty_batches:  # in a process apart, which may break off
            try:
                empty = report(runtime, artifact.file, apart, run(path, apart, runtime, load), threshold)
                entry = {**entry, "cases": {**empty["cases"], **entry["cases"]}, "empty_batch": True}
            except VerificationError:
                entry["empty_batch"] = False
        entries.append(entry)
    return entries


def run(path: pathlib.Path, found: list[Case], runtime: str, load: Load) -> list[dict[str, np.ndarray]]:
    """Runs cases in a fresh process; returns the outputs of each.

    Args:
        path: The file to load.
        found: List of `Case`.
        runtime: What the runtime is called, for messages.
        load: See `artifacts.Artifact`.

    Raises:
        VerificationError: If the process fails, or takes more than ten minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        parts = [(i, case.signature, one) for i, case in enumerate(found) for one in _parts(case)]
        calls = [{"signature": name, "inputs": {n: f"{j}/{n}" for n in one}} for j, (_, name, one) in enumerate(parts)]
        inputs = {f"{j}/{name}": array for j, (*_, one) in enumerate(parts) for name, array in one.items()}
        with writing(folder):
            np.savez(folder / "inputs.npz", **inputs)
        request = {
            "source": source_of(load),
            "function": load.__name__,
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
        outputs: list[dict[str, list[np.ndarray]]] = [collections.defaultdict(list) for _ in found]
        with np.load(folder / "outputs.npz", allow_pickle=False) as archive:
            for key in archive.files:  # in the order of the calls
                j, _, name = key.partition("/")
                outputs[parts[int(j)][0]][name].append(archive[key])
        return [{name: np.concatenate(arrays) for name, arrays in one.items()} for one in outputs]


def _parts(case):
    """The inputs of each call of a case."""
    if case.batch_size is None:
        return [case.inputs]
    count = len(case.expected["label"])
    return [
        {name: array[start : start + case.batch_size] for name, array in case.inputs.items()}
        for start in range(0, count, case.batch_size)
    ]


def compare(case: Case, outputs: dict[str, np.ndarray], threshold: float | np.ndarray) -> dict[str, Any]:
    """Compares the outputs of an artifact with those of the live model.

    Labels and decisions have to be equal, except where the live model itself is at a tie: where another class is within
    `2 TOLERANCE` of the largest probability, or the confidence (or other score) is within the tolerance of the
    threshold. The number of such images is reported as "ties".

    Returns:
        dict with "images", "ties", the largest difference of "probabilities", "confidence" and "logits", and
        "failures", a list of texts; and "test_error", the share of wrong labels, if the right ones are known.
    """
    expected, failures = case.expected, []
    if sorted(outputs) != sorted(expected):
        return {"images": 0, "failures": [f"outputs {sorted(outputs)} instead of {sorted(expected)}"]}
    for name in expected:
        if outputs[name].shape != expected[name].shape or outputs[name].dtype != expected[name].dtype:
            got, wanted = (f"{x[name].dtype} {x[name].shape}" for x in (outputs, expected))
            failures.append(f"{name} is {got} instead of {wanted}")
    if failures:
        return {"images": len(expected["label"]), "failures": failures}
    result: dict[str, Any] = {"images": len(expected["label"])}
    for name in [name for name in ("probabilities", "confidence", "logits", "score") if name in expected]:
        difference = np.abs(outputs[name].astype(np.float64) - expected[name])
        result[name] = float(difference.max(initial=0.0))
        if not result[name] <= _tolerance(name, expected[name]):
            failures.append(f"{name} differ by {result[name]:.2g}")
    rows = np.arange(result["images"])
    probabilities = expected["probabilities"]
    label_is_tied = probabilities.max(axis=1, initial=0) - probabilities[rows, outputs["label"]] <= 2 * TOLERANCE
    name = "score" if "score" in expected else "confidence"
    decision_is_tied = np.abs(expected[name] - np.asarray(threshold)) <= _tolerance(name, expected[name])
    other_label = outputs["label"] != expected["label"]
    other_decision = outputs["accepted"] != expected["accepted"]
    result["ties"] = int((other_label & label_is_tied | other_decision & decision_is_tied).sum())
    for what, other, tied in (("labels", other_label, label_is_tied), ("decisions", other_decision, decision_is_tied)):
        if (other & ~tied).any():
            failures.append(f"{int((other & ~tied).sum())} {what} differ")
    if case.labels is not None:
        result["test_error"] = float((outputs["label"] != case.labels).mean())
    return {**result, "failures": failures}


def check_test_error(logits: np.ndarray, served: np.ndarray, labels: np.ndarray) -> None:
    """Raises unless what is about to be written makes the test error of the model that it was made from.

    Args:
        logits: Those of the model on the test images, float array `(n, num_classes)`, as it was measured first.
        served: Classes that the deployable model gives, int array `(n,)`.
        labels: The right ones.

    Raises:
        VerificationError: If the errors differ by more images than have two classes at the same logit.
    """
    largest = np.sort(logits.astype(np.float64), axis=1)[:, -2:]
    tied = int((largest[:, 1] - largest[:, 0] <= 2 * _tolerance("logits", logits)).sum())
    own, other = (int((classes != labels).sum()) for classes in (logits.argmax(axis=1), served))
    if abs(own - other) > tied:
        raise VerificationError(
            f"The deployable model makes a test error of {other / len(labels):.2%} where the model makes "
            f"{own / len(labels):.2%}, on {len(labels)} test images"
        )


def _tolerance(name, values):
    """The tolerance of an output; for logits and scores, whose range is not bounded, it grows with their size."""
    if name in ("logits", "score"):
        return _LOGITS_TOLERANCE * max(1.0, float(np.abs(values).max(initial=0.0)))
    return TOLERANCE


def report(
    runtime: str, file: str, found: list[Case], outputs: list[dict[str, np.ndarray]], threshold: float
) -> dict[str, Any]:
    """Compares all cases and returns the entry of `verification.json`.

    Raises:
        VerificationError: If a case failed; the message names the first one.
    """
    entry: dict[str, Any] = {"runtime": runtime, "file": file, "cases": {}}
    for case, got in zip(found, outputs, strict=True):
        result = compare(case, got, case.inputs.get("threshold", threshold))
        if result["failures"]:
            raise VerificationError(
                f"{file} ({runtime}) differs from the live model on {case.name}: {result['failures'][0]}"
            )
        del result["failures"]
        entry["cases"][case.name] = result
    return entry


def _png(image):
    return _file(image, "PNG")


def _photograph(image):
    """A JPEG file of an image as a camera stores it that is held upside down."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 3
    return _file(image[::-1, ::-1], "JPEG", exif=exif)


def _file(image, kind, **options):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, kind, **options)
    return stream.getvalue()
