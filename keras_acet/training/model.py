"""The Keras model whose `train_step` adds the confidence penalty."""

import keras
import tensorflow as tf

from keras_acet.attack_mode import PRECISIONS, attack_mode
from keras_acet.losses import log_max_confidence


@keras.saving.register_keras_serializable("keras_acet")
class ACETModel(keras.Model):
    """Trains a classifier to be unsure on noise: plain training, CEDA or ACET, as its adversary says.

    For a batch of `n` clean examples and the `m` noise images `u_j` of the adversary, one joint forward pass in
    training mode gives the loss

    `(sum_i CE(x_i, y_i) + penalty_weight * sum_j max_l log p_l(u_j)) / (n + m) + regularisation`.

    | method | adversary |
    | --- | --- |
    | plain | None: the network's own training, unchanged |
    | CEDA | `Adversary(noise)` |
    | ACET | `Adversary(noise, attack)` |
    | ours | `PersistentAdversary(noise, attack)` |

    Everything else is Keras: `compile`, `fit`, callbacks, `validation_data`, `class_weight` and `sample_weight` (both
    weigh the clean examples), `steps_per_execution`, `evaluate`, `predict`, `save`. Weight decay is the network's own
    business (a regularizer of its layers). `fit` reports, besides the usual: `cross_entropy` (clean examples with their
    weights, without regularisation), `penalty` (mean of `max_l log p_l` over the noise, in training mode),
    `noise_confidence` and `adversarial_confidence` (mean confidence on the noise before and after the attack, as the
    attack saw it).

    Args:
        network: Any `keras.Model` from images in `[0, 1]` to logits of shape `(batch, num_classes)`.
        adversary: See the table.
        penalty_weight: lambda in the paper, at least 0: a number, or a `LearningRateSchedule` over
            `optimizer.iterations`.
        attack_precision: `"float32"`, or `"bfloat16"` to let the network compute the attack's forward and backward
            passes in bfloat16 while weights, training pass and loss stay float32.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.
        training: Passed on to the network.

    Raises:
        TypeError: If `network` is not a `keras.Model` or `adversary` no adversary; in `fit`, if images are not of a
            float type, or the network cannot compute in `attack_precision`.
        ValueError: If `network` ends in a softmax, `penalty_weight` is negative or `attack_precision` not one of the
            two; in `fit`, if a `tf.distribute` strategy has more than one replica, which is not supported yet.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code. The attack runs before the tape opens
        and calls the network in inference mode, so that batch-norm averages stay; no gradient flows through it.
        Differs from the authors' code:
        1. Noise and attack run inside the traced step, on the device, instead of in feeds between session runs.
        2. The number of noise images may differ from that of the clean ones; each example weighs the same.
    """

    def __init__(
        self, network, adversary=None, *, penalty_weight=1.0, attack_precision="float32", name=None, dtype=None
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
        if adversary is not None and not hasattr(adversary, "sample"):
            raise TypeError(
                "`adversary` must be None, an `Adversary` or a `PersistentAdversary`; a noise goes into "
                f"`Adversary(noise)`. Received: adversary={adversary!r} of type {type(adversary).__name__}."
            )
        if isinstance(penalty_weight, (int, float)) and not penalty_weight >= 0:
            raise ValueError(f"`penalty_weight` must be at least 0. Received: penalty_weight={penalty_weight}.")
        if attack_precision not in PRECISIONS:
            raise ValueError(
                f"`attack_precision` must be one of {PRECISIONS}. Received: attack_precision={attack_precision!r}."
            )
        self.network = network
        self.adversary = adversary
        self.penalty_weight = penalty_weight
        self.attack_precision = attack_precision
        self._trackers = {"cross_entropy": keras.metrics.Mean(name="cross_entropy")}
        if adversary is not None:
            for metric in ("penalty", "noise_confidence", "adversarial_confidence"):
                self._trackers[metric] = keras.metrics.Mean(name=metric)
        # A subclassed model does not tell its input shape; then Keras calls build() at the first batch, or on loading.
        if network.built and getattr(network, "input_shape", None) is not None:
            self.build(network.input_shape)

    def build(self, input_shape):
        if not self.network.built:
            self.network.build(input_shape)
        if self.adversary is not None and not self.adversary.built:
            self.adversary.build(tuple(input_shape))
        self.built = True

    def call(self, images, training=None):
        return self.network(images, training=training)

    def compile(self, optimizer="adam", loss=None, **kwargs):
        """As `keras.Model.compile`; without a `loss` it is the cross-entropy of integer labels and logits."""
        if loss is None:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, data):
        _check_one_replica()
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = _as_pixels(images)
        noise = self._sample_noise(images)

        with tf.GradientTape() as tape:
            joint = images if noise is None else tf.concat([images, noise.images], axis=0)
            logits = self(joint, training=True)
            num_clean = tf.shape(images)[0]
            clean_logits, noise_logits = logits[:num_clean], logits[num_clean:]
            loss = clean_loss = self.compute_loss(images, labels, clean_logits, sample_weight, training=True)
            # What the network's own regularizers and the like add; compute_loss has them in already.
            extra_loss = tf.add_n(self.losses) if self.losses else 0.0
            if noise is not None:
                penalty = log_max_confidence(tf.cast(noise_logits, tf.float32))
                noise_loss = self._penalty_weight_now() * tf.reduce_mean(penalty) + extra_loss
                # Each example weighs the same; the shares sum to 1, so extra_loss counts once.
                clean_share = num_clean / (num_clean + tf.shape(penalty)[0])
                clean_share = tf.cast(clean_share, loss.dtype)
                loss = clean_share * clean_loss + (1 - clean_share) * noise_loss
            scaled_loss = self.optimizer.scale_loss(loss)

        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)

        self._trackers["cross_entropy"].update_state(clean_loss - extra_loss, sample_weight=num_clean)
        if noise is not None:
            confidence = tf.exp(penalty)
            self._trackers["penalty"].update_state(penalty)
            before = confidence if noise.clean_value is None else tf.exp(noise.clean_value)
            after = confidence if noise.value is None else tf.exp(noise.value)
            self._trackers["noise_confidence"].update_state(before)
            self._trackers["adversarial_confidence"].update_state(after)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=num_clean)
        return self.compute_metrics(images, labels, clean_logits, sample_weight=sample_weight)

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: value for name, value in logs.items() if name not in self._trackers}

    def _sample_noise(self, images):
        if self.adversary is None:
            return None

        def log_confidence(x):
            try:
                with attack_mode(self.network, precision=self.attack_precision):
                    logits = self.network(x, training=False)
            except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
                if self.attack_precision == "float32":
                    raise
                raise TypeError(
                    f"The network cannot compute in {self.attack_precision}; a layer of your own with float32 tensors "
                    f"inside is the usual reason. Give attack_precision='float32'. TensorFlow says: {error}"
                ) from error
            return log_max_confidence(tf.cast(logits, tf.float32))

        return self.adversary.sample(images, log_confidence)

    def _penalty_weight_now(self):
        if callable(self.penalty_weight):
            return tf.cast(self.penalty_weight(self.optimizer.iterations), tf.float32)
        return self.penalty_weight

    def get_config(self):
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "adversary": keras.saving.serialize_keras_object(self.adversary),
            "penalty_weight": keras.saving.serialize_keras_object(self.penalty_weight),
            "attack_precision": self.attack_precision,
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for key in ("network", "adversary", "penalty_weight", "dtype"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


def _as_pixels(images):
    images = tf.convert_to_tensor(images)
    if not images.dtype.is_floating:
        raise TypeError(
            f"Images must be floats in [0, 1]. Received: {images.dtype.name}. For 8-bit levels divide by 255."
        )
    return tf.cast(images, tf.float32)


def _check_one_replica():
    # The penalty would have to be divided by the number of replicas, as Keras does with its own losses, and each
    # replica would need noise of its own: mirrored seeds give all of them the same.
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas > 1:
        raise ValueError(
            f"ACETModel trains on one replica only so far. Received: a strategy with {num_replicas} of them."
        )


def _ends_in_softmax(network):
    last = network
    while getattr(last, "outputs", None) and last.layers:  # the layers of a subclassed model are in no known order
        last = last.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
