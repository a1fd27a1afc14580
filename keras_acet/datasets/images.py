"""Image files as arrays of levels."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


def read_images(
    paths: Sequence[Path],
    image_size: tuple[int, int] | None = None,
    *,
    mend: str = "Give `image_size`",
) -> np.ndarray:
    """Returns a uint8 array `(n, height, width, 1 or 3)`; one channel if all files are gray.

    `image_size`, `(height, width)`, resizes all; images of two sizes are refused with `mend` as the advice.
    """
    images = []
    with ThreadPoolExecutor() as pool:  # decoding drops the GIL
        for path, image in zip(paths, pool.map(lambda path: read_image(path, image_size), paths), strict=True):
            images.append(image)
            if image.shape[:2] != images[0].shape[:2]:
                pool.shutdown(wait=False, cancel_futures=True)
                raise ValueError(
                    f"All images must have one size. Received: {path} of {image.shape[:2]} and {paths[0]} of "
                    f"{images[0].shape[:2]} (height, width). {mend} to resize all."
                )
    size = images[0].shape[:2]
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*size, channels)) for image in images])


def read_image(file: Path, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns a uint8 array `(height, width, 1)` for a gray file, else `(height, width, 3)`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)  # cameras store some photographs turned
            if image.mode.startswith("I"):  # 16 bits of gray, which Pillow would clip, not scale
                image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            if image_size is not None:
                image = image.resize(image_size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(image).reshape(image.height, image.width, -1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} must be an image that Pillow can read. Received: {error}. Replace or remove the file."
        ) from error
