"""From a classifier and its data to one table, attacked harder than the paper attacked.

`evaluate` is the whole of it; `evaluate_all` puts several classifiers side by side. What noise has to withstand is in
`attacks`, the stages in `scores`, what is measured on each set in `table`, Table 2 of the paper in `scaling`.
"""

# isort: off
from keras_acet.evaluation.attacks import Attacker
from keras_acet.evaluation.attacks import Found
from keras_acet.evaluation.attacks import Trial
from keras_acet.evaluation.attacks import full_suite
from keras_acet.evaluation.attacks import published_attack
from keras_acet.evaluation.attacks import short_suite
from keras_acet.evaluation.attacks import worst_case_attacks
from keras_acet.evaluation.evaluate import Evaluation
from keras_acet.evaluation.evaluate import evaluate
from keras_acet.evaluation.evaluate import evaluate_all
from keras_acet.evaluation.evaluate import results
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.scaling import alpha_scaling
from keras_acet.evaluation.scaling import exact_alpha
from keras_acet.evaluation.scores import NonFiniteLogitsError
from keras_acet.evaluation.scores import Scores
from keras_acet.evaluation.scores import evaluation_noise
from keras_acet.evaluation.store import Store
# isort: on

__all__ = [
    "Attacker",
    "Evaluation",
    "Found",
    "NonFiniteLogitsError",
    "Protocol",
    "Scores",
    "Store",
    "Trial",
    "alpha_scaling",
    "evaluate",
    "evaluate_all",
    "evaluation_noise",
    "exact_alpha",
    "full_suite",
    "published_attack",
    "results",
    "short_suite",
    "worst_case_attacks",
]
