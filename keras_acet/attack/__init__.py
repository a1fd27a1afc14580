"""Maximise any per-example objective over the l_inf ball around each image, within the pixel box.

An attack sees no model, label or data set, only `objective(images) -> (batch,)`. Training and evaluation use the
same loop with other numbers.
"""

# isort: off
from keras_acet.attack.auto_pgd import AutoPGD
from keras_acet.attack.base import AttackResult
from keras_acet.attack.base import LinfAttack
from keras_acet.attack.base import Objective
from keras_acet.attack.pgd import PGD
from keras_acet.attack.step_sizes import ConstantStep
from keras_acet.attack.step_sizes import LinearDecay
from keras_acet.attack.step_sizes import LogUniformDecay
from keras_acet.attack.step_sizes import StepSize
# isort: on

__all__ = [
    "PGD",
    "AttackResult",
    "AutoPGD",
    "ConstantStep",
    "LinearDecay",
    "LinfAttack",
    "LogUniformDecay",
    "Objective",
    "StepSize",
]
