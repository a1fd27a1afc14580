"""Data, pictures and models that the tables of inputs are made of; each function makes something in a folder."""

import io
import os
import pathlib
import socket
import struct
import zlib

import numpy as np
from PIL import Image

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
LABELS = np.arange(30) % 3
UNIT = IMAGES / np.float32(255)


def npz(images=IMAGES, labels=LABELS, name="mine.npz", **others):
    """Saves images and labels; what is None is left out."""

    def save(folder):
        arrays = {"images": images, "labels": labels, **others}
        np.savez(folder / name, **{key: array for key, array in arrays.items() if array is not None})

    return save


def split_npz(x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS):
    return npz(None, None, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def array_file(array):
    """The bytes of a `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def file(name, content=b""):
    """A file with some content."""

    def write(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def directory(name):
    return lambda folder: (folder / name).mkdir(parents=True)


def link(name, to):
    """A symbolic link, which may lead nowhere."""

    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(to)

    return make


def fifo(name):
    """A named pipe, which nobody writes to."""

    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / name)

    return make


def unix_socket(name):
    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # its path may have no more than about 100 letters
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(name)
        finally:
            os.chdir(here)
            os.close(here)

    return make


def together(*steps):
    """Makes all of these, one after the other."""

    def make(folder):
        for step in steps:
            step(folder)

    return make


def without(*names):
    """Removes files."""

    def remove(folder):
        for name in names:
            (folder / name).unlink()

    return remove


def cut(name, size):
    """Cuts a file to its first bytes."""
    return lambda folder: os.truncate(folder / name, size)


def damaged(name):
    """Turns over bytes in the middle of a file."""

    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        middle = len(content) // 2
        for position in range(middle - 50, middle + 50):
            content[position] ^= 0xFF
        (folder / name).write_bytes(content)

    return damage


def encoded(image, format="PNG", **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def gray(index=0, size=(8, 8)):
    return Image.fromarray(IMAGES[index, :, :, 0]).resize(size)


def pets(folder: pathlib.Path, classes=("cats", "dogs"), count=6, size=(8, 8), ending="png") -> None:
    """A folder `pets` with some gray images in each class folder."""
    for number, name in enumerate(classes):
        (folder / "pets" / name).mkdir(parents=True)
        for index in range(count):
            gray(number * count + index, size).save(folder / "pets" / name / f"{index}.{ending}")


def png_of(width, height, color=0):
    """A small PNG file that says in its header that it is of any size; its pixels are missing or black."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
