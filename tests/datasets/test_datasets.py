import hashlib
import io
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.places import DATA, ROOT, needs_data
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from keras_acet import datasets
from keras_acet._checks import Notice
from keras_acet.datasets import files, tfds


def arrays(n=10, shape=(4, 4, 1), num_classes=2, seed=0):
    random = np.random.RandomState(seed)
    return random.randint(0, 256, (n, *shape)).astype(np.uint8), np.arange(n) % num_classes


def levels_of(images):
    return np.round(images * 255).astype(np.uint8)


def make(n=10, **kwargs):
    kwargs = {"name": "mine", "train": arrays(n), "test": arrays(7, seed=1), **kwargs}
    return datasets.Data(**{"batch_size": 3, **kwargs})


def collect(batches):
    return [(images.copy(), labels.copy()) for images, labels in batches.as_numpy_iterator()]


def assert_same_batches(left, right):
    assert len(left) == len(right)
    for (left_images, left_labels), (right_images, right_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(left_images, right_images)
        np.testing.assert_array_equal(left_labels, right_labels)


def test_crop_gives_each_of_the_nine_windows_equally_often():
    # [[1, 2], [3, 4]] with a frame of zeros, window moved by (dy, dx) from the upper left:
    windows = {
        (0, 0, 0, 1), (0, 0, 1, 2), (0, 0, 2, 0),  # dy = 0
        (0, 1, 0, 3), (1, 2, 3, 4), (2, 0, 4, 0),  # dy = 1
        (0, 3, 0, 0), (3, 4, 0, 0), (4, 0, 0, 0),  # dy = 2
    }  # fmt: skip
    images = np.tile(np.array([[1, 2], [3, 4]], np.float32)[..., None], (9000, 1, 1, 1))
    out = datasets.random_crop(images, (1, 2), padding=1).numpy().reshape(9000, 4)
    found, counts = np.unique(out, axis=0, return_counts=True)
    assert {tuple(row) for row in found.astype(int)} == windows
    # Binomial(9000, 1/9): mean 1000, standard deviation sqrt(9000 * 1/9 * 8/9) = 29.8; five of it.
    assert np.abs(counts - 1000).max() < 150


def test_flip_mirrors_left_to_right_half_of_the_time():
    images = np.tile(np.array([[1, 2], [3, 4]], np.uint8)[..., None], (4000, 1, 1, 1))
    out = datasets.random_flip(images, (1, 2)).numpy()
    assert out.dtype == np.uint8
    found, counts = np.unique(out.reshape(4000, 4), axis=0, return_counts=True)
    np.testing.assert_array_equal(found, [[1, 2, 3, 4], [2, 1, 4, 3]])
    # Binomial(4000, 1/2): standard deviation 31.6; five of it.
    assert abs(counts[0] - 2000) < 158


@pytest.mark.parametrize("augmentation", [datasets.random_crop, datasets.random_flip, datasets.random_flip_crop])
def test_augmentations_agree_in_eager_and_graph_mode_and_repeat_with_the_seed(augmentation):
    images = np.random.RandomState(0).rand(6, 5, 4, 3).astype(np.float32)
    eager = augmentation(images, (1, 2)).numpy()
    spec = [tf.TensorSpec((None, 5, 4, 3)), tf.TensorSpec((2,), tf.int32)]
    traced = tf.function(lambda images, seed: augmentation(images, seed), input_signature=spec)
    assert traced.get_concrete_function().output_shapes.as_list() == [None, 5, 4, 3]
    np.testing.assert_array_equal(traced(images, (1, 2)), eager)
    np.testing.assert_array_equal(augmentation(images, (1, 2)), eager)
    assert (augmentation(images, (1, 3)).numpy() != eager).any()


def test_flip_crop_flips_and_crops():
    images = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4, 1)
    flips, crops = set(), set()
    for seed in range(40):
        out = datasets.random_flip_crop(images, (seed, 0), padding=1).numpy()[0, :, :, 0]
        middle = out[1, 1:3]  # always inside the image
        flips.add(middle[1] - middle[0])
        crops.add((middle[0] - 1) // 4)
    assert flips == {1, -1} and crops == {0, 1, 2}


def test_pixels_are_float32_in_the_unit_range_and_exact():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    data = make(train=(images, np.array([0, 1, 0, 1])), test=(images, np.array([0, 1, 0, 1])))
    assert data.image_shape == (8, 8, 1)
    assert data.train.element_spec[0].shape == (3, 8, 8, 1)
    assert data.train.element_spec[0].dtype == tf.float32
    assert data.train.element_spec[1].dtype == tf.int64
    pixels = np.concatenate([images for images, _ in collect(data.test)]).ravel()
    np.testing.assert_array_equal(pixels, np.arange(256, dtype=np.float32) / np.float32(255))
    assert pixels[0] == 0.0 and pixels[255] == 1.0


def test_test_split_keeps_its_order_and_drops_nothing():
    data = make(augmentation=datasets.random_crop)
    batches = collect(data.test)
    assert [len(labels) for _, labels in batches] == [3, 3, 1]  # 7 images
    images = np.concatenate([images for images, _ in batches])
    np.testing.assert_array_equal(images, data.test_images)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), data.test_labels)
    assert_same_batches(batches, collect(data.test))


