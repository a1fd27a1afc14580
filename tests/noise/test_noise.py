import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from keras_acet import noise
from keras_acet.noise import (
    Noise,
    PaperNoise,
    PermutedNoise,
    UniformNoise,
    gaussian_blur,
    permute_pixels,
    rescale_range,
)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [1.0, 1.7, 2.5])
@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (2, 32, 20, 3), (2, 5, 6, 2)])
def test_blur_equals_scipy_in_float64(sigma, shape):
    images = random_images(*shape)
    taps = np.exp(-(np.arange(-7, 8) ** 2) / (2 * sigma**2))
    kernel = np.outer(taps, taps) / np.outer(taps, taps).sum()
    # SciPy's "reflect" is the symmetric continuation x1 x0 | x0 x1.
    expected = scipy.ndimage.convolve(images.astype(np.float64), kernel[None, :, :, None], mode="reflect")
    np.testing.assert_allclose(gaussian_blur(images, sigma=sigma), expected, atol=1e-5)


def test_one_sigma_per_image_blurs_each_with_its_own():
    images = random_images(2, 12, 12, 1)
    together = gaussian_blur(images, sigma=tf.constant([1.0, 2.0]))
    for i, sigma in enumerate([1.0, 2.0]):
        np.testing.assert_allclose(together[i], gaussian_blur(images[i : i + 1], sigma=sigma)[0], atol=1e-6)


def test_blur_by_hand():
    # A single pixel has only itself around it, whatever sigma.
    np.testing.assert_allclose(gaussian_blur(np.full((1, 1, 1, 1), 0.3, np.float32), sigma=2.0), 0.3, atol=1e-6)
    # Constant images stay: the taps sum to 1.
    np.testing.assert_allclose(gaussian_blur(np.full((1, 9, 9, 2), 0.7, np.float32), sigma=1.5), 0.7, atol=1e-6)


def test_whole_paper_noise_equals_an_independent_one():
    images = random_images(6, 28, 28, 1, seed=3)
    noise = PaperNoise(min_sigma=1.5, max_sigma=1.5 + 1e-9, seed=4)
    ours = noise(images).numpy()
    twin = keras.random.SeedGenerator(4)  # the same draws in the same order
    permuted = permute_pixels(images[:3], seed=twin).numpy()
    uniform = keras.random.uniform((3, 28, 28, 1), seed=twin).numpy()
    raw = np.concatenate([permuted, uniform]).astype(np.float64)
    blurred = scipy.ndimage.gaussian_filter1d(raw, 1.5, axis=1, mode="reflect", radius=7)
    blurred = scipy.ndimage.gaussian_filter1d(blurred, 1.5, axis=2, mode="reflect", radius=7)
    low = blurred.min(axis=(1, 2, 3), keepdims=True)
    expected = (blurred - low) / (blurred.max(axis=(1, 2, 3), keepdims=True) - low)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_paper_noise_fills_the_box_exactly():
    noise = PaperNoise(seed=0)(random_images(7, 14, 10, 3)).numpy()
    assert noise.shape == (7, 14, 10, 3)
    np.testing.assert_array_equal(noise.min(axis=(1, 2, 3)), 0)
    np.testing.assert_array_equal(noise.max(axis=(1, 2, 3)), 1)


def test_permutation_keeps_colour_triples_together_and_differs_between_images():
    image = random_images(1, 6, 6, 3)
    images = np.repeat(image, 2, axis=0)
    permuted = PermutedNoise(seed=0)(images).numpy().reshape(2, 36, 3)
    triples = {tuple(pixel) for pixel in image.reshape(36, 3)}
    for one in permuted:
        assert {tuple(pixel) for pixel in one} == triples
    assert not np.array_equal(permuted[0], permuted[1])
    assert not np.array_equal(permuted[0], image.reshape(36, 3))


def test_permutation_is_uniform():
    # Pixel 0 of 4 lands on each position with probability 1/4: 4000 images, standard deviation 27, five of them.
    images = np.zeros((4000, 2, 2, 1), np.float32)
    images[:, 0, 0, 0] = 1
    counts = permute_pixels(images, seed=1).numpy().sum(axis=0).ravel()
    np.testing.assert_allclose(counts, 1000, atol=140)


def test_a_sigma_of_zero_leaves_an_image_as_it_is():
    images = random_images(3, 6, 5, 2)
    np.testing.assert_array_equal(gaussian_blur(images, sigma=0.0), images)
    blurred = gaussian_blur(images, sigma=tf.constant([0.0, 2.0, 0.0])).numpy()
    np.testing.assert_allclose(blurred[[0, 2]], images[[0, 2]], rtol=1e-6)
    assert np.abs(blurred[1] - images[1]).max() > 0.1


def test_paper_noise_without_blur_is_its_raw_pixels():
    images = random_images(4, 6, 6, 1)
    drawn = PaperNoise(min_sigma=0.0, max_sigma=0.0, seed=4)(images).numpy()
    permuted = permute_pixels(images[:2], seed=keras.random.SeedGenerator(4))
    np.testing.assert_allclose(drawn[:2], rescale_range(permuted), atol=1e-6)


