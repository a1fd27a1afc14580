"""Image files as arrays of levels."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_acet.datasets import decoding


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


def read_image(file: Path | BinaryIO, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns a uint8 array `(height, width, 1)` for a gray file, else `(height, width, 3)`.

    Args:
        file: Path of a PNG, JPEG, GIF or BMP file, or a stream of its bytes; `keras_acet.datasets.decoding` has the
            rules.
        image_size: `(height, width)` to which it is resized; None: as it is.

    Raises:
        ValueError: If it is no such file, is beyond the limits, or is damaged; with its name.
    """
    try:
        content = decoding.read_file(file) if isinstance(file, str | os.PathLike) else file.read()
        image = decoding.decode(content, decoding.READ)
    except ValueError as error:
        raise ValueError(
            f"{file} must be an image that can be read. Received: {error}. Replace or remove the file."
        ) from error
    return image if image_size is None else decoding.resized(image, *image_size)
