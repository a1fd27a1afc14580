"""Reads what an ONNX file holds before it runs: the files of its weights, tensors of a declared size."""

import math
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_acet._limits import readable

if TYPE_CHECKING:
    import onnx

# Bits of the types that are packed several to a byte.
_SMALL = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}
_MAX_BYTES = 2**31
_MAX_RANK = 16


def external_files(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that hold weights of an ONNX file, as the file itself names them, sorted.

    Args:
        path: The ONNX file.

    Raises:
        ValueError: If the ONNX file is damaged; if one of these files is missing, lies outside of its folder (links
            followed) or is shorter than the weights said to be in it; if the file makes a tensor of more than 2 GiB out
            of a shape alone.
    """
    import onnx

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of protobuf's own class
        raise ValueError(f"{path} must be an ONNX file. Received: one that cannot be read.") from error
    _check_sizes(path, proto)
    ends: dict[str, int] = {}
    for tensor in _messages(proto, "TensorProto"):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            location = place.get("location", "")
            ends[location] = max(ends.get(location, 0), _end(path, tensor, place))
    return sorted(_checked(path, location, end) for location, end in ends.items())


def _end(path: pathlib.Path, tensor: "onnx.TensorProto", place: dict[str, str]) -> int:
    """The byte of its file where a tensor ends."""
    import onnx

    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        bits = _SMALL.get(dtype.name, 8 * dtype.itemsize)
        size = (math.prod(tensor.dims) * bits + 7) // 8
        offset, length = int(place.get("offset", 0)), int(place.get("length", size))
    except Exception as error:
        raise ValueError(f"{path} must say where the weights {tensor.name} lie. It does not.") from error
    if offset < 0 or length != size:
        raise ValueError(
            f"{path} must give the weights {tensor.name} {size} bytes of a file, by their shape {tuple(tensor.dims)}. "
            f"Received: {length} bytes from byte {offset} on."
        )
    return offset + length


def _checked(path: pathlib.Path, location: str, end: int) -> pathlib.Path:
    file, folders = path.parent / location, {path.parent.resolve(), path.resolve().parent}  # a cache links both
    is_inside = any(file.resolve().is_relative_to(folder) for folder in folders)
    if not location or not is_inside or pathlib.PurePath(location).is_absolute():
        raise ValueError(
            f"{path} must have its weights in its own folder. Received: weights in {location!r}. Save it again with "
            "onnx.save, with `location` the name of a file."
        )
    if not file.is_file():
        raise ValueError(f"{path} needs the file {location!r} beside it, which holds its weights. It is not there.")
    if file.stat().st_size < end:
        raise ValueError(
            f"{file} must hold the weights of {path.name}, at least {end} bytes. Received: {file.stat().st_size} bytes."
        )
    return file


def _check_sizes(path: pathlib.Path, proto: "onnx.ModelProto") -> None:
    """Raises if a file of a few bytes fills the memory: by a node that makes a tensor of a shape that stands there."""
    import onnx

    named = [(tensor.name, tensor) for tensor in _messages(proto, "TensorProto")]
    nodes = list(_messages(proto, "NodeProto"))
    named += [(node.output[0], one.t) for node in nodes if node.op_type == "Constant" for one in node.attribute]
    shapes = {
        name: onnx.numpy_helper.to_array(tensor).ravel().tolist()
        for name, tensor in named
        if tensor.data_type == onnx.TensorProto.INT64
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and math.prod(tensor.dims) <= _MAX_RANK
    }
    for node in nodes:
        shape = shapes.get(node.input[-1], []) if node.op_type in ("ConstantOfShape", "Expand") else []
        if 4 * math.prod(shape) > _MAX_BYTES:
            raise ValueError(
                f"{path} must make no tensor of more than {readable(_MAX_BYTES)}. Received: {node.op_type} of shape "
                f"{tuple(shape)}."
            )


def _messages(message: Any, kind: str) -> Iterator[Any]:
    """All messages of a kind within a message, in graphs and functions however deep."""
    if message.DESCRIPTOR.name == kind:
        yield message
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else [value]:
                yield from _messages(inner, kind)
