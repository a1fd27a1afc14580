"""The base class of all kinds of noise."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_acet import _keras_settings
from keras_acet._shared import SeededLayer


class Draw(NamedTuple):
    """A batch of an out-distribution.

    Attributes:
        images: float32 tensor of shape `(batch, ...)`, values in `[0, 1]`.
        source: int32 tensor of shape `(batch,)`: which of the `sources` of the noise each image comes from.
    """

    images: tf.Tensor
    source: tf.Tensor


class Noise(SeededLayer):
    """An out-distribution p_out: from a batch of images to a batch of images without a class.

    A kind of your own is a subclass that defines `call` and is registered with Keras, so that it is saved with the
    model that owns it. Arguments of its `__init__` are kept as attributes of the same name and returned in
    `get_config`. Random numbers come from `self.seed_generator`, whose state a run's checkpoints hold.

    Args:
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.

    Returns:
        float32 tensor of the shape of `images`, values in `[0, 1]`.

    Attributes:
        takes_vectors: Whether the images may be of any shape; if not, they need height, width and channels.
        has_content: Whether the images show something, as letters and photographs do.

    Example:

    >>> @keras.saving.register_keras_serializable("my_package")
    ... class GrayNoise(Noise):
    ...     takes_vectors = True
    ...
    ...     def call(self, images):
    ...         return tf.fill(tf.shape(images), 0.5)
    >>> GrayNoise()(tf.zeros((1, 3))).numpy()
    array([[0.5, 0.5, 0.5]], dtype=float32)
    """

    takes_vectors: bool = False
    has_content: bool = False

    def __init__(self, *, seed: int | keras.random.SeedGenerator | None = None, name: str | None = None):
        super().__init__(seed=seed, name=name)
        self.built = True

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of what the images come from: of a mixture all of its parts, else the kind itself.

        A kind of this package has the name that it has on the command line, one of your own that of its class.
        """
        package, _, module = type(self).__module__.rpartition(".")
        return (module if package == "keras_acet.noise" else type(self).__name__,)

    def draw(self, images: tf.Tensor) -> Draw:
        """Makes noise and says which of `sources` each image comes from; `images` as for a call."""
        drawn = self(images)
        return Draw(drawn, tf.zeros(tf.shape(drawn)[:1], tf.int32))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _keras_settings.standard():  # Keras' random numbers are of its floatx
            return super().__call__(*args, **kwargs)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define `call(images)`.")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
