"""Exports a trained classifier to verified artifacts for TensorFlow Serving and ONNX Runtime.

The folder is installed as `keras_acet.export`; `python -m export` is its command line. TensorFlow is loaded when
something is used, so that `--help` and the clients answer without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # isort: off
    from .artifacts import Artifact as Artifact
    from .artifacts import Int8OnnxFile as Int8OnnxFile
    from .artifacts import OnnxFile as OnnxFile
    from .artifacts import SavedModel as SavedModel
    from .certificate import Property as Property
    from .certificate import write_certificate as write_certificate
    from .demo import write_demo as write_demo
    from .stage import export as export
    from .stage import export_model as export_model
    from .verification import VerificationError as VerificationError
    # isort: on

_PLACES = {
    "Artifact": "artifacts",
    "Int8OnnxFile": "artifacts",
    "OnnxFile": "artifacts",
    "Property": "certificate",
    "SavedModel": "artifacts",
    "VerificationError": "verification",
    "export": "stage",
    "export_model": "stage",
    "write_certificate": "certificate",
    "write_demo": "demo",
}
__all__ = [
    "Artifact",
    "Int8OnnxFile",
    "OnnxFile",
    "Property",
    "SavedModel",
    "VerificationError",
    "export",
    "export_model",
    "write_certificate",
    "write_demo",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
