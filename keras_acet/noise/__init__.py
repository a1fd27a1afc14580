"""The out-distribution p_out: objects that turn a batch of images into a batch of images without a class.

Each kind of noise has a file of this folder, whose name is its name on the command line, and a line below for type
checkers. A kind of your own is a subclass of `Noise`; use it wherever one of these can be used. Each is a Keras layer,
so that its arguments are saved with the model that owns it, and the checkpoints of a run hold the state of its random
generator. `Mixture` and `ImageSet` are made of more than a seed.

Nothing here is loaded before its first use, so that `names` answers without TensorFlow.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keras_acet._checks import did_you_mean

if TYPE_CHECKING:
    # isort: off
    from keras_acet.noise.almost_black import AlmostBlackNoise as AlmostBlackNoise
    from keras_acet.noise.base import Draw as Draw
    from keras_acet.noise.base import Noise as Noise
    from keras_acet.noise.blobs import BlobsNoise as BlobsNoise
    from keras_acet.noise.checkerboard import CheckerboardNoise as CheckerboardNoise
    from keras_acet.noise.constant import ConstantNoise as ConstantNoise
    from keras_acet.noise.gaussian import GaussianNoise as GaussianNoise
    from keras_acet.noise.gradient import GradientNoise as GradientNoise
    from keras_acet.noise.image_set import ImageSet as ImageSet
    from keras_acet.noise.inverted import InvertedNoise as InvertedNoise
    from keras_acet.noise.letters import Letters as Letters
    from keras_acet.noise.letters import letters_like as letters_like
    from keras_acet.noise.low_contrast import LowContrastNoise as LowContrastNoise
    from keras_acet.noise.mixture import Mixture as Mixture
    from keras_acet.noise.mosaic import MosaicNoise as MosaicNoise
    from keras_acet.noise.operations import gaussian_blur as gaussian_blur
    from keras_acet.noise.operations import permute_pixels as permute_pixels
    from keras_acet.noise.operations import rescale_range as rescale_range
    from keras_acet.noise.outliers import Outliers as Outliers
    from keras_acet.noise.paper import PaperNoise as PaperNoise
    from keras_acet.noise.permuted import PermutedNoise as PermutedNoise
    from keras_acet.noise.power_law import PowerLawNoise as PowerLawNoise
    from keras_acet.noise.salt_and_pepper import SaltAndPepperNoise as SaltAndPepperNoise
    from keras_acet.noise.shuffled_patches import ShuffledPatchesNoise as ShuffledPatchesNoise
    from keras_acet.noise.stripes import StripesNoise as StripesNoise
    from keras_acet.noise.uniform import UniformNoise as UniformNoise
    # isort: on

_NO_KINDS = ("base", "image_set", "mixture", "operations")  # what needs more than a seed, and what all have in common


def names() -> tuple[str, ...]:
    """Lists the kinds of noise of this package that a name is enough for, sorted.

    >>> names()[:4]
    ('almost_black', 'blobs', 'checkerboard', 'constant')
    """
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(sorted(name for name in modules if not name.startswith("_") and name not in _NO_KINDS))


def kind(name: str) -> "type[Noise]":
    """Looks up the class of a kind of noise.

    Raises:
        ValueError: If there is no kind of this name.

    Example:

    >>> kind("uniform").takes_vectors
    True
    """
    if name not in names():
        raise ValueError(f"The noise must be one of {names()}. Received: {name!r}.{did_you_mean(name, names())}")
    from keras_acet.noise.base import Noise

    module = importlib.import_module(f"keras_acet.noise.{name}")
    classes = (value for value in _defined_in(module).values() if isinstance(value, type) and issubclass(value, Noise))
    (noise_class,) = classes
    return noise_class


def kinds_without_content() -> tuple[str, ...]:
    """Lists the kinds of images that show nothing, sorted: all of `names()` but letters and mixtures.

    >>> len(kinds_without_content())
    16
    """
    from keras_acet.noise.mixture import Mixture

    kinds = {name: kind(name) for name in names()}
    return tuple(name for name, one in kinds.items() if not one.has_content and not issubclass(one, Mixture))


def build(name: str, *, seed: Any = None, settings: Mapping[str, Any] = MappingProxyType({})) -> "Noise":
    """Makes a noise by the name of its kind.

    Args:
        name: One of `names()`.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.
        settings: Name -> value, such as all settings of a run; those are taken that are arguments of the class.

    Raises:
        ValueError: If there is no kind of this name, or a value is out of its range.

    Example:

    >>> build("paper", seed=0, settings={"min_sigma": 2.0, "epochs": 3}).min_sigma
    2.0
    """
    made_of = kind(name)
    arguments = inspect.signature(made_of).parameters.keys() - {"seed", "name"}
    return made_of(seed=seed, **{argument: settings[argument] for argument in arguments if argument in settings})


def _defined_in(module: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def _load() -> None:
    for module in (*_NO_KINDS, *names()):  # all of them, so that Keras knows every kind
        globals().update(_defined_in(importlib.import_module(f"keras_acet.noise.{module}")))


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        _load()
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    _load()
    return sorted(globals())
