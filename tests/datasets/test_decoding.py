import io
import os
import socket

import numpy as np
import pytest
from helpers import pictures
from PIL import Image

from keras_acet import _limits, datasets
from keras_acet.datasets import decoding, images

GOOD, BAD, NOT_SERVED, NOT_READ = pictures.good(), pictures.bad(), pictures.not_served(), pictures.not_read()


@pytest.mark.parametrize("name", GOOD)
def test_what_is_seen_in_a_file(name):
    content, levels = GOOD[name]
    seen = decoding.decode(content)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen, levels)
    np.testing.assert_array_equal(images.read_image(io.BytesIO(content)), levels)


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    with pytest.raises(ValueError, match="^it ") as error:
        decoding.decode(BAD[name], decoding.READ)
    assert "\n" not in str(error.value)


def test_ycck_becomes_colours():
    # Luminance, two chromas and black, as `Y = 255 - .299 C' ...` has them; 255 minus an ink is what Adobe stores.
    content, _ = GOOD["CMYK JPEG"]
    raw = 255 - np.asarray(Image.open(io.BytesIO(content))).astype(float)  # what is stored: Y, Cb, Cr, K
    at = content.index(b"Adobe") + 11
    ycck = content[:at] + b"\2" + content[at + 1 :]
    y, blue, red, black = np.moveaxis(raw, -1, 0)
    colours = [y + 1.402 * (red - 128), y - 0.344136 * (blue - 128) - 0.714136 * (red - 128), y + 1.772 * (blue - 128)]
    expected = (255 - np.clip(np.stack(colours, axis=-1), 0, 255)) * black[..., None] / 255
    assert np.abs(decoding.decode(ycck) - expected).max() < 2  # rounded twice, then down


@pytest.mark.parametrize("name", NOT_SERVED)
def test_training_reads_other_kinds_too(name):
    with pytest.raises(ValueError, match="it is no PNG or JPEG file"):
        decoding.decode(NOT_SERVED[name])
    expected = np.asarray(Image.open(io.BytesIO(NOT_SERVED[name])).convert("RGB"))
    np.testing.assert_array_equal(images.read_image(io.BytesIO(NOT_SERVED[name])), expected)


@pytest.mark.parametrize("name", NOT_READ)
def test_other_kinds_are_refused_by_their_bytes(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(NOT_READ[name])
    with pytest.raises(ValueError, match=r"a.png must be an image .*it is no PNG, JPEG, GIF or BMP file"):
        images.read_image(path)


def test_the_header_of_other_kinds_is_judged_too():
    large = bytearray(NOT_SERVED["GIF"])
    large[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(NOT_SERVED["BMP"])
    bmp[18:26] = (2**16).to_bytes(4, "little") + (2**10).to_bytes(4, "little")
    for content, size in ((large, "65535 x 65535"), (bmp, "65536 x 1024")):
        with pytest.raises(ValueError, match=f"it has {size} pixels; at most 33554432 in all and 16384 a side"):
            decoding.decode(bytes(content), decoding.READ)


def test_limits_are_those_of_the_package(monkeypatch, tmp_path):
    assert (decoding.MAX_BYTES, decoding.MAX_PIXELS) == (_limits.MAX_IMAGE_BYTES, _limits.MAX_IMAGE_PIXELS)
    assert decoding.MAX_SIDE == _limits.MAX_IMAGE_SIDE
    monkeypatch.setattr(decoding, "MAX_BYTES", 2**20)
    path = tmp_path / "a.png"
    path.write_bytes(GOOD["colour PNG"][0] + bytes(2**20))
    with pytest.raises(ValueError, match="it is larger than 1 MiB"):
        decoding.read_file(path)
    with pytest.raises(ValueError, match="it is larger than 1 MiB"):
        decoding.decode(path.read_bytes())


def test_what_is_no_regular_file(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, message in {
            "folder.png": "Is a directory",
            "pipe.png": "it is no regular file",
            "socket.png": "it is no regular file",
            "link.png": "No such file or directory",
            "absent.png": "No such file or directory",
        }.items():
            with pytest.raises(ValueError, match=f"{name} must be an image that can be read. Received: {message}"):
                images.read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a,b.png", " a .png", "a\nb.png", "日本.png", "<img src=x>.png", "=A1.png", "-x.png"])
def test_names_do_not_matter(tmp_path, name):
    content, levels = GOOD["JPEG turned by EXIF 6"]  # the kind is told by the bytes
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(images.read_image(tmp_path / name), levels)


def test_fitting_is_pillows_filter_then_the_mean():
    image = pictures.pixels()
    # The width first: Pillow's newer versions choose the order by the shapes.
    wide = Image.fromarray(image).resize((7, pictures.HEIGHT), Image.Resampling.BILINEAR)
    expected = np.asarray(wide.resize((7, 9), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decoding.resized(image, 9, 7), expected)
    np.testing.assert_array_equal(decoding.fit(image, (9, 7, 3)), expected / np.float32(255))
    # By hand, half the size: weights 1/8, 3/8, 3/8, 1/8 of four pixels; (0 + 3 * 80 + 3 * 80 + 0) / 8 = 60.
    row = np.array([10, 0, 80, 80, 0, 10], np.uint8).reshape(1, 6, 1)
    assert decoding.resized(row, 1, 3)[0, 1, 0] == 60
    mean = expected.astype(float).sum(axis=2) / 3 / 255
    np.testing.assert_allclose(decoding.fit(image, (9, 7, 1))[..., 0], mean, rtol=3e-7)
    np.testing.assert_array_equal(decoding.fit(image, (9, 7, 1)), datasets.fit_images([image], (9, 7, 1))[0])


@pytest.mark.filterwarnings("ignore:.* among the training images")
def test_a_photograph_of_a_telephone_is_trained_on_upright(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for orientation in range(1, 9):
            content, levels = GOOD[f"PNG turned by EXIF {orientation}"]
            (tmp_path / name / f"{orientation}.png").write_bytes(content)
    data = datasets.load(f"folder:{tmp_path}", batch_size=2)
    assert all((np.round(image * 255) == levels).all() for image in data.test_images)
    name = f"folder:{tmp_path / 'a'}"
    np.testing.assert_array_equal(
        datasets.ood_sets([name], levels.shape)[name], np.stack([levels] * 8) / np.float32(255)
    )
