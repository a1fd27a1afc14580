"""Out-distribution sets made of noise."""

import numpy as np
import pytest

from keras_acet import datasets, noise
from keras_acet.datasets import registry


def data_of(*shape, count=12, class_names=None):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    pair = images, np.arange(count) % 2
    return datasets.Data(name="toy", train=pair, test=pair, batch_size=4, class_names=class_names)


def sets_of(names, data, **arguments):
    return datasets.ood_sets(names, data.image_shape, like=data, **arguments)


def test_kinds_are_sixteen_sets():
    data = data_of(8, 6, 3)
    sets = sets_of(["photos", "kinds", "letters"], data)
    assert list(sets) == ["photos", *noise.kinds_without_content(), "letters"]
    for name in noise.kinds_without_content():
        images = sets[name]
        assert images.dtype == np.float32
        assert images.shape == (12, 8, 6, 3)
        assert 0 <= images.min() <= images.max() <= 1


def test_the_same_seed_gives_the_same_images_and_each_kind_its_own():
    data = data_of(8, 8, 1)
    first, again, other = (sets_of(["kinds"], data, seed=seed) for seed in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])
    assert len({images.tobytes() for images in map(first.get, first)}) == 16


def test_they_are_made_from_test_images():
    data = data_of(4, 4, 1)
    inverted = sets_of(["inverted"], data)["inverted"]
    given = {np.rint(255 * image).astype(np.uint8).tobytes() for image in data.test_images}
    assert {np.rint(255 * (1 - image)).astype(np.uint8).tobytes() for image in inverted} == given


def test_their_number():
    data = data_of(4, 4, 1, count=450, class_names=["0", "1"])
    few = datasets.noise_set("uniform", data, name="some pixels", num_images=7)
    assert (few.name, few.read((4, 4, 1), None).shape) == ("some pixels", (7, 4, 4, 1))
    assert len(sets_of(["uniform"], data)["uniform"]) == 450  # in batches


def test_letters_are_those_that_are_kept_for_tests(monkeypatch):
    made, build = [], noise.build
    monkeypatch.setattr(noise, "build", lambda *args, **settings: made.append(build(*args, **settings)) or made[-1])
    sets_of(["letters", "paper"], data_of(4, 4, 1, class_names=["0", "1"]))
    letters, paper = made
    assert (letters.faces, letters.without) == ("test", "IOlo")
    assert paper.sigma_per == "image"
    assert letters.seed != paper.seed


def test_a_noise_object_of_ones_own_is_a_set():
    data = data_of(4, 4, 1)
    mixture = noise.Mixture([noise.ConstantNoise(seed=0), noise.StripesNoise(seed=0)], seed=0)
    spec = datasets.noise_set(mixture, data)
    assert spec.name == "constant+stripes"
    assert datasets.ood_sets([spec], data.image_shape)["constant+stripes"].shape == (12, 4, 4, 1)


def test_vectors_have_the_kinds_that_need_no_image():
    data = data_of(5)
    assert list(sets_of(["kinds"], data)) == ["almost_black", "gaussian", "inverted", "low_contrast", "uniform"]
    with pytest.raises(ValueError, match="stripes: this noise needs images, and toy has vectors"):
        sets_of(["stripes"], data)


def test_sets_of_ones_own_go_first(monkeypatch):
    monkeypatch.setattr(registry, "_OWN", {})
    pair = np.full((3, 4, 4, 1), 77, np.uint8), [0, 1, 0]
    datasets.register(datasets.DatasetSpec("stripes", lambda: (pair,)))
    data = data_of(4, 4, 1)
    np.testing.assert_allclose(sets_of(["stripes"], data)["stripes"], 77 / 255)
    out = datasets.out_distribution("stripes", data, seed=0)
    assert out.notes == ("out-distribution stripes: 3 images",)


def test_bad_names():
    with pytest.raises(ValueError, match="uniform: noise is made from test images. Give `like`"):
        datasets.ood_sets(["uniform"], (4, 4, 1))
    with pytest.raises(ValueError, match="named once only. Received: 'uniform' twice"):
        sets_of(["kinds", "uniform"], data_of(4, 4, 1))
    with pytest.raises(ValueError, match=r"must be one of almost_black, .*, kinds, .*'kind'\. Did you mean 'kinds'"):
        sets_of(["kind"], data_of(4, 4, 1))
