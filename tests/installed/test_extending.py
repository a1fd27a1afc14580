"""One object of each seam from outside the package, in at most 40 lines each, from a folder away from any checkout."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from helpers.places import ROOT

pytestmark = pytest.mark.installed
EXAMPLES = sorted((ROOT / "examples" / "extending").glob("*.py"))
SAYS = {  # what each example prints
    "own_artifact": r"Verified: export/own/1",
    "own_data_set": r"'stripes': images \(12, 12, 1\)",
    "own_measurement": r"mirrored, axis 2 +355 ",
    "own_penalty": r"KL divergence on noise: 0\.\d+, then 0\.0\d+",
    "own_score": r"worst-case noise .*(.|\n)*Verified: export/own/1",
}


def test_there_is_one_of_each():
    assert [path.stem for path in EXAMPLES] == sorted(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_object_of_ones_own(path, tmp_path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    shutil.copy(path, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, path.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[path.stem], done.stdout), done.stdout
    assert not (pathlib.Path(tmp_path) / "keras_acet").exists()
