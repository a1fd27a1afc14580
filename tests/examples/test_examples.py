"""The scripts in examples/ run and draw."""

import shutil
import subprocess
import sys

import keras
import pytest
from helpers.places import ROOT
from PIL import Image

from keras_acet import networks

EXAMPLES = ROOT / "examples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the folder examples, which no wheel has"),
]


def run_example(name, arguments, cwd):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_two_moons(train, tmp_path):
    arguments = ["--dataset=moons", "--method=plain", "--epochs=2", "--num_noise=8"]
    assert train(arguments, tmp_path).code == 0
    shutil.copytree(tmp_path / "runs/moons-plain", tmp_path / "runs/other")
    run_example("two_moons.py", ["--run_dir=runs/moons-plain,runs/other", "--output=two.png"], tmp_path)
    assert (tmp_path / "two.png").stat().st_size < 200_000
    with Image.open(tmp_path / "two.png") as image:
        assert image.size[0] == 1025  # five columns
        assert len(image.convert("RGB").getcolors()) > 50


def test_kinds_of_noise(tmp_path):
    assert run_example("kinds_of_noise.py", [], tmp_path).startswith("Drawn: kinds_of_noise.png")
    with Image.open(tmp_path / "kinds_of_noise.png") as image:
        assert image.size == (720, 384)
        assert len(image.convert("RGB").getcolors(2**24)) > 1000


def test_rbf(tmp_path):
    printed = run_example("rbf.py", [], tmp_path)
    errors = {line.partition(":")[0]: float(line.split()[-1].rstrip("%")) for line in printed.splitlines()[:4]}
    assert errors.keys() == {"moons, mlp", "moons, rbf", "digits, mlp", "digits, rbf"}
    assert max(errors.values()) < 5
    with Image.open(tmp_path / "rbf.png") as image:
        assert image.size == (770, 704)


def test_rays(tmp_path):
    keras.utils.set_random_seed(0)
    networks.mlp((4, 4, 1), 3, hidden=(20, 20), name="first").save(tmp_path / "first.keras")
    networks.lenet((8, 8, 1), 3, name="second").save(tmp_path / "second.keras")
    arguments = ["--model=first.keras,second.keras", "--num_directions=7", "--output=drawn.png"]
    lines = [line for line in run_example("rays.py", arguments, tmp_path).splitlines() if line]
    assert lines.pop() == "Drawn: drawn.png"
    names = [f"{name}, {kind}" for kind in ("uniform images", "random directions") for name in ("first", "second")]
    assert [line.partition(":")[0] for line in lines] == names
    assert all(": confidence tends to 1 on " in line and " of 7 rays" in line for line in lines)
    with Image.open(tmp_path / "drawn.png") as image:
        assert len(image.convert("RGB").getcolors(2**24)) > 50
