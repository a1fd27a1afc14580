"""Files that appear whole or not at all."""

import contextlib
import os

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def whole_file(path):
    """Yields a temporary path beside `path`; what was written there appears under `path` at the end, on disk."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text):
    with whole_file(path) as temporary:
        temporary.write_text(text)


def sync(path):
    """Waits until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
