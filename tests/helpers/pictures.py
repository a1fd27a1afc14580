"""Image files of all kinds, with the pixels that everything that reads an image has to see in them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16
PNG = b"\x89PNG\r\n\x1a\n"


def pixels(channels=3, seed=0):
    """uint8 array `(12, 16, channels)`."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)


def written(image, kind, **options):
    """The bytes of a file that Pillow writes of an array or an image."""
    stream = io.BytesIO()
    image = (
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        if isinstance(image, np.ndarray)
        else image
    )
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, data):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, *, width=WIDTH, height=HEIGHT, depth=8, colour=2, interlaced=0, before=b"", after=b""):
    """A PNG file made by hand: `rows` are the bytes of its rows, `before` and `after` chunks around its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return PNG + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")


def adam7(image):
    """The rows of an interlaced PNG file: seven images that interleave."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for top, left, down, right in passes:
        yield from (row.tobytes() for row in image[top::down, left::right] if row.size)


def bomb(width, height):
    """A PNG file of zeros that is a thousandth of its pixels."""
    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(bytes(width + 1)) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(orientation, *, order=">", kind=3, count=1, magic=42, entries=1, offset=8):
    """An EXIF block of one entry, the orientation."""
    value = struct.pack(order + "HH", orientation, 0) if kind == 3 else struct.pack(order + "I", orientation)
    mark = b"MM" if order == ">" else b"II"
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    return mark + struct.pack(order + "HI", magic, offset) + struct.pack(order + "H", entries) + entry


def segment(code, data):
    """A segment of a JPEG file."""
    return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data


