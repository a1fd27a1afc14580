import hashlib
import re
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import classifiers
from keras_acet.classifiers import loading
from keras_acet.noise import UniformNoise
from keras_acet.penalties import ConfidencePenalty
from keras_acet.training.model import ACETModel

SHAPE, NUM_CLASSES = (4, 3, 1), 5


def images_of(n, shape=SHAPE, seed=0):
    return np.random.RandomState(seed).rand(n, *shape).astype(np.float32)


def data_of(shape=SHAPE, num_classes=NUM_CLASSES, n=10):
    images, labels = images_of(n, shape), np.arange(n) % num_classes
    return data_with(images, labels, num_classes)


def data_with(images, labels, num_classes):
    sets = {"test_images": images, "train_images": images[:0], "test_labels": labels, "train_labels": labels[:0]}
    sets["is_of"] = lambda fingerprint, **settings: True
    sets["some_images"] = lambda part, index: images[:0]
    return SimpleNamespace(name="toy", image_shape=images.shape[1:], num_classes=num_classes, **sets)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(NUM_CLASSES)]
    return keras.Sequential(layers, name="toy")


def run_directory(path, network):
    path.mkdir()
    (path / "flags.flags").write_text(
        "# Repeats this run: ...\n--dataset=mnist\n--method=acet\n# Fingerprint of the data: 0123\n"
    )
    (path / "metrics.csv").write_text("epoch,loss,val_loss\n1,0.5,\n2,1e-3,nan\n")
    (path / "results.json").write_text("{}\n")
    network.save(path / "model.keras")
    return path


