"""The kinds of images without content, each by hand, by NumPy with the same draws, or by its statistics."""

import keras
import numpy as np
import pytest
import scipy.ndimage
from helpers.places import SHARED

from keras_acet import datasets, networks, noise
from keras_acet.losses import log_max_confidence
from keras_acet.published_weights import load_published_weights


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def draws(seed, *shapes):
    """Uniform draws of a generator with this seed, one array per shape, in float64."""
    generator = keras.random.SeedGenerator(seed)
    return [keras.random.uniform(shape, seed=generator).numpy().astype(np.float64) for shape in shapes]


def test_low_contrast_equals_its_formula():
    images = np.zeros((5, 4, 6, 3), np.float32)
    middle, contrast, uniform = draws(2, (5, 1, 1, 1), (5, 1, 1, 1), (5, 4, 6, 3))
    expected = np.clip(middle + (0.02 + 0.38 * contrast) * (uniform - 0.5), 0, 1)
    np.testing.assert_allclose(noise.LowContrastNoise(seed=2)(images), expected, atol=1e-6)


def test_low_contrast_of_vectors_has_one_middle():
    vectors = noise.LowContrastNoise(contrast=(0.1, 0.1), seed=0)(np.zeros((200, 5), np.float32)).numpy()
    # All values lie within .05 of the middle; the middles fill [0, 1].
    assert np.ptp(vectors, axis=1).max() <= 0.1
    assert np.ptp(vectors.mean(axis=1)) > 0.9


def test_gaussian_has_its_mean_and_spread():
    # Clipping does nothing within 5 standard deviations: the mean of 40000 values is off by .05/200, five times that.
    drawn = noise.GaussianNoise(spread=(0.05, 0.05), seed=3)(np.zeros((20, 200, 200, 1), np.float32)).numpy()
    (middle,) = draws(3, (20, 1, 1, 1))
    inner = np.abs(middle.ravel() - 0.5) < 0.25
    assert inner.sum() > 3
    np.testing.assert_allclose(drawn.mean(axis=(1, 2, 3))[inner], middle.ravel()[inner], atol=0.00125)
    # The standard deviation of a standard deviation from 40000 values is .05/283, five times that.
    np.testing.assert_allclose(drawn.std(axis=(1, 2, 3))[inner], 0.05, atol=0.0009)


def test_constant_has_one_colour_from_the_whole_cube():
    drawn = noise.ConstantNoise(seed=0)(np.zeros((3000, 2, 3, 3), np.float32)).numpy()
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1, :1], drawn.shape))
    colours = drawn[:, 0, 0]
    # Mean of 3000: standard deviation .0053; correlation of channels: .018; five of them.
    np.testing.assert_allclose(colours.mean(axis=0), 0.5, atol=0.027)
    np.testing.assert_allclose(np.corrcoef(colours.T), np.eye(3), atol=0.092)


def test_almost_black_is_dark():
    drawn = noise.AlmostBlackNoise(seed=0)(np.zeros((4000, 4, 4, 1), np.float32)).numpy()
    assert drawn.max() <= 0.1
    # Mean of a u, a in [0, .1]: 1/40; one image deviates by .0144 in a / 2, the mean of 4000 by .00025, five of them.
    assert drawn.mean() == pytest.approx(0.025, abs=0.0013)
    assert noise.AlmostBlackNoise(brightness=(0.0, 0.0))(np.ones((1, 2, 2, 1), np.float32)).numpy().max() == 0


def test_gradient_goes_linearly_from_one_colour_to_the_other():
    images = np.zeros((50, 6, 9, 3), np.float32)
    first, last, angle = draws(4, (50, 1, 1, 3), (50, 1, 1, 3), (50, 1, 1, 1))
    along = np.arange(9)[:, None] * np.cos(2 * np.pi * angle) + np.arange(6)[:, None, None] * np.sin(2 * np.pi * angle)
    along -= along.min(axis=(1, 2), keepdims=True)
    along /= along.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(noise.GradientNoise(seed=4)(images), first + along * (last - first), atol=2e-6)


def test_mosaic_has_squares_of_its_sides():
    drawn = noise.MosaicNoise(seed=0)(np.zeros((300, 16, 24, 2), np.float32)).numpy()
    counts = {}
    for image in drawn:
        sides = [
            side
            for side in (8, 4, 2)
            if np.array_equal(np.repeat(np.repeat(_firsts(image, side), side, 0), side, 1), image)
        ]
        squares = _firsts(image, sides[0]).reshape(-1, 2)
        assert len(np.unique(squares, axis=0)) == len(squares)  # each its own colour
        counts[sides[0]] = counts.get(sides[0], 0) + 1
    # A third of 300 each: standard deviation 8.2, five of them.
    assert sorted(counts) == [2, 4, 8]
    np.testing.assert_allclose(list(counts.values()), 100, atol=41)


def _firsts(image, side):
    return image[::side, ::side]


