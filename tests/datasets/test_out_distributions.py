"""Out-distributions by name."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_acet import datasets, noise
from keras_acet.datasets import registry


def data_like(*shape, class_names=("cat", "dog")):
    images = np.zeros((4, *shape), np.uint8)
    return datasets.Data(name="toy", train=(images, [0, 1, 0, 1]), class_names=class_names, batch_size=2)


def made(text, *shape, **settings):
    return datasets.out_distribution(text, data_like(*shape), seed=0, **settings)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_OWN", {})
    return datasets.register


def test_names_are_read_with_their_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = datasets.parse_out("outliers=2, cifar10=.5,letters,npz:a=b.npz,folder:c=1e-1")
    assert [tuple(part) for part in parts] == [
        ("outliers", 2),
        ("cifar10", 0.5),
        ("letters", 1),
        (f"npz:{tmp_path}/a=b.npz", 1),
        (f"folder:{tmp_path}/c", 0.1),
    ]
    text = f"outliers=2,cifar10=0.5,letters,npz:{tmp_path}/a=b.npz,folder:{tmp_path}/c=0.1"
    assert datasets.write_out(parts) == text
    assert datasets.parse_out(text) == parts


def test_a_path_that_looks_like_a_weight_is_written_so_that_it_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = datasets.parse_out("npz:run=3=1")
    assert parts == ((f"npz:{tmp_path}/run=3", 1),)
    assert datasets.parse_out(datasets.write_out(parts)) == parts


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("papre", r"must be made of almost_black, .*uniform, with commas.*'papre'. Did you mean 'paper'\?"),
        ("cifar", r"Received: 'cifar'. Did you mean .*'cifar10'"),
        ("", "Received: ''"),
        ("paper,,uniform", "Received: ''"),
        ("paper,uniform,paper=2", "named once only. Received: 'paper' twice"),
        ("paper=0", "positive number. Received: 'paper=0'"),
        ("paper=-2", "positive number. Received: 'paper=-2'"),
        ("paper=1e", "positive number. Received: 'paper=1e'"),
        ("photos", "photos are there to test with alone.*cifar10"),
        ("cifar10_gray", "cifar10_gray are there to test with alone"),
        ("npz:", "with a path. Received: 'npz:'"),
        ("folder:a,b", "Received: 'b'"),
    ],
)
def test_bad_names(text, match):
    with pytest.raises(ValueError, match=match):
        datasets.parse_out(text)


def test_a_folder_with_a_comma_above_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "a,b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"must hold no comma. Received: 'npz:.*a,b/mine.npz'"):
        datasets.parse_out("npz:mine.npz")


def test_a_kind_is_what_noise_build_makes():
    batch = np.random.default_rng(0).uniform(size=(4, 6, 6, 1)).astype(np.float32)
    out = made("paper", 6, 6, 1, settings={"min_sigma": 2.0, "max_sigma": 2.0, "epochs": 3})
    expected = noise.PaperNoise(min_sigma=2.0, max_sigma=2.0, seed=0)
    np.testing.assert_array_equal(out.noise(batch), expected(batch))
    assert (out.notes, out.fingerprint) == ((), None)


def test_several_are_a_mixture_with_seeds_of_their_own():
    out = made("uniform=3,gaussian,outliers", 6, 6, 1).noise
    assert isinstance(out, noise.Mixture)
    assert out.shares == (0.6, 0.2, 0.2)
    assert len({out.seed, *(part.seed for part in out.parts)}) == 4
    assert out.sources[:2] == ("uniform", "gaussian")
    again = made("uniform=3,gaussian,outliers", 6, 6, 1).noise
    batch = np.zeros((10, 6, 6, 1), np.float32)
    np.testing.assert_array_equal(out(batch), again(batch))


def test_letters_leave_out_what_looks_like_a_class():
    digits = datasets.out_distribution("letters", data_like(8, 8, 1, class_names=list("01234")), seed=0)
    assert digits.noise.without == "IOlo"
    assert made("letters", 8, 8, 1).noise.without == ""
    with pytest.raises(ValueError, match="letters are no out-distribution"):
        datasets.out_distribution("letters", data_like(8, 8, 1, class_names=list("abcdefghijklmnopqrstuvwxyz")))


def test_a_set_gives_its_training_images_made_to_fit(registered):
    train = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1) + np.zeros((3, 4, 4, 1), np.uint8)
    pair = train, [0, 1, 0]
    registered(datasets.DatasetSpec("mine", lambda: (pair, (train[:1] + 7, [0]))))
    out = made("mine", 2, 6, 3)
    assert out.notes == ("out-distribution mine: 3 images, made 2x6x3 from 4x4x1 (resized, the channel repeated)",)
    drawn = out.noise(np.zeros((200, 2, 6, 3), np.float32)).numpy()
    np.testing.assert_allclose(np.unique(drawn), [0, 100 / 255, 200 / 255], rtol=1e-6)
    assert out.noise.sources == ("mine",)
    assert len(out.fingerprint) == 16


def test_channels_become_their_mean(registered):
    images = np.array([[[[0, 30, 255]]]], np.uint8)  # (0 + 30 + 255) / 3 = 95
    registered(datasets.OODSpec("mine", lambda image_shape, data_dir: images))
    out = made("mine", 1, 1, 1)
    assert out.notes == ("out-distribution mine: 1 images, made 1x1x1 from 1x1x3 (the mean of the channels)",)
    np.testing.assert_allclose(out.noise(np.zeros((1, 1, 1, 1), np.float32)).numpy().ravel(), 95 / 255, rtol=1e-6)


@pytest.mark.parametrize(("augmentation", "flip"), [("flip_crop", True), ("crop", False), ("none", False)])
def test_only_sets_that_are_mirrored_in_training_are_mirrored(registered, augmentation, flip):
    pair = np.zeros((2, 4, 4, 3), np.uint8), [0, 1]
    registered(datasets.DatasetSpec("mine", lambda: (pair,), augmentation=augmentation))
    out = made("mine", 4, 4, 3)
    assert out.noise.flip is flip
    assert out.notes == (f"out-distribution mine: 2 images{', mirrored at random' if flip else ''}",)


def test_files_give_their_training_images(tmp_path):
    images = 50 * np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) + np.zeros((5, 3, 3, 1), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images[:2], y_train=[0, 1], x_test=images[2:], y_test=[0, 1, 1])
    np.savez(tmp_path / "b.npz", images=images[:1] / 255)
    for name, count in (("a", 2), ("b", 1)):
        out = made(f"npz:{tmp_path / name}.npz", 3, 3, 1)
        assert out.notes == (f"out-distribution {name}.npz: {count} images",)
        assert out.noise.source == f"{name}.npz"
    for split in ("train", "test"):
        (tmp_path / "c" / split).mkdir(parents=True)
        Image.fromarray(np.full((5, 4), 90, np.uint8)).save(tmp_path / "c" / split / "image.png")
    out = made(f"folder:{tmp_path / 'c'}", 4, 4, 3)
    assert out.notes == ("out-distribution c: 1 images, made 4x4x3 from 4x4x1 (the channel repeated)",)
    assert not out.noise.flip


def test_the_fingerprint_is_that_of_the_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 3, 1), np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    text = f"paper,npz:{tmp_path / 'a.npz'}"
    first = made(text, 3, 3, 1).fingerprint
    assert made(text, 3, 3, 1).fingerprint == first
    np.savez(tmp_path / "a.npz", images=images + np.uint8(1))
    assert made(text, 3, 3, 1).fingerprint != first


@pytest.mark.parametrize(
    ("text", "shape", "match"),
    [
        ("paper", (2,), "`out=paper` needs images; vectors such as those of toy take `out=uniform`"),
        ("uniform,outliers", (2,), "`out=outliers` needs images"),
        ("digits", (2,), "Vectors and images do not turn into each other"),
        ("moons", (8, 8, 1), "Vectors and images do not turn into each other"),
        ("digits", (8, 8, 4), "Only 1 channel and 3 turn into each other"),
        ("npz:/no/such.npz", (8, 8, 1), "npz:PATH must name a file"),
        ("folder:/no/such", (8, 8, 1), "folder:PATH must name a folder"),
    ],
)
def test_what_does_not_fit_is_refused(text, shape, match):
    with pytest.raises(ValueError, match=match):
        made(text, *shape)


def test_the_data_themselves_are_refused(registered):
    pair = np.zeros((2, 4, 4, 3), np.uint8), [0, 1]
    registered(datasets.DatasetSpec("toy", lambda: (pair,)))
    with pytest.raises(ValueError, match="another set than the data. Received: 'toy' for both"):
        made("toy", 4, 4, 3)


def test_what_an_out_distribution_is_made_of(tmp_path):
    text = f"outliers=2,uniform,letters,mnist,npz:{tmp_path}/mine.npz"
    kinds = ("paper", "uniform", "gaussian", "constant", "gradient", "mosaic", "permuted")
    assert datasets.out_sources(text) == (*kinds, "letters", "mnist", "mine.npz")
    assert datasets.is_among("uniform", kinds)
    assert not datasets.is_among("stripes", kinds)
    assert datasets.is_among("cifar10_gray", ("cifar10",))
    assert not datasets.is_among("cifar10_gray", ("cifar100",))


def test_vectors_take_what_needs_no_image():
    out = made("uniform,gaussian,inverted,moons", 2)
    assert out.noise(np.zeros((8, 2), np.float32)).shape == (8, 2)


def test_names_are_told_without_tensorflow():
    code = (
        "import sys; from keras_acet.datasets import out_names, parse_out; out_names(); parse_out('paper,letters'); "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
