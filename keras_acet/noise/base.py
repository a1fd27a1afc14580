"""The base class of all kinds of noise."""

from typing import ClassVar

import keras
import tensorflow as tf

from keras_acet._shared import SeededLayer


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

    takes_vectors: ClassVar[bool] = False
    has_content: ClassVar[bool] = False

    def __init__(self, *, seed: int | keras.random.SeedGenerator | None = None, name: str | None = None):
        super().__init__(seed=seed, name=name)
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define `call(images)`.")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