def test_train_drops_the_last_batch_and_shuffles_all_images_anew():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None]
    data = make(train=(images, np.arange(10)), test=(images, np.arange(10)))
    assert data.steps_per_epoch == 3  # 10 // 3
    assert data.train.cardinality() == 3
    orders = []
    assert_same_batches(collect(data.train), collect(data.train_from(0).take(3)))
    batches = collect(data.train_from(0).take(600))
    for epoch in (batches[start : start + 3] for start in range(0, 600, 3)):
        labels = np.concatenate([labels for _, labels in epoch])
        pixels = np.concatenate([images for images, _ in epoch]).ravel()
        np.testing.assert_array_equal(np.round(pixels * 255), labels)  # images with their labels
        assert len(set(labels)) == 9  # none twice
        orders.append(tuple(labels))
    assert len(set(orders)) == 200  # 10! orders: a repeat in 200 has probability 0.5 %
    # Image 0 comes first in 1 of 10: mean 20, standard deviation sqrt(200 * .1 * .9) = 4.2.
    assert abs(sum(order[0] == 0 for order in orders) - 20) < 21


def test_train_from_continues_an_undisturbed_run_bit_for_bit():
    def make_data(seed=5):
        return make(augmentation=datasets.random_crop, seed=seed)

    data = make_data()
    epochs = [collect(data.train) for _ in range(4)]
    run = [batch for epoch in epochs for batch in epoch]
    assert_same_batches(collect(make_data().train_from(0).take(12)), run)
    resumed = make_data().train_from(2)
    assert resumed.cardinality() == tf.data.INFINITE_CARDINALITY
    assert_same_batches(collect(resumed.take(6)), run[6:])
    assert_same_batches(collect(resumed.take(6)), run[6:])  # looking does not move it on
    assert not np.array_equal(run[0][0], run[3][0])
    assert not np.array_equal(run[0][0], collect(make_data(seed=6).train)[0][0])


BATCH_DIGEST = """
import hashlib
from keras_acet import datasets
data = datasets.load("digits", augmentation="flip_crop", seed=11)
digest = hashlib.sha256()
for images, labels in data.train_from(3).take(15).as_numpy_iterator():
    digest.update(images.tobytes() + labels.tobytes())
print(data.fingerprint, digest.hexdigest())
"""