def save_onnx(path, network, *, batch="batch", outputs=("logits",), input_type=1, external=None):
    """Writes a dense network on flattened images as ONNX; every further output is a copy of the first."""
    onnx = pytest.importorskip("onnx")
    kernel, bias = (weight.numpy() for weight in network.weights)
    initializers = {"kernel": kernel, "bias": bias, "shape": np.array([-1, len(kernel)])}
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["floats"], to=1),
        onnx.helper.make_node("Reshape", ["floats", "shape"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "kernel", "bias"], [outputs[0]]),
        *(onnx.helper.make_node("Identity", [outputs[0]], [name]) for name in outputs[1:]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "toy",
        [onnx.helper.make_tensor_value_info("images", input_type, [batch, *SHAPE])],
        [onnx.helper.make_tensor_value_info(name, 1, [batch, len(bias)]) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    if external:
        options = {"save_as_external_data": True, "location": external, "size_threshold": 100}
        onnx.save_model(model, path, **options)
    else:
        onnx.save_model(model, path)
    return path


def save_savedmodel(path, network, *, batch=None, outputs=("logits",), dtype=tf.float32, signature="serving_default"):
    module = tf.Module()
    module.network = network
    spec = tf.TensorSpec((batch, *SHAPE), dtype, name="images")
    function = tf.function(
        lambda images: {name: network(tf.cast(images, tf.float32)) for name in outputs}, input_signature=[spec]
    )
    names = [signature] if isinstance(signature, str) else signature
    tf.saved_model.save(module, str(path), signatures=dict.fromkeys(names, function))
    return path


def save(kind, path, network):
    if kind == "run":
        return run_directory(path / "some-run", network)
    if kind == "keras":
        network.save(path / "mine.keras")
        return path / "mine.keras"
    if kind == "acet":
        ACETModel(network, ConfidencePenalty(UniformNoise(seed=0))).save(path / "mine.keras")
        return path / "mine.keras"
    if kind.startswith("savedmodel"):
        return save_savedmodel(path / "mine", network, batch=3 if kind.endswith("fixed") else None)
    if kind == "export":
        network.export(str(path / "mine"), verbose=False)
        return path / "mine"
    batch = {"onnx": "batch", "onnx of one": 1, "onnx of three": 3}[kind]
    return save_onnx(path / "mine.onnx", network, batch=batch)


KINDS = [
    ("run", "run"), ("keras", "keras"), ("acet", "keras"), ("savedmodel", "savedmodel"), ("export", "savedmodel"),
    ("savedmodel fixed", "savedmodel"), ("onnx", "onnx"), ("onnx of one", "onnx"), ("onnx of three", "onnx"),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "kind"), KINDS)
def test_every_kind_agrees_with_the_live_network(tmp_path, network, stored, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    path = save(stored, tmp_path, network)
    classifier = classifiers.load(str(path))
    assert classifier.kind == kind
    assert classifier.is_differentiable == (kind in ("run", "keras"))
    assert (classifier.image_shape, classifier.num_classes) == (SHAPE, NUM_CLASSES)
    assert (classifier.path, classifier.name) == (path, "some-run" if kind == "run" else "mine")
    assert (classifier.flags is None, classifier.history == []) == (kind != "run", kind != "run")
    assert classifiers.check(classifier, data_of()) is classifier
    images = images_of(600)  # 256 + 256 + 88
    logits = classifier.logits(images)
    assert logits.dtype == np.float32 and logits.shape == (600, NUM_CLASSES)
    np.testing.assert_allclose(logits, network(images), atol=1e-5)
    levels = (images * 255).astype(np.uint8)
    for n in (1, 7):
        np.testing.assert_allclose(classifier.logits(images[:n]), network(images[:n]), atol=1e-5)
        np.testing.assert_allclose(classifier.logits(levels[:n]), network(levels[:n] / np.float32(255)), atol=1e-5)
    # What TensorFlow can look into is a Keras model.
    assert isinstance(classifier.network, keras.Model) == classifier.is_differentiable
    assert classifier.is_foreign == (kind != "run")


def test_logits_are_traced_once_per_shape_and_scale_bytes():
    calls = []

    def network(images):
        calls.append(images.shape)
        return tf.reduce_mean(images, axis=(1, 2))

    classifier = classifiers.FunctionClassifier(network)
    assert classifier.name == "model"
    for n in (1, 256, 300):
        levels = np.random.RandomState(n).randint(0, 256, (n, 2, 2, 3)).astype(np.uint8)
        np.testing.assert_allclose(classifier.logits(levels), levels.mean(axis=(1, 2)) / 255, atol=1e-6)
    assert len(calls) == 1
    classifier.logits(images_of(2, (3, 3, 3)))
    assert len(calls) == 2
    assert classifier.logits(images_of(1, (2, 2, 3)).astype(np.float64)).dtype == np.float32
    assert len(calls) == 2


def test_batch_norm_runs_in_inference_mode(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
    model.save(tmp_path / "a.keras")
    images = images_of(4, (3,))
    logits = classifiers.load(tmp_path / "a.keras").logits(images)
    np.testing.assert_allclose(logits, images / np.sqrt(1 + 1e-3), rtol=1e-6)  # averages 0 and 1, epsilon 1e-3


def test_run_tells_its_flags_and_history(tmp_path, network):
    classifier = classifiers.load(run_directory(tmp_path / "run", network))
    assert classifier.flags == {"dataset": "mnist", "method": "acet"}
    first, second = classifier.history
    assert first == {"epoch": 1, "loss": 0.5}
    assert second.pop("val_loss") != second.get("val_loss")  # NaN
    assert second == {"epoch": 2, "loss": 1e-3}
    assert isinstance(second["epoch"], int) and isinstance(second["loss"], float)
    (tmp_path / "run" / "metrics.csv").unlink()
    assert classifiers.load(tmp_path / "run").history == []


def test_sha256_of_one_file_and_of_several(tmp_path, network):
    pytest.importorskip("onnxruntime")

    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    run = run_directory(tmp_path / "run", network)
    assert classifiers.load(run).sha256 == digest(run / "model.keras")
    assert classifiers.load(run / "model.keras").sha256 == digest(run / "model.keras")
    single = save_onnx(tmp_path / "a.onnx", network)
    (tmp_path / "a.onnx.txt").write_text("notes")
    assert classifiers.load(single).sha256 == digest(single)
    split = save_onnx(tmp_path / "b.onnx", network, external="b.onnx.data")
    lines = f"{digest(split)}  b.onnx\n{digest(tmp_path / 'b.onnx.data')}  b.onnx.data\n"
    classifier = classifiers.load(split)
    assert classifier.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    np.testing.assert_allclose(classifier.logits(images_of(3)), network(images_of(3)), atol=1e-5)
    saved = save_savedmodel(tmp_path / "saved", network)
    names = sorted(path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file())
    assert {"saved_model.pb", "variables/variables.index"} < set(names)
    lines = "".join(f"{digest(saved / name)}  {name}\n" for name in names)
    assert classifiers.load(saved).sha256 == hashlib.sha256(lines.encode()).hexdigest()


@keras.saving.register_keras_serializable("test_classifiers")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, images):
        return self.dense(images)


def test_subclassed_model_does_not_tell_its_shapes(tmp_path):
    model = Subclassed()
    images = images_of(3, (2,))
    expected = model(images).numpy()
    model.save(tmp_path / "a.keras")
    classifier = classifiers.load(tmp_path / "a.keras")
    assert (classifier.image_shape, classifier.num_classes) == (None, None)
    np.testing.assert_allclose(classifier.logits(images), expected, atol=1e-5)
    classifiers.check(classifier, data_of((2,), 2))
    with pytest.raises(ValueError, match=r"a must take images of shape \(3,\), as toy has them. It fails: ") as caught:
        classifiers.check(classifier, data_of((3,), 2))
    assert "\n" not in str(caught.value)


def test_an_output_called_logits_is_chosen_among_several(tmp_path, network):
    pytest.importorskip("onnxruntime")
    outputs = ("confidence", "logits")
    for path in (
        save_onnx(tmp_path / "a.onnx", network, outputs=outputs),
        save_savedmodel(tmp_path / "saved", network, outputs=outputs),
    ):
        np.testing.assert_allclose(classifiers.load(path).logits(images_of(3)), network(images_of(3)), atol=1e-5)


def test_the_only_signature_needs_no_name(tmp_path, network):
    path = save_savedmodel(tmp_path / "saved", network, signature="predict")
    np.testing.assert_allclose(classifiers.load(path).logits(images_of(3)), network(images_of(3)), atol=1e-5)


def load_fails(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        classifiers.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


def test_paths_that_are_no_classifier(tmp_path):
    what = "must be a run directory, a .keras file, a SavedModel directory or an .onnx file. Received: .*"
    load_fails(tmp_path / "none.keras", what + "none.keras, which does not exist")
    load_fails(tmp_path, what + "a directory without flags.flags .of a run. or saved_model.pb")
    (tmp_path / "weights.h5").write_bytes(b"")
    load_fails(tmp_path / "weights.h5", what + r"weights.h5, which ends otherwise; .*model.save\('NAME.keras'\)")


def test_run_that_cannot_be_used(tmp_path, network):
    run = run_directory(tmp_path / "run", network)
    (run / "model.keras").unlink()
    load_fails(run, "run must hold the trained network. Received: a run without model.keras")
    (run / "results.json").unlink()
    how = "give its training command again, or `ka.train` the recipe in .*flags.flags"
    load_fails(run, f"run must hold a finished run. Received: one without results.json. Train it to the end: {how}")
    (run / "flags.flags").write_text("")
    load_fails(run, "flags.flags is damaged: it holds no flags")


def test_damaged_files(tmp_path, network):
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.keras").write_bytes(b"no model")
    load_fails(tmp_path / "a.keras", "a.keras must be a Keras model that can be loaded here.*Received: ")
    network.save(tmp_path / "b.keras")
    (tmp_path / "b.keras").write_bytes((tmp_path / "b.keras").read_bytes()[:-300])
    load_fails(tmp_path / "b.keras", "b.keras must be a Keras model that can be loaded here")
    onnx = save_onnx(tmp_path / "a.onnx", network)
    onnx.write_bytes(onnx.read_bytes()[:-50])
    load_fails(onnx, "a.onnx must be an ONNX file. Received: ")
    saved = save_savedmodel(tmp_path / "saved", network)
    next((saved / "variables").glob("*data*")).unlink()
    load_fails(saved, "saved must be a SavedModel. Received: ")
    (saved / "saved_model.pb").write_bytes(b"no model")
    load_fails(saved, "saved must be a SavedModel. Received: ")


def test_keras_models_that_do_not_fit(tmp_path):
    x, y = keras.Input((2,)), keras.Input((2,))
    keras.Model([x, y], x + y).save(tmp_path / "two.keras")
    load_fails(tmp_path / "two.keras", "two.keras must have one input. Received: 2 of them")
    keras.Model(x, [x + 1, x + 2]).save(tmp_path / "two.keras")
    load_fails(tmp_path / "two.keras", "two.keras must have one output. Received: 2 of them")
    keras.Sequential([x, keras.layers.Lambda(lambda t: t)]).save(tmp_path / "lambda.keras")
    load_fails(tmp_path / "lambda.keras", "lambda.keras must be a Keras model that can be loaded.*Lambda")


def test_a_class_of_your_own_must_be_registered(tmp_path):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((2,)), Own()]).save(tmp_path / "own.keras")
    message = "classes of your own must be registered with Keras first. Received: Could not locate class 'Own'"
    load_fails(tmp_path / "own.keras", message)


def test_savedmodels_that_do_not_fit(tmp_path, network):
    save_savedmodel(tmp_path / "a", network, signature=("one", "two"))
    load_fails(tmp_path / "a", r"a must have one signature. Received: \['one', 'two'\]")
    save_savedmodel(tmp_path / "b", network, outputs=("one", "two"))
    load_fails(tmp_path / "b", r"b must have one output. Received: \['one', 'two'\]")
    save_savedmodel(tmp_path / "c", network, dtype=tf.uint8)
    load_fails(tmp_path / "c", "c must take float images of a known rank. Received: .*uint8")
    tf.saved_model.save(tf.Module(), str(tmp_path / "d"))
    load_fails(tmp_path / "d", "d must have one signature. Received: none")


def test_onnx_files_that_do_not_fit(tmp_path, network):
    pytest.importorskip("onnxruntime")
    load_fails(
        save_onnx(tmp_path / "a.onnx", network, outputs=("one", "two")),
        r"a.onnx must have one output. Received: \['one', 'two'\]",
    )
    load_fails(
        save_onnx(tmp_path / "b.onnx", network, input_type=2),
        r"b.onnx must take a batch of float32 images. Received: tensor\(uint8\) of shape \['batch', 4, 3, 1\]",
    )


def test_missing_onnxruntime_is_named(tmp_path, network, monkeypatch):
    assert not hasattr(classifiers, "onnxruntime")  # imported where it is used
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ImportError, match="a.onnx needs ONNX Runtime: `pip install onnxruntime`"):
        classifiers.load(tmp_path / "a.onnx")


