"""Numbered versions of an exported model that appear whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile

_TEMPORARY = ".tmp-"


def next_version(directory):
    """Returns the number after the largest version in `directory`, 1 if there is none."""
    return max((int(path.name) for path in _versions(directory)), default=0) + 1


def check_version(directory, version):
    """Raises `ValueError` if `directory` cannot take the version, or any if `version` is None."""
    directory = pathlib.Path(directory)
    existing = next(parent for parent in [directory, *directory.absolute().parents] if parent.exists())
    if not existing.is_dir():
        raise ValueError(f"{directory} cannot hold versions: {existing} is a file. Name another place.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{directory} cannot be written: {existing} is not writable. Name another place.")
    if version is not None and (directory / str(version)).exists():
        raise ValueError(
            f"Version {version} of {directory.name} exists already in {directory.parent}. Versions are never replaced: "
            "servers may hold them. Leave the number out to take the next one."
        )


@contextlib.contextmanager
def new_version(directory, version=None):
    """Yields an empty folder; what was written there appears as `directory/VERSION` at the end, by one rename.

    The folder lies beside `directory`, on the same file system, under a hidden name, so that a server that polls
    `directory` never sees half a model. If the body raises, the folder goes. If the process is killed, the next call
    removes it; one that another process still writes is left alone.

    Args:
        directory: Where the versions lie; made when the first one is whole.
        version: int, or None for the number after the largest one at the end.

    Yields:
        `pathlib.Path`. After the body: renamed.

    Raises:
        ValueError: If the version exists, before or after the body; the folder goes then, too.
    """
    directory = pathlib.Path(directory)
    check_version(directory, version)
    missing = [parent for parent in directory.parents if not parent.exists()]
    directory.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(directory.parent)
    try:
        with _locked_folder(directory.parent) as folder:
            yield folder
            _sync_tree(folder)
            directory.mkdir(exist_ok=True)
            _rename(folder, directory, version)
            _sync(directory)
    except BaseException:
        with contextlib.suppress(OSError):  # one that holds something is left
            for parent in missing:
                parent.rmdir()
        raise


def _rename(folder, directory, version):
    number = version or next_version(directory)
    while True:
        try:
            os.rename(folder, directory / str(number))  # fails if there is one that is not empty
            return
        except OSError:
            if version is not None or not (directory / str(number)).exists():
                check_version(directory, version)
                raise
            number = next_version(directory)  # another process was faster


@contextlib.contextmanager
def _locked_folder(parent):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)  # mkdtemp's own would lock a server out
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already if it was renamed
        os.close(descriptor)


def _remove_abandoned(parent):
    for folder in parent.glob(_TEMPORARY + "*"):
        with contextlib.suppress(OSError):  # held by another process, or gone
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def _versions(directory):
    directory = pathlib.Path(directory)
    return [path for path in directory.iterdir() if path.name.isdecimal()] if directory.is_dir() else []


def _sync_tree(folder):
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