def test_a_fresh_process_resumes_with_the_same_batches():
    data = datasets.load("digits", augmentation="flip_crop", seed=11)
    epochs = [collect(data.train) for _ in range(5)]  # 11 steps each
    digest = hashlib.sha256()
    for images, labels in [*epochs[3], *epochs[4]][:15]:
        digest.update(images.tobytes() + labels.tobytes())
    fresh = subprocess.run([sys.executable, "-c", BATCH_DIGEST], cwd=ROOT, capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == [data.fingerprint, digest.hexdigest()]


def test_keras_fit_sees_the_epochs_of_train_from():
    """Keras makes a new iterator for each epoch; none of them may be lost to a first look."""
    seen = []

    class Recorder(keras.Model):
        def call(self, images):
            return tf.reduce_mean(images, axis=(1, 2, 3))[:, None]

        def train_step(self, batch):
            tf.numpy_function(lambda labels: seen.append(labels.tolist()), [batch[1]], [])
            return {"loss": tf.constant(0.0)}

    data = make(train=(arrays()[0], np.arange(10)))
    model = Recorder()
    model.compile(loss="mse")
    model.fit(data.train, epochs=3, verbose=0, shuffle=False)
    assert seen == [labels.tolist() for _, labels in collect(data.train_from(0).take(9))]
    seen.clear()
    resumed = {"initial_epoch": 1, "epochs": 3, "steps_per_epoch": data.steps_per_epoch}
    model.fit(data.train_from(1), verbose=0, shuffle=False, **resumed)
    assert seen == [labels.tolist() for _, labels in collect(data.train_from(1).take(6))]


def test_fingerprint_follows_images_and_labels_only():
    data = make()
    assert re.fullmatch("[0-9a-f]{16}", data.fingerprint)
    assert make(seed=9, batch_size=2, name="other").fingerprint == data.fingerprint
    images, labels = arrays()
    images[0, 0, 0, 0] ^= 1
    assert make(train=(images, labels)).fingerprint != data.fingerprint
    assert make(train=(arrays()[0], 1 - labels)).fingerprint != data.fingerprint


def test_labels_of_keras_and_label_gaps_are_taken():
    images, labels = arrays()
    data = make(train=(images, 4 * labels[:, None].astype(np.uint8)))
    np.testing.assert_array_equal(data.train_labels, 4 * labels)
    assert data.train_labels.dtype == np.int64
    assert data.class_names == ["0", "1", "2", "3", "4"]


def test_digits_are_split_by_class_whatever_the_seed():
    data = datasets.load("digits", seed=3)
    assert data.image_shape == (8, 8, 1)
    assert data.num_classes == 10
    assert data.fingerprint == datasets.load("digits", seed=4).fingerprint
    digits = load_digits()
    counts = np.bincount(digits.target)
    np.testing.assert_array_equal(np.bincount(data.test_labels), counts // 5)
    np.testing.assert_array_equal(np.bincount(data.train_labels), counts - counts // 5)
    # Nothing lost, nothing in both: the rows together are the rows of the whole.
    rows = lambda images: np.sort([image.tobytes() for image in images])  # noqa: E731
    whole = (digits.images / 16).astype(np.float32)
    both = np.concatenate([data.train_images, data.test_images])
    np.testing.assert_array_equal(rows(both), rows(whole[..., None]))
    assert both.max() == 1.0 and both.min() == 0.0


def test_moons_follow_the_formula_and_lie_in_the_box():
    data = datasets.load("moons")
    assert data.image_shape == (2,)
    assert data.num_classes == 2
    assert len(data.ood) == 0
    assert data.train_images.shape == data.test_images.shape == (2000, 2)
    assert (data.train_images != data.test_images).all(axis=1).mean() > 0.99
    for points, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        assert points.min() > 0 and points.max() < 1
        # Undone by hand: class 0 is the upper unit half circle around the origin, class 1 the
        # lower one around (1, .5). Noise .02 on the radius: 6 standard deviations.
        x = (points[:, 0] + 0.035) * 4 - 1.6
        y = (points[:, 1] / 1.75 + 0.17) * 4 - 1.6
        upper = labels == 0
        assert upper.sum() == 1000
        assert np.abs(np.hypot(x[upper], y[upper]) - 1).max() < 0.12
        assert np.abs(np.hypot(x[~upper] - 1, y[~upper] - 0.5) - 1).max() < 0.12
        assert y[upper].min() > -0.12 and y[~upper].max() < 0.62
    images, labels = next(iter(data.train))
    assert images.shape == (128, 2) and labels.shape == (128,)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (427, 9, 1)])
def test_photo_patches(shape):
    patches = datasets.photo_patches(shape)
    assert patches.dtype == np.float32
    assert patches.shape == (min(1000, 2**28 // (4 * np.prod(shape))), *shape)
    assert patches.min() >= 0 and patches.max() <= 1
    # A photograph has structure: more than one level of 255 within the typical patch.
    assert np.median(patches[:100].std(axis=(1, 2))) > 0.02
    np.testing.assert_array_equal(patches, datasets.photo_patches(shape))


def test_photo_patches_are_pieces_of_the_photographs():
    photo = load_sample_images().images[0].astype(np.float32) / np.float32(255)
    patches = datasets.photo_patches((8, 8, 3))
    windows = np.lib.stride_tricks.sliding_window_view(photo[..., 0], (8, 8))
    y, x = np.argwhere((windows == patches[0, ..., 0]).all(axis=(2, 3)))[0]  # photograph 0, not reduced
    np.testing.assert_array_equal(photo[y : y + 8, x : x + 8], patches[0])
    gray = datasets.photo_patches((8, 8, 1))  # the same places are drawn; Pillow's gray is .299 R + .587 G + .114 B
    np.testing.assert_allclose(gray[0, ..., 0], patches[0] @ [0.299, 0.587, 0.114], atol=1 / 255)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 4, 2), "photographs have 1 channel or 3, these images 2"),
        ((428, 8, 1), "the photographs, 427 x 640, are smaller than these images"),
    ],
)
def test_photos_that_cannot_be_had_say_why(shape, reason):
    assert make(train=arrays(shape=shape), test=arrays(shape=shape)).ood["photos"] == reason


