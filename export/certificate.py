"""The detector alone as ONNX, and properties of it in VNN-LIB: what an independent verifier needs to check the proof.

A verifier computes in exact numbers, or in its own; our bounds have an allowance for float32 on top, so what we claim
has to hold for it as well.
"""

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import layers

from keras_acet._prediction import as_float
from keras_acet.detectors import NegativeHead
from keras_acet.files import whole_file, write_text

if TYPE_CHECKING:
    import onnx

_OPSET, _IR = 17, 8
_FILE = "detector.onnx"


@dataclasses.dataclass(frozen=True)
class Property:
    """A question to a verifier: is there an image in the box with a logit of at least `level`?

    Attributes:
        name: Name of the file, without `.vnnlib`.
        level: The logit.
        holds: Whether there is none ("unsat"), as our bound says; or there is one, the centre of the box ("sat").
    """

    name: str
    level: float
    holds: bool


def write_certificate(
    detector: NegativeHead,
    images: np.ndarray,
    radius: float,
    directory: str | os.PathLike[str],
    *,
    num_false: int = 4,
) -> list[Property]:
    """Writes `detector.onnx` and a VNN-LIB file for each image.

    * `detector.onnx`: images `(N, C, H, W)` in, or vectors `(N, d)`; the logit `g`, `(N, 1)`, out; of Conv, Relu,
      Flatten and Gemm. The term of the excess, which is 0 in the pixel box, is left out.
    * `holds-000.vnnlib` and so on, VNN-LIB 1.0: the inputs `X_0 ...` in the order of `(C, H, W)`, each between the ends
      of the box of the radius around an image, within the pixel range, and `Y_0` at least our bound. There is no such
      image: a verifier has to say "unsat".
    * `fails-000.vnnlib` and so on, for the first images: `Y_0` at least a bit less than the logit of the image itself.
      A verifier has to say "sat"; one that does not proves nothing by its "unsat".

    Args:
        detector: The detector.
        images: Array `(n, ...)`: float in [0, 1], or uint8.
        radius: l_inf, in pixel units, at least 0.
        directory: Where the files go; made when missing.
        num_false: Number of files of the second kind, at most n.

    Returns:
        The properties, in the order of the files.

    Raises:
        ImportError: If the package onnx is missing.
        TypeError: If the detector is none of this kind.
        ValueError: If the radius is negative, or the images are of another shape.
    """
    if not isinstance(detector, NegativeHead):
        raise TypeError(f"`detector` must be a NegativeHead. Received: {type(detector).__name__}.")
    images = as_float(images)
    if images.shape[1:] != detector.image_shape:
        raise ValueError(f"`images` must have the shape (n, *{detector.image_shape}). Received: {images.shape}.")
    bounds, logits = detector.logit_bounds(images, radius), detector.logits(images)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / _FILE) as temporary:
        temporary.write_bytes(detector_graph(detector).SerializeToString())
    asked = [
        (f"holds-{i:03}", image, float(bound), True)
        for i, (image, bound) in enumerate(zip(images, bounds, strict=True))
    ]
    for i, (image, logit) in enumerate(zip(images[:num_false], logits, strict=False)):
        level = float(logit) - 1e-3 * (1 + abs(float(logit)))  # what float32 may be off by, many times over
        asked.append((f"fails-{i:03}", image, level, False))
    for name, image, level, holds in asked:
        write_text(directory / f"{name}.vnnlib", _vnnlib(image, radius, level, holds))
    return [Property(name, level, holds) for name, _, level, holds in asked]


def detector_graph(detector: NegativeHead) -> "onnx.ModelProto":
    """Makes the ONNX model of a detector, without the term of the excess; see `write_certificate`.

    Raises:
        ImportError: If the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"A certificate needs the package onnx: `pip install onnx`. Cause: {error}.") from error
    shape = detector.image_shape
    graph = _Graph()
    sizes = shape  # of the values, channels last as in Keras
    for layer in [*detector.chain, detector.network.get_layer("head")]:
        if isinstance(layer, layers.Conv2D):
            sizes = graph.add_convolution(layer, sizes)
        elif isinstance(layer, layers.Dense):
            graph.add_dense(layer, sizes)
            sizes = (int(layer.units),)
        elif isinstance(layer, layers.Flatten):
            graph.add("Flatten", [], axis=1)
        if isinstance(layer, layers.ReLU) or getattr(getattr(layer, "activation", None), "__name__", "") == "relu":
            graph.add("Relu", [])
    ends = [
        onnx.helper.make_tensor_value_info("images", 1, ["N", *_channels_first(shape)]),
        onnx.helper.make_tensor_value_info(graph.last, 1, ["N", 1]),
    ]
    made = onnx.helper.make_graph(graph.nodes, "detector", ends[:1], ends[1:], graph.weights)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return model


class _Graph:
    """The nodes of a chain, and its weights."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "images"

    def add(self, kind: str, weights: list[np.ndarray], **attributes: Any) -> None:
        import onnx

        number = len(self.nodes)
        names = [f"weight_{number}_{i}" for i in range(len(weights))]
        self.weights += [
            onnx.numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), name)
            for weight, name in zip(weights, names, strict=True)
        ]
        output = f"value_{number}"
        self.nodes.append(onnx.helper.make_node(kind, [self.last, *names], [output], **attributes))
        self.last = output

    def add_convolution(self, layer: layers.Conv2D, shape: tuple[int, ...]) -> tuple[int, ...]:
        kernel, bias = layer.get_weights()
        places, before, after = [], [], []
        for size, width, stride in zip(shape[:2], layer.kernel_size, layer.strides, strict=True):
            count = -(-size // stride) if layer.padding == "same" else (size - width) // stride + 1
            padding = max((count - 1) * stride + width - size, 0) if layer.padding == "same" else 0
            places.append(count)
            before.append(padding // 2)  # as TensorFlow pads
            after.append(padding - padding // 2)
        pads, strides = [*before, *after], list(layer.strides)
        self.add("Conv", [kernel.transpose(3, 2, 0, 1), bias], strides=strides, pads=pads)
        return (*places, kernel.shape[3])

    def add_dense(self, layer: layers.Dense, shape: tuple[int, ...]) -> None:
        kernel, bias = layer.get_weights()
        if len(shape) == 3:  # the rows of what was flattened with channels last
            kernel = kernel.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        self.add("Gemm", [kernel, bias])


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def _vnnlib(image: np.ndarray, radius: float, level: float, holds: bool) -> str:
    """The text of a property, in counterexample form."""
    pixels = (image.transpose(2, 0, 1) if image.ndim == 3 else image).ravel().astype(np.float64)
    lines = [
        "; Is there an image in this box with a logit of at least the level? "
        + ("No: unsat." if holds else "Yes, its centre: sat."),
        *(f"(declare-const X_{i} Real)" for i in range(len(pixels))),
        "(declare-const Y_0 Real)",
    ]
    for i, pixel in enumerate(pixels):
        lines.append(f"(assert (>= X_{i} {_decimal(max(pixel - radius, 0.0))}))")
        lines.append(f"(assert (<= X_{i} {_decimal(min(pixel + radius, 1.0))}))")
    return "\n".join([*lines, f"(assert (>= Y_0 {_decimal(level)}))", ""])


def _decimal(value: float) -> str:
    """A decimal number without an exponent; VNN-LIB has no others."""
    return np.format_float_positional(value, trim="0")