def test_mosaic_cuts_squares_at_the_border():
    (image,) = noise.MosaicNoise(sides=(4,), seed=0)(np.zeros((1, 5, 6, 1), np.float32)).numpy()[..., 0]
    np.testing.assert_array_equal(image, np.kron(image[::4, ::4], np.ones((4, 4)))[:5, :6].astype(np.float32))


def test_stripes_are_the_sign_of_a_sine():
    images = np.zeros((40, 7, 9, 3), np.float32)
    shape, one = (40, 1, 1, 3), (40, 1, 1, 1)
    first, second, periods, phase, angle = draws(5, shape, shape, one, one, one)
    along = np.arange(9)[:, None] * np.cos(2 * np.pi * angle) + np.arange(7)[:, None, None] * np.sin(2 * np.pi * angle)
    along -= along.min(axis=(1, 2), keepdims=True)
    along /= along.max(axis=(1, 2), keepdims=True)
    wave = np.sin(2 * np.pi * ((2 + 14 * periods) * along + phase))
    drawn = noise.StripesNoise(seed=5)(images).numpy()
    clear = np.abs(wave[..., 0]) > 1e-4  # away from the jump, where rounding decides
    assert clear.mean() > 0.99
    np.testing.assert_allclose(drawn[clear], np.where(wave > 0, first, second)[clear], atol=1e-6)


def test_checkerboard_by_hand():
    (board,) = noise.CheckerboardNoise(sides=(2, 2), seed=0)(np.zeros((1, 4, 5, 1), np.float32)).numpy()[..., 0]
    a, b = board[0, 0], board[0, 2]
    assert a != b
    expected = [[a, a, b, b, a], [a, a, b, b, a], [b, b, a, a, b], [b, b, a, a, b]]
    np.testing.assert_array_equal(board, np.array(expected, np.float32))


def test_checkerboards_have_all_sides():
    boards = noise.CheckerboardNoise(seed=0)(np.zeros((400, 16, 16, 1), np.float32)).numpy()[:, 0, :, 0]
    sides = (boards != boards[:, :1]).argmax(axis=1)  # the first pixel of the second colour
    assert set(sides) == set(range(1, 9))
    assert all(len(np.unique(board)) == 2 for board in boards)


def test_salt_and_pepper_on_the_mean():
    images = random_images(2, 200, 200, 3)
    drawn = noise.SaltAndPepperNoise(share=(0.4, 0.4), seed=0)(images).numpy()
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[..., :1], drawn.shape))
    for one, image in zip(drawn[..., 0], images, strict=True):
        # A fifth of 40000 each: standard deviation .002 of the share, five of them.
        assert (one == 0).mean() == pytest.approx(0.2, abs=0.01)
        assert (one == 1).mean() == pytest.approx(0.2, abs=0.01)
        rest = one[(one != 0) & (one != 1)]
        np.testing.assert_allclose(rest, image.mean(dtype=np.float64), atol=1e-5)


def test_blobs_equal_scipy():
    images = np.zeros((3, 20, 14, 2), np.float32)
    uniform, sigma = draws(6, (3, 20, 14, 2), (3,))
    drawn = noise.BlobsNoise(seed=6)(images).numpy()
    for i, one in enumerate(uniform):
        for axis in (0, 1):
            one = scipy.ndimage.gaussian_filter1d(one, 3 + 5 * sigma[i], axis=axis, mode="reflect", radius=24)
        np.testing.assert_allclose(drawn[i], (one - one.min()) / np.ptp(one), atol=1e-4)


def test_power_law_has_its_spectrum():
    images = np.zeros((2, 12, 15, 1), np.float32)
    drawn = noise.PowerLawNoise(exponent=(1.5, 1.5), seed=0)(images).numpy()[..., 0].astype(np.float64)
    frequency = np.hypot(np.fft.fftfreq(12)[:, None], np.fft.fftfreq(15)[None])
    frequency[0, 0] = 1
    for image in drawn:
        flat = np.abs(np.fft.fft2(image)) * frequency**1.5  # a constant, but for the mean of the image
        others = flat.ravel()[1:]
        np.testing.assert_allclose(others, others.mean(), rtol=1e-3)
        assert (image.min(), image.max()) == (0, 1)


def test_shuffled_patches_by_hand():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1) / 16
    (shuffled,) = noise.ShuffledPatchesNoise(grid=2, seed=1)(image).numpy()[..., 0] * 16
    patches = {tuple(shuffled[y : y + 2, x : x + 2].ravel()) for y in (0, 2) for x in (0, 2)}
    assert patches == {(0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)}


