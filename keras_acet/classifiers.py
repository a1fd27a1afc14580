"""Any trained classifier behind one object: a run directory, a Keras model, a SavedModel or an ONNX file."""

import hashlib
import pathlib
import textwrap

import keras
import numpy as np
import tensorflow as tf

from keras_acet._prediction import in_batches, logits_of, traced
from keras_acet.training.model import ACETModel
from keras_acet.training.runs import RunDirectory

_NUM_CHECKED = 256
_SUM_TOLERANCE = 1e-3
_KINDS = "a run directory, a .keras file, a SavedModel directory or an .onnx file"


class Classifier:
    """A classifier from images to logits, whatever it was stored as; `load` makes one.

    Args:
        network: `keras.Model`, or a function that TensorFlow can trace, from a float32 tensor of images
            `(batch, ...)`, values in [0, 1], to logits `(batch, num_classes)`.
        kind: "run", "keras", "savedmodel" or "onnx".
        image_shape: Tuple such as `(28, 28, 1)`, None where any size goes; or None if the model does not say.
        num_classes: Number of logits, or None if the model does not say.
        path: Where it was loaded from, or None.
        name: What to call it; the default is the last part of `path` without ".keras" or ".onnx", else `kind`.
        sha256: Hex digits of the SHA-256 of its files, see `load`; or None.
        flags: Dict name -> text, the flags of its run; or None.
        history: List of one dict per epoch, name -> number, as in the run's `metrics.csv`.

    Attributes:
        is_differentiable: Whether gradients with respect to the images can be had: for "run" and "keras".
    """

    def __init__(
        self,
        network,
        kind,
        *,
        image_shape=None,
        num_classes=None,
        path=None,
        name=None,
        sha256=None,
        flags=None,
        history=(),
    ):
        self.network = network
        self.kind = kind
        self.is_differentiable = kind in ("run", "keras")
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.path = path
        self.name = name or (_name_of(path) if path else kind)
        self.sha256 = sha256
        self.flags = flags
        self.history = list(history)
        self._traced = {}

    def logits(self, images):
        """Computes the logits of all images, in inference mode and in batches; traced once per shape of an image.

        Args:
            images: Array of shape `(n, ...)`, n at least 1: float in [0, 1], or uint8, which is divided by 255.

        Returns:
            float32 array of shape `(n, num_classes)`.
        """
        shape = images.shape[1:]
        if shape not in self._traced:
            self._traced[shape] = traced(lambda x: logits_of(self.network, x), images)
        return in_batches(self._traced[shape], images)


def load(path):
    """Loads a classifier.

    * A directory with `flags.flags` is a finished run of `train.py`; its network is `model.keras`.
    * A `.keras` file is a Keras model, loaded with `safe_mode=True`; of an `ACETModel` the inner network is taken.
      Classes of your own must be registered with Keras beforehand.
    * A directory with `saved_model.pb` is a SavedModel: its signature "serving_default", or the only one, with one
      float input, and the output "logits", or the only one.
    * An `.onnx` file runs in ONNX Runtime on the CPU, with one float32 input, and the output "logits", or the only one.
      A fixed batch size is kept to.

    Args:
        path: One of these.

    Returns:
        `Classifier`. Its `sha256` is that of the one file, as `sha256sum` prints it. Where there are several (a
        SavedModel; an ONNX file with its weights in `NAME.onnx.data` or `NAME.onnx_data`) it is that of the lines
        `DIGITS  NAME`, sorted by name.

    Raises:
        ImportError: If ONNX Runtime is needed and missing.
        ValueError: If there is no such thing, it is damaged, or it is not from one batch of images to one of logits.
    """
    path = pathlib.Path(path).expanduser()
    if (path / "flags.flags").exists():
        return _load_run(path)
    if (path / "saved_model.pb").exists():
        files = [file for file in path.rglob("*") if file.is_file()]
        return Classifier(**_savedmodel(path), kind="savedmodel", path=path, sha256=_sha256(path, files))
    if path.suffix == ".keras" and path.is_file():
        return Classifier(**_keras(path), kind="keras", path=path, sha256=_sha256(path.parent, [path]))
    if path.suffix == ".onnx" and path.is_file():
        beside = [path.with_name(path.name + ending) for ending in (".data", "_data")]
        digits = _sha256(path.parent, [path, *filter(pathlib.Path.is_file, beside)])
        return Classifier(**_onnx(path), kind="onnx", path=path, sha256=digits)
    if not path.exists():
        found = "which does not exist"
    elif path.is_dir():
        found = "a directory without flags.flags (of a run) or saved_model.pb"
    else:
        found = "which ends otherwise; save a Keras model with model.save('NAME.keras')"
    raise ValueError(f"A classifier must be {_KINDS}. Received: {path}, {found}.")


