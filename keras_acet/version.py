"""The version of this package, in this one place, and the versions of the packages that results depend on."""

import contextlib
import importlib.metadata
import platform

__version__ = "0.1.0"

_PACKAGES = ("keras_acet", "keras", "numpy", "tensorflow", "onnx", "onnxruntime", "tf2onnx")


def installed_versions() -> dict[str, str]:
    """Returns a dict from "python" and each package that is installed to its version."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
