"""The precision of attacks in an evaluation: bfloat16 where a network can compute in it, else float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import evaluation, networks
from keras_acet.attack import PGD

IMAGES = np.random.default_rng(0).random((4, 3, 3, 1), np.float32)


@keras.saving.register_keras_serializable("test_precision")
class Standardize(keras.layers.Layer):
    """A layer with float32 constants, with which bfloat16 cannot be mixed."""

    def call(self, images):
        return (images - tf.constant([0.4])) / tf.constant([0.2])


def network(*front, last=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3, 3, 1)), *front, keras.layers.Flatten(), keras.layers.Dense(2, last)])


def confidence(model, precision):
    attack = PGD(epsilon=0.1, num_steps=3, seed=1)
    trial = evaluation.Trial("three steps", attack, precision=precision)
    return evaluation.Attacker(model, IMAGES, IMAGES).run([trial]).confidence


@pytest.mark.parametrize(
    "model",
    [
        lambda: network(Standardize()),
        lambda: networks.wrapped(network(last="softmax"), outputs="probabilities"),
    ],
    ids=["float32 constants", "logarithms of probabilities"],
)
def test_networks_that_are_attacked_in_float32(model):
    model = model()
    np.testing.assert_array_equal(confidence(model, "bfloat16"), confidence(model, "float32"))
    assert all(layer.compute_dtype == "float32" for layer in model.layers)


def test_an_error_of_the_network_itself_stays():
    class Broken(keras.Model):
        def call(self, images):
            raise TypeError("broken in any precision")

    with pytest.raises(TypeError, match="broken in any precision"):
        confidence(Broken(), "bfloat16")


def test_a_protocol_of_numpys_numbers_is_the_same():
    given = evaluation.Protocol(seed=np.int64(3), num_noise=np.uint8(5), epsilon=np.float64(0.25))
    assert given == evaluation.Protocol(seed=3, num_noise=5, epsilon=0.25)
    assert [type(value) for value in (given.seed, given.num_noise, given.epsilon)] == [int, int, float]
