"""The one way this package starts ONNX Runtime.

`export/clients` and `export/fresh.py` have to run without the package, so they start a session themselves.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def onnx_session(model: str | bytes) -> "onnxruntime.InferenceSession":
    """Returns an ONNX Runtime session on the CPU.

    Args:
        model: Path of an ONNX file, or its content.

    Raises:
        ImportError: If ONNX Runtime is missing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of an input that may be left out
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
