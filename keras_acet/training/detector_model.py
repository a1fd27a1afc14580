"""The Keras model that trains a detector."""

from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from keras_acet.detectors import Detector, TrainingForm, probability_in
from keras_acet.detectors.base import pixel_box
from keras_acet.noise import Noise
from keras_acet.training.pixels import TakesPixels

Radius = float | Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable("keras_acet")
class DetectorModel(TakesPixels):
    """Trains a detector: images of the data are to be in, boxes around images without a class out.

    With the logit `g`, its upper bound `u` over the box of radius `epsilon` around the out-images `o`, within the pixel
    range, the loss of a step is

    `mean_i softplus(-g(x_i)) + weight * mean_j softplus(u(o_j, epsilon))`,

    the binary cross-entropy of `p_in = sigma(g)`. Labels are not looked at. Everything else is Keras: `compile`, `fit`,
    callbacks, `save`. `fit` reports `p_in`, the mean over the clean images, `p_in_bound`, that of the bound, and
    `radius`.

    Args:
        detector: `detectors.Detector` to begin with; or its `TrainingForm`.
        noise: `noise.Noise`, the out-distribution, called with the clean images of each batch.
        epsilon: Radius in pixel units, in [0, 1]: a number, or a schedule over `optimizer.iterations`. It has to begin
            at 0 and rise slowly, such as `schedules.Ramp(0.4, start=0.1 * steps, end=0.6 * steps)`: with the full
            radius from the start a detector takes everything for the same.
        weight: Factor of the second term, positive. It has to be there from the first step on: a detector that has
            only been shown images to accept accepts everything for ever.

    Raises:
        TypeError: If an argument is of another type; in `fit`, if images are not of a float type.
        ValueError: If a number is out of its range; in `fit`, if images exceed [0, 1], or a `tf.distribute` strategy
            has more than one replica.

    Source: Meinke, Bitterwolf, Hein, NeurIPS 2022 (ProoD). Differs:
        1. The plain cross-entropy; the authors' code shifts both logits by 1.
        2. The box is clipped to the pixel range, as it is where it counts.
    """

    def __init__(
        self,
        detector: Detector | TrainingForm,
        noise: Noise,
        *,
        epsilon: Radius,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        if isinstance(detector, Detector):
            detector = detector.training_form()
        if not isinstance(detector, TrainingForm):
            raise TypeError(
                "`detector` must be a detector, such as detectors.NegativeHead.build(image_shape). Received: "
                f"{type(detector).__name__}."
            )
        if not isinstance(noise, keras.layers.Layer):
            raise TypeError(
                f"`noise` must be an out-distribution, such as noise.PaperNoise(). Received: {type(noise).__name__}."
            )
        if not callable(epsilon) and not 0 <= epsilon <= 1:
            raise ValueError(
                f"`epsilon` must be in [0, 1], in pixel units. Received: epsilon={epsilon}. For 8-bit levels use 8/255."
            )
        if not 0 < weight < float("inf"):
            raise ValueError(f"`weight` must be positive and finite. Received: weight={weight}.")
        self.form = detector
        self.noise = noise
        self.epsilon = epsilon
        self.weight = weight
        self._means = [keras.metrics.Mean(name=name, dtype="float32") for name in ("p_in", "p_in_bound", "radius")]
        self.build((None, *detector.image_shape))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("epsilon", "noise", "weight") and getattr(self, "train_function", None) is not None:
            raise AttributeError(
                f"`{name}` is part of a step that is traced already. Received: {name}={value!r}. Call `compile` again "
                "first: then the step is traced anew."
            )
        super().__setattr__(name, value)

    def build(self, input_shape: Any) -> None:
        self.image_shape = (None, *tuple(input_shape)[1:])
        if not self.noise.built:
            self.noise.build(self.image_shape)
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.form(images)

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """As `keras.Model.compile`; the loss is the model's own.

        Raises:
            TypeError: If a loss is given.
        """
        if kwargs.get("loss") is not None:
            raise TypeError(f"`loss` must be left out: a detector has its own. Received: {kwargs['loss']!r}.")
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def train_step(self, data: Any) -> dict[str, Any]:
        num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if num_replicas > 1:  # as for ACETModel
            raise ValueError(
                f"DetectorModel trains on one replica only so far. Received: a strategy with {num_replicas} of them."
            )
        images, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = self.pixels(images)
        out = tf.stop_gradient(tf.cast(self.noise(images), tf.float32))
        step = self.optimizer.iterations
        radius = tf.cast(self.epsilon(step) if callable(self.epsilon) else self.epsilon, tf.float32)
        low, high = pixel_box(out, radius)
        with tf.GradientTape() as tape:
            logit = self.form(images)
            bound = self.form.upper_bound(low, high)
            losses = tf.nn.softplus(-logit)
            if sample_weight is not None:
                losses *= tf.reshape(tf.cast(sample_weight, tf.float32), tf.shape(losses))
            loss = tf.reduce_mean(losses) + self.weight * tf.reduce_mean(tf.nn.softplus(bound))
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        values = (tf.reduce_mean(probability_in(logit)), tf.reduce_mean(probability_in(bound)), radius)
        return self._logs(loss, values, tf.shape(images)[0])

    def test_step(self, data: Any) -> dict[str, Any]:
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        images = self.pixels(images)
        logit = self.form(images)
        count = tf.shape(images)[0]
        logs = self._logs(tf.reduce_mean(tf.nn.softplus(-logit)), (tf.reduce_mean(probability_in(logit)),), count)
        return {name: logs[name] for name in ("loss", "p_in")}

    def _logs(self, loss: tf.Tensor, values: Any, count: tf.Tensor) -> dict[str, Any]:
        for metric, value in zip(self._means, values, strict=False):
            metric.update_state(value, sample_weight=count)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=count)
        return {metric.name: metric.result() for metric in self.metrics}

    def detector(self) -> Detector:
        """Returns the detector with the weights as they are now, of plain Keras layers."""
        return self.form.trained()

    def get_config(self) -> dict[str, Any]:
        parts = {"detector": self.form, "noise": self.noise, "epsilon": self.epsilon}
        config = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**config, "weight": self.weight, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        for name in ("detector", "noise", "epsilon"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
