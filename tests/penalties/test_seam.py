"""What a penalty of a user's own may do: use the weights inside the tape, add no images, join losses in its own way."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import OnesNoise

from keras_acet.penalties import Penalty, Sample
from keras_acet.training import ACETModel

X, Y = np.array([[1.0], [0.0]], np.float32), np.array([0, 1])
CLEAN = [-np.log(3 / 4), np.log(2.0)]  # the cross-entropies of the two
LOG3 = np.log(3.0)


def linear_model(penalty, learning_rate=0.0, decay=0.0):
    """Logits (x log 3, 0): at x = 1 probabilities 3/4 and 1/4, at x = 0 one half each."""
    regularizer = keras.regularizers.L2(decay) if decay else None
    dense = keras.layers.Dense(2, use_bias=False, kernel_regularizer=regularizer)
    network = keras.Sequential([keras.Input((1,)), dense])
    dense.kernel.assign([[LOG3, 0.0]])
    model = ACETModel(network, penalty)
    model.compile(keras.optimizers.SGD(learning_rate))
    return model


def fit_one_batch(model):
    history = model.fit(X, Y, batch_size=2, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in history.items()}


@keras.saving.register_keras_serializable("keras_acet_tests")
class BoundOfDense(Penalty):
    """The largest difference of logits that intervals allow in a box around each noise image, for a dense layer."""

    def __init__(self, noise, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.noise = noise
        self.epsilon = epsilon
        self.tightness = keras.metrics.Mean(name="tightness")

    def sample(self, images, network, *, step):
        return Sample(tf.stop_gradient(self.noise(images)))

    def loss(self, sample, logits, network):
        kernel = network.layers[-1].kernel.value
        low = tf.maximum(sample.images - self.epsilon, 0.0)
        high = tf.minimum(sample.images + self.epsilon, 1.0)
        difference = kernel[:, :, None] - kernel[:, None, :]  # (inputs, k, l)
        center = tf.einsum("ni,ikl->nkl", (low + high) / 2, difference)
        radius = tf.einsum("ni,ikl->nkl", (high - low) / 2, tf.abs(difference))
        tf.debugging.assert_equal(logits, tf.matmul(sample.images, kernel))  # the joint pass saw the noise
        return tf.reduce_max(center + radius, axis=(1, 2))

    def update_metrics(self, sample, losses):
        self.tightness.update_state(losses)

    def get_config(self):
        noise = keras.saving.serialize_keras_object(self.noise)
        return {"noise": noise, "epsilon": self.epsilon, **super().get_config()}


def test_a_bound_made_of_the_weights_by_hand():
    # Around the noise 1 lies [1/2, 1] of the pixel box. f_0 - f_1 = x log 3 is at most log 3 there, f_1 - f_0 at most
    # -log(3) / 2.
    logs = fit_one_batch(linear_model(BoundOfDense(OnesNoise(), epsilon=0.5, weight=0.25)))
    assert logs["tightness"] == pytest.approx(LOG3, abs=1e-6)
    assert logs["loss"] == pytest.approx((sum(CLEAN) + 0.25 * 2 * LOG3) / 4, abs=1e-6)
    assert set(logs) == {"loss", "cross_entropy", "tightness"}


def test_its_gradient_reaches_the_weights_by_hand():
    # The clean examples give (-1/4, 1/4) and 0, as in test_model. The bound w_0 - w_1 of either noise image gives
    # (1, -1). Sum over four: ((-1/4, 1/4) + 2 (1, -1)) / 4 = (7/16, -7/16).
    model = linear_model(BoundOfDense(OnesNoise(), epsilon=0.5), learning_rate=1.0)
    fit_one_batch(model)
    np.testing.assert_allclose(model.network.layers[0].kernel, [[LOG3 - 7 / 16, 7 / 16]], atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Radius(Sample):
    value: tf.Tensor | float = 0.0


@keras.saving.register_keras_serializable("keras_acet_tests")
class FlatAtTheCorner(Penalty):
    """The gap between the logits at the image of all ones times a radius that grows; no image joins the clean ones."""

    def sample(self, images, network, *, step):
        return Radius(value=tf.cast(step + 1, tf.float32))

    def loss(self, sample, logits, network):
        assert logits is None
        corner = network(tf.fill((1, 1), sample.value), training=False)
        return tf.reduce_max(corner, axis=1) - tf.reduce_min(corner, axis=1)

    def join(self, clean_loss, losses, *, num_clean, regularisation, step):
        return clean_loss + self.weight_at(step) * tf.reduce_mean(losses)


def test_a_penalty_without_images_and_with_a_rule_of_its_own_by_hand():
    # The gap at 1 is log 3; in the second step, at 2, it is 2 log 3.
    decay = 0.1 * LOG3**2
    model = linear_model(FlatAtTheCorner(weight=0.5), decay=0.1)
    logs = fit_one_batch(model)
    assert logs["loss"] == pytest.approx(sum(CLEAN) / 2 + decay + 0.5 * LOG3, abs=1e-6)
    assert logs["cross_entropy"] == pytest.approx(sum(CLEAN) / 2, abs=1e-6)
    assert set(logs) == {"loss", "cross_entropy"}
    assert fit_one_batch(model)["loss"] == pytest.approx(sum(CLEAN) / 2 + decay + 0.5 * 2 * LOG3, abs=1e-6)


def test_the_default_rule_counts_a_loss_of_no_image_as_one_example():
    @keras.saving.register_keras_serializable("keras_acet_tests")
    class Joined(FlatAtTheCorner):
        join = Penalty.join

    logs = fit_one_batch(linear_model(Joined(weight=0.5), decay=0.1))
    assert logs["loss"] == pytest.approx((sum(CLEAN) + 0.5 * LOG3) / 3 + 0.1 * LOG3**2, abs=1e-6)


def test_evaluate_leaves_out_what_only_training_knows():
    model = linear_model(BoundOfDense(OnesNoise(), epsilon=0.5))
    fit_one_batch(model)
    assert set(model.evaluate(X, Y, verbose=0, return_dict=True)) == {"loss"}


def test_a_penalty_must_say_its_loss():
    with pytest.raises(NotImplementedError, match="Penalty must define `loss`, one number per example"):
        fit_one_batch(linear_model(Penalty()))


def test_a_loss_that_is_one_number_is_refused():
    class Reduced(FlatAtTheCorner):
        join = Penalty.join

        def loss(self, sample, logits, network):
            return tf.reduce_mean(super().loss(sample, logits, network))

    with pytest.raises(ValueError, match=r"`Reduced.loss` must return one number per example.*Received: shape \(\)"):
        fit_one_batch(linear_model(Reduced()))
