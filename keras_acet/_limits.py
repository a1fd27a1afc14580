"""How much a file of the user's may hold: the same in training, evaluation, clients, server and demo.

What lies above is refused in one line, judged by the header of a file before its contents are unpacked. One image at
the limit takes 96 MiB decoded to 8 bits in three channels and 384 MiB as float32, so that a server with the 2 GiB of
the export's manifests has room for it beside TensorFlow and the network.
"""

# One image.
MAX_IMAGE_BYTES = 64 * 2**20  # of the encoded file
MAX_IMAGE_PIXELS = 2**25  # height times width, 33.5 megapixels
MAX_IMAGE_SIDE = 2**14

# One set of images.
MAX_SET_BYTES = 2**33  # of the decoded arrays as they are kept: 8 GiB
MAX_SET_ENTRIES = 2**21  # files and folders below a folder, or arrays of an `.npz` file


def readable(size: float) -> str:
    """Returns a number of bytes as people read it.

    >>> readable(2**33), readable(3 * 2**19)
    ('8 GiB', '1.5 MiB')
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{round(size / unit, 1):g} {name}"
    return f"{size:g} bytes"
