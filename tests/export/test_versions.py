import fcntl
import os

import pytest

from keras_acet.export import versions


def write(directory, version=None):
    with versions.new_version(directory, version) as new:
        (new.folder / "inner").mkdir()
        (new.folder / "inner" / "file").write_text("whole")
        assert new.path is None and (not directory.exists() or new.folder.name not in os.listdir(directory))
    assert (new.path / "inner" / "file").read_text() == "whole"
    return new.path.name


def test_numbers_go_on_from_the_largest(tmp_path):
    directory = tmp_path / "export" / "name"
    assert versions.next_version(directory) == 1
    write(directory)
    write(directory, 7)
    write(directory)
    (directory / "notes").mkdir()  # not a version
    assert versions.next_version(directory) == 9
    assert sorted(os.listdir(directory)) == ["1", "7", "8", "notes"]
    assert (directory / "8" / "inner" / "file").read_text() == "whole"
    assert os.listdir(tmp_path / "export") == ["name"]


def test_everybody_may_read_a_version(tmp_path):
    write(tmp_path / "name")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "name" / "1").stat().st_mode & 0o777 == 0o777 & ~umask


def test_an_existing_version_is_never_replaced(tmp_path):
    write(tmp_path / "name", 3)
    with pytest.raises(ValueError, match="Version 3 of name exists already"):
        write(tmp_path / "name", 3)
    assert os.listdir(tmp_path / "name") == ["3"]


def test_a_version_that_appears_meanwhile(tmp_path):
    with versions.new_version(tmp_path / "name") as new:
        (new.folder / "file").write_text("mine")
        assert write(tmp_path / "name") == "1"
    assert new.path == tmp_path / "name" / "2"
    assert sorted(os.listdir(tmp_path / "name")) == ["1", "2"]
    with (
        pytest.raises(ValueError, match="Version 3 of name exists already"),
        versions.new_version(tmp_path / "name", 3),
    ):
        (tmp_path / "name" / "3" / "inner").mkdir(parents=True)
    assert sorted(os.listdir(tmp_path)) == ["name"]


def test_a_number_that_another_process_is_at_is_refused_at_once(tmp_path):
    with versions.new_version(tmp_path / "name", 3) as new:
        with pytest.raises(ValueError, match=r"Another process writes version 3 of name in .* Wait for it, or leave"):
            write(tmp_path / "name", 3)
        assert write(tmp_path / "name") == "1", "the next free one"
        assert write(tmp_path / "other", 3) == "3", "of another model"
    assert new.path.name == "3" and sorted(os.listdir(tmp_path)) == ["name", "other"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no"), versions.new_version(tmp_path / "export" / "name"):
        raise RuntimeError("no")
    assert os.listdir(tmp_path) == []


def test_leftovers_of_the_killed_go_and_those_of_the_living_stay(tmp_path):
    dead, alive = (tmp_path / f".keras_acet-export-{name}" for name in ("dead", "alive"))
    for folder in (dead, alive, tmp_path / ".tmp-mine"):
        folder.mkdir()
        (folder / "file").write_text("half")
    descriptor = os.open(alive, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    write(tmp_path / "name")
    os.close(descriptor)
    assert sorted(os.listdir(tmp_path)) == [".keras_acet-export-alive", ".tmp-mine", "name"]


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot hold versions: .*file is a file"):
        write(tmp_path / "file" / "export" / "name")
    if os.getuid():  # everything is writable for root
        tmp_path.chmod(0o500)
        with pytest.raises(ValueError, match="is not writable"):
            write(tmp_path / "export" / "name")
