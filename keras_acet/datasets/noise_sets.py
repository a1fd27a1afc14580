"""Out-distribution sets made of noise, so that each kind is measured and attacked as a set of images is."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

import keras_acet.noise as noise  # `from keras_acet import noise` would load Keras
from keras_acet.datasets.specs import OODSpec

if TYPE_CHECKING:
    from keras_acet.datasets.data import Data

ALL_KINDS = "kinds"  # the name that stands for all kinds of images without content
_NUM_IMAGES = 1000
_BATCH = 200


def noise_names() -> list[str]:
    """Returns the sorted list of the kinds of noise that sets can be made of, and `kinds` for those without content.

    >>> noise_names()[:2], "kinds" in noise_names()
    (['almost_black', 'blobs'], True)
    """
    return sorted([ALL_KINDS, *noise.names()])


def noise_set(
    kind: "str | noise.Noise", data: "Data", *, name: str | None = None, num_images: int = _NUM_IMAGES, seed: int = 0
) -> OODSpec:
    """Returns an out-distribution set of fresh images of a kind of noise, made from test images of the data.

    Letters are in the faces that are kept for tests, without those that look like a class. The paper's noise has one
    sigma for each image. The same seed and data give the same images.

    Args:
        kind: A name of `noise_names()` but "kinds", or a noise object, which goes on from its own state.
        data: The data whose test images it is made from.
        name: Name of the set. Default: that of the kind; of an object its `sources` with "+" between them.
        num_images: Number of images; no more than there are test images.
        seed: Seed of the noise and of the choice of test images.

    Raises:
        ValueError: If there is no kind of this name, or it needs images and the data are vectors.

    Example:

    >>> from keras_acet import datasets
    >>> digits = datasets.load("digits")
    >>> sets = datasets.ood_sets([noise_set("stripes", digits, num_images=5)], digits.image_shape)
    >>> sets["stripes"].shape
    (5, 8, 8, 1)
    """
    if isinstance(kind, str):
        label = kind
        of_name = [seed, zlib.crc32(kind.encode())]
        settings = {"sigma_per": "image", "faces": "test", "without": noise.letters_like(data.class_names)}
        made = noise.build(kind, seed=int(np.random.SeedSequence(of_name).generate_state(1)[0] >> 1), settings=settings)
    else:
        label, made = "+".join(kind.sources), kind
    if len(data.image_shape) != 3 and not made.takes_vectors:
        raise ValueError(f"{label}: this noise needs images, and {data.name} has vectors. Name another set.")

    def read(image_shape: tuple[int, ...], data_dir: str | None) -> np.ndarray:
        chosen = np.random.default_rng(seed).permutation(len(data.test_images))[:num_images]
        images = data.test_images[chosen]
        batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        return np.concatenate([np.asarray(made(batch)) for batch in batches])

    return OODSpec(name or label, read, data.image_shape)


def expanded(name: str, data: "Data") -> list[str]:
    """Returns the names of the sets that a name stands for: of "kinds" all kinds that these data can be made into."""
    if name != ALL_KINDS:
        return [name]
    is_image = len(data.image_shape) == 3
    return [one for one in noise.kinds_without_content() if is_image or noise.kind(one).takes_vectors]
