"""Image files as the arrays that a model takes, for the clients that decode on their side."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import UserError


def takes_files(image_shape: Sequence[int]) -> bool:
    """Whether PNG and JPEG files can be decoded to images of this shape: (height, width, 1 or 3 channels)."""
    return len(image_shape) == 3 and image_shape[-1] in (1, 3)


def decode(content: bytes, about: dict[str, Any]) -> np.ndarray:
    """Decodes one PNG or JPEG file as the signature `serving_bytes` does.

    Args:
        content: bytes of the file.
        about: The model's metadata, a dict as in `metadata.json`.

    Returns:
        float32 array `(1, height, width, channels)`, values in [0, 1].

    Raises:
        UserError: If the model does not take images.
        ValueError: If the file cannot be decoded, or has another size and the model was exported without resizing.
    """
    from PIL import Image

    shape = tuple(about["input"]["shape"])
    if not takes_files(shape):
        raise UserError(f"{about['name']} takes arrays of shape {shape}, not image files")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as file:
            file.load()
            image: Image.Image = file
            if image.mode.startswith("I"):  # 16 bits per pixel, of which the server, too, takes the upper 8
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if shape[-1] == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError("not a PNG or JPEG image that can be read") from error
    height, width = shape[:2]
    if image.size != (width, height):
        if not about["input"]["resize"]:
            raise ValueError(
                f"is {image.width} x {image.height} pixels; the model takes {width} x {height} and was exported "
                "without `resize`"
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return (np.asarray(image, np.float32) / 255).reshape(1, *shape)
