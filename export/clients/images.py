"""Image files as the arrays that a model takes, for the clients that decode on their side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import decoding
from .errors import UserError

if TYPE_CHECKING:
    import numpy as np


def takes_files(image_shape: Sequence[int]) -> bool:
    """Whether PNG and JPEG files can be decoded to images of this shape: (height, width, 1 or 3 channels)."""
    return len(image_shape) == 3 and image_shape[-1] in (1, 3)


def check(content: bytes, about: dict[str, Any]) -> decoding.Header:
    """Judges a file by its header, before it is sent or unpacked; needs neither NumPy nor Pillow.

    Args:
        content: bytes of the file.
        about: The model's metadata, a dict as in `metadata.json`.

    Returns:
        `decoding.Header`.

    Raises:
        UserError: If the model does not take images.
        ValueError: If the file cannot be decoded, or has another size and the model was exported without resizing.
    """
    shape = tuple(about["input"]["shape"])
    if not takes_files(shape):
        raise UserError(f"{about['name']} takes arrays of shape {shape}, not image files")
    header = decoding.read_header(content)
    width, height = header.upright_size
    if (height, width) != shape[:2] and not about["input"]["resize"]:
        raise ValueError(
            f"it is {width} x {height} pixels; the model takes {shape[1]} x {shape[0]} and was exported without "
            "`resize`"
        )
    return header


def decode(content: bytes, about: dict[str, Any]) -> "np.ndarray":
    """Decodes one PNG or JPEG file as training and the signature `serving_bytes` do.

    Args:
        content: bytes of the file.
        about: The model's metadata, a dict as in `metadata.json`.

    Returns:
        float32 array `(1, height, width, channels)`, values in [0, 1].

    Raises:
        UserError: If the model does not take images.
        ValueError: If the file cannot be decoded, or has another size and the model was exported without resizing.
    """
    return decoding.fit(decoding.unpack(check(content, about)), about["input"]["shape"])[None]


def check_answer(answer: dict[str, Any]) -> None:
    """Raises `ValueError` if a server that decodes refused the file, which it tells by logits 0."""
    if not any(answer["logits"]):
        raise ValueError("the server cannot decode it, or the model takes another size")