def test_ood_sets_are_read_once_and_only_when_asked_for():
    calls = []

    def good():
        calls.append(1)
        return np.zeros((1, 2), np.float32)

    def bad():
        raise FileNotFoundError("many words " * 20)

    sets = datasets.OODSets({"good": good, "bad": bad})
    assert list(sets) == ["good", "bad"] and len(sets) == 2
    assert not calls
    assert sets["good"] is sets["good"]
    assert len(calls) == 1
    assert sets["bad"].startswith("many words") and 80 < len(sets["bad"]) < 90


def test_names_are_sorted():
    assert datasets.names() == sorted([*TFDS_NAMES, "digits", "moons", "folder:PATH", "npz:PATH"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mnits", " Did you mean 'mnist'"), ("fashion-MNIST", " Did you mean 'fashion_mnist'"),
        ("CIFAR-10", " Did you mean 'cifar10'"), ("npz", ""), ("mnist:x", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_name_that_is_none(name, near):
    message = f"must be one of cifar10, .*npz:PATH, svhn. Received: {name!r}.{near}"
    for function in (datasets.load, datasets.default_network):
        with pytest.raises(ValueError, match=message):
            function(name)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digits", {"augmentation": "mixup"}, "one of crop, flip_crop, none, or a callable.*'mixup'"),
        ("digits", {"batch_size": 0}, "between 1 and the 1442 training images. Received: batch_size=0"),
        ("digits", {"batch_size": 1443}, "between 1 and the 1442 training images. Received: batch_size=1443"),
        ("digits", {"image_size": 16}, "`image_size` is for folder:PATH only. Received: image_size=16 with 'digits'"),
        ("moons", {"augmentation": "crop"}, "moons: vectors cannot be cropped or flipped.*'crop'"),
        ("folder:x", {"image_size": 0}, r"`image_size` must be at least 1.*\(0, 0\)"),
        ("folder:x", {"image_size": (1, 2, 3)}, r"pair \(height, width\).*\(1, 2, 3\)"),
    ],
)
def test_arguments_of_load(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(name, **arguments)


def test_augmentation_by_name_or_callable():
    for name in ("crop", "flip_crop"):
        for arguments, padding in (({}, 4), ({"crop_padding": 1}, 1)):
            augmentation = datasets.load("digits", augmentation=name, **arguments).augmentation
            assert augmentation.func is getattr(datasets, f"random_{name}")
            assert augmentation.keywords == {"padding": padding}
    assert datasets.load("digits").augmentation is None
    assert datasets.load("digits", augmentation=datasets.random_flip).augmentation is datasets.random_flip


@pytest.mark.parametrize(
    ("name", "image_shape", "expected"),
    [
        *((name, None, "lenet") for name in ("mnist", "fashion_mnist", "kmnist", "emnist_letters", "digits")),
        *((name, None, "resnet20") for name in ("svhn", "cifar10", "cifar100")),
        *(("npz:a", shape, "resnet20") for shape in ((68, 64, 1), (28, 28, 3))),
        *(("npz:a", (64, 64, 1), "lenet"), ("npz:a", (7,), "mlp"), ("moons", None, "mlp")),
        *(("npz:a", (50, 50, 3), "lenet"), ("npz:a", (65, 64, 1), "MobileNetV2")),
    ],
)
def test_default_network(name, image_shape, expected):
    assert datasets.default_network(name, image_shape) == expected


def test_default_network_of_own_images_needs_their_shape():
    with pytest.raises(ValueError, match="'a' depends on `image_shape`"):
        datasets.default_network("npz:a")


def save_npz(tmp_path, **arrays_by_key):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays_by_key)
    return f"npz:{path}"


def good_npz():
    (x_train, y_train), (x_test, y_test) = arrays(10, (6, 6)), arrays(5, (6, 6), seed=1)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def test_npz_with_both_splits(tmp_path):
    saved = good_npz()
    with pytest.warns(Notice, match="passed over: extra"):
        data = datasets.load(save_npz(tmp_path, **saved, extra=np.zeros(3)), batch_size=4)
    assert data.image_shape == (6, 6, 1)
    np.testing.assert_array_equal(levels_of(data.test_images)[..., 0], saved["x_test"])
    np.testing.assert_array_equal(data.test_labels, saved["y_test"])
    assert list(data.ood) == ["photos"]
    assert data.ood["photos"].shape == (1000, 6, 6, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_npz_of_float_vectors_holds_out_a_fifth(tmp_path, dtype):
    images = np.linspace(0, 1, 40).reshape(20, 2).astype(dtype)
    labels = np.repeat([0, 1], 10)
    data = datasets.load(save_npz(tmp_path, images=images, labels=labels), batch_size=4)
    assert data.image_shape == (2,)
    assert data.train_images.dtype == np.float32
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])  # 10 // 5 of each
    both = np.concatenate([data.train_images, data.test_images])
    np.testing.assert_array_equal(np.sort(both[:, 0]), images[:, 0].astype(np.float32))
    assert len(data.ood) == 0