def test_shuffled_patches_keep_patches_and_differ_between_images():
    images = np.repeat(random_images(1, 12, 8, 3), 2, axis=0)
    shuffled = noise.ShuffledPatchesNoise(seed=1)(images).numpy()
    first, second = (
        [tuple(one[y : y + 3, x : x + 2].ravel()) for y in range(0, 12, 3) for x in range(0, 8, 2)] for one in shuffled
    )
    given = [tuple(images[0, y : y + 3, x : x + 2].ravel()) for y in range(0, 12, 3) for x in range(0, 8, 2)]
    assert sorted(first) == sorted(second) == sorted(given)
    assert first != second


def test_patches_of_two_sizes_repeat_or_lose_their_ends():
    # Two patches of a row of three pixels: pixel 0, and pixels 1 and 2. In its order the row stays; the other way
    # round the first place takes the first pixel of the second patch, and the second place repeats pixel 0.
    row = np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 1, 3, 1)
    made = {tuple((10 * noise.ShuffledPatchesNoise(grid=2, seed=s)(row).numpy()).round().ravel()) for s in range(12)}
    assert made == {(1, 2, 3), (2, 1, 1)}


def test_inverted_by_hand():
    images = np.array([[0.0, 0.25, 1.0]], np.float32)
    np.testing.assert_array_equal(noise.InvertedNoise()(images), [[1.0, 0.75, 0.0]])


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: noise.LowContrastNoise(contrast=(0.4, 0.02)), ValueError, r"`contrast`.*\[0, 1\].*\(0.4, 0.02\)"),
        (lambda: noise.LowContrastNoise(contrast=0.4), TypeError, "`contrast` must be a pair.*contrast=0.4"),
        (lambda: noise.LowContrastNoise(contrast=(0.1, "1")), TypeError, "`contrast` must be a pair"),
        (lambda: noise.GaussianNoise(spread=(0, float("inf"))), ValueError, r"`spread`.*\[0, inf\)"),
        (lambda: noise.AlmostBlackNoise(brightness=(0, 2)), ValueError, "`brightness`.*(0, 2)"),
        (lambda: noise.StripesNoise(periods=(-1, 2)), ValueError, "`periods`.*smaller first"),
        (lambda: noise.SaltAndPepperNoise(share=(0, float("nan"))), ValueError, "`share`"),
        (lambda: noise.BlobsNoise(sigma=(1, 2, 3)), TypeError, "`sigma` must be a pair"),
        (lambda: noise.PowerLawNoise(exponent=(3, 1)), ValueError, "`exponent`"),
        (lambda: noise.CheckerboardNoise(sides=(0, 8)), ValueError, r"`sides`.*\[1, inf\)"),
        (lambda: noise.CheckerboardNoise(sides=(1.5, 8)), TypeError, "`sides` must hold integers"),
        (lambda: noise.MosaicNoise(sides=()), ValueError, "`sides` must hold at least one"),
        (lambda: noise.MosaicNoise(sides=4), TypeError, r"`sides` must hold integers.*sides=4"),
        (lambda: noise.ShuffledPatchesNoise(grid=0), ValueError, "`grid` must be at least 1"),
        (
            lambda: noise.ConstantNoise()(np.zeros((1, 2, 2, 1), np.uint8)),
            TypeError,
            "`ConstantNoise` needs floats.*uint8.*255",
        ),
        (lambda: noise.InvertedNoise()(np.zeros((1, 2), np.uint8)), TypeError, "`InvertedNoise` needs floats"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


# Mean confidence of the authors' CEDA network for CIFAR-10 on 500 images of each kind, drawn by another program.
CEDA = {
    "almost_black": 0.299,
    "blobs": 0.104,
    "checkerboard": 0.725,
    "constant": 0.158,
    "gaussian": 0.720,
    "gradient": 0.138,
    "inverted": 0.746,
    "low_contrast": 0.784,
    "mosaic": 0.729,
    "paper": 0.101,
    "permuted": 0.861,
    "power_law": 0.389,
    "salt_and_pepper": 0.930,
    "shuffled_patches": 0.801,
    "stripes": 0.691,
    "uniform": 0.936,
}


@pytest.mark.slow
def test_a_published_network_finds_the_kinds_as_others_draw_them():
    if not (SHARED / "tfds" / "cifar10").is_dir() or not (SHARED / "weights" / "cifar10-ceda").is_dir():
        pytest.skip(f"needs CIFAR-10 and the authors' weights in {SHARED}")
    data = datasets.load("cifar10", data_dir=str(SHARED / "tfds"), download=False)
    sets = [datasets.noise_set(name, data, num_images=200) for name in CEDA]
    images = datasets.ood_sets(sets, data.image_shape)
    network = load_published_weights(networks.resnet20((32, 32, 3), 10), SHARED / "weights/cifar10-ceda/model-100")
    for name, expected in CEDA.items():
        confidence = np.exp(log_max_confidence(network.predict(images[name], batch_size=100, verbose=0)))
        # Both means vary: five standard deviations of their difference.
        allowed = 5 * float(confidence.std()) * (1 / 200 + 1 / 500) ** 0.5 + 0.002
        assert confidence.mean() == pytest.approx(expected, abs=allowed), name
