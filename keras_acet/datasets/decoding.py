"""Image files to arrays: the one decoder of training, evaluation and the clients.

It needs NumPy and Pillow only and imports nothing of its package. `export/clients/decoding.py` is a copy of it, byte
for byte, so that the clients can be copied elsewhere. `export/image_graph.py` does the same in TensorFlow's
operations, for the signature `serving_bytes`, and `export/demo/pictures.js` in a browser. Tests hold all of them to the
same pixels.

* PNG and JPEG are told by their first bytes, never by a name. GIF (its first frame) and BMP are read too where
  `formats` names them.
* The header is judged before anything is unpacked: at most `MAX_BYTES` of file, `MAX_PIXELS` of image and `MAX_SIDE` a
  side; baseline, extended and progressive JPEG of 8 bits in 1, 3 or 4 channels. A file has to be whole.
* A photograph is turned upright as the orientation of its EXIF segment says: tag 0x0112, a SHORT of 1 to 8; in a PNG
  file the segment has to lie before the pixels.
* Of 16 bits the upper 8 are taken. Transparency is dropped. CMYK, as Adobe stores it, becomes
  `(255 - K) * (255 - C) / 255`, rounded down. Colour profiles, gamma and all other segments of a file do nothing, and
  damage in them does not matter.
* Another size is made by a triangle filter that averages where it shrinks (Pillow's bilinear filter), without keeping
  the aspect: the width first, then the height, each rounded to whole levels. Then three channels become one by their
  unweighted mean, and one becomes three by repetition.
"""

import io
import os
import re
import stat
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # those who only read a file do without NumPy and Pillow
    import numpy as np

MAX_BYTES = 64 * 2**20  # of a file
MAX_PIXELS = 2**25  # height times width
MAX_SIDE = 2**14
MAX_CHUNKS = 2**14  # of a PNG file
MAX_SEGMENTS = 1000  # of a JPEG file
MAX_SCANS = 50  # each runs over all pixels of a progressive JPEG file

SERVED = ("PNG", "JPEG")  # what a served model takes
READ = (*SERVED, "GIF", "BMP")  # what training and evaluation take

_BEGINNINGS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "GIF": b"GIF8", "BMP": b"BM"}
BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by a PNG's type of colour
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # likewise
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers of a JPEG file's header
_UNUSED = {*range(0xE1, 0xF0), 0xFE} - {0xEE}  # those of segments that do nothing
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # of a segment that is not one of the pixels' own


class Header(NamedTuple):
    """What a file says of its pixels.

    Attributes:
        kind: "PNG", "JPEG", "GIF" or "BMP".
        width: As they are stored, before they are turned.
        height: Likewise.
        is_gray: Whether only the first channel counts.
        orientation: 1 to 8, as in EXIF.
        content: The file without the segments that do nothing.
    """

    kind: str
    width: int
    height: int
    is_gray: bool
    orientation: int
    content: bytes

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height once it is turned."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Returns the bytes of a regular file of at most `MAX_BYTES`; raises `ValueError` if it is none."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would make its reader wait for ever
            raise ValueError("it is no regular file")
        with open(path, "rb") as stream:
            return _not_too_long(stream.read(MAX_BYTES + 1))
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def decode(content: bytes, formats: Sequence[str] = SERVED) -> "np.ndarray":
    """Decodes an image file.

    Args:
        content: The bytes of the file.
        formats: The kinds that are taken, a part of `READ`.

    Returns:
        uint8 array `(height, width, 1)` for a gray file, else `(height, width, 3)`.

    Raises:
        ValueError: If it is none of these, is beyond the limits, or is damaged.
    """
    return unpack(read_header(content, formats))


def unpack(header: Header) -> "np.ndarray":
    """Decodes the file of a header; returns and raises as `decode` does."""
    levels = _levels(header)
    return _upright(levels[..., :1] if header.is_gray else levels, header.orientation)


def read_header(content: bytes, formats: Sequence[str] = SERVED) -> Header:
    """Judges a file by its header; raises `ValueError` as `decode` does. Needs neither NumPy nor Pillow."""
    _not_too_long(content)
    kind = next((kind for kind in formats if content.startswith(_BEGINNINGS[kind])), None)
    if kind is None:
        raise ValueError(f"it is no {', '.join(formats[:-1])} or {formats[-1]} file")
    header = {"PNG": _png_header, "JPEG": _jpeg_header, "GIF": _gif_header, "BMP": _bmp_header}[kind](content)
    _check_size(header.width, header.height)
    return header


