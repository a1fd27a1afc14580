"""The Keras model whose `train_step` adds a penalty."""

from typing import Any

import keras
import tensorflow as tf

from keras_acet.penalties import Penalty, Sample
from keras_acet.penalties.deprecated import config_with_penalty, penalty_of_old_arguments


@keras.saving.register_keras_serializable("keras_acet")
class ACETModel(keras.Model):
    """Trains a classifier with a penalty: plain training, CEDA or ACET, as the penalty says.

    For a batch of `n` clean examples and the `m` extra ones of the penalty, one joint forward pass in training mode
    gives the loss

    `(sum_i CE(x_i, y_i) + weight * sum_j penalty_j) / (n + m) + regularisation`.

    | method | penalty |
    | --- | --- |
    | plain | None: the network's own training, unchanged |
    | CEDA | `ConfidencePenalty(noise)` |
    | ACET | `ConfidencePenalty(noise, attack)` |
    | ours | `ConfidencePenalty(noise, attack, pool=NoisePool())` |

    Everything else is Keras: `compile`, `fit`, callbacks, `validation_data`, `class_weight` and `sample_weight` (both
    weigh the clean examples), `steps_per_execution`, `evaluate`, `predict`, `save`. Weight decay is a regularizer of
    the network's layers. `fit` reports, besides the usual: `cross_entropy` (clean examples with their weights, without
    regularisation) and what the penalty reports.

    Args:
        network: Any `keras.Model` from images in `[0, 1]` to logits of shape `(batch, num_classes)`.
        penalty: A `penalties.Penalty`, see the table; or None.
        deprecated: `adversary`, `penalty_weight` and `attack_precision`; pass a `penalty` with these arguments instead.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.
        training: Passed on to the network.

    Raises:
        TypeError: If `network` is not a `keras.Model` or `penalty` no penalty; in `fit`, if images are not of a float
            type.
        ValueError: If `network` ends in a softmax; in `fit`, if a `tf.distribute` strategy has more than one replica,
            which is not supported yet.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code.
    """

    def __init__(
        self,
        network: keras.Model,
        penalty: Penalty | None = None,
        *,
        name: str | None = None,
        dtype: Any = None,
        **deprecated: Any,
    ):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(network, keras.Model):
            raise TypeError(
                "`network` must be a keras.Model that maps images to logits. "
                f"Received: network={network!r} of type {type(network).__name__}."
            )
        if _ends_in_softmax(network):
            raise ValueError(
                "`network` must end in logits. Received: a network whose last layer applies a softmax. Leave it out "
                "(in keras.applications: classifier_activation=None)."
            )
        penalty = penalty_of_old_arguments(penalty, deprecated)
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(
                "`penalty` must be None or a penalty, an object such as penalties.ConfidencePenalty(noise, attack); "
                f"noise and attack go into it. Received: penalty={penalty!r} of type {type(penalty).__name__}."
            )
        self.network = network
        self.penalty = penalty
        self._cross_entropy = keras.metrics.Mean(name="cross_entropy")
        # A subclassed model does not tell its input shape; then Keras calls build() at the first batch, or on loading.
        if network.built and getattr(network, "input_shape", None) is not None:
            self.build(network.input_shape)

    def build(self, input_shape: Any) -> None:
        if not self.network.built:
            self.network.build(input_shape)
        if self.penalty is not None and not self.penalty.built:
            self.penalty.build(tuple(input_shape))
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        # None would let the first layer choose; those of preprocessing choose training mode, for all after them too.
        return self.network(images, training=bool(training))

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:
        """As `keras.Model.compile`; without a `loss` it is the cross-entropy of integer labels and logits."""
        if loss is None:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, data: Any) -> dict[str, Any]:
        _check_one_replica()
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images, step = _as_pixels(images), self.optimizer.iterations
        num_clean = tf.shape(images)[0]
        sample = Sample() if self.penalty is None else self.penalty.sample(images, self.network, step=step)

        with tf.GradientTape() as tape:
            joint = images if sample.images is None else tf.concat([images, sample.images], axis=0)
            logits = self(joint, training=True)
            clean_logits = logits[:num_clean]
            loss = clean_loss = self.compute_loss(images, labels, clean_logits, sample_weight, training=True)
            # The network's own losses, such as those of regularizers; compute_loss has already added them.
            regularisation = tf.add_n(self.losses) if self.losses else 0.0
            if self.penalty is not None:
                extra_logits = None if sample.images is None else logits[num_clean:]
                losses = self.penalty.loss(sample, extra_logits, self.network)
                loss = self.penalty.join(
                    clean_loss, losses, num_clean=num_clean, regularisation=regularisation, step=step
                )
            scaled_loss = self.optimizer.scale_loss(loss)

        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)

        self._cross_entropy.update_state(clean_loss - regularisation, sample_weight=num_clean)
        if self.penalty is not None:
            self.penalty.update_metrics(sample, losses)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=num_clean)
        return self.compute_metrics(images, labels, clean_logits, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        logs = super().test_step(data)
        of_training = [self._cross_entropy, *(self.penalty.metrics if self.penalty is not None else [])]
        return {name: value for name, value in logs.items() if name not in {metric.name for metric in of_training}}

    def save_own_variables(self, store: Any) -> None:
        self.__dict__.pop("adversary", None)  # see from_config: what is saved now has the new layout
        super().save_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "penalty": keras.saving.serialize_keras_object(self.penalty),
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ACETModel":
        is_old = "adversary" in config
        config = config_with_penalty(config) if is_old else dict(config)
        for key in ("network", "penalty", "dtype"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        model = cls(**config)
        pool = getattr(model.penalty, "pool", None)
        if is_old and pool is not None:
            # The variables of the pool lie under this name in the old file. Not through Keras' `__setattr__`, which
            # would make the pool a layer of the model's own.
            model.__dict__["adversary"] = pool
        return model


def _as_pixels(images: Any) -> tf.Tensor:
    images = tf.convert_to_tensor(images)
    if not images.dtype.is_floating:
        raise TypeError(
            f"Images must be floats in [0, 1]. Received: {images.dtype.name}. For 8-bit levels divide by 255."
        )
    return tf.cast(images, tf.float32)


def _check_one_replica() -> None:
    # The penalty would have to be divided by the number of replicas, as Keras does with its own losses, and each
    # replica would need noise of its own: mirrored seeds give all of them the same.
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas > 1:
        raise ValueError(
            f"ACETModel trains on one replica only so far. Received: a strategy with {num_replicas} of them."
        )


def _ends_in_softmax(network: keras.Model) -> bool:
    last = network
    while getattr(last, "outputs", None) and last.layers:  # the layers of a subclassed model are in no known order
        last = last.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
