"""Sets that need no network: what comes with scikit-learn."""

import numpy as np


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns scikit-learn's 1797 8x8 digits, divided by 16, and their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / 16.0).astype(np.float32), bunch.target


def moons(random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns 2000 points of two moons in the unit box, as in the authors' code, and their labels 0 and 1."""
    from sklearn.datasets import make_moons

    points, labels = make_moons(2000, noise=0.02, random_state=random_state)
    points = (points + 1.6) / 4
    points[:, 0] -= 0.035
    points[:, 1] = (points[:, 1] - 0.17) * 1.75
    return points.astype(np.float32), labels


def photo_patches(image_shape: tuple[int, ...]) -> np.ndarray:
    """Cuts patches from the two photographs that come with scikit-learn.

    Patch `i` is cut at a random place of photograph `i % 2`, which was first reduced by a factor of 1, 2, 3 or 4 (in
    turn, as far as the patch still fits) by averaging blocks of pixels. Places are drawn with a fixed seed.

    Args:
        image_shape: Tuple `(height, width, channels)`: 1 channel (gray) or 3, no larger than the photographs.

    Returns:
        float32 array `(n, *image_shape)` in [0, 1]. `n` is 1000, or as many as fit into 256 MiB.

    Raises:
        ValueError: If `image_shape` is not as described.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    height, width, channels = image_shape
    if channels not in (1, 3):
        raise ValueError(f"photographs have 1 channel or 3, these images {channels}")
    scaled = []  # scaled[photo]: arrays (rows, columns, channels), one per factor
    for pixels in load_sample_images().images:
        photo = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
        reduced = [np.asarray(photo.reduce(factor)) for factor in (1, 2, 3, 4)]
        scaled.append([p.reshape(*p.shape[:2], channels) for p in reduced if np.all(p.shape[:2] >= (height, width))])
    if not scaled[0]:
        raise ValueError(f"the photographs, {photo.height} x {photo.width}, are smaller than these images")
    count = min(1000, 2**28 // (4 * height * width * channels))
    random = np.random.RandomState(0)  # its stream is frozen across NumPy versions
    patches = np.empty((count, height, width, channels), np.float32)
    for i in range(count):
        versions = scaled[i % 2]
        version = versions[i // 2 % len(versions)]
        top = random.randint(version.shape[0] - height + 1)
        left = random.randint(version.shape[1] - width + 1)
        patches[i] = version[top : top + height, left : left + width]
    return patches / np.float32(255)
