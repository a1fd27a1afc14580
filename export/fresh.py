"""Runs one artifact in a process of its own, which must do without keras_acet: `python -P fresh.py REQUEST.json`.

The request holds the source of a function `load(path)` (see `artifacts.Artifact`), the path, an `.npz` of inputs and
the calls to make; the outputs go into another `.npz`. It is run as a file, so that nothing of the package it lies in
is imported.
"""

import json
import pathlib
import sys
from typing import Any

import numpy as np


class _Absent:
    """Makes packages look as if they were not installed."""

    def __init__(self, *names):
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self._names:
            raise ImportError(f"{name} was imported in a process that must do without.")


def main(request: dict[str, Any]) -> None:
    sys.meta_path.insert(0, _Absent("keras_acet", "export"))
    names: dict[str, Any] = {}
    # Annotations are left alone: they may name what only the artifact's own module knows.
    exec(compile(f"from __future__ import annotations\n{request['source']}", "load", "exec"), names)
    with np.load(request["inputs"], allow_pickle=False) as archive:
        inputs = dict(archive)
    run = names[request["function"]](request["path"])
    results: dict[str, Any] = {}
    for i, call in enumerate(request["calls"]):
        outputs = run(call["signature"], {name: inputs[key] for name, key in call["inputs"].items()})
        results |= {f"{i}/{name}": array for name, array in outputs.items()}
    np.savez(request["outputs"], **results)


if __name__ == "__main__":
    try:
        main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    except Exception as error:  # in one line: TensorFlow's messages have many, and the caller shows the last one
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
