import functools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import pictures

from keras_acet.datasets import decoding
from keras_acet.export import clients, image_graph
from keras_acet.export.artifacts import savedmodel
from keras_acet.export.clients import images

GOOD, BAD = pictures.good(), {**pictures.bad(), **pictures.not_served(), **pictures.not_read()}
AS_THEY_ARE, RESIZED = ((12, 16, 3), False), ((7, 9, 3), True)


@functools.cache
def decoder(shape, resize):
    """`image_graph.decode` as it stands in a SavedModel, for a list of files."""
    encoded = tf.TensorSpec((None,), tf.string)
    graph = tf.function(lambda content: image_graph.decode(content, shape, resize=resize), [encoded])
    return lambda files: graph(tf.constant(files, tf.string)).numpy()


@pytest.mark.parametrize(
    ("shape", "resize"), [AS_THEY_ARE, ((12, 16, 1), False), RESIZED, ((40, 33, 1), True)], ids=str
)
def test_server_and_client_see_what_training_sees(shape, resize):
    about = {"name": "x", "input": {"shape": shape, "resize": resize}}
    served = decoder(shape, resize)([content for content, _ in GOOD.values()])
    for (name, (content, levels)), pixels in zip(GOOD.items(), served, strict=True):
        if resize or shape[:2] == levels.shape[:2]:
            np.testing.assert_array_equal(pixels, decoding.fit(levels, shape), err_msg=name)
            np.testing.assert_array_equal(pixels, images.decode(content, about)[0], err_msg=name)
        else:
            assert np.isnan(pixels).all(), name
            with pytest.raises(ValueError, match="is 16 x 12 pixels; the model takes"):
                images.decode(content, about)


@pytest.mark.parametrize(("shape", "resize"), [AS_THEY_ARE, RESIZED], ids=str)
def test_server_and_client_refuse_the_same(shape, resize):
    about = {"name": "x", "input": {"shape": shape, "resize": resize}}
    content, levels = GOOD["colour PNG"]
    served = decoder(shape, resize)([content, *BAD.values(), content])
    assert dict(zip(BAD, np.isfinite(served[1:-1]).any(axis=(1, 2, 3)), strict=True)) == dict.fromkeys(BAD, False)
    np.testing.assert_array_equal(served[[0, -1]], [decoding.fit(levels, shape)] * 2)  # those beside them are answered
    for name, broken in BAD.items():
        with pytest.raises(ValueError, match="^it ") as error:
            images.decode(broken, about)
        assert "\n" not in str(error.value), name


def test_damaged_files_are_seen_alike():
    """A byte changed, left out or put in: server and client refuse both, or see the same."""
    draw = np.random.default_rng(0)
    damaged = []
    for name in ("palette PNG, transparent", "PNG turned by EXIF 6", "JPEG turned by EXIF 6", "CMYK JPEG", "gray JPEG"):
        content, _ = GOOD[name]
        for at in draw.integers(0, len(content), 60):
            damaged.append(content[:at] + bytes([draw.integers(256)]) + content[at + 1 :])
            damaged.append(content[:at])
            damaged.append(content[:at] + content[at + 1 :])
    num_seen = 0
    for content, served in zip(damaged, decoder(*RESIZED)(damaged), strict=True):
        try:
            pixels = decoding.fit(decoding.decode(content), RESIZED[0])
        except ValueError:
            assert np.isnan(served).all()
        else:
            num_seen += 1
            # Two versions of libjpeg fill in what is missing in their own ways.
            np.testing.assert_allclose(served, pixels, atol=1.01 / 255)
    assert 100 < num_seen < 800


_MEASURE = """
import io, resource, sys, zlib
import numpy as np, tensorflow as tf
from helpers import pictures
from keras_acet.export import image_graph
from PIL import Image

def decode(files, resize):
    return np.isfinite(image_graph.decode(tf.constant(files), (12, 16, 3), resize=resize)).all(axis=(1, 2, 3)).tolist()

def rise(do):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = do()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, done

good = pictures.good()["colour PNG"][0]
stream = io.BytesIO()
Image.new("L", (9000, 9000)).save(stream, "JPEG", quality=10)
texts = pictures.chunk(b"zTXt", b"Comment\\0\\0" + zlib.compress(bytes(7_900_000), 9)) * 40
texts = pictures.png([], width=12, height=16, before=texts)  # which libpng would keep, 316 MB
gif = b"GIF89a" + (9000).to_bytes(2, "little") * 2 + bytes(9)
for resize in (False, True):
    assert decode([good], resize) == [True]
    for bomb in (pictures.bomb(12000, 12000), stream.getvalue(), gif, texts):
        megabytes, decoded = rise(lambda: decode([good, bomb, good], resize))
        assert decoded == [True, False, True] and megabytes < 50, (resize, bomb[:4], megabytes, decoded)
"""


@pytest.mark.slow
def test_bombs_cost_a_server_no_memory():
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(pictures.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_the_clients_have_a_copy_of_the_decoder():
    copy = clients.__path__[0] + "/decoding.py"
    with open(decoding.__file__, "rb") as ours, open(copy, "rb") as theirs:
        assert ours.read() == theirs.read(), "copy keras_acet/datasets/decoding.py to export/clients"


def test_the_signature_decodes_so():
    assert savedmodel.decode is image_graph.decode
    assert decoder(*RESIZED)([]).shape == (0, 7, 9, 3)
