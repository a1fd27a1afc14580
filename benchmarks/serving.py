"""Times the served graph beside the bare network in ONNX Runtime, in one run.

    python benchmarks/serving.py [--model=PATH.keras] [--rounds=15] [--num_threads=1]

Without `--model` a LeNet for 28x28 gray images and a ResNet-20 for 32x32 colour images, untrained, are timed: speed
does not depend on the weights. Four variants: the network as tf2onnx converts it; the same with the constant shapes
that `export` gives it (bare); the served graph, with guard, temperature and decision; and the SavedModel's signature in
TensorFlow. They take turns call by call, so that a loaded machine meets them all. A round is the median of its calls.
"""

import pathlib
import statistics
import tempfile
import time

import numpy as np
from absl import app, flags, logging

flags.DEFINE_multi_string("model", [], "Keras models of your own, from images in [0, 1] to logits.")
flags.DEFINE_integer("rounds", 15, "Rounds; median and range over them are printed.", lower_bound=1)
flags.DEFINE_integer("num_threads", 1, "Threads of ONNX Runtime, 0 for its own choice.", lower_bound=0)
FLAGS = flags.FLAGS

CALLS = {1: 200, 64: 10}  # per round


def variants_of(network, folder):
    """Name -> function of a batch of images."""
    import onnx
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    from keras_acet.export import onnx_graph
    from keras_acet.export.artifacts import savedmodel
    from keras_acet.serving import ServingModel

    shape, num_classes = network.inputs[0].shape[1:], network.outputs[0].shape[-1]
    model = ServingModel(network, image_shape=shape, num_classes=num_classes, temperature=1.1, threshold=0.9)
    signature = [tf.TensorSpec((None, *shape), tf.float32, name="images")]
    plain, _ = tf2onnx.convert.from_function(
        tf.function(lambda images: {"logits": network(images, training=False)}), signature, opset=onnx_graph.OPSET
    )
    bare = onnx_graph.convert_network(network, shape)
    (folder / "metadata.json").write_text("{}")
    savedmodel.write_savedmodel(
        model, folder / "saved", metadata={"data": {"class_names": ["class"]}}, metadata_path=folder / "metadata.json"
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = FLAGS.num_threads
    options.log_severity_level = 3
    variants = {}
    for name, proto in (("tf2onnx", plain), ("bare", bare), ("served", onnx_graph.wrap(bare, model))):
        onnx.checker.check_model(proto)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        variants[name] = lambda images, session=session: session.run(None, {"images": images})
    saved = tf.saved_model.load(str(folder / "saved"))
    serve = saved.signatures["serving_default"]
    variants["SavedModel"] = lambda images, saved=saved: serve(images=tf.constant(images))["label"].numpy()
    return shape, variants


def rounds_of(variants, images, calls):
    """Name -> microseconds, one median per round."""
    for call in variants.values():
        call(images)  # warm up
    microseconds = {name: [] for name in variants}
    for _ in range(FLAGS.rounds):
        times = {name: [] for name in variants}
        for _ in range(calls):
            for name, call in variants.items():
                started = time.perf_counter()
                call(images)
                times[name].append(1e6 * (time.perf_counter() - started))
        for name, values in times.items():
            microseconds[name].append(statistics.median(values))
    return microseconds


def main(_):
    import keras

    from keras_acet import networks

    logging.set_verbosity(logging.WARNING)
    models = {
        "LeNet": networks.build("lenet", (28, 28, 1), 10),
        "ResNet-20": networks.build("resnet20", (32, 32, 3), 10),
    }
    if FLAGS.model:
        models = {path: keras.saving.load_model(path, compile=False) for path in FLAGS.model}
    print(f"{'':24} batch  " + "  ".join(f"{name:>12}" for name in ("tf2onnx", "bare", "served", "SavedModel")), end="")
    print("   served / bare       served / tf2onnx")
    for title, network in models.items():
        with tempfile.TemporaryDirectory() as folder:
            shape, variants = variants_of(network, pathlib.Path(folder))
            for batch_size, calls in CALLS.items():
                images = np.random.default_rng(0).random((batch_size, *shape), np.float32)
                times = rounds_of(variants, images, calls)
                cells = "  ".join(f"{statistics.median(values):9.0f} us" for values in times.values())
                ratios = "    ".join(_ratio(times["served"], times[other]) for other in ("bare", "tf2onnx"))
                print(f"{title[-24:]:24} {batch_size:5}  {cells}   {ratios}", flush=True)


def _ratio(times, others):
    ratios = [time / other for time, other in zip(times, others, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    app.run(main)