def after_start(jpeg, *segments):
    """A JPEG file with segments put behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def stored(upright, orientation):
    """What a camera stores of an image that has to be shown `upright`, by the text of the EXIF standard.

    It names the sides that the first row and the first column of what is stored show: 1 top and left, 2 top and right,
    3 bottom and right, 4 bottom and left, 5 left and top, 6 right and top, 7 right and bottom, 8 left and bottom.
    """
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    image = upright if row in ("top", "bottom") else upright.swapaxes(0, 1)
    if row in ("bottom", "right"):
        image = image[::-1]
    if column in ("bottom", "right"):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _pngs():
    colour, gray = pixels(), pixels(1, seed=1)
    alpha = np.concatenate([colour, pixels(1, seed=2)], axis=2)
    wide = np.random.default_rng(3).integers(0, 2**16, (HEIGHT, WIDTH, 4), np.uint16)
    rows = [row.tobytes() for row in colour]
    table = np.random.default_rng(4).integers(0, 256, (16, 3), np.uint8)
    indices = np.random.default_rng(5).integers(0, 16, (HEIGHT, WIDTH), np.uint8)
    nibbles = [(row[::2] * 16 + row[1::2]).tobytes() for row in indices]
    palette = chunk(b"PLTE", table.tobytes())
    yield "colour PNG", written(colour, "PNG"), colour
    yield "gray PNG", written(gray, "PNG"), gray
    yield "gray PNG of 4 bits", png(nibbles, depth=4, colour=0), indices[..., None] * 17
    bits = np.random.default_rng(6).integers(0, 2, (HEIGHT, WIDTH), np.uint8)
    yield (
        "gray PNG of 1 bit",
        png([np.packbits(row).tobytes() for row in bits], depth=1, colour=0),
        bits[..., None] * 255,
    )
    yield "gray PNG with alpha", written(alpha[..., 2:], "PNG"), alpha[..., 2:3]
    yield "colour PNG with alpha", written(alpha, "PNG"), colour
    yield "colour PNG with a transparent colour", png(rows, before=chunk(b"tRNS", b"\0\1\0\2\0\3")), colour
    yield "palette PNG", png(nibbles, depth=4, colour=3, before=palette), table[indices]
    transparent = palette + chunk(b"tRNS", bytes([0, 64, 128, 255]))
    yield "palette PNG, transparent", png(nibbles, depth=4, colour=3, before=transparent), table[indices]
    for name, kind, channels in (
        ("gray", 0, 1),
        ("colour", 2, 3),
        ("gray with alpha", 4, 2),
        ("colour with alpha", 6, 4),
    ):
        own = wide[..., :channels]
        content = png([row.astype(">u2").tobytes() for row in own], depth=16, colour=kind)
        yield f"16-bit PNG, {name}", content, (own[..., : 1 if kind in (0, 4) else 3] >> 8).astype(np.uint8)
    yield "interlaced PNG", png(adam7(colour), interlaced=1), colour
    other = Image.fromarray(255 - colour)
    yield "animated PNG", written(colour, "PNG", save_all=True, append_images=[other], duration=50), colour
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(7_900_000), 9))
    yield "PNG with texts that unpack to 80 MB", png(rows, before=text * 5, after=text * 5), colour
    yield "PNG with a palette that nothing needs", png(rows, before=chunk(b"PLTE", bytes(4))[:-1] + b"?"), colour
    yield (
        "PNG with a damaged text",
        png(rows, before=chunk(b"tEXt", b"a\0b")[:-1] + b"?", after=chunk(b"tEXt", b"?")),
        colour,
    )
    profile = chunk(b"gAMA", struct.pack(">I", 10_000)) + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    yield "PNG with gamma and profile", png(rows, before=profile), colour
    yield "PNG and something behind it", png(rows) + b"<html>", colour
    for orientation in range(1, 9):
        turned = stored(colour, orientation)
        exif = chunk(b"eXIf", tiff(orientation, order="<" if orientation % 2 else ">"))
        size = {"height": turned.shape[0], "width": turned.shape[1]}
        yield f"PNG turned by EXIF {orientation}", png([row.tobytes() for row in turned], before=exif, **size), colour
    yield "PNG with EXIF after its pixels", png(rows, after=chunk(b"eXIf", tiff(3))), colour


def _jpegs():
    """JPEG files; their pixels are those that Pillow, which has libjpeg's exact arithmetic, makes of a plain file."""
    smooth = np.asarray(Image.fromarray(pixels()[:4, :4]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    plain = written(smooth, "JPEG", quality=95, subsampling=2)
    level = np.asarray(Image.open(io.BytesIO(plain)))
    for quality in (30, 95):
        for sampling in (0, 1, 2):
            content = written(pixels(), "JPEG", quality=quality, subsampling=sampling)
            yield f"JPEG {quality}, sampling {sampling}", content, np.asarray(Image.open(io.BytesIO(content)))
    content = written(pixels(), "JPEG", quality=95, progressive=True)
    yield "progressive JPEG", content, np.asarray(Image.open(io.BytesIO(content)))
    content = written(pixels(1), "JPEG")
    yield "gray JPEG", content, np.asarray(Image.open(io.BytesIO(content)))[..., None]
    content = written(pixels(), "JPEG", keep_rgb=True)
    yield "JPEG of red, green and blue", content, np.asarray(Image.open(io.BytesIO(content)))
    inks = written(Image.fromarray(pixels(4), "CMYK"), "JPEG", quality=95)
    light = 255 - np.asarray(Image.open(io.BytesIO(inks))).astype(int)  # as stored, which is 255 minus the ink
    yield "CMYK JPEG", inks, (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
    yield "JPEG and something behind it", plain + b"\0" * 99 + plain, level
    several = written(smooth, "MPO", save_all=True, append_images=[Image.fromarray(255 - smooth)])
    yield "JPEG of several pictures", several, np.asarray(Image.open(io.BytesIO(several)))
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(99)) + segment(0xFE, b"a comment")
    yield "JPEG with profile and comment", after_start(plain, profile), level
    for orientation in range(1, 9):
        content = written(stored(smooth, orientation), "JPEG", quality=95)
        turned = np.asarray(Image.open(io.BytesIO(content)))
        upright = next(k for k in range(1, 9) if np.array_equal(stored(stored(smooth, orientation), k), smooth))
        exif = segment(0xE1, b"Exif\0\0" + tiff(orientation, order="<" if orientation % 2 else ">"))
        yield f"JPEG turned by EXIF {orientation}", after_start(content, exif), stored(turned, upright)
    for name, block in {
        "of no such number": tiff(9),
        "as a LONG": tiff(6, kind=4),
        "of two numbers": tiff(6, count=2),
        "of another magic": tiff(6, magic=43),
        "far away": tiff(6, offset=2**31),
        "cut off": tiff(6)[:-2],
        "of no entries": tiff(6, entries=0),
        "empty": b"",
    }.items():
        yield f"JPEG with EXIF {name}", after_start(plain, segment(0xE1, b"Exif\0\0" + block)), level
    yield (
        "JPEG with EXIF of more entries than it has",
        after_start(plain, segment(0xE1, b"Exif\0\0" + tiff(1, entries=9999))),
        level,
    )


def good():
    """Name -> `(content, uint8 array of shape (12, 16, 1 or 3))` of files that a served model takes."""
    return {name: (content, levels) for name, content, levels in (*_pngs(), *_jpegs())}


def bad():
    """Name -> content of files that are refused."""
    colour = pixels()
    rows = [row.tobytes() for row in colour]
    whole, jpeg = png(rows), written(colour, "JPEG")
    inks = written(Image.fromarray(pixels(4), "CMYK"), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    scan = jpeg.index(b"\xff\xda")
    end = len(whole) - 12
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    middle = chunk(b"IDAT", data[:50]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", data[50:])
    apart = whole[:33] + middle + whole[end:]
    return {
        "nothing": b"",
        "a text": b"no image",
        "a PNG's beginning": PNG,
        "a JPEG's beginning": b"\xff\xd8\xff",
        "PNG cut off": whole[:-20],
        "PNG without its end": whole[:end],
        "PNG of a wrong checksum": whole[: end - 1] + bytes([whole[end - 1] ^ 1]) + whole[end:],
        "PNG of a damaged palette": png(rows, colour=3, before=chunk(b"PLTE", bytes(3))[:-1] + b"?"),
        "PNG of a damaged header": whole[:32] + bytes([whole[32] ^ 1]) + whole[33:],
        "PNG without a palette": png(rows, colour=3),
        "PNG with two palettes": png(rows, colour=3, before=chunk(b"PLTE", bytes(3)) * 2),
        "PNG of a chunk without a name": png(rows, before=chunk(b"te3t", b"")),
        "PNG of an unknown chunk": png(rows, before=chunk(b"ABCD", b"")),
        "PNG of no width": png([], width=0),
        "PNG of 3 bits": png(rows, depth=3),
        "PNG of pixels that lie apart": apart,
        "PNG of a palette after its pixels": png(rows, colour=3, after=chunk(b"PLTE", bytes(3))),
        "PNG of 16,385 chunks": png(rows, before=chunk(b"tEXt", b"a\0b") * 2**14),
        "PNG of too few rows": png(rows[:-1]),
        "JPEG cut off": jpeg[:-9],
        "JPEG without its end": jpeg[:-2],
        "JPEG of arithmetic codes": jpeg.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "lossless JPEG": jpeg.replace(b"\xff\xc0", b"\xff\xc3", 1),
        "JPEG of 12 bits": jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :],
        "JPEG of two channels": jpeg[: frame + 9] + b"\2" + jpeg[frame + 10 :],
        "JPEG of no height": jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :],
        "CMYK JPEG not by Adobe": inks.replace(b"Adobe", b"Other"),
        "JPEG without pixels": jpeg[:scan] + b"\xff\xd9",
        "JPEG of a thousand segments": after_start(jpeg, segment(0xFE, b"") * 1001),
        "JPEG of a hundred scans": jpeg[:-2] + jpeg[scan : scan + 14] * 101 + b"\xff\xd9",
        "PNG of 33 kB that unpacks to 34 MB": bomb(5800, 5800),
        "PNG of too many pixels": png([], width=2**13 + 1, height=2**12),
        "PNG that is too wide": png([], width=16385, height=1),
        "JPEG of too many pixels": jpeg[: frame + 5] + b"\xff\0\xff\0" + jpeg[frame + 9 :],
    }


def not_served():
    """Name -> content of files that training reads, and a served model does not."""
    colour = pixels()
    other = Image.fromarray(255 - colour)
    return {
        "GIF": written(colour, "GIF"),
        "animated GIF": written(colour, "GIF", save_all=True, append_images=[other]),
        "BMP": written(colour, "BMP"),
    }


def not_read():
    """Name -> content of files of kinds that nothing reads."""
    colour = pixels()
    other = Image.fromarray(255 - colour)
    return {
        "WebP": written(colour, "WEBP"),
        "animated WebP": written(colour, "WEBP", save_all=True, append_images=[other]),
        "TIFF": written(colour, "TIFF"),
        "TIFF of two pages": written(colour, "TIFF", save_all=True, append_images=[other]),
        "JPEG 2000": written(colour, "JPEG2000"),
        "AVIF": b"\0\0\0\x1cftypavif" + bytes(99),
        "icon": written(colour, "ICO"),
    }
