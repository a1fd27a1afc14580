"""Image files to arrays in TensorFlow's operations: what `keras_acet.datasets.decoding` does, inside a graph.

The signature `serving_bytes` decodes in the server, so the header is read here too before anything is unpacked, and an
EXIF segment is looked for, which TensorFlow's own operations pass over.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_acet.datasets import decoding

_WINDOW = 2**16  # bytes in which a JPEG file's next segment is looked for at once
_PADDING = 64  # zeros after a file, so that looking past its end finds nothing


class _Found(NamedTuple):
    """What a file says before its pixels, as int64 scalars and vectors."""

    size: tf.Tensor  # height and width as they are stored
    exif: tf.Tensor  # start and end of the EXIF block
    is_good: tf.Tensor
    content: tf.Tensor  # what is needed to decode it


def decode(image_bytes: tf.Tensor, image_shape: tuple[int, ...], *, resize: bool) -> tf.Tensor:
    """Decodes a batch of PNG or JPEG files to float32 images in [0, 1]; what cannot be decoded becomes NaN.

    Args:
        image_bytes: string tensor `(batch,)`.
        image_shape: `(height, width, channels)`, channels 1 or 3; colours become gray, and the reverse, as needed.
        resize: Whether another size is resized; if not, it counts as what cannot be decoded.

    Returns:
        float32 tensor `(batch, *image_shape)`, equal to the bit to what `keras_acet.datasets.decoding` makes.
    """
    count = tf.size(image_bytes, out_type=tf.int64)

    def read(index, content):
        return index, _fit(_levels(content, None if resize else image_shape[:2]), image_shape)

    # An op that fails would fail the batch; a data set can pass over the elements that fail. The last element, of no
    # image, is there because a batch of none cannot be fetched.
    files = tf.data.Dataset.zip(tf.data.Dataset.range(count), tf.data.Dataset.from_tensor_slices(image_bytes))
    images = files.map(read).ignore_errors()
    images = images.concatenate(tf.data.Dataset.from_tensors((count, tf.zeros(image_shape))))
    indices, images = images.batch(count + 1).get_single_element()
    decoded = tf.tensor_scatter_nd_update(tf.fill((count + 1, *image_shape), float("nan")), indices[:, None], images)
    return decoded[:-1]


def _levels(content, size):
    """The uint8 image `(height, width, 3)` of a file, upright; fails unless it has the size, where one is given."""
    with tf.control_dependencies([tf.debugging.assert_less_equal(tf.strings.length(content), decoding.MAX_BYTES)]):
        data = tf.concat([tf.io.decode_raw(content, tf.uint8), tf.zeros(_PADDING, tf.uint8)], axis=0)
    is_png = tf.reduce_all(data[:8] == tf.constant(list(b"\x89PNG\r\n\x1a\n"), tf.uint8))
    is_jpeg = tf.reduce_all(data[:3] == tf.constant([0xFF, 0xD8, 0xFF], tf.uint8))
    found = _Found(*tf.cond(is_png, lambda: _read_png(data, content), lambda: _read_jpeg(data, content)))
    orientation = _orientation(data[found.exif[0] : found.exif[1]])
    upright = tf.where(orientation > 4, found.size[::-1], found.size)
    is_wanted = tf.reduce_all(upright == tf.constant(size, tf.int64)) if size else tf.constant(True)
    is_small = (tf.reduce_prod(upright) <= decoding.MAX_PIXELS) & tf.reduce_all(upright <= decoding.MAX_SIDE)
    is_good = (is_png | is_jpeg) & found.is_good & tf.reduce_all(upright > 0) & is_small & is_wanted
    with tf.control_dependencies([tf.debugging.assert_equal(is_good, True)]):
        levels = tf.cond(
            is_png,
            lambda: tf.io.decode_png(found.content, channels=3),
            # As Pillow does it. The defaults of TensorFlow differ from it by up to 16 levels.
            lambda: tf.io.decode_jpeg(found.content, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True),
        )
    levels = _turned(levels, orientation)
    return tf.ensure_shape(levels, (*size, 3)) if size else levels


def _turned(levels, orientation):
    """As `decoding` turns an image upright."""
    for orientations, turn in (
        ((5, 6, 7, 8), _crossed),
        ((3, 4, 7, 8), lambda image: tf.reverse(image, (0,))),
        ((2, 3, 6, 7), lambda image: tf.reverse(image, (1,))),
    ):
        is_one = tf.reduce_any(orientation == tf.constant(orientations, tf.int64))
        levels = tf.cond(is_one, lambda turn=turn, image=levels: turn(image), lambda image=levels: image)
    return levels


def _fit(levels, image_shape):
    """As `decoding.fit`."""
    height, width, num_channels = image_shape

    def resized():
        return _resampled(_crossed(_resampled(_crossed(levels), width)), height)

    if levels.shape[:2] != (height, width):
        is_other = tf.reduce_any(tf.shape(levels)[:2] != (height, width))
        levels = tf.ensure_shape(tf.cond(is_other, resized, lambda: levels), (height, width, 3))
    pixels = tf.cast(levels, tf.float32)
    if num_channels == 1:
        pixels = tf.reduce_sum(pixels, axis=-1, keepdims=True) / 3.0
    return pixels / 255.0


def _crossed(levels):
    return tf.transpose(levels, (1, 0, 2))


def _resampled(levels, size):
    """Gives a uint8 image so many rows by a triangle filter, in Pillow's integer arithmetic."""
    old_size = tf.shape(levels)[0]
    scale = tf.cast(old_size, tf.float64) / size
    support = tf.maximum(scale, 1.0)
    centers = (tf.range(size, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centers - support + 0.5, tf.int32), 0)  # row under the triangle of each new one
    last = tf.minimum(tf.cast(centers + support + 0.5, tf.int32), old_size)
    rows = first[:, None] + tf.range(tf.reduce_max(last - first))
    weights = 1.0 - tf.abs((tf.cast(rows, tf.float64) - centers[:, None] + 0.5) * (1.0 / support))
    weights = tf.where(rows < last[:, None], tf.maximum(weights, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    weights = tf.cast(weights * 2**22 + 0.5, tf.int32)  # so that a sum of levels stays below 2**31

    def add(i, total):
        taken = tf.gather(levels, tf.minimum(rows[:, i], old_size - 1))
        return i + 1, total + tf.cast(taken, tf.int32) * weights[:, i, None, None]

    count, start = tf.shape(rows)[1], tf.fill((size, tf.shape(levels)[1], 3), 2**21)
    _, total = tf.while_loop(lambda i, _: i < count, add, (0, start), parallel_iterations=1)
    return tf.cast(total // 2**22, tf.uint8)


def _number(data, start, size, *, is_little=False):
    """The int64 in `size` bytes from `start` on, which may be a vector; past the end it is any number."""
    last = tf.size(data, out_type=tf.int64) - size
    places = tf.minimum(tf.convert_to_tensor(start, tf.int64), last)[..., None] + tf.range(size, dtype=tf.int64)
    weights = tf.constant([256**i for i in reversed(range(size))], tf.int64)
    weights = tf.where(is_little, weights[::-1], weights)
    return tf.reduce_sum(tf.cast(tf.gather(data, places), tf.int64) * weights, axis=-1)


def _starts_with(data, start, beginning):
    return _number(data, start, len(beginning)) == int.from_bytes(beginning, "big")


def _int64(number):
    return tf.constant(number, tf.int64)


def _read_png(data, content):
    """Goes through the chunks of a PNG file, as `decoding` does."""
    length = tf.size(data, out_type=tf.int64) - _PADDING
    depth, colour = _number(data, 24, 1), _number(data, 25, 1)
    depths = [[kind, depth] for kind, depths in decoding.BIT_DEPTHS.items() for depth in depths]
    is_known = tf.reduce_any(tf.reduce_all(tf.stack([colour, depth]) == _int64(depths), axis=1))
    is_header = (_number(data, 8, 4) == 13) & _starts_with(data, 12, b"IHDR") & (_number(data, 26, 2) == 0)

    def step(start, exif, palette, pixels, is_end, is_good):
        num_bytes = _number(data, start, 4)
        end = start + 12 + num_bytes
        kinds = (b"IDAT", b"PLTE", b"eXIf", b"IEND")
        is_pixels, is_palette, is_exif, is_end = (_starts_with(data, start + 4, kind) for kind in kinds)
        is_needed = is_palette & (colour == 3)
        is_table = (num_bytes % 3 == 0) & (num_bytes >= 3) & (num_bytes <= 768) & (palette[1] == 0) & (pixels[1] == 0)
        is_optional = is_palette | (_number(data, start + 4, 1) // 32 % 2 == 1)
        letters = tf.bitwise.bitwise_or(data[start + 4 : start + 8], 32)
        is_kind = tf.reduce_all((letters >= ord("a")) & (letters <= ord("z")))
        is_good = (end <= length) & is_kind & tf.where(is_needed, is_table, is_optional | is_pixels | is_end)
        is_good &= ~is_pixels | (pixels[1] == 0) | (pixels[1] == start)
        is_good &= ~is_end | ((num_bytes == 0) & (_number(data, start + 8, 4) == 0xAE426082))
        is_exif &= (exif[1] == 0) & (pixels[1] == 0)
        return (
            end,
            tf.where(is_exif, tf.stack([start + 8, end - 4]), exif),
            tf.where(is_needed, tf.stack([start, end]), palette),
            tf.where(is_pixels, tf.stack([tf.where(pixels[1] == 0, start, pixels[0]), end]), pixels),
            is_end,
            is_good,
        )

    nowhere = _int64([0, 0])
    state = (_int64(33), nowhere, nowhere, nowhere, tf.constant(False), is_header & is_known)
    _, exif, palette, pixels, is_end, is_good = tf.while_loop(
        lambda *state: state[-1] & ~state[-2], step, state, maximum_iterations=decoding.MAX_CHUNKS
    )
    is_good &= is_end & (pixels[1] > 0) & ((colour != 3) | (palette[1] > 0)) & (_number(data, 28, 1) <= 1)
    # Nothing else goes to libpng: it would unpack and keep every text.
    parts = (_int64([0, 33]), palette, pixels)
    parts = [tf.strings.substr(content, start, end - start) for start, end in (tf.unstack(part) for part in parts)]
    needed = tf.strings.join([*parts, tf.constant(b"\0\0\0\0IEND\xaeB`\x82")])
    return tf.stack([_number(data, 20, 4), _number(data, 16, 4)]), exif, is_good, needed


def _read_jpeg(data, content):
    """Goes through the segments of a JPEG file, its scans among them, as `decoding` does."""
    length = tf.size(data, out_type=tf.int64) - _PADDING

    def step(start, count, exif, frame, is_adobe, num_scans, is_end, is_good):
        window = data[start : start + _WINDOW + 1]
        codes = window[1:]
        is_marker = ((codes >= 0x02) & (codes <= 0xCF)) | ((codes >= 0xD8) & (codes <= 0xFE))
        is_marker &= window[:-1] == 0xFF
        is_found = tf.reduce_any(is_marker)
        at = start + tf.argmax(tf.cast(is_marker, tf.uint8))
        code, body = tf.where(is_found, _number(data, at + 1, 1), 0), at + 4
        end = at + 2 + _number(data, at + 2, 2)
        is_end = code == 0xD9
        is_frame = (code >= 0xC0) & (code <= 0xCF) & tf.reduce_all(code != _int64([0xC4, 0xC8, 0xCC]))
        is_whole = (end >= body) & (end <= length) & (code != 0xD8) & ~(is_frame & (frame > 0))
        is_before = num_scans == 0
        is_exif = (
            (code == 0xE1) & (exif[0] == 0) & is_before & _starts_with(data, body, b"Exif\0\0") & (end >= body + 6)
        )
        is_adobe |= (code == 0xEE) & is_before & _starts_with(data, body, b"Adobe") & (end >= body + 12)
        return (
            tf.where(is_found, end, start + _WINDOW),
            count + tf.cast(is_found, tf.int64),
            tf.where(is_exif, tf.stack([body + 6, end]), exif),
            tf.where(is_frame, at, frame),
            is_adobe,
            num_scans + tf.cast(code == 0xDA, tf.int64),
            is_end,
            (count < decoding.MAX_SEGMENTS) & tf.where(is_found, is_end | is_whole, start + _WINDOW < length),
        )

    none, no, yes = _int64(0), tf.constant(False), tf.constant(True)
    state = (_int64(2), none, _int64([0, 0]), none, no, none, no, yes)
    _, _, exif, frame, is_adobe, num_scans, is_end, is_good = tf.while_loop(
        lambda *state: state[-1] & ~state[-2], step, state
    )
    is_good &= is_end & (frame > 0) & (num_scans >= 1) & (num_scans <= decoding.MAX_SCANS)
    code, num_bytes, depth = _number(data, frame + 1, 1), _number(data, frame + 2, 2), _number(data, frame + 4, 1)
    height, width, num_channels = (_number(data, frame + at, size) for at, size in ((5, 2), (7, 2), (9, 1)))
    is_good &= tf.reduce_any(code == _int64([0xC0, 0xC1, 0xC2])) & (num_bytes >= 8) & (depth == 8)
    is_good &= tf.reduce_any(num_channels == _int64([1, 3, 4])) & ((num_channels < 4) | is_adobe)
    return tf.stack([height, width]), exif, is_good, content


def _orientation(exif):
    """As `decoding._orientation`: 1 to 8, and 1 where the block says nothing that can be read."""
    length = tf.size(exif, out_type=tf.int64)
    exif = tf.concat([exif, tf.zeros(_PADDING, tf.uint8)], axis=0)
    is_little = _starts_with(exif, 0, b"II*\0")
    first = _number(exif, 4, 4, is_little=is_little) + 2
    count = _number(exif, first - 2, 2, is_little=is_little)
    entries = tf.range(first, tf.maximum(tf.minimum(first + 12 * count, length - 11), first), 12)
    entry = tf.boolean_mask(entries, _number(exif, entries, 2, is_little=is_little) == 0x0112)[:1]
    kind, value = (_number(exif, entry + at, 2, is_little=is_little) for at in (2, 8))
    is_one = (kind == 3) & (_number(exif, entry + 4, 4, is_little=is_little) == 1) & (value >= 1) & (value <= 8)
    is_tiff = is_little | _starts_with(exif, 0, b"MM\0*")
    return tf.reduce_sum(tf.where(is_one & is_tiff, value, 1)) + tf.cast(tf.size(entry) == 0, tf.int64)
