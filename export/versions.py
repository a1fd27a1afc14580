"""Numbered versions of an exported model that appear whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from keras_acet.files import Lock, sha256, sync

_TEMPORARY = ".keras_acet-export-"


def next_version(directory: str | os.PathLike[str]) -> int:
    """Returns the number after the largest version in `directory`, 1 if there is none."""
    return max((int(path.name) for path in _versions(directory)), default=0) + 1


def check_version(directory: str | os.PathLike[str], version: int | None) -> None:
    """Raises `ValueError` if `directory` cannot take the version, or any if `version` is None."""
    directory = pathlib.Path(directory)
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        raise ValueError(f"`version` must be a whole number from 1 on, or None. Received: version={version!r}.")
    existing = next(parent for parent in [directory, *directory.absolute().parents] if parent.exists())
    if not existing.is_dir():
        raise ValueError(f"{directory} cannot hold versions: {existing} is a file. Name another place.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{directory} cannot be written: {existing} is not writable. Name another place.")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=_TEMPORARY, dir=existing))  # what is allowed may fail all the same
    except OSError as error:
        raise ValueError(f"{directory} cannot be written: {existing} takes no folder. {error}.") from error
    if directory.exists() and directory.stat().st_dev != directory.resolve().parent.stat().st_dev:
        raise ValueError(
            f"{directory} must lie on the file system of its parent, or no version could be renamed into it. Received: "
            "a link or a mount. Name what is behind it."
        )
    if version is not None and (directory / str(version)).exists():
        raise ValueError(
            f"Version {version} of {directory.name} exists already in {directory.parent}. Versions are never replaced: "
            "servers may hold them. Leave the number out to take the next one."
        )


class NewVersion:
    """A version that is being written.

    Attributes:
        folder: `pathlib.Path` to write into.
        path: `pathlib.Path` of the version; None until the folder was renamed.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.path: pathlib.Path | None = None


@contextlib.contextmanager
def new_version(directory: str | os.PathLike[str], version: int | None = None) -> Iterator[NewVersion]:
    """Yields an empty folder; what was written there appears as `directory/VERSION` at the end, by one rename.

    The folder lies beside `directory`, on the same file system, under a hidden name, so that a server that polls
    `directory` never sees half a model. If the body raises, the folder goes. If the process is killed, the next call
    removes it; one that another process still writes is left alone.

    Args:
        directory: Where the versions lie; made when the first one is whole.
        version: int, or None for the number after the largest one at the end.

    Yields:
        `NewVersion`.

    Raises:
        ValueError: If the version exists, before or after the body, or another process writes it; the folder goes then,
            too.
    """
    directory = pathlib.Path(directory)
    check_version(directory, version)
    missing = [parent for parent in directory.parents if not parent.exists()]
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _locked_folder(directory, version) as folder:
            new = NewVersion(folder)
            yield new
            _sync_tree(folder)
            directory.mkdir(exist_ok=True)
            new.path = _rename(folder, directory, version)
            sync(directory)
    except BaseException:
        with contextlib.suppress(OSError):  # one that holds something is left
            for parent in missing:
                parent.rmdir()
        raise


def _rename(folder, directory, version):
    number = version or next_version(directory)
    while True:
        path = directory / str(number)
        try:
            os.rename(folder, path)  # fails if there is one that is not empty
            return path
        except OSError:
            if version is not None or not path.exists():
                check_version(directory, version)
                raise
            number = next_version(directory)  # another process was faster


@contextlib.contextmanager
def _locked_folder(directory, version):
    parent, prefix = directory.parent, f"{_TEMPORARY}{sha256(directory.name)[:8]}-{version}-"
    with Lock(parent):  # nobody takes a folder that is not locked yet for an abandoned one
        _remove_abandoned(parent)
        if version is not None and any(parent.glob(prefix + "*")):
            raise ValueError(
                f"Another process writes version {version} of {directory.name} in {parent}. Wait for it, or leave the "
                "number out to take the next one."
            )
        folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = Lock(folder)
    try:
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)  # mkdtemp's own would lock a server out
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already if it was renamed
        lock.release()


def _remove_abandoned(parent):
    for folder in parent.glob(_TEMPORARY + "*"):
        with contextlib.suppress(OSError), Lock(folder, wait=False):  # held by another process, or gone
            shutil.rmtree(folder)


def _versions(directory):
    directory = pathlib.Path(directory)
    return [path for path in directory.iterdir() if path.name.isdecimal()] if directory.is_dir() else []


def _sync_tree(folder):
    for path in [*folder.rglob("*"), folder]:
        sync(path)
