"""Whole files, locks between processes, fingerprints."""

import errno
import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from keras_acet import files


def test_a_lock_keeps_out_a_second_one_until_it_is_released(tmp_path):
    for path in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").touch()
        lock = files.Lock(path)
        with pytest.raises(BlockingIOError):
            files.Lock(path, wait=False)
        lock.release()
        lock.release()  # again does nothing
        with files.Lock(path, wait=False), pytest.raises(BlockingIOError):
            files.Lock(path, wait=False)
        files.Lock(path, wait=False).release()
    with pytest.raises(FileNotFoundError):
        files.Lock(tmp_path / "none")


def test_another_process_is_waited_for(tmp_path):
    code = f"from keras_acet import files; files.Lock({str(tmp_path)!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            files.Lock(tmp_path, wait=False)
        other.stdin.close()  # it ends, and its lock with it
        files.Lock(tmp_path).release()


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fill_the_disk():
        with files.whole_file(path) as temporary:
            temporary.write_text("half of")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(files.UnwritableError, match=re.escape(f"{path} cannot be written: No space left on device")):
        fill_the_disk()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.txt", "before")]
    with pytest.raises(files.UnwritableError, match="none/a.txt cannot be written: No such file or directory"):
        files.write_text(tmp_path / "none/a.txt", "text")


WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None
import keras_acet
from keras_acet import datasets, training
from keras_acet.export import versions
from keras_acet.training import runs
keras_acet.files.write_text(__import__("pathlib").Path(sys.argv[1]) / "a.txt", "whole")
data = datasets.load("digits")
run = runs.RunDirectory(sys.argv[1] + "/run")
try:
    run.claim({"dataset": "digits"})
except ImportError as error:
    print(error)
try:
    with versions.new_version(sys.argv[1] + "/exports", None):
        pass
except ImportError as error:
    print(error)
"""


def test_without_fcntl_all_but_runs_and_exports_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "Windows does not have" in line and "need Linux, macOS or WSL" in line
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_sha256_is_that_of_the_bytes(tmp_path):
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    expected = hashlib.sha256(b"(2, 3)" + array.T.copy().T.tobytes()).hexdigest()
    assert files.sha256("(2, 3)", array) == files.sha256(b"(2, 3)", array[:, ::-1][:, ::-1]) == expected
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"two")
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    assert files.sha256_of_file(tmp_path / "a") == files.sha256_of_files(tmp_path, [tmp_path / "a"]) == one
    both = hashlib.sha256(f"{one}  a\n{two}  b/c\n".encode()).hexdigest()
    assert files.sha256_of_files(tmp_path, [tmp_path / "b" / "c", tmp_path / "a"]) == both


def test_fingerprint_of_digits_is_what_it_was():
    from keras_acet import datasets

    data = datasets.load("digits", calibration_fraction=0.1)
    digest = hashlib.sha256()
    for name in ("train", "test", "calibration"):
        for array in (getattr(data, f"{name}_images"), getattr(data, f"{name}_labels")):
            digest.update(f"{array.shape}{array.dtype.str}".encode() + array.tobytes())
    assert data.is_of(digest.hexdigest()[:16])
    digest.update(b"['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']")
    assert data.fingerprint == digest.hexdigest()[:16]