def constant(rows):
    """A classifier that gives these logits whatever the images."""
    return classifiers.FunctionClassifier(lambda images: tf.constant(rows, tf.float32), name="mine")


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (constant([[0.2, 0.99], [0.05, 0.4]]), "mine must give logits. Received: numbers in .* as of a sigmoid"),
        (constant([[0.2, 0.8, 0.0]] * 2), r"one logit for each of the 2 classes of toy. Received: .*\(3,\). Name"),
        (constant([0.2, 0.8]), r"one logit for each of the 2 classes of toy. Received: .*\(\)"),
        (constant([[0.2, np.nan], [0.1, 3.0]]), "must be finite. Received: 1 of 2 test images of toy"),
        (constant([[0.2, np.inf], [-np.inf, 3.0]]), "must be finite. Received: 2 of 2 test images of toy"),
    ],
)
def test_outputs_that_are_no_logits(classifier, message):
    with pytest.raises(ValueError, match=message):
        classifiers.check(classifier, data_of((2,), 2, n=2))


@pytest.mark.parametrize("rows", [[[0.2, 0.8], [0.5, 0.498]], [[-0.5, 1.5]] * 2, [[-0.7, -0.7]] * 2, [[0.5, 0.6]] * 2])
def test_outputs_that_are_logits(rows):
    classifiers.check(constant(rows), data_of((2,), 2, n=2))


