"""Files that appear whole or not at all, locks between processes, and fingerprints."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

TEMPORARY = ".tmp-"
LOCK = ".lock"  # the file of a folder that a `Lock` is taken on


class UnwritableError(OSError):
    """A file or folder that cannot be written, such as on a full disk; the message names it and says why."""


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns an `OSError`, whose own text may name no file, into an `UnwritableError` that names `path`."""
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; what was written there appears under `path` at the end, on disk.

    Raises:
        UnwritableError: If it cannot be written; nothing is left of it then.
    """
    temporary = path.with_name(TEMPORARY + path.name)
    with writing(path):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file in UTF-8 that appears whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: pathlib.Path) -> None:
    """Waits until a file, or the entries of a folder, are on disk."""
    if os.name == "nt":  # Windows opens no folder, and syncs no file that is open for reading alone
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """An exclusive lock on a file or folder, held until `release` or the end of this process, however it ends.

    The lock is advisory: it excludes other processes that ask for the lock, and nobody from reading or writing. If a
    locked folder is renamed, the lock stays on it.

    Args:
        path: A file or folder that exists.
        wait: Whether to wait for another process that holds the lock.

    Raises:
        BlockingIOError: If another process, or another `Lock` of this one, holds it and `wait` is false.
        ImportError: On Windows, which has no such locks.
        OSError: If `path` cannot be opened.
    """

    def __init__(self, path: str | os.PathLike, *, wait: bool = True) -> None:
        self._descriptor: int | None = None
        try:
            import fcntl
        except ImportError as error:
            raise ImportError(
                f"{path} cannot be locked: that needs Python's fcntl, which Windows does not have. Run directories and "
                "exports need Linux, macOS or WSL; the library's own `fit`, `predict` and `evaluate` do without."
            ) from error
        # A file is opened for writing, without which NFS gives no lock.
        descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def sha256(*parts: str | bytes | np.ndarray) -> str:
    """Computes the SHA-256, in hex digits, of the bytes of all parts together; a `str` counts as UTF-8.

    Of an array only the values count, in C order: add shape and dtype as a part of their own where they may differ.

    >>> sha256("a", b"b") == sha256("ab") == sha256(np.array([97, 98], "uint8"))
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def sha256_of_file(path: pathlib.Path) -> str:
    """Computes the SHA-256 of a file, in hex digits, as `sha256sum` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(root: pathlib.Path, paths: Iterable[pathlib.Path]) -> str:
    """Computes one SHA-256 for files below `root`.

    For one file it is the SHA-256 of the file; for several files it is that of the lines `DIGITS  NAME`, sorted by
    name. The names are relative to `root`, with forward slashes.
    """
    digits = {path.relative_to(root).as_posix(): sha256_of_file(path) for path in paths}
    if len(digits) == 1:
        return next(iter(digits.values()))
    return sha256("".join(f"{digits[name]}  {name}\n" for name in sorted(digits)))