def with_pixel(value):
    images = good_npz()["x_train"] / np.float32(255)
    images[3, 0, 0] = value
    return {"x_train": images}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros(10)}, r"training images must be a non-empty array of shape .*\(10,\)"),
        ({"x_test": np.zeros((5, 7, 6), "uint8")}, r"test images .*\(6, 6, 1\).*\(7, 6, 1\)"),
        ({"x_test": np.zeros((0, 6, 6), "uint8")}, r"test images must be a non-empty array.*\(0, 6, 6\)"),
        ({"x_train": np.zeros((10, 3, 8, 8), "uint8")}, r"channels last.*\(10, 3, 8, 8\). Use np.moveaxis"),
        ({"x_train": np.zeros((10, 6, 6), int)}, r"must be uint8 in 0..255 or floats.*int64.*astype"),
        (with_pixel(np.nan), "training images must be finite. Received: 1 pixels .* in image 3"),
        (with_pixel(1.5), r"must lie in \[0, 1\]. Received: values from 0.* to 1.5. To cut off .*np.clip"),
        (with_pixel(-0.5), r"must lie in \[0, 1\]. Received: values from -0.5 to"),
        ({"y_train": np.arange(10) / 2}, r"training labels must be integers .*float64 of shape \(10,\).*astype"),
        ({"y_train": np.eye(10, dtype=int)}, r"training labels must .*\(10, 10\). For one-hot.*argmax"),
        ({"y_train": -np.arange(10)}, "training labels must count classes from 0.*Received: -1 at position 1"),
        ({"y_train": np.full(10, 10**9)}, "training labels .* up to 9 .* 1000000000 at position 0. Renumber"),
        ({"y_train": np.zeros(10, int)}, "images of at least two classes are needed. Received: labels .0. only"),
        ({"y_test": np.full(5, 2)}, "test labels .* up to 1 at most. Received: 2 at position 0"),
        ({"y_test": np.zeros(4, int)}, "test labels: each image needs one. Received: 5 images and 4 labels"),
        ({"y_train": np.array([None] * 10)}, "file of arrays of numbers written by `np.savez`.*Object arr"),
    ],
)
def test_npz_that_does_not_fit(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load(save_npz(tmp_path, **{**good_npz(), **changes}), batch_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"x": np.zeros(1), "labels": np.zeros(1)}, r"must hold the keys \('x_train', .*\('labels', 'x'\)"),
        ({"images": arrays(3)[0], "labels": np.arange(3)}, "two images or more.*Received: one image per class"),
        ({"images": arrays(3)[0], "labels": np.arange(3) / 2}, "training labels must be integers"),
    ],
)
def test_npz_without_what_is_needed(tmp_path, saved, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(save_npz(tmp_path, **saved))


def test_npz_that_cannot_be_read(tmp_path):
    good = bytearray(Path(save_npz(tmp_path, **good_npz()).removeprefix("npz:")).read_bytes())
    good[200] ^= 0xFF  # a pixel of x_train; the archive's checksum notices
    np.save(tmp_path / "one.npy", np.zeros(3))
    single = (tmp_path / "one.npy").read_bytes()
    for content in (b"no zip", b"", b"PK\x03\x04broken", single, good):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match="npz:PATH must name a file .*`np.savez`. Received: .*bad.npz"):
            datasets.load(f"npz:{tmp_path / 'bad.npz'}")
    with pytest.raises(ValueError, match="npz:PATH must name a file .*none.npz.*No such file"):
        datasets.load(f"npz:{tmp_path / 'none.npz'}")


def save_image(path, level, size=(6, 4), mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path, **options)


def gray_folder(root, count=10):
    for label, name in enumerate(["cat", "dog"]):
        for i in range(count):
            save_image(root / name / f"{i}.png", 100 * label + i)
    return f"folder:{root}"


