"""What `Data` takes, what it refuses and how to mend that, and the one form in which it gives images."""

import numpy as np
import pytest
import tensorflow as tf

from keras_acet import datasets
from keras_acet._checks import Notice

DRAW = np.random.default_rng(0)
LEVELS = DRAW.integers(0, 256, (12, 4, 4, 1), np.uint8)
UNIT = LEVELS / np.float32(255)
LABELS = np.arange(12) % 3
BLACK_OR_WHITE = (LEVELS > 127).astype(np.uint8)


def make(**changes):
    return datasets.Data(**{"name": "mine", "train": (LEVELS, LABELS), "batch_size": 2, **changes})


@pytest.mark.parametrize("images", [LEVELS, UNIT, UNIT.astype(np.float64)], ids=["uint8", "float32", "float64"])
@pytest.mark.parametrize("given", [True, False], ids=["test set", "held out"])
def test_images_come_as_float32_whatever_was_given(images, given):
    data = make(train=(images, LABELS), test=(images, LABELS) if given else None, calibration_fraction=0.25)

    batches = np.concatenate([batch for batch, _ in data.test.as_numpy_iterator()])
    np.testing.assert_array_equal(data.test_images, batches)
    for part in ("train", "test", "calibration"):
        found = getattr(data, f"{part}_images")
        assert found.dtype == np.float32 and found.min() >= 0 and 0.5 < found.max() <= 1
        assert found is getattr(data, f"{part}_images")  # made once
        np.testing.assert_array_equal(data.some_images(part, slice(2)), found[:2])
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 0
    known = {one.tobytes() for one in UNIT}
    assert {one.tobytes() for one in data.train_images} <= known


def test_what_becomes_of_the_array_that_was_given_changes_nothing():
    images, labels = UNIT.copy(), LABELS.copy()
    data = make(train=(images, labels), test=(images, labels))
    before = data.test_images.copy()
    images *= 255

    np.testing.assert_array_equal(data.test_images, before)
    assert data.train_images.max() <= 1
    assert images.flags.writeable


IMAGES = [
    (UNIT * 255, r"must lie in \[0, 1\]. .* For 8-bit levels use images / 255"),
    (UNIT.astype(np.float16) * 255, r"must lie in \[0, 1\]"),
    (np.where(UNIT > 0.9, np.nan, UNIT), "must be finite"),
    (BLACK_OR_WHITE, "of uint8 count as levels in 0..255. Received: 0 and 1 alone.*images.astype.'float32'"),
    (LEVELS.astype(np.int16) * 2 - 9, r"Received: int16 from -9 to \d+. Scale them"),
    (LEVELS.astype(np.int64), "Received: int64. For whole numbers in 0..255 use images.astype.'uint8'"),
    (LEVELS[:0], "must be a non-empty array"),
    ([[1, 2], [3]], "must be one array. Received: what NumPy cannot make one of"),
]


@pytest.mark.parametrize(("images", "message"), IMAGES, ids=[str(i) for i in range(len(IMAGES))])
@pytest.mark.parametrize("path", ["train", "test", "ood", "assigned"])
def test_images_are_checked_on_every_path(images, message, path):
    calls = {
        "train": lambda: make(train=(images, LABELS[: len(images)])),
        "test": lambda: make(test=(images, LABELS[: len(images)])),
        "ood": lambda: make(ood={"others": images}),
        "assigned": lambda: setattr(make(), "ood", {"others": images}),
    }
    with pytest.raises(ValueError, match=f"^mine: .*{message}"):
        calls[path]()


def test_advice_works():
    make(train=((UNIT * 255) / 255, LABELS))
    make(train=(BLACK_OR_WHITE.astype("float32"), LABELS))
    make(train=(BLACK_OR_WHITE * 255, LABELS))
    make(train=(LEVELS.astype(np.int64).astype("uint8"), LABELS))
    others = datasets.fit_images(np.repeat(LEVELS, 3, -1), (4, 4, 1))
    np.testing.assert_array_equal(make(ood={"others": others}).ood["others"], UNIT)


