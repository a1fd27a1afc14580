"""The mixture of images without content that is taken where nothing else is said."""

from typing import Any

import keras

from keras_acet.noise._draws import seeds
from keras_acet.noise.constant import ConstantNoise
from keras_acet.noise.gaussian import GaussianNoise
from keras_acet.noise.gradient import GradientNoise
from keras_acet.noise.mixture import Mixture
from keras_acet.noise.mosaic import MosaicNoise
from keras_acet.noise.paper import PaperNoise
from keras_acet.noise.permuted import PermutedNoise
from keras_acet.noise.uniform import UniformNoise


@keras.saving.register_keras_serializable("keras_acet")
class Outliers(Mixture):
    """A mixture of about half of the kinds of images without content; the others stay unseen.

    40 % are the paper's noise with one sigma from U[0, 2.5] for each image, and 10 % each are uniform, gaussian,
    constant, gradient, mosaic and permuted images. What was trained with it can be tested on the kinds that it has not
    seen: `noise.kinds_without_content()` without `Outliers().sources`.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, values in `[0, 1]`.

    Example:

    >>> Outliers(seed=0).sources
    ('paper', 'uniform', 'gaussian', 'constant', 'gradient', 'mosaic', 'permuted')
    """

    def __init__(self, *, seed: int | keras.random.SeedGenerator | None = None, name: str | None = None):
        first, *others = seeds(seed, 7)
        parts = [PaperNoise(min_sigma=0.0, max_sigma=2.5, sigma_per="image", seed=first)]
        kinds = (UniformNoise, GaussianNoise, ConstantNoise, GradientNoise, MosaicNoise, PermutedNoise)
        parts += [kind(seed=one) for kind, one in zip(kinds, others, strict=True)]
        super().__init__(parts, weights=[0.4] + 6 * [0.1], seed=seed, name=name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: config[name] for name in ("seed", "name")}
