"""Training: the Keras models that add a penalty or train a detector, recipes, and the directories of runs.

Each name is loaded when it is first used: the command line reads recipes without TensorFlow.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    # isort: off
    from keras_acet.training import runs
    from keras_acet.training.detector_model import DetectorModel
    from keras_acet.training.loop import PreparedRun
    from keras_acet.training.loop import TrainingResult
    from keras_acet.training.loop import make_deterministic
    from keras_acet.training.loop import prepare
    from keras_acet.training.loop import train
    from keras_acet.training.model import ACETModel
    from keras_acet.training.recipe import Recipe
    # isort: on

__all__ = [
    "ACETModel",
    "DetectorModel",
    "PreparedRun",
    "Recipe",
    "TrainingResult",
    "make_deterministic",
    "prepare",
    "runs",
    "train",
]
_PLACES = {
    "ACETModel": "model",
    "DetectorModel": "detector_model",
    "Recipe": "recipe",
    "runs": "runs",
}  # the others: loop


def __getattr__(name: str) -> typing.Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"keras_acet.training.{_PLACES.get(name, 'loop')}")
    value = module if name == "runs" else getattr(module, name)
    globals()[name] = value
    return value
