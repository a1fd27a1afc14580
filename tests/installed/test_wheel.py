"""What a checkout could hide: commands, recipes, templates, clients and files of the package as it is installed."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import keras_acet as ka
from keras_acet.training import flag_files

pytestmark = pytest.mark.installed
COMMAND = pathlib.Path(sys.executable).with_name("keras-acet")


def run(*arguments, cwd):
    """Runs a command, which has to succeed, and returns what it prints."""
    done = subprocess.run([str(one) for one in arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder away from any checkout, with a run in it that the installed command made."""
    folder = tmp_path_factory.mktemp("user")
    run(COMMAND, "train", "--dataset=digits", "--method=ceda", "--epochs=3", "--num_noise=8", cwd=folder)
    return folder


@pytest.mark.parametrize("name", ["train", "evaluate", "export"])
def test_each_command_has_help(name, tmp_path):
    assert name in run(COMMAND, "--help", cwd=tmp_path)
    assert "--data_dir" in run(COMMAND, name, "--help", cwd=tmp_path)


def test_every_recipe_is_known_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = flag_files.names()
    assert {"fast/mnist_acet", "paper/cifar10_acet"} <= set(names)
    for name in names:
        recipe = ka.Recipe.from_flagfile(name)
        assert recipe.dataset in name or (name.startswith("own/") and recipe.dataset.startswith("folder:"))


def test_a_report_finds_its_templates(folder):
    printed = run(COMMAND, "evaluate", "--run_dir=runs/digits-ceda", "--quick", "--num_noise=8", cwd=folder)
    assert "worst-case noise" in printed
    page = (folder / "runs/digits-ceda/evaluation/report.html").read_text(encoding="utf-8")
    assert "</html>" in page and "Headline" in page


def test_an_export_finds_its_templates_and_a_client_asks_it(folder):
    run(COMMAND, "export", "--run_dir=runs/digits-ceda", "--num_noise=8", cwd=folder)
    version = folder / "runs/digits-ceda/export/digits-ceda/1"
    assert (version / "MODEL_CARD.md").read_text(encoding="utf-8").startswith("# ")
    digit = ka.datasets.load("digits").test_images[0, ..., 0]
    Image.fromarray(np.round(255 * digit).astype(np.uint8)).save(folder / "digit.png")
    clients = [sys.executable, "-P", "-m", "keras_acet.export.clients"]
    printed = run(*clients, "onnx", "--model", version / "model.onnx", "digit.png", cwd=folder)
    assert printed.startswith("digit.png: ") and "confidence" in printed
    assert json.loads((version / "verification.json").read_text(encoding="utf-8"))["artifacts"]


def test_the_files_for_servers_and_the_page_are_there():
    package = pathlib.Path(ka.export.__file__).parent
    for name in ("serving/models.config", "serving/kubernetes/deployment.yaml", "demo/index.html", "demo/app.js"):
        assert (package / name).is_file()
    assert (pathlib.Path(ka.__file__).parent / "py.typed").is_file()
