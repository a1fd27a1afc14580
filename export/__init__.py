"""From a trained run to artifacts for TensorFlow Serving and ONNX Runtime that prove themselves.

The folder is installed as `keras_acet.export`; `python -m export` is its command line.
"""

__all__ = ["VerificationError", "export"]


def __getattr__(name):
    """Loads TensorFlow only when something is used: the command line answers `--help` without it."""
    if name in __all__:
        from . import stage

        return stage.export if name == "export" else stage.verification.VerificationError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
