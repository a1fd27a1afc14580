"""Penalties: terms that a training step adds to the loss of the clean images.

Each penalty has a file of this folder and a line below. A penalty of your own is a subclass of `Penalty`; use it
wherever one of these can be used.
"""

# isort: off
from keras_acet.penalties.base import Penalty as Penalty
from keras_acet.penalties.base import Sample as Sample
from keras_acet.penalties.confidence import ConfidencePenalty as ConfidencePenalty
from keras_acet.penalties.pool import NoisePool as NoisePool
# isort: on
