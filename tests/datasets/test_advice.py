"""Advice on images, followed: what comes out are the pixels that were meant."""

import re

import numpy as np
import pytest

from keras_acet.datasets.checks import check_images

LEVELS = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
UNIT = (LEVELS / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "advice", "follow"),
    [
        (2 * UNIT - 1, "(images + 1) / 2", lambda images: (images + 1) / 2),
        (UNIT * 255, "images / 255", lambda images: images / 255),
        (LEVELS.astype(np.int64), "images.astype('uint8')", lambda images: images.astype("uint8")),
        (LEVELS.astype(np.uint16) * 257, "(images - low) / (high - low)", lambda images: (images - 0) / (65535 - 0)),
        (np.moveaxis(UNIT, -1, 1), "np.moveaxis(images, 1, -1)", lambda images: np.moveaxis(images, 1, -1)),
        (UNIT * 1.2 - 0.1, "np.clip(images, 0, 1)", lambda images: np.clip((images + 0.1) / 1.2, 0, 1)),
        (UNIT * 3000, "(images - low) / (high - low)", lambda images: (images - 0) / (3000 - 0)),
    ],
)
def test_advice_followed(images, advice, follow):
    with pytest.raises(ValueError, match=re.escape(advice)):
        check_images("mine", images)
    taken = check_images("mine", follow(images))
    pixels = taken / np.float32(255) if taken.dtype == np.uint8 else taken
    np.testing.assert_allclose(pixels, UNIT, atol=1e-5)


@pytest.mark.parametrize("masks", [LEVELS > 127, (LEVELS > 127).astype("uint8"), (LEVELS > 127).astype("int64")])
def test_black_and_white(masks):
    if masks.dtype != bool:
        with pytest.raises(ValueError, match=re.escape("images.astype('float32')")):
            check_images("mine", masks)
        masks = masks.astype("float32")
    np.testing.assert_array_equal(check_images("mine", masks), (LEVELS > 127).astype(np.float32))


def test_what_is_taken_as_it_is():
    just_above = UNIT * np.float32(1.0000002) - np.float32(1e-7)
    taken = check_images("mine", just_above)
    assert taken.min() == 0 and taken.max() == 1 and just_above.max() > 1
    np.testing.assert_allclose(taken, UNIT, atol=1e-6)
    signals = np.random.default_rng(0).random((8, 1, 64, 6), np.float32)  # of height 1, not channels first
    assert check_images("mine", signals) is signals
