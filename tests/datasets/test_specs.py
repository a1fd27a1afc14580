"""Data sets by specification: one entry each, and entries of the user's own."""

import re

import numpy as np
import pytest

from keras_acet import datasets, networks
from keras_acet.datasets import registry
from keras_acet.datasets.entries import BUILT_IN


@pytest.fixture(autouse=True)
def no_own_sets(monkeypatch):
    monkeypatch.setattr(registry, "_OWN", {})


def stripes():
    """Ten images 4 x 4, five with the left half lit and five with the right."""
    images = np.zeros((10, 4, 4), np.uint8)
    images[:5, :, :2] = images[5:, :, 2:] = 255
    return images, np.repeat([0, 1], 5)


def read_stripes():
    return datasets.Splits(stripes(), stripes(), ["left", "right"])


def test_every_entry_is_whole():
    names = [spec.name for spec in BUILT_IN]
    assert len(set(names)) == len(names)
    for spec in BUILT_IN:
        if isinstance(spec, datasets.DatasetSpec):
            assert set(spec.beside) <= set(names) - {spec.name}
            assert spec.near + spec.far == spec.beside  # the paper calls none of them near
            assert spec.network in networks.names()
            shapes = {registry.registered()[name].image_shape for name in spec.beside} - {None}
            assert shapes <= {spec.image_shape}


def test_entries_say_what_the_paper_trains_with():
    augmentations = {name: spec.augmentation for name, spec in registry.labelled().items()}
    assert augmentations == {
        **dict.fromkeys(("cifar10", "cifar100"), "flip_crop"),
        **dict.fromkeys(("digits", "moons"), "none"),
        **dict.fromkeys(("emnist_letters", "fashion_mnist", "kmnist", "mnist", "svhn"), "crop"),
    }


def test_an_entry_is_taken_where_a_name_is():
    spec = datasets.DatasetSpec("stripes", read_stripes, beside=("photos",))
    data = datasets.load(spec, batch_size=2)
    assert (data.name, data.image_shape, data.class_names, list(data.ood)) == (
        "stripes", (4, 4, 1), ["left", "right"], ["photos"],
    )  # fmt: skip
    np.testing.assert_array_equal(data.train_images[..., 0], stripes()[0] / np.float32(255))
    assert datasets.default_network(spec, data.image_shape) == "lenet"
    with pytest.raises(ValueError, match="'stripes' depends on `image_shape`"):
        datasets.default_network(spec)
    assert "stripes" not in datasets.names()
    found = datasets.ood_sets([spec, "photos"], (4, 4, 1))
    np.testing.assert_array_equal(found["stripes"][..., 0], stripes()[0] / np.float32(255))
    assert list(found) == ["stripes", "photos"]


def test_a_registered_set_goes_by_its_name():
    datasets.register(datasets.DatasetSpec("stripes", lambda: (stripes(),), (4, 4, 1), beside=("wide", "photos")))
    datasets.register(datasets.OODSpec("wide", lambda image_shape, data_dir: np.ones((3, *image_shape), np.float32)))
    data = datasets.load("stripes", batch_size=2)
    assert data.class_names == ["0", "1"] and len(data.test_labels) == 2  # a fifth of each class
    assert list(data.ood) == ["wide", "photos"]
    assert data.ood["wide"].shape == (3, 4, 4, 1)
    assert "stripes" in datasets.names() and "wide" not in datasets.names()
    assert {"stripes", "wide"} <= set(datasets.ood_names())
    assert datasets.default_network("stripes") == "lenet"
    assert len(datasets.ood_sets(["stripes"], (4, 4, 1))["stripes"]) == 10  # all, since there is no test pair
    with pytest.raises(ValueError, match=re.escape("stripes: the images must have the shape (5, 5, 1)")):
        datasets.ood_sets(["stripes"], (5, 5, 1))
    assert datasets.ood_sets(["stripes"], (5, 5, 1), resize=True)["stripes"].shape == (10, 5, 5, 1)
    datasets.register(datasets.DatasetSpec("stripes", read_stripes))  # as when a notebook's cell runs again
    assert datasets.load("stripes", batch_size=2).class_names == ["left", "right"]


def test_a_set_that_cannot_be_read_is_a_row_that_says_so():
    def missing(image_shape, data_dir):
        raise FileNotFoundError("the disk is elsewhere")

    spec = datasets.OODSpec("far_away", missing)
    assert datasets.ood_sets([spec], (4, 4, 1))["far_away"] == "the disk is elsewhere"


def test_a_set_without_an_entry_says_what_to_add():
    message = re.escape("datasets.register(datasets.DatasetSpec('zebras', source))")
    for function in (datasets.load, datasets.default_network, datasets.spec):
        with pytest.raises(ValueError, match=message):
            function("zebras")
    with pytest.raises(ValueError, match=message):
        datasets.ood_sets(["zebras"], (4, 4, 1))
    spec = datasets.DatasetSpec("stripes", read_stripes, beside=("zebras",))
    with pytest.raises(ValueError, match=message):  # not a KeyError
        datasets.load(spec, batch_size=2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", read_stripes), ValueError, "`name` must be a str"),
        (("a", "mnist"), TypeError, r"`source` must be a `TFDS` or a function.*TFDS\('mnist'\)"),
        (("a", read_stripes, None, None, "mixup"), ValueError, "`augmentation` must be one of crop, flip_crop, none"),
        (("a", read_stripes, None, None, "none", "photos"), ValueError, r"`beside` must be a tuple.*\('photos',\)"),
        (("a", read_stripes, None, None, "none", (), ("mnist",)), ValueError, "`near` must be a part of `beside`"),
    ],
)
def test_entries_are_checked_when_made(arguments, error, message):
    with pytest.raises(error, match=message):
        datasets.DatasetSpec(*arguments)


def test_an_out_distribution_is_checked_when_made():
    with pytest.raises(TypeError, match="`read` must be a function"):
        datasets.OODSpec("a", np.zeros(3))


def test_what_cannot_be_registered():
    with pytest.raises(ValueError, match="name of its own. Received: 'mnist'"):
        datasets.register(datasets.DatasetSpec("mnist", read_stripes))
    with pytest.raises(ValueError, match="without colon and comma. Received: 'a,b'"):
        datasets.register(datasets.DatasetSpec("a,b", read_stripes))
    with pytest.raises(TypeError, match="must be a DatasetSpec or an OODSpec. Received: str"):
        datasets.register("stripes")
    with pytest.raises(TypeError, match="must be a name or a DatasetSpec. Received: int"):
        datasets.load(3)


def test_a_source_must_return_splits():
    with pytest.raises(TypeError, match="a: `source` must return .* Received: ndarray"):
        datasets.load(datasets.DatasetSpec("a", lambda: np.zeros(3)))