@pytest.mark.parametrize(
    ("expected", "received", "advice"),
    [
        ((4, 3, 1), (5, 3, 1), "Name the data that it was trained on"),
        ((12,), (4, 3, 1), "Name the data that it was trained on"),
        ((None, None, 3), (8, 8, 1), "Name the data that it was trained on"),
    ],
)
def test_image_shapes_that_differ(expected, received, advice):
    classifier = classifiers.FunctionClassifier(tf.identity, image_shape=expected, name="mine")
    message = f"mine takes images of shape {expected}. Received: toy with images of shape {received}. {advice}"
    with pytest.raises(ValueError, match=re.escape(message)):
        classifiers.check(classifier, data_of(received))


def test_a_size_that_may_vary_fits():
    classifier = classifiers.FunctionClassifier(lambda x: tf.reduce_mean(x, (1, 2)) - 1, image_shape=(None, None, 3))
    classifiers.check(classifier, data_of((8, 9, 3), 3))


def test_check_changes_nothing_of_the_classifier():
    keras.utils.set_random_seed(0)
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    network = keras.Sequential([*layers, keras.layers.Dense(NUM_CLASSES)])
    classifier = classifiers.KerasClassifier(network, name="mine")
    weights = [weight.numpy() for weight in network.variables]  # the averages and the seed of Dropout too
    before = {name: value for name, value in vars(classifier).items() if not name.startswith("_")}
    assert classifiers.check(classifier, data_of()) is classifier
    assert {name: value for name, value in vars(classifier).items() if not name.startswith("_")} == before
    for old, weight in zip(weights, network.variables, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)


