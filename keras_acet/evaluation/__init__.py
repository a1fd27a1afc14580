"""Evaluates a classifier on its data: one table, with stronger attacks than those of the paper.

Call `evaluate`, or `evaluate_all` for several classifiers side by side. `measurements` holds the objects that say what
is measured, `attacks` the attacks on noise, `results` the types of the results.
"""

# isort: off
from keras_acet.evaluation.arrays import Arrays
from keras_acet.evaluation.attacks import Attacker
from keras_acet.evaluation.attacks import SuiteResult
from keras_acet.evaluation.attacks import KnownPoints
from keras_acet.evaluation.attacks import Trial
from keras_acet.evaluation.attacks import full_suite
from keras_acet.evaluation.attacks import published_attack
from keras_acet.evaluation.attacks import short_suite
from keras_acet.evaluation.attacks import worst_case_attacks
from keras_acet.evaluation.loop import evaluate
from keras_acet.evaluation.loop import evaluate_all
from keras_acet.evaluation.loop import names_apart
from keras_acet.evaluation.evaluation import Evaluation
from keras_acet.evaluation.evaluation import results
from keras_acet.evaluation.finding import Finding
from keras_acet.evaluation.measurements import Measurement
from keras_acet.evaluation.protocol import Protocol
from keras_acet.evaluation.results import Results
from keras_acet.evaluation.results import Row
from keras_acet.evaluation.scaling import alpha_scaling
from keras_acet.evaluation.scaling import exact_alpha
from keras_acet.evaluation.store import Store
from keras_acet.evaluation.subject import NonFiniteLogitsError
from keras_acet.evaluation.subject import Subject
from keras_acet.evaluation.subject import evaluation_noise
# isort: on

__all__ = [
    "Arrays",
    "Attacker",
    "Evaluation",
    "Finding",
    "KnownPoints",
    "Measurement",
    "NonFiniteLogitsError",
    "Protocol",
    "Results",
    "Row",
    "Store",
    "Subject",
    "SuiteResult",
    "Trial",
    "alpha_scaling",
    "evaluate",
    "evaluate_all",
    "evaluation_noise",
    "exact_alpha",
    "full_suite",
    "names_apart",
    "published_attack",
    "results",
    "short_suite",
    "worst_case_attacks",
]
