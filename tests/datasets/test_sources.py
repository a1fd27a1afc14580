"""Names of the form KIND:PATH: one parser, and the same files wherever the process goes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_acet import datasets
from keras_acet.datasets import sources


@pytest.mark.parametrize(
    ("text", "kind", "path", "name"),
    [
        ("folder:photos", "folder", "photos", "photos"),
        ("folder:photos/", "folder", "photos", "photos"),
        ("folder:a/../b c,d:e", "folder", "b c,d:e", "b c,d:e"),
        ("npz:x/mine.npz", "npz", "x/mine.npz", "mine.npz"),
    ],
)
def test_parse(tmp_path, monkeypatch, text, kind, path, name):
    monkeypatch.chdir(tmp_path)
    source = sources.parse(text)

    assert (source.kind, source.path, source.name) == (kind, tmp_path / path, name)
    assert source.absolute == f"{kind}:{tmp_path / path}"
    assert sources.parse(source.absolute).path == source.path
    assert datasets.spec(text).name == (name if name != "photos" else "photos (folder)")


def test_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert sources.parse("npz:~/a.npz").absolute == "npz:/home/of/mine/a.npz"


@pytest.mark.parametrize("text", ["mnist", "", "tar:x", "Folder:x", "folder"])
def test_other_names_are_none_of_them(text):
    assert sources.parse(text) is None


@pytest.mark.parametrize("text", ["folder:", "npz:  ", "npz:a\0b"])
def test_a_path_is_needed(text):
    with pytest.raises(ValueError, match="must be a name, folder:PATH or npz:PATH, with a path. Received: "):
        sources.parse(text)


def test_parsing_loads_no_tensorflow():
    code = "import sys; from keras_acet.training.recipe import Recipe; Recipe.for_dataset('npz:a'); "
    code += "sys.exit('tensorflow' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_was_named_is_read_from_another_folder(tmp_path, monkeypatch):
    for label in ("a", "b"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(tmp_path / "pictures" / label / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    entry = datasets.spec("folder:pictures")
    monkeypatch.chdir("/")

    data = datasets.load(entry, batch_size=2)
    assert (data.name, data.class_names, len(data.train_labels)) == ("pictures", ["a", "b"], 4)


def test_own_sets_of_one_name_are_told_apart(tmp_path):
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "x.npz", images=np.zeros((2, 4, 4), np.uint8))
        names.append(f"npz:{tmp_path / folder / 'x.npz'}")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "photos" / "0.png")
    own = f"folder:{tmp_path / 'photos'}"
    sets = datasets.ood_sets(["photos", own, *names], (4, 4, 1))

    assert list(sets) == ["photos", "photos (folder)", "a/x.npz", "b/x.npz"]
    assert (len(sets["photos"]), len(sets[own]), len(sets["a/x.npz"])) == (1000, 1, 2)
    with pytest.raises(ValueError, match="named once only. Received: 'x.npz' twice"):
        datasets.ood_sets([names[0], names[0]], (4, 4, 1))


def test_unknown_sets_list_the_known(tmp_path):
    sets = datasets.ood_sets(["photos", "imagenet_minus"], (4, 4, 1))

    with pytest.raises(KeyError, match="no out-distribution set 'photo'. There are: photos, imagenet_minus. Did you"):
        sets["photo"]
    assert "photo" not in sets and "photos" in sets


def test_pages_and_cards_show_no_folders(tmp_path):
    flags = {"dataset": "npz:/home/me,you/a.npz", "out": "outliers=2,folder:/home/me/others", "method": "acet"}

    shown = sources.without_folders(flags)
    assert shown == {"dataset": "npz:a.npz", "out": "outliers=2,folder:others", "method": "acet"}