def test_check_looks_for_gradients_as_the_network_is_used():
    seen = []

    @keras.saving.register_keras_serializable("test_classifiers")
    class Watching(keras.Model):
        def call(self, images, training=None):
            tf.debugging.assert_less_equal(images, 1.0)
            seen.append((training, images.dtype))
            return 2 * images - 1

    data = data_with(np.array([[0, 255], [51, 102]], np.uint8), np.array([0, 1]), 2)
    classifiers.check(classifiers.KerasClassifier(Watching()), data)
    assert set(seen) == {(False, tf.float32)}


def test_a_model_without_gradients_is_told_in_a_copy():
    classifier = classifiers.FunctionClassifier(lambda images: tf.round(images) - 1, name="mine")
    found = classifiers.check(classifier, data_of((2,), 2))
    assert classifier.is_differentiable and not found.is_differentiable
    assert (found.name, found.network) == ("mine", classifier.network)


def test_anything_that_classifies_becomes_a_classifier(tmp_path, network):
    live = classifiers.as_classifier(network)
    assert isinstance(live, classifiers.KerasClassifier) and live.name == "toy"
    assert (live.image_shape, live.num_classes, live.is_foreign) == (SHAPE, NUM_CLASSES, True)
    assert classifiers.as_classifier(live) is live
    trained = classifiers.as_classifier(ACETModel(network, ConfidencePenalty(UniformNoise(seed=0)), name="trained"))
    assert trained.network is network and trained.name == "trained"
    function = classifiers.as_classifier(lambda images: images)
    assert isinstance(function, classifiers.FunctionClassifier) and function.name == "model"
    network.save(tmp_path / "mine.keras")
    assert classifiers.as_classifier(tmp_path / "mine.keras").name == "mine"
    for other in (3, None, np.zeros(3)):
        with pytest.raises(TypeError, match="must be a keras.Model, a function from images to logits, a path, or a"):
            classifiers.as_classifier(other)


def test_a_renamed_classifier_is_another_one(network):
    classifier = classifiers.as_classifier(network)
    renamed = classifier.replace(name="other")
    assert (classifier.name, renamed.name) == ("toy", "other")
    np.testing.assert_array_equal(renamed.logits(images_of(3)), classifier.logits(images_of(3)))


def test_no_class_claims_the_path_of_another(tmp_path, network):
    for stored, kind in KINDS:
        if kind == "onnx":
            pytest.importorskip("onnx")
        (tmp_path / stored).mkdir()
        path = save(stored, tmp_path / stored, network)
        claiming = [cls for cls in loading.KINDS if cls.claims(path)]
        assert [cls.kind for cls in claiming] == [kind]
