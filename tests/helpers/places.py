"""Where the tests find what does not lie beside them."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]  # of the checkout
SHARED = ROOT.parent / "shared"  # real data sets and the authors' checkpoints; not part of the project
DATA = SHARED / "tfds"


def needs_data(name):
    """Mark that skips a test where a real data set is absent."""
    return pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"needs {name} in ../shared/tfds")