def test_folder_holds_out_a_fifth_and_writes_nothing(tmp_path):
    name = gray_folder(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("not a class")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    with pytest.warns(Notice, match="20 images are read; passed over: 1 hidden .*, 1 beside the folders .*, 1 .txt"):
        data = datasets.load(name, batch_size=4)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    assert data.image_shape == (4, 6, 1)  # Pillow's size is (width, height)
    assert data.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])  # 10 // 5 of each
    levels = levels_of(np.concatenate([data.train_images, data.test_images])[:, 0, 0, 0])
    assert sorted(levels) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(levels // 100, np.concatenate([data.train_labels, data.test_labels]))
    with pytest.warns(Notice):
        assert data.fingerprint == datasets.load(name, batch_size=4, seed=7).fingerprint


def test_folder_with_train_and_test(tmp_path):
    gray_folder(tmp_path / "train", 3)
    save_image(tmp_path / "test" / "dog" / "a.PNG", 7)
    with pytest.warns(Notice, match="the test set has no images of cat"):
        data = datasets.load(f"folder:{tmp_path}", batch_size=6)
    assert data.class_names == ["cat", "dog"]
    assert len(data.train_labels) == 6
    np.testing.assert_array_equal(data.test_labels, [1])
    assert data.test_images[0, 0, 0, 0] == np.float32(7) / 255


@pytest.mark.parametrize(
    ("ending", "mode", "level", "expected"),
    [
        ("png", "RGB", (255, 0, 10), [255, 0, 10]),
        ("bmp", "RGB", (1, 2, 3), [1, 2, 3]),
        ("png", "RGBA", (9, 8, 7, 100), [9, 8, 7]),  # transparency is dropped
        ("gif", "L", 50, [50, 50, 50]),  # a GIF has a palette of colours
        ("jpeg", "L", 60, [60]),
        ("png", "1", 1, [255]),
        ("png", "LA", (70, 80), [70]),
        ("png", "I;16", 257 * 30, [30]),
    ],
)
def test_folder_reads_every_kind_of_file(tmp_path, ending, mode, level, expected):
    save_image(tmp_path / f"a.{ending}", level, mode=mode)
    image = files.read_image(tmp_path / f"a.{ending}", None)
    assert image.dtype == np.uint8 and image.shape == (4, 6, len(expected))
    assert image[0, 0].tolist() == expected


def test_folder_turns_photographs_as_their_camera_says(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = files.read_image(tmp_path / "a.png", None)
    np.testing.assert_array_equal(image[..., 0], np.rot90(pixels, -1))


def test_folder_of_two_sizes_is_resized_or_refused(tmp_path):
    name = gray_folder(tmp_path)
    save_image(tmp_path / "dog" / "large.png", (3, 2, 1), size=(50, 20), mode="RGB")
    assert datasets.load(name, batch_size=4, image_size=8).image_shape == (8, 8, 3)  # gray is spread
    data = datasets.load(name, batch_size=4, image_size=(3, 5))
    assert data.image_shape == (3, 5, 3)
    assert np.ptp(data.train_images, axis=(1, 2)).max() == 0  # flat images stay flat
    message = r"dog.large.png of \(20, 50\) and .*cat.*png of \(4, 6\).*`image_size`"
    with pytest.raises(ValueError, match=message):
        datasets.load(name)


def test_folder_that_cannot_be_read(tmp_path):
    def check(message, root=tmp_path):
        with pytest.raises(ValueError, match=message):
            datasets.load(f"folder:{root}", image_size=4)

    check("must name a folder of class folders. .*none'", tmp_path / "none")
    check("one sub-folder of images per class. Received: no sub-folders")
    gray_folder(tmp_path, 1)
    check("two images or more.*Received: one image per class")
    (tmp_path / "cow").mkdir()
    check("cow: each class folder must hold images .*Received: none. Fill it or remove it")
    (tmp_path / "cow" / "a.png").write_bytes(b"no image")
    check("cow.a.png must be an image that can be read")
    save_image(tmp_path / "cow" / "a.png", 1, size=(400, 400))
    (tmp_path / "cow" / "a.png").write_bytes((tmp_path / "cow" / "a.png").read_bytes()[:100])
    check("cow.a.png must be an image that can be read")
    gray_folder(tmp_path / "odd" / "train", 2)
    save_image(tmp_path / "odd" / "test" / "cow" / "a.png", 1)
    check(r"test.cow: the training set must have this class too. It has: \['cat', 'dog'\]", tmp_path / "odd")


VERSIONS = {"emnist": "3.1.0", "kmnist": "3.0.1"}


def store(data_dir, name, images, labels, *, config=None, num_classes=10, file_format="tfrecord"):
    """Writes a small set in the layout of TensorFlow Datasets."""
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    features = tensorflow_datasets.features.FeaturesDict(
        {
            "image": tensorflow_datasets.features.Image(shape=images.shape[1:]),
            "label": tensorflow_datasets.features.ClassLabel(num_classes=num_classes),
        }
    )
    examples = [(i, {"image": x, "label": y}) for i, (x, y) in enumerate(zip(images, labels, strict=True))]
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config,
        version=VERSIONS[name],
        features=features,
        split_datasets={"train": examples, "test": examples[:4]},
        data_dir=data_dir,
        disable_shuffling=True,
        file_format=file_format,
    )


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(tfds, "_obstacle", refuse)


def test_tfds_set_on_disk_is_read_without_the_network(tmp_path, no_network):
    images, labels = arrays(6, (28, 28, 1), 3)
    store(tmp_path, "kmnist", images, labels)
    data = datasets.load("kmnist", data_dir=tmp_path, batch_size=2)
    np.testing.assert_array_equal(levels_of(data.train_images), images)
    np.testing.assert_array_equal(data.train_labels, labels)
    np.testing.assert_array_equal(levels_of(data.test_images), images[:4])
    assert data.num_classes == 10
    assert list(data.ood) == ["mnist", "fashion_mnist", "emnist_letters", "cifar10_gray", "photos"]
    assert data.ood["mnist"] == "mnist is not in the data directory; tfds.load('mnist') gets it"
    assert data.ood["photos"].shape == (1000, 28, 28, 1)


def test_emnist_letters_are_upright_and_counted_from_zero(tmp_path, no_network):
    images, labels = arrays(26, (28, 28, 1), 26)
    stored = images.transpose(0, 2, 1, 3)
    store(tmp_path, "emnist", stored, labels + 1, config="letters", num_classes=37)
    data = datasets.load("emnist_letters", data_dir=tmp_path, batch_size=2)
    np.testing.assert_array_equal(levels_of(data.train_images), images)
    np.testing.assert_array_equal(data.train_labels, np.arange(26))
    assert data.class_names[0] == "A" and data.class_names[25] == "Z"


def test_tfds_set_that_cannot_be_read(tmp_path, no_network):
    def check(data_dir):
        message = "kmnist: the files in .*3.0.1 cannot be read .* Delete that folder; .*data_dir='data'"
        with pytest.raises(ValueError, match=message) as caught:
            datasets.load("kmnist", data_dir=data_dir)
        assert "\n" not in str(caught.value)

    store(tmp_path, "kmnist", *arrays(6, (28, 28, 1), 3))
    record = next((tmp_path / "kmnist" / "3.0.1").glob("*train*"))
    record.write_bytes(record.read_bytes()[:-20])
    check(tmp_path)
    record.unlink()
    check(tmp_path)
    store(tmp_path / "other", "kmnist", *arrays(6, (28, 28, 1), 3), file_format="array_record")
    check(tmp_path / "other")


TFDS_NAMES = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "emnist_letters": "emnist/letters",
    "fashion_mnist": "fashion_mnist",
    "kmnist": "kmnist",
    "mnist": "mnist",
    "svhn": "svhn_cropped",
}
HOW = r"run `python -c .*tfds.load\('{}', data_dir='data'\).* where there is a network, and copy .* to .*{}.*\d\."