def check(classifier, data):
    """Raises if a classifier does not go with the data, or does not give logits.

    A Keras model whose logits have no gradient in the images, as after rounding, is noted as not differentiable.

    Args:
        classifier: `Classifier`.
        data: `datasets.Data`; up to 256 of its test images are tried.

    Raises:
        ValueError: If the shapes of the images or the numbers of classes differ; if the outputs are not finite; if they
            look like probabilities: none is negative, and each row sums to 1 within 1e-3.
    """
    shape, name = tuple(data.image_shape), classifier.name
    if not _fits(shape, classifier.image_shape):
        raise ValueError(
            f"{name} takes images of shape {classifier.image_shape}. Received: {data.name} with images of shape "
            f"{shape}. {_advice(classifier.image_shape, shape)}"
        )
    try:
        logits = classifier.logits(data.test_images[:_NUM_CHECKED])
        if classifier.is_differentiable:
            classifier.is_differentiable = _has_gradient(classifier, data.test_images[:2])
    except Exception as error:  # a model can fail in any way
        raise ValueError(
            f"{name} must take images of shape {shape}, as {data.name} has them. It fails: {_one_line(error)}"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} must give one logit for each of the {data.num_classes} classes of {data.name}. Received: outputs "
            f"of shape {logits.shape[1:]}. Name the data that it was trained on."
        )
    if not np.isfinite(logits).all():
        count = np.count_nonzero(~np.isfinite(logits).all(axis=1))
        raise ValueError(
            f"The logits of {name} must be finite. Received: {count} of {len(logits)} test images of {data.name} with "
            "others. Its weights are damaged, or training went astray."
        )
    if (logits >= 0).all() and (np.abs(logits.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE).all():
        raise ValueError(
            f"{name} must give logits. Received: what looks like probabilities (none negative, each row sums to 1). "
            "Remove the softmax at its end (in Keras: activation=None in the last layer)."
        )


def _has_gradient(classifier, images):
    images = tf.constant(images, tf.float32)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = classifier.network(images)
    return tape.gradient(logits, images) is not None


def _fits(shape, expected):
    if expected is None:
        return True
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def _advice(expected, shape):
    if len(shape) == len(expected) == 3 and _fits((shape[2], *shape[:2]), expected):
        return "It wants the channels first: export it with channels last."
    return "Name the data that it was trained on, or data of that shape."


def _load_run(path):
    run = RunDirectory(path)
    flags = run.flags()
    model = path / "model.keras"
    if not run.is_finished:
        raise ValueError(
            f"{path} must hold a finished run. Received: one without results.json. To finish it run "
            f"`python train.py --flagfile={path / 'flags.flags'} --run_dir={path}`."
        )
    if not model.is_file():
        raise ValueError(f"{path} must hold the trained network. Received: a run without model.keras. Train it again.")
    digits = _sha256(path, [model])
    return Classifier(**_keras(model), kind="run", path=path, sha256=digits, flags=flags, history=run.history())


def _keras(path):
    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(
            f"{path} must be a Keras model that can be loaded here; classes of your own must be registered with Keras "
            f"first. Received: {_one_line(error)}"
        ) from error
    while isinstance(network, ACETModel):
        network = network.network
    # A subclassed model has neither.
    inputs, outputs = (getattr(network, name, None) for name in ("inputs", "outputs"))
    for what, tensors in (("input", inputs), ("output", outputs)):
        if tensors is not None and len(tensors) != 1:
            raise ValueError(f"{path} must have one {what}. Received: {len(tensors)} of them.")
    return {
        "network": network,
        "image_shape": tuple(inputs[0].shape[1:]) if inputs else None,
        "num_classes": outputs[0].shape[-1] if outputs else None,
    }


def _savedmodel(path):
    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path} must be a SavedModel. Received: {_one_line(error)}") from error
    signatures = dict(model.signatures)
    name = "serving_default" if "serving_default" in signatures else _only(path, "signature", signatures)
    signature = signatures[name]
    inputs = signature.structured_input_signature[1]
    name = _only(path, "input", inputs)
    if not inputs[name].dtype.is_floating or inputs[name].shape.rank is None:
        raise ValueError(f"{path} must take float images of a known rank. Received: input {inputs[name]}.")
    outputs = signature.structured_outputs
    output = "logits" if "logits" in outputs else _only(path, "output", outputs)

    def network(images):
        return signature(**{name: tf.cast(images, inputs[name].dtype)})[output]

    batch_size, *image_shape = inputs[name].shape.as_list()
    num_classes = outputs[output].shape[-1] if outputs[output].shape.rank == 2 else None
    if batch_size is not None:
        of_tensors = network
        network = _python_network(lambda images: of_tensors(images).numpy(), batch_size, num_classes)
    network.model = model  # a signature does not keep its variables alive
    return {"network": network, "image_shape": tuple(image_shape), "num_classes": num_classes}


