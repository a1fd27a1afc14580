"""The detector as ONNX against Keras, and the properties in VNN-LIB against points of their boxes."""

import re

import keras
import numpy as np
import pytest

from keras_acet import ProvableClassifier, detectors, export, networks
from keras_acet.detectors.negative_head import NegativeHead

SHAPES = [(9, 10, 2), (28, 28, 1), (3,)]


def made(shape):
    keras.utils.set_random_seed(0)
    detector = detectors.build("negative_head", shape)
    for layer in detector.chain:
        layer.set_weights([2 * w + (0.1 if w.ndim == 1 else 0) for w in layer.get_weights()])
    return NegativeHead(detector.network)


def read_vnnlib(text):
    """Ends of the inputs and the level, by the syntax of VNN-LIB alone."""
    numbers = r"\(assert \((>=|<=) (X|Y)_(\d+) (-?\d+\.\d*)\)\)"
    found = re.findall(numbers, text)
    assert len(found) == text.count("(assert")
    low = [float(v) for sign, letter, _, v in found if (sign, letter) == (">=", "X")]
    high = [float(v) for sign, letter, _, v in found if (sign, letter) == ("<=", "X")]
    (level,) = (float(v) for _, letter, _, v in found if letter == "Y")
    assert [int(i) for _, letter, i, _ in found if letter == "X"] == sorted(2 * [*range(len(low))])
    assert text.count("(declare-const X_") == len(low) and text.count("(declare-const Y_0 Real)") == 1
    return np.array(low), np.array(high), level


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_and_properties(shape, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    detector = made(shape)
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(5, *shape)).astype(np.float32)
    properties = export.write_certificate(detector, images, 0.1, tmp_path, num_false=2)
    assert [one.holds for one in properties] == [True] * 5 + [False] * 2
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"detector.onnx", *(f"{one.name}.vnnlib" for one in properties)}

    session = runtime.InferenceSession(str(tmp_path / "detector.onnx"), providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "detector.onnx")).graph.node}
    assert kinds <= {"Conv", "Relu", "Flatten", "Gemm"}

    def run(points):
        return session.run(None, {"images": points.astype(np.float32)})[0][:, 0]

    first = images.transpose(0, 3, 1, 2) if len(shape) == 3 else images
    assert run(first) == pytest.approx(detector.logits(images), rel=1e-4, abs=1e-3)
    for one, image in zip(properties, [*first, *first[:2]], strict=True):
        low, high, level = read_vnnlib((tmp_path / f"{one.name}.vnnlib").read_text())
        assert level == pytest.approx(one.level)
        assert low == pytest.approx(np.clip(image.ravel().astype(float) - 0.1, 0, 1))
        assert high == pytest.approx(np.clip(image.ravel().astype(float) + 0.1, 0, 1))
        points = np.concatenate([draw.uniform(low, high, (50, len(low))), [low, high, image.ravel()]])
        reached = run(points.reshape(-1, *image.shape)).max()
        assert (reached < level) == one.holds


def test_refusals(tmp_path):
    with pytest.raises(TypeError, match="`detector` must be a NegativeHead"):
        export.write_certificate(None, np.zeros((1, 3)), 0.1, tmp_path)
    with pytest.raises(ValueError, match=r"`images` must have the shape \(n, \*\(3,\)\)"):
        export.write_certificate(made((3,)), np.zeros((1, 4)), 0.1, tmp_path)
    with pytest.raises(ValueError, match="`radius` must be at least 0"):
        export.write_certificate(made((3,)), np.zeros((1, 3)), -1, tmp_path)


def test_the_export_of_the_pair_is_refused_in_one_line():
    provable = ProvableClassifier(networks.mlp((3,), 2), made((3,)), name="pair")
    with pytest.raises(ValueError, match="An export of a classifier with a detector is not there yet. Received: pair"):
        export.export_model(provable, None, "models")
