"""The base class of all penalties."""

import contextlib
import dataclasses
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_acet._shared import SeededLayer
from keras_acet.attack_mode import PRECISIONS, attack_mode

_FAR_ALONG = 2**30  # in a stream of random numbers, where no training comes
Weight = float | Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Sample:
    """The input of a penalty in one training step; a penalty that needs more than images defines a subclass.

    Attributes:
        images: Float tensor of shape `(m, ...)` that goes through the network in training mode together with the clean
            images, a constant to an outer tape; None if no images do.
    """

    images: tf.Tensor | None = None


class Penalty(SeededLayer):
    """The base class of all penalties: a term that a training step adds to the loss of the clean images.

    A training step calls four of its methods, in this order:

    | when | method | default |
    | --- | --- | --- |
    | before the tape of the weights opens | `sample` returns the images to add to the forward pass | none |
    | inside the tape | `loss` returns one number per example | to be defined |
    | inside the tape | `join` combines them with the loss of the clean images | every example weighs the same |
    | after the update | `update_metrics` updates what `fit` reports | nothing |

    A penalty of your own defines `loss`, usually `sample`, and other methods as needed. It keeps its arguments as
    attributes of the same name and returns them in `get_config`, and its class is registered with Keras, so that it is
    saved with the model. Metrics that are attributes, such as `self.spread = keras.metrics.Mean(name="spread")`, are
    reported by `fit` under their names; Keras resets them at each epoch. They tell of training alone, unless `validate`
    updates them for validation data and `validated` names them.

    A setting that is changed counts from the next step on: the step is traced anew. It has to be in `get_config`.

    Args:
        weight: Factor of the penalty, at least 0: a number, or a `LearningRateSchedule` over `optimizer.iterations`.
        attack_precision: `"float32"`, or `"bfloat16"` to let the network compute an attack's forward and backward
            passes in bfloat16 while weights, training pass and loss stay float32.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator.

    Raises:
        TypeError: If `weight` is neither a number nor a schedule.
        ValueError: If `weight` is negative or not finite, or `attack_precision` not one of the two.

    Example: the gap between the largest and the smallest logit on images of one colour.

    >>> class FlatOnGray(Penalty):
    ...     def sample(self, images, network, *, step):
    ...         return Sample(tf.fill(tf.shape(images), 0.5))
    ...
    ...     def loss(self, sample, logits, network):
    ...         return tf.reduce_max(logits, axis=1) - tf.reduce_min(logits, axis=1)
    >>> FlatOnGray(weight=0.1).loss(None, tf.constant([[1.0, 4.0, 2.0]]), None).numpy()
    array([3.], dtype=float32)
    """

    def __init__(
        self,
        *,
        weight: Weight = 1.0,
        attack_precision: str = "float32",
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        check_weight(weight)
        check_precision(attack_precision)
        self.weight = weight
        self.attack_precision = attack_precision

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, keras.layers.Layer) and name in self.__dict__ and self.built:
            raise AttributeError(
                f"`{name}` of a penalty in use stays what it is; its own settings may change. Received: "
                f"{name}={value!r}. Make another penalty, and an ACETModel with it and the same network."
            )
        super().__setattr__(name, value)

    def build(self, image_shape: tuple[int | None, ...]) -> None:
        """Prepares for batches of images of shape `(None, height, width, channels)`."""
        self.built = True

    def sample(self, images: tf.Tensor, network: keras.Model, *, step: tf.Tensor) -> Sample:
        """Makes the input of the penalty in one training step; runs before the tape of the weights opens.

        Args:
            images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`: the current, augmented training batch.
            network: From images to logits. An attack calls it through `attacked_logits`.
            step: Scalar int tensor, `optimizer.iterations`, for what changes as training goes on.

        Returns:
            `Sample`, or an object of a subclass.
        """
        return Sample()

    def loss(self, sample: Any, logits: tf.Tensor | None, network: keras.Model) -> tf.Tensor:
        """Computes the loss of each example of the sample, inside the tape of the weights.

        Args:
            sample: What `sample` returned.
            logits: Float tensor of shape `(m, num_classes)`: the network's logits at `sample.images`, in training mode,
                in the dtype that the network computes in; None if the sample has no images.
            network: From images to logits, for a loss that needs its weights.

        Returns:
            float32 tensor of shape `(m,)`. Not reduced, without `weight`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `loss`, one number per example.")

    def join(
        self,
        clean_loss: tf.Tensor,
        losses: tf.Tensor,
        *,
        num_clean: tf.Tensor,
        regularisation: tf.Tensor | float,
        step: tf.Tensor,
    ) -> tf.Tensor:
        """Combines the two kinds of loss into one number, inside the tape of the weights.

        With `n` clean images and `m` losses, every example weighs the same:

        `(n * mean of the clean losses + m * weight * mean(losses)) / (n + m) + regularisation`

        Override it for another rule, such as `clean_loss + self.weight_at(step) * tf.reduce_mean(losses)`.

        Args:
            clean_loss: Float scalar: the mean over the clean images, with `regularisation`.
            losses: Float tensor of shape `(m,)`, what `loss` returned.
            num_clean: Scalar int tensor.
            regularisation: Float scalar: the sum of the network's own losses, such as those of its regularizers.
            step: Scalar int tensor, `optimizer.iterations`.

        Returns:
            Float scalar to be minimised.

        Raises:
            ValueError: If `losses` is not of rank 1.
        """
        if losses.shape.rank != 1:
            raise ValueError(
                f"`{type(self).__name__}.loss` must return one number per example, shape (m,). "
                f"Received: shape {tuple(losses.shape)}. Leave the mean to `join`."
            )
        extra_loss = self.weight_at(step) * tf.reduce_mean(losses) + regularisation
        # The shares sum to 1, so the regularisation counts once.
        clean_share = tf.cast(num_clean / (num_clean + tf.shape(losses)[0]), clean_loss.dtype)
        return clean_share * clean_loss + (1 - clean_share) * extra_loss

    def update_metrics(self, sample: Any, losses: tf.Tensor) -> None:
        """Updates what `fit` reports, after the weights have been updated.

        Args:
            sample: What `sample` returned.
            losses: What `loss` returned.
        """

    def validate(self, images: tf.Tensor, network: keras.Model) -> None:
        """Updates the metrics that `fit` reports of validation data, those of `validated`; of none by default.

        Args:
            images: Float tensor of shape `(batch, ...)`, values in `[0, 1]`: a batch of the validation data.
            network: From images to logits.
        """

    def validated(self) -> Sequence[str]:
        """Returns the names of the metrics that `validate` updates; `fit` reports them with "val_" before them."""
        return ()

    @contextlib.contextmanager
    def random_state_of_validation(self) -> Iterator[None]:
        """Lets the random numbers be the same for each validation, and puts those of training back at the end."""
        states = [variable for variable in self.variables if variable.name == "seed_generator_state"]
        before = [keras.ops.convert_to_numpy(state) for state in states] if self.validated() else []
        for state, value in zip(states, before, strict=False):
            state.assign([value[0], _FAR_ALONG])
        try:
            yield
        finally:
            for state, value in zip(states, before, strict=False):
                state.assign(value)

    def settings(self) -> str:
        """Returns all settings in words; a training step is traced anew where they change."""
        return repr(self.get_config())

    def check_settings(self) -> None:
        """Raises what `__init__` raises if settings that were changed are out of their ranges."""
        type(self).from_config(self.get_config())

    def weight_at(self, step: tf.Tensor) -> tf.Tensor | float:
        """Returns `weight`, or what its schedule says for the step."""
        return tf.cast(self.weight(step), tf.float32) if callable(self.weight) else self.weight

    def attacked_logits(self, network: keras.Model, images: tf.Tensor) -> tf.Tensor:
        """Computes the logits for the objective of an attack: in inference mode, so that batch-norm averages stay.

        Args:
            network: From images to logits; it computes in `attack_precision`.
            images: Float tensor of shape `(batch, ...)`.

        Returns:
            float32 tensor of shape `(batch, num_classes)`, differentiable in the images, but not in the weights.

        Raises:
            TypeError: If the network cannot compute in `attack_precision`.
        """
        try:
            with attack_mode(network, precision=self.attack_precision):
                logits = network(images, training=False)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            if self.attack_precision == "float32":
                raise
            raise TypeError(
                f"The network cannot compute in {self.attack_precision}; a layer of your own with float32 tensors "
                f"inside is the usual reason. Give attack_precision='float32'. TensorFlow says: {error}"
            ) from error
        return tf.cast(logits, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            "weight": keras.saving.serialize_keras_object(self.weight),
            "attack_precision": self.attack_precision,
            **super().get_config(),
        }


def check_weight(weight: Any) -> None:
    """Raises unless `weight` is a finite number, at least 0, or a schedule."""
    if isinstance(weight, bool | type) or not (isinstance(weight, numbers.Real) or callable(weight)):
        raise TypeError(
            "`weight` must be a number or a keras.optimizers.schedules.LearningRateSchedule. "
            f"Received: weight={weight!r} of type {type(weight).__name__}."
        )
    if isinstance(weight, numbers.Real) and not 0 <= float(weight) < float("inf"):
        raise ValueError(f"`weight` must be a finite number, at least 0. Received: weight={weight}.")


def check_precision(attack_precision: Any) -> None:
    """Raises unless `attack_precision` is one of the two."""
    if attack_precision not in PRECISIONS:
        raise ValueError(
            f"`attack_precision` must be one of {PRECISIONS}. Received: attack_precision={attack_precision!r}."
        )
