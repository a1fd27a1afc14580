"""Which files of a folder are images, which are passed over in one line, and which are refused."""

import io
import os
import shutil
import socket
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_acet import _limits, datasets
from keras_acet._checks import Notice
from keras_acet.datasets import files


def save(path, level=0, size=(4, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path, **options)


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for label, name in enumerate(["cat", "dog"]):
        for i in range(4):
            save(root / name / f"{i}.png", 100 * label + i)
    return root


def load(root, **settings):
    return datasets.load(f"folder:{root}", batch_size=2, **settings)


def count(data):
    return len(data.train_labels) + len(data.test_labels)


@pytest.mark.parametrize("ending", ["jfif", "JPG", "jpe", "jpeg", "PNG", "bmp", "gif"])
def test_every_usual_ending_is_read(pets, ending):
    for i in range(3):
        content = io.BytesIO()
        kind = {"png": "PNG", "bmp": "BMP", "gif": "GIF"}.get(ending.lower(), "JPEG")
        Image.new("L", (4, 4), 150 + 20 * i).save(content, kind)
        (pets / "cat" / f"more{i}.{ending}").write_bytes(content.getvalue())

    assert count(load(pets)) == 11


@pytest.mark.parametrize("ending", ["webp", "tif", "heic", "avif"])
def test_other_images_are_told_with_what_to_do(pets, ending):
    for i in range(3):
        (pets / "dog" / f"w{i}.{ending}").write_bytes(b"image")

    text = f"^pets: 8 images are read; passed over: 3 .{ending} .such as 'dog/w0.{ending}'.. Images are read once they"
    with pytest.warns(Notice, match=text):
        assert count(load(pets)) == 8
    with pytest.warns(Notice, match=text):
        assert len(datasets.ood_sets([f"folder:{pets}"], (4, 4, 1))["pets"]) == 8
    for path in (pets / "dog").glob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match=f"dog: each class folder must hold images .*none; passed over: 3 .{ending}"):
        load(pets)


def test_images_of_deeper_folders_are_of_the_class_above(pets):
    save(pets / "cat" / "tabby" / "old" / "0.png", 50)
    save(pets / "0.png")
    with pytest.warns(Notice, match="^pets: 9 images are read; passed over: 1 beside the folders .such as '0.png'.$"):
        data = load(pets)

    assert np.bincount(np.concatenate([data.train_labels, data.test_labels])).tolist() == [5, 4]


def test_what_file_managers_leave_is_not_worth_a_word(pets):
    for path in (pets / ".DS_Store", pets / "cat" / "Thumbs.db", pets / "dog" / "desktop.ini"):
        path.write_bytes(b"")

    assert count(load(pets)) == 8


def test_links_are_followed_to_files_and_to_folders(pets, tmp_path):
    shutil.move(pets / "dog", tmp_path / "elsewhere")
    (pets / "dog").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "one.png", 9)
    (pets / "cat" / "link.png").symlink_to(tmp_path / "one.png")

    assert count(load(pets)) == 9
    assert len(datasets.ood_sets([f"folder:{pets}"], (4, 4, 1))["pets"]) == 9
    (pets / "cat" / "circle").symlink_to(pets)
    for read in (load, lambda root: datasets.ood_sets([f"folder:{root}"], (4, 4, 1))):
        with pytest.raises(ValueError, match="must not lead back to a folder above it. Remove that link."):
            read(pets)


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe"),
        (make_socket, "a socket"),
        (os.mkdir, "a folder"),
        (lambda path: path.symlink_to("gone.png"), "a link that leads nowhere"),
        (lambda path: path.symlink_to(path.name), "a link that leads nowhere"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
    ids=["pipe", "socket", "folder", "broken link", "circle", "device"],
)
def test_what_is_no_file_is_refused_under_the_name_of_an_image(pets, make, kind):
    make(pets / "cat" / "x.png")
    for read in (load, lambda root: datasets.ood_sets([f"folder:{root}"], (4, 4, 1))):
        with pytest.raises(ValueError, match=f"cat/x.png must be an image file. Received: {kind}. Remove it."):
            read(pets)
    if kind != "a folder":
        os.rename(pets / "cat" / "x.png", pets / "cat" / "x")
        if kind != "a link that leads nowhere":
            with pytest.warns(Notice, match=f"passed over: 1 {kind.removeprefix('a ')}"):
                assert count(load(pets)) == 8


@pytest.mark.filterwarnings("ignore:.* among the training images")
def test_parts_of_a_set_are_no_classes(pets):
    for part in ("train", "test", "val"):
        shutil.copytree(pets, pets.parent / "split" / part)
    with pytest.raises(ValueError, match="must hold just the folders train and test, .* Received: test, train, val."):
        load(pets.parent / "split")
    shutil.move(pets.parent / "split" / "val", pets.parent)
    save(pets.parent / "split" / "0.png")
    with pytest.warns(Notice, match="^split: 16 images are read; passed over: 1 beside the folders"):
        data = load(pets.parent / "split")
    assert (data.class_names, len(data.train_labels)) == (["cat", "dog"], 8)


def test_limits(pets, monkeypatch):
    monkeypatch.setattr(files, "MAX_SET_BYTES", 8 * 16 - 1)
    for read in (load, lambda root: datasets.ood_sets([f"folder:{root}"], (4, 4, 1))):
        with pytest.raises(ValueError, match="at most 127 bytes in all. Received: 8 images of .*, 128 bytes. "):
            read(pets)
    assert count(load(pets, image_size=2)) == 8
    with pytest.raises(ValueError, match="`image_size` must be at most 33554432 pixels in all"):
        load(pets, image_size=6000)
    monkeypatch.setattr(files, "MAX_SET_ENTRIES", 3)
    with pytest.raises(ValueError, match="pets must hold at most 3 files. Received: more."):
        load(pets)


def write_bomb(path, shape):
    """An `.npz` file whose header promises more than is there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))


def test_npz_is_judged_by_its_header(tmp_path):
    write_bomb(tmp_path / "a.npz", (2**20, 224, 224, 3))
    with pytest.raises(ValueError, match=r"it unpacks to 147 GiB, and 8 GiB at most are kept in memory"):
        datasets.ood_sets([f"npz:{tmp_path / 'a.npz'}"], (224, 224, 3))
    assert _limits.readable(_limits.MAX_SET_BYTES) == "8 GiB"


def test_npz_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    for path in (tmp_path / "a.npz", "/dev/zero"):
        with pytest.raises(ValueError, match="npz:PATH must name a file .* .it is no regular file."):
            datasets.load(f"npz:{path}")


def test_arrays_that_are_not_read_are_told(tmp_path):
    images, labels = np.random.default_rng(0).random((10, 4, 4)), np.arange(10) % 2
    np.savez(tmp_path / "a.npz", images=images, labels=labels, x_val=images)
    with pytest.warns(Notice, match="^a.npz: images, labels are read; passed over: x_val$"):
        datasets.load(f"npz:{tmp_path / 'a.npz'}", batch_size=1)


def test_padding_has_a_limit():
    with pytest.raises(ValueError, match="`crop_padding` must leave padded images of at most 33554432 pixels."):
        datasets.load("digits", augmentation="crop", crop_padding=10**6)


def test_images_in_both_sets_are_told(pets):
    shutil.copytree(pets, pets.parent / "split" / "train")
    save(pets.parent / "split" / "test" / "cat" / "a.png", 2)
    save(pets.parent / "split" / "test" / "dog" / "b.png", 99)
    with pytest.warns(Notice, match="^split: 1 of 2 test images are among the training images too, so the test error"):
        load(pets.parent / "split")
