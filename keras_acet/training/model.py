"""The Keras model whose `train_step` adds a penalty."""

import contextvars
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_acet import _keras_settings
from keras_acet.penalties import Penalty, Sample
from keras_acet.penalties.deprecated import config_with_penalty, penalty_of_old_arguments
from keras_acet.training import guards
from keras_acet.training.pixels import TakesPixels, check_is_float, check_one_tensor

_is_loading = contextvars.ContextVar("_is_loading", default=False)
_OLD_NAMES = {
    "adversary": "penalty",
    "penalty_weight": "penalty.weight",
    "attack_precision": "penalty.attack_precision",
}


@keras.saving.register_keras_serializable("keras_acet")
class ACETModel(TakesPixels):
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
    regularisation) and what the penalty reports, of validation data too where it says so: `val_noise_confidence` is
    what `EarlyStopping` and tuners follow, with mode="min". (`loss` holds a penalty that is negative, so it may be
    too.) Settings of the penalty, its noise and attack count from the next step on when they are changed.

    Args:
        network: Any `keras.Model` from images in `[0, 1]` to logits of shape `(batch, num_classes)`.
        penalty: A `penalties.Penalty`, see the table; or None.
        deprecated: `adversary`, `penalty_weight` and `attack_precision`; pass a `penalty` with these arguments instead.

    Call arguments:
        images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`.
        training: Passed on to the network.

    Raises:
        TypeError: If `network` is not a `keras.Model` or `penalty` no penalty; in `fit`, `evaluate`, `predict` and
            calls, if images are not of a float type.
        ValueError: If `network` ends in a softmax or sigmoid, or scales pixels from 0..255 (`networks.wrapped` wraps
            one for training); in `compile`, if `loss` takes probabilities; in `fit`, `evaluate`, `predict` and calls,
            if images exceed [0, 1]; in `fit`, if the outputs turn out to be no logits, or a `tf.distribute` strategy
            has more than one replica, which is not supported yet.

    Source: Hein et al., CVPR 2019, arXiv:1812.05720, and the authors' code.
    """

    train_function: Any
    test_function: Any

    def __init__(
        self,
        network: keras.Model,
        penalty: Penalty | None = None,
        *,
        name: str | None = None,
        dtype: Any = None,
        **deprecated: Any,
    ):
        super().__init__(name=name, dtype="float32" if dtype is None else dtype)
        if not _is_loading.get():  # what was saved can be evaluated; `fit` looks again
            guards.check_network(network)
        penalty = penalty_of_old_arguments(penalty, deprecated)
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(
                "`penalty` must be None or a penalty, an object such as penalties.ConfidencePenalty(noise, attack); "
                f"noise and attack go into it. Received: penalty={penalty!r} of type {type(penalty).__name__}."
            )
        self.network = network
        self.penalty = penalty
        self.image_shape: tuple[int | None, ...] | None = None
        self._is_checked = False
        self._is_fitting = False
        self._test_functions: dict[bool, Any] = {}
        self._cross_entropy = keras.metrics.Mean(name="cross_entropy", dtype="float32")
        # A subclassed model does not tell its input shape; then Keras calls build() at the first batch, or on loading.
        if network.built and getattr(network, "input_shape", None) is not None:
            self.build(network.input_shape)

    def build(self, input_shape: Any) -> None:
        if not self.network.built:
            self.network.build(input_shape)
        if self.penalty is not None and not self.penalty.built:
            self.penalty.build(tuple(input_shape))
        self.image_shape = (None, *tuple(input_shape)[1:])
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OLD_NAMES:
            raise AttributeError(f"`{name}` is now called {_OLD_NAMES[name]}; set that. Received: {name}={value!r}.")
        if name in ("network", "penalty") and name in self.__dict__:
            raise AttributeError(
                f"`{name}` of an ACETModel stays what it is. Make another one with the same network, whose weights go "
                "on: ACETModel(model.network, penalty)."
            )
        super().__setattr__(name, value)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        check_is_float(check_one_tensor(images))
        # None would let the first layer choose; those of preprocessing choose training mode, for all after them too.
        return self.network(images, training=bool(training))

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:
        """As `keras.Model.compile`; without a `loss` it is the cross-entropy of integer labels and logits."""
        guards.check_loss(loss)
        guards.check_metrics([kwargs.get("metrics"), kwargs.get("weighted_metrics")])
        self._has_default_loss = loss is None
        if loss is None:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float32")
        with _keras_settings.standard():
            super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, data: Any) -> dict[str, Any]:
        _check_one_replica()
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images, step = self.pixels(images), self.optimizer.iterations
        if not self._is_checked:
            with tf.init_scope():
                self._check_outputs(images.shape)
        num_clean = tf.shape(images)[0]
        sample = Sample() if self.penalty is None else self.penalty.sample(images, self.network, step=step)

        with tf.GradientTape() as tape:
            joint = images if sample.images is None else tf.concat([images, sample.images], axis=0)
            logits = self(joint, training=True)
            clean_logits = logits[:num_clean]
            labels = guards.checked_labels(labels, clean_logits, sample_weight, is_default_loss=self._has_default_loss)
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
        if self.penalty is not None and self._is_fitting:
            images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.penalty.validate(self.pixels(images), self.network)
            logs |= {metric.name: metric.result() for metric in self.penalty.metrics}
        return {name: value for name, value in logs.items() if name not in self._of_training_alone()}

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`.

        Raises:
            TypeError, ValueError: See the class.
        """
        guards.check_callbacks(kwargs.get("callbacks"), (f"val_{name}" for name in self._of_training_alone(True)))
        self._is_fitting = True
        try:
            return super().fit(*args, **kwargs)
        finally:
            self._is_fitting = False

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`: the loss of the clean images, and the metrics of `compile`."""
        if self.penalty is None or not self._is_fitting:
            return super().evaluate(*args, **kwargs)
        with self.penalty.random_state_of_validation():
            return super().evaluate(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """As `keras.Model.make_train_function`; the step is traced anew whenever a setting of the penalty changes."""
        if self.train_function is not None and not force:
            return self.train_function
        guards.check_network(self.network)
        self._is_checked = False
        if self.image_shape is not None:
            self._check_outputs(self.image_shape)
        make = super().make_train_function

        def traced_anew() -> Any:
            kept = self.train_function
            make(force=True)
            made, self.train_function = self.train_function, kept
            return made

        self.train_function = traced_anew() if self.penalty is None else _Following(self.penalty, traced_anew)
        return self.train_function

    def _check_outputs(self, image_shape: Any) -> None:
        guards.check_outputs(self.network, tuple(image_shape))
        self._is_checked = True

    def make_test_function(self, force: bool = False) -> Any:
        """As `keras.Model.make_test_function`; one function for the validation data of `fit`, another for all else."""
        if self.test_function is None or force:  # `compile` was called
            self._test_functions = {}
        if self._is_fitting not in self._test_functions:
            make = super().make_test_function

            def traced_anew() -> Any:
                kept = self.test_function
                make(force=True)
                made, self.test_function = self.test_function, kept
                return made

            self._test_functions[self._is_fitting] = (
                traced_anew() if self.penalty is None else _Following(self.penalty, traced_anew)
            )
        self.test_function = self._test_functions[self._is_fitting]
        return self.test_function

    def _of_training_alone(self, is_fitting: bool | None = None) -> set[str]:
        """Names of the numbers that are not reported of validation data, or not by `evaluate` outside of `fit`."""
        if self.penalty is None:
            return {self._cross_entropy.name}
        names = {metric.name for metric in self.penalty.metrics}
        if self._is_fitting if is_fitting is None else is_fitting:
            names -= set(self.penalty.validated())
        return {self._cross_entropy.name, *names}

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
        token = _is_loading.set(True)
        try:
            model = cls(**config)
        finally:
            _is_loading.reset(token)
        pool = getattr(model.penalty, "pool", None)
        if is_old and pool is not None:
            # The variables of the pool lie under this name in the old file. Not through Keras' `__setattr__`, which
            # would make the pool a layer of the model's own.
            model.__dict__["adversary"] = pool
        return model


def _check_one_replica() -> None:
    # The penalty would have to be divided by the number of replicas, as Keras does with its own losses, and each
    # replica would need noise of its own: mirrored seeds give all of them the same.
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas > 1:
        raise ValueError(
            f"ACETModel trains on one replica only so far. Received: a strategy with {num_replicas} of them."
        )


class _Following:
    """A train or test function that follows the settings of a penalty: where one has changed, it is traced anew.

    Args:
        penalty: The penalty.
        traced_anew: Function that makes the function, to be traced at its first call.
    """

    def __init__(self, penalty: Penalty, traced_anew: Callable[[], Any]) -> None:
        self._penalty = penalty
        self._traced_anew = traced_anew
        self._function = traced_anew()
        self._settings = penalty.settings()

    def __call__(self, iterator: Any) -> Any:
        settings = self._penalty.settings()
        if settings != self._settings:
            self._penalty.check_settings()
            self._function, self._settings = self._traced_anew(), settings
        return self._function(iterator)