@pytest.mark.parametrize("name", sorted(TFDS_NAMES))
def test_missing_tfds_set_says_how_to_get_it(tmp_path, monkeypatch, caplog, name):
    pytest.importorskip("tensorflow_datasets")
    how = HOW.format(TFDS_NAMES[name], TFDS_NAMES[name])
    with pytest.raises(FileNotFoundError, match=f"{name} is not in the data directory, and downloading .*{how}"):
        datasets.load(name, data_dir=tmp_path, download=False)
    monkeypatch.setattr(tfds, "_obstacle", lambda url, seconds: "no route")
    with pytest.raises(FileNotFoundError, match=f"{name} is .* http.* cannot be reached .no route.*{how}"):
        datasets.load(name, data_dir=tmp_path)
    assert not any(tmp_path.iterdir())
    assert not caplog.records


class FakeBuilder:
    """A set that is downloaded by writing it to disk, or not at all."""

    def __init__(self, real_builder, data_dir, error):
        self._real_builder, self._data_dir, self._error = real_builder, data_dir, error
        self.url_infos, self.data_dir = {"http://x": None}, data_dir

    def is_prepared(self):
        return False

    def download_and_prepare(self):
        if self._error:
            raise self._error
        store(self._data_dir, "kmnist", *arrays(6, (28, 28, 1), 3))

    def __getattr__(self, name):
        return getattr(self._real_builder("kmnist", data_dir=self._data_dir), name)