def test_out_distribution_sets_come_in_the_form_of_the_others():
    data = make(ood={"bytes": LEVELS, "flat": UNIT[..., 0], "none": "not here"})

    np.testing.assert_array_equal(data.ood["bytes"], UNIT)
    assert data.ood["bytes"].dtype == np.float32 and data.ood["flat"].shape == UNIT.shape
    assert data.ood["none"] == "not here"
    for wrong in (np.repeat(UNIT, 3, -1), UNIT[:, :3], UNIT.reshape(12, 16)):
        with pytest.raises(ValueError, match="set 'others' must have the shape of the training images.*fit_images"):
            make(ood={"others": wrong})
    with pytest.raises(TypeError, match="`ood` must be a mapping from names to images"):
        make(ood=UNIT)
    with pytest.raises(KeyError, match="There are: bytes, flat, none"):
        data.ood["byte"]


def test_sets_that_are_read_later_are_checked_then():
    data = make(ood=datasets.OODSets({"others": lambda: UNIT * 255, "good": lambda: LEVELS}))

    assert data.ood["others"].startswith("mine: images of the out-distribution set 'others' of a float type must lie")
    np.testing.assert_array_equal(data.ood["good"], UNIT)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.int8), LABELS.astype(np.uint64), LABELS.astype(float), LABELS[:, None], LABELS.tolist(),
        LABELS[:, None].astype(np.float32), tf.constant(LABELS),
    ],
)  # fmt: skip
def test_whole_numbers_of_any_type_are_labels(labels):
    data = make(train=(LEVELS, labels))
    assert data.train_labels.dtype == np.int64
    assert data.fingerprint == make().fingerprint


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3)[LABELS], "For one-hot rows use labels.argmax"),
        (np.eye(3, dtype=int)[LABELS], "For one-hot rows use labels.argmax"),
        (LABELS + 0.5, "must be integers"),
        (np.where(LABELS > 1, np.nan, LABELS), "must be integers"),
        (LABELS.astype(str), "must be integers"),
        (LABELS - 1.0, "must count classes from 0"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=f"mine: training labels.*{message}"):
        make(train=(LEVELS, labels))
    with pytest.raises(ValueError, match=f"mine: test labels.*{message}"):
        make(test=(LEVELS, labels))


def test_names_of_classes():
    for names in (["a", "b", "c"], ("a", "b", "c"), np.array(["a", "b", "c"])):
        data = make(class_names=names)
        assert data.class_names == ["a", "b", "c"] and all(type(name) is str for name in data.class_names)
    for wrong in ("abc", 3, [1, 2, 3], [b"a", b"b", b"c"], {"a": 1}):
        with pytest.raises(TypeError, match="`class_names` must be a list of str, one per class. Received: "):
            make(class_names=wrong)
    with pytest.raises(ValueError, match="must be different and not empty. Received: 'a' twice."):
        make(class_names=["a", "b", "a"])
    with pytest.raises(ValueError, match="must be different and not empty. Received: ''."):
        make(class_names=["a", "b", " "])
    with pytest.raises(ValueError, match="must name each class. Received: none"):
        make(class_names=[])
    with pytest.raises(ValueError, match="must count classes from 0, here up to 1 at most"):
        make(class_names=["a", "b"])
    with pytest.warns(Notice, match="mine: the classes 'cat', 'Cat ' are different ones"):
        make(class_names=["cat", "Cat ", "dog"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": LEVELS}, r"`train` must be a pair \(images, labels\) of arrays. Received: ndarray"),
        ({"train": (LEVELS, LABELS, LABELS)}, "`train` must be a pair .* Received: 3 parts"),
        ({"test": tf.data.Dataset.range(2)}, "`test` must be a pair"),
        ({"batch_size": 2.0}, "`batch_size` must hold integers. Received: 2.0"),
        ({"seed": "a"}, "`seed` must hold integers"),
        ({"augmentation": "crop"}, "`augmentation` must be None or a function .* Such are `datasets.random_crop`"),
        ({"calibration_fraction": "0.1"}, "`calibration_fraction` must be a number"),
        ({"name": ""}, "`name` must be a str"),
        ({"name": 3}, "`name` must be a str"),
    ],
)
def test_types_of_arguments(changes, message):
    with pytest.raises(TypeError, match=message):
        make(**changes)


def test_numpy_integers_will_do():
    data = make(batch_size=np.int64(3), seed=np.uint8(4))
    assert (data.batch_size, data.seed, type(data.seed)) == (3, 4, int)
    assert len(next(iter(data.train))[0]) == 3


def test_what_a_data_set_says_of_itself():
    text = "Data('mine': images (4, 4, 1) in [0, 1], 3 classes (0, 1, 2), 9 to train on, 3 to test with; beside it: "
    assert repr(make()) == str(make()) == f"{text}photos)"
