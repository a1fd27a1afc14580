"""Letters as out-distribution."""

import string

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import noise
from keras_acet.noise import letters as module


def drawn(count=200, height=28, width=28, letters=string.ascii_letters, faces="train", seed=0):
    return module._draw(height, width, letters, module._FACES[faces], count, seed)


def size_of(image):
    return np.ptp(np.nonzero(image > 64), axis=1) + 1


def test_letters_are_white_on_black_and_whole():
    images = drawn(height=28, width=20)
    assert images.shape == (200, 28, 20)
    # None is empty, none fills its image, and most have a white pixel.
    lit = (images > 127).mean(axis=(1, 2))
    assert 0.01 < lit.min() < lit.max() < 0.7
    assert (images.max(axis=(1, 2)) == 255).mean() > 0.8
    # They come in many sizes, the larger extent between a half and all of the image.
    sizes = [size_of(image) for image in images]
    extent = np.array([max(rows / 28, columns / 20) for rows, columns in sizes])
    assert extent.min() < 0.5 < 0.85 < extent.max()


def test_letters_are_not_cut():
    # The rectangle around a letter may touch the border, the letter itself hardly ever does.
    images = drawn(count=500)
    border = np.concatenate([images[:, [0, -1]].reshape(500, -1), images[:, :, [0, -1]].reshape(500, -1)], axis=1)
    assert (border > 250).mean() < 0.01


def test_same_seed_same_letters():
    np.testing.assert_array_equal(
        drawn(seed=3).copy(), module._draw.__wrapped__(28, 28, string.ascii_letters, module._FACES["train"], 200, 3)
    )
    assert not np.array_equal(drawn(seed=3), drawn(seed=4))


def test_a_letter_keeps_its_shape():
    # An l in one face is a stroke that is higher than wide, by any of its turns and slants, and an m is wider.
    tall = drawn(letters="l", faces="test")
    wide = drawn(letters="m", faces="test")
    ratios = [
        np.median([np.divide(*(np.ptp(np.nonzero(one > 64), axis=1) + 1)) for one in some]) for some in (tall, wide)
    ]
    assert ratios[0] > 1.3
    assert ratios[1] < 1.0


def test_a_third_of_the_faces_is_kept_for_tests():
    train, test = set(module._TRAIN_FACES), set(module._TEST_FACES)
    assert not train & test
    assert len(train | test) == 22
    assert len(test) / 22 == pytest.approx(1 / 3, abs=0.03)
    assert set(module._FACES["all"]) == train | test


def test_every_face_has_all_letters_and_each_its_own():
    for face in module._opened(module._FACES["all"], 24):
        glyphs = {np.asarray(module._glyph(face, letter, 24, 0.0)).tobytes() for letter in string.ascii_letters}
        assert len(glyphs) > 45, face.path  # the last-resort face has one


def test_letters_in_size_and_channels_of_the_data():
    made = noise.Letters(num_images=30, seed=1)
    images = made(np.zeros((5, 12, 16, 3), np.float32)).numpy()
    assert images.shape == (5, 12, 16, 3)
    np.testing.assert_array_equal(images, np.repeat(images[..., :1], 3, axis=3))
    assert made(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 8, 8, 1)
    traced = tf.function(made, input_signature=[tf.TensorSpec((None, 12, 16, 1))]).get_concrete_function()
    assert len(traced.graph.as_graph_def().SerializeToString()) < 20_000


def test_letters_that_look_like_classes():
    assert noise.letters_like(map(str, range(10))) == "IOlo"
    assert noise.letters_like(["0", "1"]) == "IOlo"
    assert noise.letters_like(["10", "11"]) == ""
    assert noise.letters_like(["dog", "cat"]) == ""
    assert noise.letters_like(["b", "Q", "hen"]) == "BQbq"
    assert noise.letters_like(string.ascii_uppercase) == "".join(sorted(string.ascii_letters))


def test_letters_are_kept_by_their_settings():
    made = noise.Letters(without="IlOo", faces="test", num_images=7, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert copy.get_config() == made.get_config()
    batch = np.zeros((4, 9, 9, 1), np.float32)
    np.testing.assert_array_equal(copy(batch), made(batch))
    assert made.sources == ("letters",)
    built = noise.build("letters", seed=3, settings={"without": "x", "epochs": 3})
    assert (built.without, built.has_content) == ("x", True)
    assert "letters" not in noise.kinds_without_content()


def test_large_images_are_fewer(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    made = noise.Letters(num_images=50, seed=0)
    made(np.zeros((1, 10, 10, 1), np.float32))
    assert made._drawn[10, 10].shape == (10, 10, 10)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: noise.Letters(without=string.ascii_letters), ValueError, "at least one letter.*no out-distribution"),
        (lambda: noise.Letters(without=["I"]), TypeError, r"`without` must be a text.*\['I'\]"),
        (lambda: noise.Letters(faces="DejaVu"), ValueError, "`faces` must be one of all, test, train.*'DejaVu'"),
        (lambda: noise.Letters(num_images=0), ValueError, "`num_images` must be at least 1"),
        (lambda: noise.Letters()(np.zeros((2, 2), np.float32)), ValueError, "`Letters` needs images of shape"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_missing_faces_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(ImportError, match="Letters need the faces that come with matplotlib in .*pip install"):
        noise.Letters(num_images=1)(np.zeros((1, 11, 11, 1), np.float32))