def test_a_wider_kernel_equals_scipy():
    images = random_images(2, 12, 9, 1).astype(np.float64)
    expected = scipy.ndimage.gaussian_filter1d(images, 5.0, axis=1, mode="reflect", radius=15)
    expected = scipy.ndimage.gaussian_filter1d(expected, 5.0, axis=2, mode="reflect", radius=15)
    np.testing.assert_allclose(gaussian_blur(images, sigma=5.0, radius=15), expected, atol=1e-6)


def test_constant_image_becomes_zeros_not_nan():
    np.testing.assert_array_equal(rescale_range(np.full((1, 3, 3, 1), 0.4, np.float32)), np.zeros((1, 3, 3, 1)))


def test_uniform_noise_takes_vectors():
    noise = UniformNoise(seed=0)(np.zeros((1000, 2), np.float32)).numpy()
    # Mean of 2000 uniform draws: standard deviation 1 / sqrt(12 * 2000) = .0065, five of them.
    assert noise.mean() == pytest.approx(0.5, abs=0.033)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"0 <= `min_sigma` <= `max_sigma`.*min_sigma=3, max_sigma=2"):
        PaperNoise(min_sigma=3, max_sigma=2)
    with pytest.raises(ValueError, match=r"0 <= `min_sigma`.*min_sigma=-1"):
        PaperNoise(min_sigma=-1)
    with pytest.raises(ValueError, match=r"max_sigma=inf"):
        PaperNoise(max_sigma=float("inf"))
    with pytest.raises(ValueError, match=r"`sigma_per` must be 'batch'.*sigma_per='pixel'"):
        PaperNoise(sigma_per="pixel")
    with pytest.raises(ValueError, match=r"PaperNoise.*\(batch, height, width, channels\).*use `UniformNoise`"):
        PaperNoise()(np.zeros((4, 2), np.float32))


@keras.saving.register_keras_serializable("keras_acet_tests")
class GrayNoise(Noise):
    """A kind of a user's own."""

    takes_vectors = True

    def __init__(self, level=0.5, **kwargs):
        super().__init__(**kwargs)
        self.level = level

    def call(self, images):
        return tf.fill(tf.shape(images), self.level)

    def get_config(self):
        return {"level": self.level, **super().get_config()}


KINDS = [noise.kind(name) for name in noise.names()]


def made_of(kind, seed):
    """A noise of a kind; of what is drawn in advance it draws little."""
    return kind(seed=seed, **({"num_images": 20} if kind is noise.Letters else {}))


@pytest.mark.parametrize("make", [*KINDS, GrayNoise], ids=lambda make: make.__name__)
def test_every_kind_keeps_shape_and_range_and_its_config(make):
    made = made_of(make, seed=3)
    images = random_images(5, 8, 6, 3)
    drawn = made(images).numpy()
    assert drawn.shape == images.shape
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(copy) is make
    assert copy.get_config() == made.get_config()
    vectors = random_images(4, 2)
    if make.takes_vectors:
        assert made(vectors).shape == (4, 2)
    else:
        with pytest.raises(
            ValueError, match=r"(Noise|Letters|permute_pixels)` needs images of shape .* use `UniformNoise`"
        ):
            made(vectors)


def test_every_kind_is_the_same_traced_and_of_an_unknown_batch_size():
    images = random_images(5, 6, 7, 2)

    def every_kind():
        kinds = [made_of(kind, seed) for seed, kind in enumerate(KINDS)]
        return lambda x: tf.stack([kind(x) for kind in kinds])

    expected = every_kind()(images)
    traced = tf.function(every_kind(), input_signature=[tf.TensorSpec((None, 6, 7, 2))])
    np.testing.assert_allclose(traced(images), expected, atol=2e-5)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind is not noise.InvertedNoise], ids=lambda kind: kind.__name__
)
def test_same_seed_same_noise_and_the_next_batch_differs(kind):
    images = random_images(4, 8, 8, 1)
    first, second = (made_of(kind, seed=5) for _ in range(2))
    a, b = first(images).numpy(), second(images).numpy()
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, first(images).numpy())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (2, 3, 2, 4), (3, 5, 7, 3), (0, 8, 8, 1)])
def test_every_kind_makes_images_of_any_size(kind, shape):
    drawn = made_of(kind, seed=1)(random_images(*shape)).numpy()
    assert drawn.shape == shape
    assert ((drawn >= 0) & (drawn <= 1)).all()  # not so of NaN


def test_a_kind_is_made_by_its_name():
    settings = {"min_sigma": 1.2, "max_sigma": 2.0, "sigma_per": "image", "epochs": 3}
    made = noise.build("paper", seed=5, settings=settings)
    assert isinstance(made, PaperNoise)
    assert (made.min_sigma, made.max_sigma, made.sigma_per, made.seed) == (1.2, 2.0, "image", 5)
    assert isinstance(noise.build("uniform", settings=settings), UniformNoise)
    with pytest.raises(ValueError, match=r"The noise must be one of \('almost_black', .*'uniform'\).*'pink'"):
        noise.build("pink")


def test_names_are_told_without_tensorflow():
    code = "import sys, keras_acet.noise as noise; print(noise.names(), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{noise.names()} False"


def test_no_such_name():
    with pytest.raises(AttributeError, match="module 'keras_acet.noise' has no attribute 'PinkNoise'"):
        noise.PinkNoise  # noqa: B018
