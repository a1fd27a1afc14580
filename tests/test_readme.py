"""The README's own lines run as they stand."""

import contextlib
import io
import re

import pytest
from helpers.places import ROOT

README = ROOT / "README.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras 3.15 says so of every tf.data.Dataset
def test_the_library_in_six_lines():
    if not README.exists():
        pytest.skip("README.md is not beside the installed package")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    table = printed.getvalue()
    assert "digits (test)" in table
    assert "worst of 12 attacks, epsilon 0.3" in table
    assert re.search(r"photos +1000 ", table)