def _onnx(path):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"{path} needs ONNX Runtime: `pip install onnxruntime`. Cause: {error}.") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path} must be an ONNX file. Received: {_one_line(error)}") from error
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    name = _only(path, "input", inputs)
    if inputs[name].type != "tensor(float)" or not inputs[name].shape:
        raise ValueError(
            f"{path} must take a batch of float32 images. Received: {inputs[name].type} of shape {inputs[name].shape}."
        )
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    output = "logits" if "logits" in outputs else _only(path, "output", outputs)
    # A size that may vary has a name, or none.
    batch_size, *image_shape = (size if isinstance(size, int) else None for size in inputs[name].shape)
    sizes = outputs[output].shape
    num_classes = sizes[1] if len(sizes) == 2 and isinstance(sizes[1], int) else None

    def run(images):
        return session.run([output], {name: images})[0].astype(np.float32)

    network = _python_network(run, batch_size, num_classes)
    return {"network": network, "image_shape": tuple(image_shape), "num_classes": num_classes}


def _python_network(run, batch_size, num_classes):
    """Makes a function of numpy batches, of one size unless `batch_size` is None, one that TensorFlow can trace."""

    def run_all(images):
        size = batch_size or len(images)
        logits = []
        for i in range(0, len(images), size):
            batch = images[i : i + size]
            filled = np.resize(batch, (size, *batch.shape[1:]))  # the last batch is filled up by repetition
            logits.append(run(filled)[: len(batch)])
        return np.concatenate(logits)

    def network(images):
        logits = tf.numpy_function(run_all, [images], tf.float32)
        return logits if num_classes is None else tf.ensure_shape(logits, (images.shape[0], num_classes))

    return network


def _only(path, what, names):
    if len(names) != 1:
        raise ValueError(f"{path} must have one {what}. Received: {sorted(names) or 'none'}.")
    return next(iter(names))


def _sha256(root, files):
    digits = {}
    for file in files:
        with file.open("rb") as stream:
            digits[file.relative_to(root).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(digits) == 1:
        return next(iter(digits.values()))
    lines = "".join(f"{digits[name]}  {name}\n" for name in sorted(digits))
    return hashlib.sha256(lines.encode()).hexdigest()


def _name_of(path):
    return path.stem if path.suffix in (".keras", ".onnx") else path.resolve().name  # of "." too


def _one_line(error):
    text = " ".join(str(error).split()) or type(error).__name__
    cause = text.rpartition("Exception encountered: ")[2]  # Keras puts a whole configuration before it
    return textwrap.shorten(cause, 400, placeholder=" ...")
