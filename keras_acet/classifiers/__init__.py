"""Any trained classifier behind one object: a run directory, a Keras model, a SavedModel, an ONNX file or a function.

A kind of classifier is a file of this folder with a subclass of `Classifier`, and its place in `loading.KINDS`.
"""

# isort: off
from keras_acet.classifiers.base import Classifier
from keras_acet.classifiers.checking import check
from keras_acet.classifiers.function import FunctionClassifier
from keras_acet.classifiers.keras_model import KerasClassifier
from keras_acet.classifiers.loading import as_classifier
from keras_acet.classifiers.loading import load
from keras_acet.classifiers.onnx_file import ONNXClassifier
from keras_acet.classifiers.preprocessing import Preprocessing
from keras_acet.classifiers.preprocessing import preprocessed
from keras_acet.classifiers.provable import ProvableClassifier
from keras_acet.classifiers.run import RunClassifier
from keras_acet.classifiers.savedmodel import SavedModelClassifier
from keras_acet.classifiers.wrapping import WrappedClassifier
from keras_acet.classifiers.wrapping import wrap
# isort: on

__all__ = [
    "Classifier",
    "FunctionClassifier",
    "KerasClassifier",
    "ONNXClassifier",
    "Preprocessing",
    "ProvableClassifier",
    "RunClassifier",
    "SavedModelClassifier",
    "WrappedClassifier",
    "as_classifier",
    "check",
    "load",
    "preprocessed",
    "wrap",
]
