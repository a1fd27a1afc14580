"""Mixtures of out-distributions, and sets of images as out-distribution."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import noise


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@keras.saving.register_keras_serializable("keras_acet_tests")
class HalvesNoise(noise.Noise):
    """1 for the first half of a batch, else 0: what depends on the place in the batch."""

    takes_vectors = True

    def call(self, images):
        half = tf.shape(images)[0] // 2
        return tf.concat([tf.ones_like(images[:half]), tf.zeros_like(images[half:])], 0)


def test_each_part_makes_its_share():
    mixture = noise.Mixture([noise.ConstantNoise(), noise.InvertedNoise()], weights=[0.6, 1.4], seed=0)
    source = mixture.draw(random_images(10, 2, 2, 1)).source.numpy()
    assert (source == 0).sum() == 3  # 10 * .6 / 2
    assert (source == 1).sum() == 7


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_what_is_left_over_is_given_by_chance(batch):
    # Weights .5, .3, .2: of a batch of 5 the parts make 2.5, 1.5 and 1 on average.
    parts = [noise.ConstantNoise(seed=0), noise.InvertedNoise(), noise.UniformNoise(seed=1)]
    mixture = noise.Mixture(parts, weights=[5, 3, 2], seed=0)
    draw = tf.function(mixture.draw)
    images = tf.zeros((batch, 1, 1, 1))
    sources = np.array([draw(images).source.numpy() for _ in range(800)])
    counts = np.stack([(sources == part).sum(axis=1) for part in range(3)], axis=1)
    floor = np.floor(batch * np.array([0.5, 0.3, 0.2]) + 1e-9)
    assert (counts >= floor).all()
    # 800 batches: the standard deviation of a mean count is at most sqrt(batch / 4 / 800), five of them.
    np.testing.assert_allclose(counts.mean(axis=0), batch * np.array([0.5, 0.3, 0.2]), atol=5 * (batch / 3200) ** 0.5)


def test_an_image_is_made_from_the_one_at_its_place():
    images = random_images(40, 3, 4, 2)
    drawn = noise.Mixture([noise.InvertedNoise(), noise.ConstantNoise(seed=0)], seed=3).draw(images)
    inverted = drawn.source.numpy() == 0
    assert inverted.sum() == 20
    assert not inverted[:20].all()
    np.testing.assert_allclose(drawn.images.numpy()[inverted], 1 - images[inverted], atol=1e-6)
    assert np.ptp(drawn.images.numpy()[~inverted], axis=(1, 2)).max() == 0


def test_parts_that_depend_on_the_place_in_the_batch_do_not_after_a_mixture():
    mixture = noise.Mixture([HalvesNoise(), noise.ConstantNoise(seed=0), noise.UniformNoise(seed=0)], seed=0)
    draw = tf.function(mixture.draw)
    images = tf.zeros((8, 1, 1, 1))  # two of each part and two left over
    halves = [drawn.images.numpy()[drawn.source.numpy() == 0].ravel() for drawn in (draw(images) for _ in range(600))]
    halves = np.concatenate(halves)
    # 1600 draws on average, in pairs that are not independent; five times sqrt(1 / 1600).
    assert halves.mean() == pytest.approx(0.5, abs=0.125)


def test_sources_of_nested_mixtures_have_one_number_each():
    inner = noise.Mixture([noise.UniformNoise(seed=0), noise.ConstantNoise(seed=0)], seed=0)
    mixture = noise.Mixture([HalvesNoise(), inner, noise.UniformNoise(seed=1)], seed=0)
    assert mixture.sources == ("HalvesNoise", "uniform", "constant")
    drawn = mixture.draw(random_images(60, 4, 4, 1))
    source = drawn.source.numpy()
    assert np.bincount(source).tolist() == [20, 30, 10]
    ranges = np.ptp(drawn.images.numpy(), axis=(1, 2, 3))
    assert (ranges[source == 1] > 0).all()
    assert (ranges[source != 1] == 0).all()


def test_outliers_are_about_half_of_the_kinds():
    outliers = noise.Outliers(seed=0)
    seen = set(outliers.sources)
    assert seen < set(noise.kinds_without_content())
    assert len(set(noise.kinds_without_content()) - seen) == 9
    drawn = outliers.draw(random_images(100, 8, 8, 3))
    assert np.bincount(drawn.source).tolist() == [40, 10, 10, 10, 10, 10, 10]
    assert outliers.parts[0].min_sigma == 0
    # The parts do not share their numbers.
    assert len({part.seed for part in outliers.parts}) == 7
    np.testing.assert_array_equal(noise.build("outliers", seed=0)(random_images(100, 8, 8, 3)), drawn.images)


def test_mixtures_are_kept_with_their_state():
    made = noise.Mixture([noise.Outliers(seed=1), noise.BlobsNoise(sigma=(1, 2))], weights=[1, 2], seed=4)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert copy.get_config() == made.get_config()
    assert copy.sources == made.sources
    # Seven parts of Outliers, Blobs, and the choice of both mixtures.
    assert len(made.variables) == 10


def test_a_mixture_takes_what_all_of_its_parts_take():
    assert noise.Mixture([noise.UniformNoise(), noise.InvertedNoise()]).takes_vectors
    assert not noise.Mixture([noise.UniformNoise(), noise.BlobsNoise()]).takes_vectors
    assert not noise.Outliers().takes_vectors
    vectors = noise.Mixture([noise.UniformNoise(), noise.InvertedNoise()], seed=0)(random_images(5, 2))
    assert vectors.shape == (5, 2)
    assert noise.Mixture([noise.ImageSet(np.zeros((1, 2, 2, 1), "uint8"))]).has_content


def test_image_set_draws_all_of_its_images():
    images = (np.arange(4, dtype=np.uint8) * 50).reshape(4, 1, 1, 1)
    drawn = noise.ImageSet(images, source="cifar10", seed=0)(np.zeros((4000, 1, 1, 1), np.float32)).numpy()
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_allclose(values, [0, 50 / 255, 100 / 255, 150 / 255], rtol=1e-6)
    # A quarter of 4000: standard deviation 27, five of them.
    np.testing.assert_allclose(counts, 1000, atol=137)


def test_image_set_flips_half_of_them_where_told():
    image = np.array([[0.0, 0.5, 1.0]], np.float32).reshape(1, 1, 3, 1)
    batch = np.zeros((1000, 1, 3, 1), np.float32)
    flipped = noise.ImageSet(image, flip=True, seed=0)(batch).numpy()[:, 0, 0, 0]
    assert flipped.mean() == pytest.approx(0.5, abs=0.08)  # five times sqrt(1 / 4000)
    assert noise.ImageSet(image, seed=0)(batch).numpy()[:, 0, 0, 0].max() == 0


def test_image_set_of_vectors():
    vectors = np.array([[0.1, 0.2], [0.3, 0.4]])
    made = noise.ImageSet(vectors, seed=0)
    assert made.takes_vectors
    drawn = made(np.zeros((50, 2), np.float32))
    assert drawn.dtype == tf.float32
    np.testing.assert_allclose(np.unique(drawn, axis=0), vectors, rtol=1e-6)


def test_image_set_is_not_part_of_a_traced_graph():
    made = noise.ImageSet(np.zeros((1000, 8, 8, 1), "uint8"), seed=0)
    traced = tf.function(made, input_signature=[tf.TensorSpec((None, 8, 8, 1))]).get_concrete_function()
    assert len(traced.graph.as_graph_def().SerializeToString()) < 20_000  # the images are 64,000 bytes


def test_image_set_is_kept_without_its_images():
    made = noise.ImageSet(np.zeros((2, 2, 2, 1), "uint8"), source="npz:a.npz", flip=True, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert (copy.source, copy.flip, copy.seed) == ("npz:a.npz", True, 3)
    with pytest.raises(ValueError, match=r"'npz:a.npz' are not kept in a saved model.*make an `ImageSet`"):
        copy(np.zeros((1, 2, 2, 1), np.float32))


UINT8 = np.zeros((2, 3, 3, 1), np.uint8)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: noise.Mixture([]), ValueError, r"`parts` must be a list of noise objects.*empty"),
        (lambda: noise.Mixture("paper"), TypeError, "`parts` must be a list.*parts='paper'"),
        (lambda: noise.Mixture([noise.PaperNoise]), TypeError, r"Write PaperNoise\(\)\."),
        (lambda: noise.Mixture(["paper"]), TypeError, "Received: 'paper' among them"),
        (lambda: noise.Mixture([noise.UniformNoise()], weights=[1, 2]), ValueError, "must be 1 positive numbers"),
        (lambda: noise.Mixture([noise.UniformNoise()], weights=[0]), ValueError, r"weights=\[0\]"),
        (lambda: noise.Mixture([noise.UniformNoise()], weights=["1"]), TypeError, "one for each part"),
        (lambda: noise.Mixture([noise.UniformNoise()], weights=1.0), TypeError, "weights=1.0"),
        (lambda: noise.ImageSet(UINT8.astype(int)), TypeError, "uint8 in 0..255 or floats.*int64"),
        (lambda: noise.ImageSet(UINT8[:0]), ValueError, "at least one image"),
        (lambda: noise.ImageSet(UINT8[0]), ValueError, r"Received: \(3, 3, 1\)"),
        (lambda: noise.ImageSet(UINT8 + 2.0), ValueError, "must be in .0, 1..*2 to 2.*divide by 255"),
        (lambda: noise.ImageSet(UINT8 + np.nan), ValueError, "nan to nan"),
        (
            lambda: noise.ImageSet(UINT8, source="b")(np.zeros((1, 2, 2, 3), np.float32)),
            ValueError,
            r"'b' must have the shape of the data, \(2, 2, 3\). Received: \(3, 3, 1\).*fit_images",
        ),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()
