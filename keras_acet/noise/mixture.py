"""Several out-distributions as one."""

import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet.noise.base import Draw, Noise


@keras.saving.register_keras_serializable("keras_acet")
class Mixture(Noise):
    """An out-distribution whose images each come from one of several others, with a probability for each.

    Of a batch of `n` images the part with weight `w` makes `floor(n w / sum(weights))`, which images is random; the few
    that are left over are each given to a part by chance, so that the expected number is `n w / sum(weights)` for a
    batch of any size. `out[i]` is made from `images[i]`.

    Args:
        parts: Noise objects, such as `[PaperNoise(), UniformNoise()]`.
        weights: One positive number for each part; only their ratios matter. Default: all the same.
        seed: int or `keras.random.SeedGenerator` for the choice of the part; each part has a seed of its own. None
            draws one from Keras' global generator.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.

    Attributes:
        shares: The weights divided by their sum.

    Raises:
        TypeError: If `parts` are no noise objects, or `weights` no numbers.
        ValueError: If there is no part, not one weight for each, or a weight is not positive.

    Example: `draw` says which part each image comes from.

    >>> from keras_acet.noise import ConstantNoise, InvertedNoise
    >>> mixture = Mixture([ConstantNoise(seed=0), InvertedNoise()], weights=[1, 3], seed=0)
    >>> mixture.sources
    ('constant', 'inverted')
    >>> sorted(mixture.draw(tf.zeros((4, 2, 2, 1))).source.numpy().tolist())
    [0, 1, 1, 1]
    """

    def __init__(
        self,
        parts: Sequence[Noise],
        *,
        weights: Sequence[float] | None = None,
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        self.parts = _check_parts(parts)
        self._weights = _check_weights([1.0] * len(self.parts) if weights is None else weights, len(self.parts))
        self.shares = tuple(weight / sum(self._weights) for weight in self._weights)
        self.takes_vectors = all(part.takes_vectors for part in self.parts)
        self.has_content = any(part.has_content for part in self.parts)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source for part in self.parts for source in part.sources))

    def build(self, image_shape: tuple[int | None, ...]) -> None:
        for part in self.parts:
            if not part.built:
                part.build(image_shape)
        super().build(image_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.draw(images).images

    def draw(self, images: tf.Tensor) -> Draw:
        images = tf.convert_to_tensor(images)
        num_images = tf.shape(images)[0]
        order = tf.argsort(keras.random.uniform((num_images,), seed=self.seed_generator))
        shuffled = tf.gather(images, order)
        expected = tf.cast(num_images, tf.float32) * tf.constant(self.shares)
        counts = tf.cast(expected, tf.int32)
        num_spare = num_images - tf.reduce_sum(counts)
        spare = shuffled[num_images - num_spare :]
        # Sizes depend on the batch size alone, as a compiler needs it: every part makes the spare images, one is taken.
        made, spares, start = [], [], tf.constant(0)
        for part, count in zip(self.parts, tf.unstack(counts), strict=True):
            drawn = self._draw_from(part, tf.concat([shuffled[start : start + count], spare], 0))
            made.append(Draw(*(values[:count] for values in drawn)))
            spares.append(Draw(*(values[count:] for values in drawn)))
            start += count
        chosen = self._choose(expected - tf.floor(expected), num_spare)
        made.append(
            Draw(*(tf.gather(tf.stack(values, 1), chosen, batch_dims=1) for values in zip(*spares, strict=True)))
        )
        place = tf.argsort(order)
        drawn = Draw(*(tf.gather(tf.concat(values, 0), place) for values in zip(*made, strict=True)))
        return Draw(tf.ensure_shape(drawn.images, images.shape), drawn.source)

    def _draw_from(self, part: Noise, images: tf.Tensor) -> Draw:
        """Draws from a part, at random places in its batch: what it does may depend on them, as in `PaperNoise`."""
        size = tf.maximum(tf.shape(images)[0], 1)
        shift = keras.random.randint((), 0, size, seed=self.seed_generator)
        drawn = part.draw(tf.roll(images, shift, 0))
        here = tf.constant([self.sources.index(source) for source in part.sources])
        return Draw(tf.roll(drawn.images, -shift, 0), tf.roll(tf.gather(here, drawn.source), -shift, 0))

    def _choose(self, chances: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Draws `count` parts, each with a probability that is proportional to its chance."""
        ends = tf.cumsum(chances)
        place = keras.random.uniform((count,), seed=self.seed_generator) * ends[-1]
        chosen = tf.reduce_sum(tf.cast(place[:, None] >= ends, tf.int32), axis=1)
        return tf.minimum(chosen, len(self.parts) - 1)

    def get_config(self) -> dict[str, Any]:
        parts = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {"parts": parts, "weights": list(self._weights), **super().get_config()}


def _check_parts(parts: Any) -> list[Noise]:
    expected = "`parts` must be a list of noise objects, such as [PaperNoise(), UniformNoise()]"
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise TypeError(f"{expected}. Received: parts={parts!r}.")
    for part in parts:
        if not isinstance(part, Noise):
            hint = f" Write {part.__name__}()." if isinstance(part, type) else ""
            raise TypeError(f"{expected}. Received: {part!r} among them.{hint}")
    if not parts:
        raise ValueError(f"{expected}. Received: an empty list.")
    return list(parts)


def _check_weights(weights: Any, count: int) -> tuple[float, ...]:
    expected = f"`weights` must be {count} positive numbers, one for each part"
    is_sequence = isinstance(weights, Sequence) and not isinstance(weights, str)
    if not is_sequence or not all(isinstance(one, numbers.Real) and not isinstance(one, bool) for one in weights):
        raise TypeError(f"{expected}. Received: weights={weights!r}.")
    if len(weights) != count or not all(0 < float(one) < float("inf") for one in weights):
        raise ValueError(f"{expected}. Received: weights={list(weights)}.")
    return tuple(float(one) for one in weights)
