"""The deployable classifier: guard, network, temperature, decision, with named outputs."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from keras_acet._prediction import in_batches, traced
from keras_acet._shared import where_images
from keras_acet.scores import MaxSoftmax, Score
from keras_acet.scores.base import Network

Output = TypeVar("Output", tf.Tensor, np.ndarray)
OUTPUTS = ("label", "confidence", "probabilities", "logits", "accepted")  # a score besides the confidence adds "score"
BOX_TOLERANCE = 1e-3
LARGEST_LOGITS = 1e30  # their sum of sizes; divided by any temperature from 1e-3 on it is still finite


class ServingModel:
    """A network together with the steps from its logits to a decision.

    For each image `x` on its own:

    1. **Guard.** `x` is usable if its pixels exceed [0, 1] by no more than `sum_i |x_i - clip(x_i, 0, 1)| <=
       BOX_TOLERANCE`, which NaN and infinity never do. Outside the box no ReLU network can be trusted (Theorem 3.1):
       its confidence tends to 1 along almost every ray. The tolerance, a quarter of an 8-bit level for a single pixel,
       forgives rounding; the network sees `clip(x, 0, 1)`, nothing else.
    2. **Network.** `z = network(clip(x, 0, 1))`. An image whose logits are not finite, or beyond 1e30, is not usable.
    3. **Temperature.** `p = softmax(z / temperature)`.
    4. **Decision.** Accepted if usable and `score(z) >= threshold`; for the score `MaxSoftmax` that is the confidence,
       `max_k p_k >= threshold`.

    An image that is not usable gets logits 0, so that every probability is 1/K and the label 0 means nothing. The other
    images of the batch are not affected.

    Args:
        network: `keras.Model`, or a function that TensorFlow can trace, from a float32 tensor of images
            `(batch, *image_shape)`, values in [0, 1], to logits `(batch, num_classes)`.
        image_shape: Tuple such as `(28, 28, 1)`.
        num_classes: int, at least 2.
        temperature: float in [1e-3, 1e3].
        threshold: float, for calls that name none, compared with the score in float32; None accepts every usable image.
        score: `scores.Score` that decides; None for `scores.MaxSoftmax()`, whose temperature is that of the model.

    Call arguments:
        images: float32 tensor `(batch, *image_shape)`, any values.
        temperature, threshold: None, or float32 tensors instead of the model's own: scalars; the threshold may have
            shape `(1,)` or `(batch,)` as well.

    Attributes:
        outputs: Names of the outputs.

    Returns:
        dict: "label", int64 `(batch,)`; "confidence", float32 `(batch,)` in [1/K, 1]; "probabilities" and "logits",
        float32 `(batch, num_classes)`; "accepted", bool `(batch,)`. With another score than `MaxSoftmax` also "score",
        float32 `(batch,)`, which means nothing where the image is not usable.

    Raises:
        TypeError: If `score` is not a `Score`.
        ValueError: If an argument is out of its range.

    Example: logits are the pixels times 2; the second image has a pixel outside the box, the third one is not finite.

    >>> model = ServingModel(lambda x: 2 * x, image_shape=(2,), num_classes=2, threshold=0.7)
    >>> outputs = model(tf.constant([[1.0, 0.0], [1.1, 0.0], [1.0, np.nan]]))
    >>> outputs["confidence"].numpy().round(3), outputs["accepted"].numpy()
    (array([0.881, 0.5  , 0.5  ], dtype=float32), array([ True, False, False]))

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, Theorem 3.1, is the reason for the guard, which is ours.
    """

    def __init__(
        self,
        network: Network,
        *,
        image_shape: tuple[int, ...],
        num_classes: int,
        temperature: float = 1.0,
        threshold: float | None = None,
        score: Score | None = None,
    ) -> None:
        score = MaxSoftmax() if score is None else score
        if not isinstance(score, Score):
            raise TypeError(f"`score` must be a `scores.Score`. Received: score={score!r}.")
        threshold = score.accepts_all if threshold is None else threshold
        if num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2. Received: num_classes={num_classes}.")
        if not 1e-3 <= temperature <= 1e3:  # false for nan
            raise ValueError(
                f"`temperature` must be in [0.001, 1000]. Received: temperature={temperature}. Without one it is 1."
            )
        if np.isnan(threshold):
            raise ValueError(
                "`threshold` must be a number. Received: threshold=nan. To accept every usable image use None."
            )
        self.network: Any = network
        self.image_shape = tuple(image_shape)
        self.num_classes = num_classes
        self.temperature = float(temperature)
        self.threshold = float(threshold)
        self.score = score
        self.outputs = OUTPUTS if isinstance(score, MaxSoftmax) else (*OUTPUTS, "score")
        self._traced: tf.types.experimental.ConcreteFunction | None = None

    def __call__(
        self, images: tf.Tensor, *, temperature: tf.Tensor | None = None, threshold: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        temperature = tf.constant(self.temperature) if temperature is None else temperature
        threshold = tf.broadcast_to(self.threshold if threshold is None else threshold, tf.shape(images)[:1])
        # oneDNN's convolution fails for a batch of none (TensorFlow 2.21): it gets an image, taken away again below.
        count = tf.shape(images)[0]
        filling = tf.zeros(tf.concat([[tf.cast(count == 0, tf.int32)], self.image_shape], axis=0))
        images = tf.ensure_shape(tf.concat([images, filling], axis=0), (None, *self.image_shape))
        inside_box = tf.clip_by_value(images, 0.0, 1.0)
        # A sum, because NaN goes through it everywhere; a maximum may lose it.
        excess = tf.reduce_sum(tf.abs(images - inside_box), axis=list(range(1, images.shape.rank)))
        logits, observed = self.score.observe(self.network)(inside_box)
        usable = (excess <= BOX_TOLERANCE) & (tf.reduce_sum(tf.abs(logits), axis=1) <= LARGEST_LOGITS)
        logits = tf.where(usable[:, None], logits, 0.0)
        probabilities = tf.nn.softmax(logits / temperature)
        confidence = tf.reduce_max(probabilities, axis=1)
        outputs = {
            "label": tf.argmax(logits, axis=1, output_type=tf.int64),
            "confidence": confidence,
            "probabilities": probabilities,
            "logits": logits,
        }
        if "score" in self.outputs:
            outputs["score"] = self.score(where_images(usable, observed, tf.zeros_like(observed)))
        outputs = {name: tensor[:count] for name, tensor in outputs.items()}
        return {**outputs, "accepted": usable[:count] & (deciding(outputs) >= threshold)}

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the outputs of all images, in batches.

        Args:
            images: Array of shape `(n, *image_shape)`: float, or uint8, which is divided by 255.

        Returns:
            dict of arrays, as a call gives it.
        """
        images = np.asarray(images)
        if self._traced is None:
            self._traced = traced(self, images)
        return in_batches(self._traced, images)


def deciding(outputs: Mapping[str, Output]) -> Output:
    """Returns what a threshold is compared with, of the outputs of a `ServingModel`: the score, or the confidence."""
    return outputs.get("score", outputs["confidence"])
