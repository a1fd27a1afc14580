"""Training: the Keras model whose `train_step` adds the penalty, and the directories of runs."""

# isort: off
from keras_acet.training import runs
from keras_acet.training.model import ACETModel
# isort: on

__all__ = ["ACETModel", "runs"]
