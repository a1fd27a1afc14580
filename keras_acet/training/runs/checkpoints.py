"""The checkpoint file: all variables of a model and its optimizer, with a SHA-256 over them; no pickle."""

import json
import pathlib
import re
from typing import Any

import keras
import numpy as np

from keras_acet.files import sha256, whole_file


class OtherModelError(ValueError):
    """A checkpoint that is whole, but of another model."""


def state(model: keras.Model) -> list[tuple[str, Any]]:
    """All variables that decide how training goes on, as `(path, variable)`; each once."""
    variables: dict[int, tuple[str, Any]] = {}
    for variable in [*model.variables, *model.optimizer.variables]:
        variables.setdefault(id(variable), (variable.path, variable))
    return list(variables.values())


def _to_numpy(variable):
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    # bfloat16 is no type of numpy's own; float32 holds it exactly.
    return array if array.dtype.isbuiltin else array.astype(np.float32)


def write_checkpoint(path: pathlib.Path, variables: list[tuple[str, Any]], meta: dict[str, Any]) -> None:
    """Writes the arrays of `variables` and `meta`, a dict that the `json` module can write, and a SHA-256 over both."""
    arrays = [_to_numpy(variable) for _, variable in variables]
    text = json.dumps({**meta, "paths": [path for path, _ in variables]})
    packed = np.frombuffer(text.encode(), np.uint8)
    entries = {f"{index:05d}": array for index, array in enumerate(arrays)}
    digest = np.array(_digest([packed, *arrays]))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, meta=packed, sha256=digest, **entries)


def read_checkpoint(path: pathlib.Path, variables: list[tuple[str, Any]]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns the meta data and arrays of a checkpoint that is whole and fits `variables`, or raises."""
    # np.load leaves a damaged file open that it opened itself.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        meta = file["meta"]
        arrays = [file[name] for name in sorted(set(file.files) - {"meta", "sha256"})]
        digest = str(file["sha256"])
    if _digest([meta, *arrays]) != digest:
        raise ValueError("its contents do not match its SHA-256")
    meta = json.loads(meta.tobytes())
    arrays = _in_order(arrays, [_path_now(path) for path in meta["paths"]], [path for path, _ in variables])
    for (name, variable), array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            raise OtherModelError(f"{name} has shape {tuple(variable.shape)} here and {array.shape} there")
    return meta, arrays


def _path_now(path):
    """The path that a variable has now: the pool of noise images was a part of the persistent adversary once."""
    return re.sub(r"\bpersistent_adversary(_\d+)?/", r"confidence_penalty\1/noise_pool\1/", path)


def _in_order(arrays, paths_there, paths_here):
    """The arrays of `paths_there`, one each, in the order of `paths_here`; of equal paths the first goes first."""
    if sorted(paths_there) != sorted(paths_here):
        if [_without_number(path) for path in paths_there] == [_without_number(path) for path in paths_here]:
            return arrays
        other = sorted(set(paths_there) ^ set(paths_here))
        raise OtherModelError(f"it is of another model: {', '.join(other[:3]) or 'the number of variables'} differs")
    by_path = {}
    for path, array in zip(paths_there, arrays, strict=True):
        by_path.setdefault(path, []).append(array)
    return [by_path[path].pop(0) for path in paths_here]


def _without_number(path):
    """A path without the numbers that Keras gives to names as a process goes on, such as `seed_generator_3`."""
    return re.sub(r"_\d+(?=[_/]|$)", "", path)


def _digest(arrays):
    return sha256(*(part for array in arrays for part in (f"{array.dtype.str}{array.shape}", array)))


def epoch_of(path: pathlib.Path) -> int | None:
    match = re.fullmatch(r"epoch-(\d+)\.npz", path.name)
    return int(match[1]) if match else None
