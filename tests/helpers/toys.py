"""Networks, data and evaluations so small that their numbers can be worked out by hand."""

import keras
import numpy as np

from keras_acet import datasets, evaluation


def linear_network(weight=4.0, bias=0.0):
    """Two classes on one pixel: logits (weight * x + bias, 0)."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    network.layers[0].set_weights([np.array([[weight, 0.0]], np.float32), np.array([bias, 0.0], np.float32)])
    return network


def hidden_rise():
    """Logit 40 relu(x - .5): flat below .5, so no gradient at noise below .5 - epsilon leads to the rise beyond."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation="relu"), keras.layers.Dense(2)])
    network.set_weights([np.ones((1, 1)), np.array([-0.5]), np.array([[40.0, 0.0]]), np.zeros(2)])
    return network


def softmax_of(logit):
    return 1 / (1 + np.exp(-logit))


def data_of(images, labels, ood=None, **arguments):
    train = np.array([[0.0], [1.0]] * 4, np.float32), np.array([0, 1] * 4)
    sets = datasets.OODSets({name: lambda value=value: value for name, value in (ood or {}).items()})
    return datasets.Data(name="toy", train=train, test=(images, labels), batch_size=4, ood=sets, **arguments)


def small(**numbers):
    defaults = {"num_noise": 16, "num_bounded": 0, "num_adversarial": 0, "num_trials": 0, "num_bootstrap": 20}
    defaults |= {"larger_epsilon": 0.0}
    return evaluation.Protocol(**(defaults | numbers))


def evaluate(network, data, suite=evaluation.worst_case_attacks, **numbers):
    return evaluation.evaluate(network, data, small(**numbers), suite=suite)