def resized(image: "np.ndarray", height: int, width: int) -> "np.ndarray":
    """Gives an image `(height, width, channels)` another size; uint8 or float32, and so is the result."""
    import numpy as np
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    # Channel by channel, because Pillow takes floats of one channel only; for 8-bit images the result is the same. One
    # axis after the other, because Pillow's versions take them in different orders.
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0)]
    for size in ((width, image.shape[0]), (width, height)):
        channels = [channel.resize(size, Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def fit(image: "np.ndarray", image_shape: Sequence[int]) -> "np.ndarray":
    """Gives an image another size and number of channels.

    Args:
        image: Array `(height, width, 1 or 3)`, uint8 in 0..255 or float32 in [0, 1].
        image_shape: `(height, width, 1 or 3)`.

    Returns:
        float32 array of shape `image_shape` in [0, 1].
    """
    import numpy as np

    pixels = resized(image, *image_shape[:2]).astype(np.float32)
    if image_shape[2] == 1:
        pixels = pixels.mean(axis=2, keepdims=True)
    pixels = np.broadcast_to(pixels, tuple(image_shape))
    return pixels / np.float32(255) if image.dtype == np.uint8 else pixels.clip(0, 1)


def _not_too_long(content):
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return content


def _check_size(width, height):
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"it has {width} x {height} pixels; at most {MAX_PIXELS} in all and {MAX_SIDE} a side are read"
        )


def _damaged(reason):
    return ValueError(f"it is damaged: {reason}")


def _levels(header):
    """The pixels as they are stored."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(header.content), formats=[header.kind]) as image:
            size = image.size
            if size[0] * size[1] <= MAX_PIXELS:
                image.load()
                levels = _in_8_bits(image)
    except UnidentifiedImageError as error:
        raise _damaged("its header cannot be read") from error
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise _damaged(" ".join(str(error).split()) or type(error).__name__) from error
    _check_size(*size)
    return levels.reshape(*levels.shape[:2], -1)


def _in_8_bits(image):
    import numpy as np

    if image.mode.startswith("I"):  # 16 bits of gray
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.mode == "CMYK":
        paper = 255 - np.asarray(image)  # is what is stored
        return (paper[..., :3].astype(np.uint16) * paper[..., 3:] // 255).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _upright(levels, orientation):
    if orientation > 4:  # 5 to 8 are 1, 4, 3, 2 with rows and columns exchanged before
        levels = levels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    return levels.copy()


def _number(data, order="big"):
    return int.from_bytes(data, order)


def _gif_header(content):
    return Header("GIF", _number(content[6:8], "little"), _number(content[8:10], "little"), False, 1, content)


def _bmp_header(content):
    if _number(content[14:18], "little") == 12:  # of the oldest kind
        width, height = _number(content[18:20], "little"), _number(content[20:22], "little")
    else:
        width, height = (abs(int.from_bytes(content[at : at + 4], "little", signed=True)) for at in (18, 22))
    return Header("BMP", width, height, False, 1, content)


def _png_header(content):
    ihdr = content[8:33]
    if len(ihdr) < 25 or ihdr[:8] != b"\0\0\0\rIHDR":
        raise _damaged("its header is missing")
    _check_sum(content, 8, 33)
    width, height = _number(ihdr[8:12]), _number(ihdr[12:16])
    depth, colour, *methods = ihdr[16:21]
    if not width or not height or depth not in BIT_DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise _damaged("its header is no PNG file's")
    kept, packed, exif, has_palette, kind, start = [content[:33]], [], None, False, b"", 33
    for _ in range(MAX_CHUNKS):
        last, (kind, data, end) = kind, _chunk(content, start)
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            if packed and last != b"IDAT":
                raise _damaged("its pixels lie apart")
            packed.append(data)
        elif kind == b"PLTE" and colour == 3:
            if has_palette or packed or len(data) % 3 or not 3 <= len(data) <= 768:
                raise _damaged("its palette is no PNG file's")
            has_palette = True
        elif kind == b"eXIf" and exif is None and not packed:
            exif = data
        elif not kind[0] & 32 and kind != b"PLTE":  # a small letter says that it may be passed over
            raise _damaged(f"its chunk {kind!r} does not belong there")
        if kind == b"IDAT" or (kind == b"PLTE" and colour == 3):
            _check_sum(content, start, end)
            kept.append(content[start:end])
        start = end
    if content[start:end] != _IEND or not packed or (colour == 3 and not has_palette):
        raise _damaged(f"its palette, pixels or end is missing, or it has more than {MAX_CHUNKS} chunks")
    _check_rows(b"".join(packed), _png_bytes(width, height, depth * _PNG_CHANNELS[colour], methods[2]))
    return Header("PNG", width, height, colour in (0, 4), _orientation(exif), b"".join([*kept, _IEND]))


def _png_bytes(width, height, bits, is_interlaced):
    """How many bytes the rows of a PNG file take, each with one for its filter."""
    steps = ((8, 0, 8, 0), (8, 4, 8, 0), (4, 0, 8, 4), (4, 2, 4, 0), (2, 0, 4, 2), (2, 1, 2, 0), (1, 0, 2, 1))
    total = 0
    for across, left, down, top in steps if is_interlaced else ((1, 0, 1, 0),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += max(rows, 0) * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    return total


def _check_rows(packed, count):
    """Raises `ValueError` if fewer bytes are packed: Pillow would leave the other rows black."""
    unpack = zlib.decompressobj()
    try:
        while count > 0 and not unpack.eof:
            some = unpack.decompress(packed, 2**20)
            count, packed = count - len(some), unpack.unconsumed_tail
            if not some and not packed:
                break
    except zlib.error as error:
        raise _damaged(f"its pixels cannot be unpacked ({error})") from error
    if count > 0:
        raise _damaged("it has too few rows")


def _chunk(content, start):
    """`(kind, data, end)` of the chunk of a PNG file that starts there."""
    length = _number(content[start : start + 4])
    end = start + 12 + length
    kind = content[start + 4 : start + 8]
    if end > len(content) or not kind.isalpha():
        raise _damaged("it is cut off, or its chunks are no PNG file's")
    return kind, content[start + 8 : end - 4], end


def _check_sum(content, start, end):
    if zlib.crc32(content[start + 4 : end - 4]) != _number(content[end - 4 : end]):
        raise _damaged("a checksum is another")


def _jpeg_header(content):
    kept, frame, exif, num_scans, is_adobe = [content[:2]], None, None, 0, False
    start = 2
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(content, start)
        if marker is None:
            raise _damaged("it is cut off")
        code, body = marker[1][0], marker.end() + 2
        if num_scans:
            kept.append(content[start : marker.start()])  # pixels
        if code == 0xD9:
            break
        end = marker.end() + _number(content[marker.end() : body])
        data = content[body:end]
        if end < body or end > len(content) or code == 0xD8:
            raise _damaged("it is cut off")
        if code in _FRAMES:
            if frame is not None:
                raise _damaged("it has two headers")
            frame = _jpeg_frame(code, data)
        elif code == 0xDA:
            num_scans += 1
        elif code == 0xE1 and exif is None and not num_scans and data.startswith(b"Exif\0\0"):
            exif = data[6:]
        elif code == 0xEE and not num_scans:
            is_adobe |= data.startswith(b"Adobe") and len(data) >= 12
        if code not in _UNUSED:
            kept.append(content[marker.start() : end])
        start = end
    else:
        raise _damaged(f"it has more than {MAX_SEGMENTS} segments")
    if frame is None or not 1 <= num_scans <= MAX_SCANS:
        raise _damaged(f"it has no header, or not 1 to {MAX_SCANS} scans")
    kept.append(b"\xff\xd9")
    width, height, num_channels = frame
    if num_channels == 4 and not is_adobe:  # some programs take the inks as they are stored, others invert them
        raise ValueError("it is a CMYK file without Adobe's segment")
    return Header("JPEG", width, height, num_channels == 1, _orientation(exif), b"".join(kept))


def _jpeg_frame(code, data):
    if len(data) < 6:
        raise _damaged("its header is cut off")
    height, width, num_channels = data[1] * 256 + data[2], data[3] * 256 + data[4], data[5]
    if code not in (0xC0, 0xC1, 0xC2) or data[0] != 8 or num_channels not in (1, 3, 4) or not width or not height:
        raise ValueError("it is no baseline, extended or progressive JPEG file of 8 bits in 1, 3 or 4 channels")
    return width, height, num_channels


def _orientation(exif):
    """Orientation, 1 to 8, of an EXIF block, which is a TIFF file; 1 where it says nothing that can be read."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get((exif or b"")[:4])
    if order is None:
        return 1

    def number(start, size):
        return _number(exif[start : start + size], order)

    first = number(4, 4) + 2
    for entry in range(first, min(first + 12 * number(first - 2, 2), len(exif) - 11), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2)
            return value if number(entry + 2, 2) == 3 and number(entry + 4, 4) == 1 and 1 <= value <= 8 else 1
    return 1
