"""Image files as the arrays that a model takes, for the clients that decode on their side."""

import io

import numpy as np

from .errors import UserError


def decode(content, about):
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
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(f"{about['name']} takes arrays of shape {shape}, not image files")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            image.load()
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
                "without --resize"
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return (np.asarray(image, np.float32) / 255).reshape(1, *shape)