@pytest.mark.parametrize("error", [None, ConnectionError("cut off")])
def test_download(tmp_path, monkeypatch, error):
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    builder = FakeBuilder(tensorflow_datasets.builder, tmp_path, error)
    monkeypatch.setattr(tfds, "_obstacle", lambda url, seconds: None)
    monkeypatch.setattr(tensorflow_datasets, "builder", lambda *args, **kwargs: builder)
    if error is None:
        assert len(tfds.read("kmnist", datasets.TFDS("kmnist"))[0][1]) == 6
    else:
        with pytest.raises(FileNotFoundError, match="its download failed .ConnectionError.*cut off.*To get it, run"):
            tfds.read("kmnist", datasets.TFDS("kmnist"))


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets importlib_resources"):
        datasets.load("mnist", data_dir=tmp_path)


def http_error(code):
    return urllib.error.HTTPError("http://x", code, "Reason", {}, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (urllib.error.URLError("no name"), "<urlopen error no name>"),
        (TimeoutError("timed out"), "timed out"),
        (http_error(403), "HTTP Error 403: Reason"),
        (http_error(405), None),  # the server does not know HEAD
    ],
)
def test_what_keeps_a_download_from_starting(monkeypatch, error, expected):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert tfds._obstacle("http://x", 5) == expected


def test_a_network_that_does_not_answer_costs_seconds(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: release.wait(30) and io.BytesIO())
    start = time.monotonic()
    assert tfds._obstacle("http://x", 0.1) == "no answer within 0.1 seconds"
    assert time.monotonic() - start < 10
    assert tfds._PROBE_SECONDS < 10
    release.set()


@needs_data("mnist")
@needs_data("fashion_mnist")
def test_real_mnist(no_network):
    data = datasets.load("mnist", data_dir=DATA, augmentation="crop")
    assert data.train_images.shape == (60000, 28, 28, 1)
    assert data.test_images.shape == (10000, 28, 28, 1)
    assert data.steps_per_epoch == 468  # paper's set-up
    # The mean and standard deviation everyone knows for MNIST's training pixels.
    pixels = data.train_images.astype(np.float64)
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (0.1307, 0.3081)
    np.testing.assert_array_equal(
        np.bincount(data.test_labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    fashion = data.ood["fashion_mnist"]
    assert fashion.shape == (10000, 28, 28, 1) and fashion.dtype == np.float32
    assert fashion.min() == 0 and fashion.max() == 1


@needs_data("cifar10")
def test_real_cifar10(no_network):
    data = datasets.load("cifar10", data_dir=DATA, augmentation="flip_crop")
    assert data.image_shape == (32, 32, 3)
    assert (len(data.train_labels), len(data.test_labels)) == (50000, 10000)
    assert data.steps_per_epoch == 390  # paper's set-up
    np.testing.assert_array_equal(np.bincount(data.train_labels), [5000] * 10)
    assert list(data.ood) == ["svhn", "cifar100", "lsun_classroom", "imagenet_minus", "photos"]


def test_calibration_images_are_kept_out_of_training():
    images = np.arange(100, dtype=np.float32)[:, None] / 100
    pair = images, np.arange(100) % 2
    plain = datasets.Data(name="toy", train=pair, test=pair, batch_size=10)
    data = datasets.Data(name="toy", train=pair, test=pair, batch_size=10, calibration_fraction=0.2)
    assert (len(data.calibration_labels), len(data.train_labels), len(plain.calibration_labels)) == (20, 80, 0)
    both = np.concatenate([data.calibration_images, data.train_images])
    np.testing.assert_array_equal(np.sort(both, axis=0), images)
    assert data.fingerprint != plain.fingerprint
    again = datasets.Data(name="toy", train=pair, test=pair, batch_size=10, calibration_fraction=0.2, seed=5)
    np.testing.assert_array_equal(again.calibration_images, data.calibration_images)


@pytest.mark.parametrize(
    ("fraction", "message"), [(1.0, "must be in [0, 1)"), (-0.1, "must be in [0, 1)"), (0.001, "on both sides")]
)
def test_bad_calibration_fractions(fraction, message):
    pair = np.zeros((10, 2), np.float32), np.arange(10) % 2
    with pytest.raises(ValueError, match=re.escape(message)):
        datasets.Data(name="toy", train=pair, test=pair, batch_size=2, calibration_fraction=fraction)


def test_joined_sets_are_read_when_asked_for():
    read = []
    own = datasets.OODSets({"a": lambda: read.append("a") or np.zeros((1, 2), np.float32)})
    other = datasets.OODSets({"b": lambda: np.ones((2, 2), np.float32)})
    joined = own.joined(other)
    assert list(joined) == ["a", "b"] and read == []
    assert joined["b"].shape == (2, 2) and joined["a"].shape == (1, 2) and read == ["a"]
