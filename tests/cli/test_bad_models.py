"""The tables of bad models, runs, exports and pictures, for the commands that read them.

Each row works in a copy of the folder `stock` of conftest.py, ends with exit code 2 and one line on stderr, and leaves
nothing behind.
"""

import json

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from helpers.inputs import (
    IMAGES,
    LABELS,
    UNIT,
    changed,
    cut,
    damaged,
    directory,
    encoded,
    fifo,
    file,
    gray,
    link,
    npz,
    png_of,
    unix_socket,
    without,
)
from helpers.models import ABOUT, SHAPE, dense, onnx_dense
from helpers.rows import check_refused, row, tree

NET = "--model=net.keras --dataset=npz:mine.npz"
MINE = "--model=mine.keras --dataset=npz:mine.npz"
RUN = "--run_dir=run"


def model(build, name="mine.keras"):
    """Saves a Keras model."""

    def save(folder):
        keras.utils.set_random_seed(0)
        network = build()
        network.save(folder / name)

    return save


def with_weights(value):
    def build():
        network = dense()
        network.set_weights([np.full_like(weight, value) for weight in network.get_weights()])
        return network

    return build


def two_inputs():
    inputs = [keras.Input(SHAPE, name=name) for name in ("left", "right")]
    flat = [keras.layers.Flatten()(one) for one in inputs]
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()(flat)))


def two_outputs():
    inputs = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(flat), keras.layers.Dense(3)(flat)])


def images_out():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(3, 3)])


def with_lambda():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :3])])


def unregistered():
    class Own(keras.layers.Layer):
        def call(self, x):
            return x[:, :3]

    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), Own()])


def saved_model(*, dtype=tf.float32, signatures=True):
    def save(folder):
        module = tf.Module()
        function = tf.function(lambda images: tf.reshape(tf.cast(images, tf.float32), [-1, 64])[:, :3])
        module.function = function
        kept = function.get_concrete_function(tf.TensorSpec([None, *SHAPE], dtype, name="images"))
        tf.saved_model.save(module, str(folder / "mine"), signatures=kept if signatures else {})

    return save


def onnx_file(**options):
    return lambda folder: onnx_dense(folder / "mine.onnx", **options)


def onnx_without_weights(folder):
    kept = onnx_dense(folder / "mine.onnx")
    onnx.save_model(kept, folder / "mine.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    (folder / "weights.bin").unlink()


def onnx_with_metadata(text):
    def save(folder):
        kept = onnx_dense(folder / "mine.onnx")
        kept.metadata_props.add(key="metadata", value=text)
        onnx.save(kept, folder / "mine.onnx")

    return save


def flags_of_run(change):
    """Changes the flags of a run of an earlier version, which does not know them."""

    def edit(folder):
        results = json.loads((folder / "run/results.json").read_text())
        (folder / "run/results.json").write_text(json.dumps({key: results[key] for key in results if key != "flags"}))
        path = folder / "run/flags.flags"
        path.write_text(change(path.read_text()))

    return edit


def without_dataset(text):
    return "".join(line for line in text.splitlines(True) if not line.startswith("--dataset="))


def other_order(folder):
    order = np.random.default_rng(1).permutation(30)
    npz(IMAGES[order], LABELS[order])(folder)


# A classifier that cannot be measured, for evaluate.py and export alike.
MODELS = [
    row("missing model", MINE, "mine.keras, which does not exist"),
    row("empty model", MINE, "mine.keras", file("mine.keras")),
    row("text as model", MINE, "mine.keras", file("mine.keras", "weights")),
    row("data as model", MINE, "mine.keras", file("mine.keras", b"PK\x03\x04")),
    row("model cut short", NET, "net.keras", cut("net.keras", 3000)),
    row("damaged model", NET, "net.keras", damaged("net.keras")),
    row("folder as model", MINE, "mine.keras", directory("mine.keras")),
    row("pipe as model", MINE, "mine.keras", fifo("mine.keras")),
    row("socket as model", MINE, "mine.keras", unix_socket("mine.keras")),
    row("link as model that leads nowhere", MINE, "mine.keras", link("mine.keras", "gone.keras")),
    row("weights alone", "--model=mine.weights.h5 --dataset=npz:mine.npz", "mine.weights.h5", file("mine.weights.h5")),
    row("HDF5", "--model=mine.h5 --dataset=npz:mine.npz", "model.save('NAME.keras')", file("mine.h5")),
    row("pickle", "--model=mine.pt --dataset=npz:mine.npz", "mine.pt", file("mine.pt", b"\x80\x04N.")),
    row("folder without a model", "--model=served/.. --dataset=npz:mine.npz", "a directory without"),
    row("model of code", MINE, "mine.keras", model(with_lambda)),
    row("model of unknown classes", MINE, "must be registered with Keras", model(unregistered)),
    row("model of two inputs", MINE, "must have one input", model(two_inputs)),
    row("model of two outputs", MINE, "must have one output", model(two_outputs)),
    row("model from images to images", MINE, "mine must give one logit for each", model(images_out)),
    row("model of other classes", MINE, "mine must give one logit for each of the 3", model(lambda: dense(5))),
    row("model of one logit", MINE, "mine", model(lambda: dense(1))),
    row("model of other images", MINE, "takes images of shape (9, 8, 1)", model(lambda: dense(shape=(9, 8, 1)))),
    row("model of colours", MINE, "takes images of shape (8, 8, 3)", model(lambda: dense(shape=(8, 8, 3)))),
    row("model of vectors", MINE, "takes images of shape (64,)", model(lambda: dense(shape=(64,)))),
    row("model with nan weights", MINE, "must be finite", model(with_weights(np.nan))),
    row("model that overflows", MINE, "must be finite", model(with_weights(3e38))),
    row("model without data", "--model=net.keras", "--model needs --dataset"),
    row("unknown data", f"{NET} --dataset=mnits", "mnist"),
    row("missing data", f"{NET} --dataset=npz:gone.npz", "gone.npz"),
    row("data of vectors", f"{NET} --dataset=moons", "takes images of shape (8, 8, 1)"),
    row("calibration by name", f"{NET} --calibration=digits", "must be folder:PATH or npz:PATH"),
    row("calibration twice", f"{NET} --calibration=npz:mine.npz --calibration_fraction=.1", "exclude each other"),
    row("missing calibration", f"{NET} --calibration=npz:gone.npz", "gone.npz"),
    row("calibration of another shape", f"{NET} --calibration=npz:a.npz", "a.npz", npz(IMAGES[:, :4], name="a.npz")),
    row("inputs of a run", f"{RUN} --inputs=unit", "--inputs needs --model"),
    row("fraction of a run", f"{RUN} --calibration_fraction=.1", "--calibration_fraction"),
    row("data of other classes", f"{NET} --dataset=digits", "one logit for each of the 10 classes"),
    row("bad data", NET, "must be finite", npz(images=changed(UNIT, 3, np.nan))),
    row("bad labels", NET, "labels", npz(labels=LABELS - 1)),
    row("image size of arrays", f"{NET} --image_size=8", "--image_size is for folder:PATH only"),
    row("unfinished run", RUN, "run must hold a finished run", without("run/results.json")),
    row("run without a network", RUN, "a run without model.keras", without("run/model.keras")),
    row("run with a damaged network", RUN, "model.keras", damaged("run/model.keras")),
    row("run with an empty network", RUN, "model.keras", cut("run/model.keras", 0)),
    row(
        "run with another network",
        RUN,
        "model.keras",
        model(lambda: dense(shape=(9, 8, 1)), "run/model.keras"),
    ),
    row("run with damaged flags", RUN, "run/flags.flags", file("run/flags.flags", b"\xff\xfe")),
    row("run with empty flags", RUN, "run/flags.flags", file("run/flags.flags")),
    row("run without a data set", RUN, "flags.flags", flags_of_run(without_dataset)),
    row("run of unknown data", RUN, "nope", flags_of_run(lambda text: without_dataset(text) + "--dataset=nope\n")),
    row(
        "run with a bad number",
        RUN,
        "eval_epsilon",
        flags_of_run(lambda t: t.replace("eval_epsilon=0.3", "eval_epsilon=x")),
    ),
    row("run whose data are gone", RUN, "mine.npz", without("mine.npz")),
    row("run whose data have changed", RUN, "mine.npz", npz(255 - IMAGES)),
    row("run whose labels have changed", RUN, "mine.npz", npz(labels=(LABELS + 1) % 3)),
    row("run whose data have another order", RUN, "mine.npz", other_order),
    row("run whose data have grown", RUN, "mine.npz", npz(np.tile(IMAGES, (2, 1, 1, 1)), np.tile(LABELS, 2))),
    row("out-distribution set without a path", f"{RUN} --ood=npz:", "npz:"),
    row("unknown out-distribution set", f"{RUN} --ood=fashon_mnist", "Did you mean 'fashion_mnist'?"),
    row("missing out-distribution set", f"{RUN} --ood=npz:gone.npz", "gone.npz"),
    row("missing out-distribution folder", f"{RUN} --ood=folder:gone", "gone"),
    row("empty out-distribution folder", f"{RUN} --ood=folder:none", "none", directory("none")),
    row("out-distribution set twice", f"{RUN} --ood=photos,photos", "'photos' twice"),
    row("out-distribution set of vectors", f"{RUN} --ood=moons --resize", "moons"),
    row("text as out-distribution set", f"{RUN} --ood=npz:more.npz", "more.npz", file("more.npz", "pixels")),
    row(
        "nan in an out-distribution set",
        f"{RUN} --ood=npz:more.npz",
        "must be finite",
        npz(UNIT * np.nan, name="more.npz"),
    ),
    row("range of an out-distribution set", f"{RUN} --ood=npz:more.npz", "[0, 1]", npz(UNIT * 255, name="more.npz")),
    row("broken image", f"{RUN} --ood=folder:more", "more/a.png", file("more/a.png", "no picture")),
    row("pipe among the images", f"{RUN} --ood=folder:more", "more/a.png", fifo("more/a.png")),
]

# A model that gives no gradient is for evaluate.py alone.
EVALUATE = [
    row("runs on other data", "--run_dir=run --dataset=digits", "classes"),
    row("empty SavedModel", "--model=mine --dataset=npz:mine.npz", "mine", file("mine/saved_model.pb")),
    row("damaged SavedModel", "--model=saved --dataset=npz:mine.npz", "saved", damaged("saved/saved_model.pb")),
    row(
        "SavedModel without variables",
        "--model=saved --dataset=npz:mine.npz",
        "saved",
        without("saved/variables/variables.index"),
    ),
    row(
        "SavedModel without signatures",
        "--model=mine --dataset=npz:mine.npz",
        "one signature",
        saved_model(signatures=False),
    ),
    row("SavedModel of bytes", "--model=mine --dataset=npz:mine.npz", "float images", saved_model(dtype=tf.uint8)),
    row("empty ONNX file", "--model=mine.onnx --dataset=npz:mine.npz", "mine.onnx", file("mine.onnx")),
    row("text as ONNX file", "--model=mine.onnx --dataset=npz:mine.npz", "mine.onnx", file("mine.onnx", "graph")),
    row("ONNX file cut short", "--model=net.onnx --dataset=npz:mine.npz", "net.onnx", cut("net.onnx", 300)),
    row(
        "ONNX file of whole numbers",
        "--model=mine.onnx --dataset=npz:mine.npz",
        "float32 images",
        onnx_file(kind=onnx.TensorProto.INT64),
    ),
    row("ONNX file of two inputs", "--model=mine.onnx --dataset=npz:mine.npz", "one input", onnx_file(more=["more"])),
    row(
        "ONNX file of other classes",
        "--model=mine.onnx --dataset=npz:mine.npz",
        "one logit for each",
        onnx_file(classes=4),
    ),
    row("ONNX file without its weights", "--model=mine.onnx --dataset=npz:mine.npz", "mine.onnx", onnx_without_weights),
    row("unknown measurement", f"{RUN} --measure=nose", "A measurement must be one of"),
    row("unknown measurement to skip", f"{RUN} --skip=nose", "A measurement must be one of"),
    row("nothing left to measure", f"{RUN} --measure=noise --skip=noise", "measure"),
    row("other shape", f"{RUN} --ood=npz:more.npz", "--resize", npz(IMAGES[:, :4], name="more.npz")),
    row("one run twice", "--run_dir=run,run", "run"),
    row("one model twice", f"{NET} --model=net.keras", "net"),
    row("report is a file", f"{RUN} --report_dir=7.png", "7.png"),
    row("report below a file", f"{RUN} --report_dir=7.png/report", "7.png"),
    row("report not writable", f"{RUN} --report_dir=/proc/report", "/proc/report"),
    row("report with a long name", f"{RUN} --report_dir={'a' * 300}", "aaa"),
]

EXPORT = [
    row("unknown format", f"{NET} --formats=tflite", "--formats must be some of"),
    row("threshold of one", f"{NET} --threshold=1", "--threshold=1 must be"),
    row("threshold of a hundred", f"{NET} --threshold=100", "--threshold=100 must be"),
    row("threshold negative", f"{NET} --threshold=-0.1", "--threshold=-0.1 must be"),
    row("threshold nan", f"{NET} --threshold=nan", "--threshold=nan must be"),
    row("threshold as a word", f"{NET} --threshold=high", "--threshold=high must be"),
    row("threshold as a percentage", f"{NET} --threshold=95%", "--threshold=95% must be"),
    row("hidden name", f"{NET} --name=.hidden", "--name must be usable as the name of a folder"),
    row("name with a slash", f"{NET} --name=a/b", "--name must be usable"),
    row("name above", f"{NET} --name=..", "--name must be usable"),
    row("name with a line break", f"{NET} --name='a\nb'", "--name"),
    row("name that is too long", f"{NET} --name={'a' * 300}", "aaa"),
    row("version that exists", f"{NET} --version=3", "Version 3 of net exists", directory("export-net/net/3")),
    row("SavedModel", "--model=saved --dataset=npz:mine.npz", "saved"),
    row("ONNX file", "--model=net.onnx --dataset=npz:mine.npz", "net"),
    row("directory is a file", f"{NET} --export_dir=7.png", "7.png"),
    row("directory below a file", f"{NET} --export_dir=7.png/models", "7.png"),
    row("directory not writable", f"{NET} --export_dir=/proc/models", "/proc/models"),
    row("model's folder is a file", NET, "export-net/net", file("export-net/net")),
    row("demo without ONNX", f"{NET} --demo --formats=savedmodel", "--demo needs the ONNX file"),
    row("demo under its own name", f"{NET} --demo --name=demo", "another --name"),
]

PROOD = "--dataset=npz:mine.npz --method=prood --classifier=net.keras --run_dir=new --batch_size=8 --epochs=1"
OWN = "--dataset=npz:mine.npz --method=plain --network=mine.keras --run_dir=new --batch_size=8 --epochs=1"
TRAIN = [
    row("mean no number", f"{PROOD} --mean=a", "--mean"),
    row("mean nan", f"{PROOD} --mean=nan", "mean"),
    row("mean of three channels", f"{PROOD} --mean=.5,.5,.5", "mean"),
    row("deviation zero", f"{PROOD} --std=0", "std"),
    row("damaged classifier", PROOD, "net.keras", damaged("net.keras")),
    row("classifier of other classes", PROOD, "one logit for each of the 3", model(lambda: dense(5), "net.keras")),
    row("classifier of other images", PROOD, "(9, 8, 1)", model(lambda: dense(shape=(9, 8, 1)), "net.keras")),
    row("folder as classifier", f"{PROOD} --classifier=served/..", "a directory without"),
    row("missing network", OWN, "mine.keras"),
    row("text as network", OWN, "mine.keras", file("mine.keras", "weights")),
    row("network of code", OWN, "mine.keras", model(with_lambda)),
    row("network of two outputs", OWN, "mine.keras", model(two_outputs)),
    row("network of other classes", OWN, "mine", model(lambda: dense(5))),
    row("network of other images", OWN, "(9, 8, 1)", model(lambda: dense(shape=(9, 8, 1)))),
    row("network with nan weights", OWN, "mine", model(with_weights(np.nan))),
]

ONNX = "onnx --model=served/model.onnx"
CLIENTS = [
    row("missing image", f"{ONNX} gone.png", "gone.png"),
    row("image without a name", f"{ONNX} ''", "error"),
    row("folder as image", f"{ONNX} run", "run"),
    row("empty image", f"{ONNX} a.png", "a.png", file("a.png")),
    row("text as image", f"{ONNX} a.png", "a.png", file("a.png", "no picture")),
    row("image cut short", f"{ONNX} 7.png", "7.png", cut("7.png", 60)),
    row("damaged image", f"{ONNX} 7.png", "7.png", damaged("7.png")),
    row("image of another size", f"{ONNX} a.png", "a.png", file("a.png", encoded(gray(0, (9, 8))))),
    row("image of another format", f"{ONNX} a.png", "a.png", file("a.png", encoded(gray(), "GIF"))),
    row("image of the size of a wall", f"{ONNX} a.png", "a.png", file("a.png", png_of(60000, 60000))),
    row("pipe as image", f"{ONNX} a.png", "a.png", fifo("a.png")),
    row("socket as image", f"{ONNX} a.png", "a.png", unix_socket("a.png")),
    row("endless device as image", f"{ONNX} /dev/zero", "/dev/zero"),
    row("link as image that leads nowhere", f"{ONNX} a.png", "a.png", link("a.png", "gone.png")),
    row("missing model", "onnx --model=gone.onnx 7.png", "gone.onnx"),
    row("folder as model", "onnx --model=served 7.png", "served"),
    row("text as model", "onnx --model=a.onnx 7.png", "a.onnx", file("a.onnx", "graph")),
    row("model cut short", f"{ONNX} 7.png", "served/model.onnx", cut("served/model.onnx", 500)),
    row("model without metadata", "onnx --model=net.onnx 7.png", "net.onnx is no exported model", onnx_file()),
    row("metadata that are no JSON", "onnx --model=mine.onnx 7.png", "mine.onnx", onnx_with_metadata("{")),
    row("metadata that are a list", "onnx --model=mine.onnx 7.png", "mine.onnx", onnx_with_metadata("[]")),
    row("metadata of another schema", "onnx --model=mine.onnx 7.png", "mine.onnx", onnx_with_metadata("{}")),
    row("metadata without outputs", "onnx --model=mine.onnx 7.png", "mine.onnx", onnx_with_metadata(json.dumps(ABOUT))),
    row("threshold nan", f"{ONNX} --threshold=nan 7.png", "--threshold"),
    row("threshold above one", f"{ONNX} --threshold=95 7.png", "--threshold"),
    row("threshold negative", f"{ONNX} --threshold=-1 7.png", "--threshold"),
    row("no server", "rest --server=localhost:1 --model=m 7.png", "localhost:1"),
    row("server without a name", "rest --server= --model=m 7.png", "no host given"),
    row("server of words", "rest --server='my server' --model=m 7.png", "my server"),
    row("server beyond ports", "rest --server=localhost:99999 --model=m 7.png", "localhost:99999"),
    row("server of another protocol", "rest --server=file:///etc --model=m 7.png", "file:///etc"),
    row("server with a broken address", "rest --server=http://[ --model=m 7.png", "http://["),
    row("missing metadata", "rest --model=m --metadata=gone.json 7.png", "--metadata=gone.json"),
    row("folder as metadata", "rest --model=m --metadata=run 7.png", "--metadata=run"),
    row("metadata no JSON", "rest --model=m --metadata=a.json 7.png", "--metadata=a.json", file("a.json", "{")),
    row("binary metadata", "rest --model=m --metadata=a.json 7.png", "--metadata=a.json", file("a.json", b"\xff\xfe")),
    row("list as metadata", "rest --model=m --metadata=a.json 7.png", "--metadata=a.json", file("a.json", "[]")),
    row("metadata without names", "rest --model=m --metadata=a.json 7.png", "--metadata=a.json", file("a.json", "{}")),
]

RAYS = [
    row("nothing", "", "--run_dir=RUN or --model=PATH.keras"),
    row("unknown flag", "--modle=net.keras", "Did you mean: model ?"),
    row("no rays", "--model=net.keras --num_directions=0", "--num_directions=0"),
    row("missing model", "--model=gone.keras", "gone.keras"),
    row("missing run", "--run_dir=gone", "gone"),
    row("damaged model", "--model=net.keras", "net.keras", damaged("net.keras")),
    row("ONNX file", "--model=net.onnx", "net"),
    row("picture in no folder", "--model=net.keras --output=gone/rays.png", "--output=gone/rays.png"),
    row("folder as picture", "--model=net.keras --output=run.png", "--output=run.png", directory("run.png")),
    row("picture of another kind", "--model=net.keras --output=rays.doc", "--output=rays.doc must end in .png"),
]

TWO_MOONS = [
    row("nothing", "", "--run_dir=RUN"),
    row("missing run", "--run_dir=gone", "gone"),
    row("run on images", "--run_dir=run", "takes images of shape (8, 8, 1)"),
    row("unfinished run", "--run_dir=run", "finished run", without("run/results.json")),
    row("picture without an ending", "--run_dir=run --output=moons", "--output=moons must end in .png"),
]

RBF = [
    row("no flag", "rbf.png", "expected only flags"),
    row("unknown flag", "--out=rbf.png", "Did you mean: output ?"),
    row("picture in no folder", "--output=gone/rbf.png", "--output=gone/rbf.png"),
]

KINDS = [
    row("seed", "--seed=-1", "--seed=-1"),
    row("folder as picture", "--output=run.png", "--output=run.png", directory("run.png")),
]


def named(rows, name):
    return [pytest.param(name, *one.values, id=f"{name}-{one.id}", marks=one.marks) for one in rows]


SCRIPTS = {
    "train.py": "train.py",
    "evaluate.py": "evaluate.py",
    "export": "keras_acet.export",
    "clients": "keras_acet.export.clients",
    "rays.py": "examples/rays.py",
    "two_moons.py": "examples/two_moons.py",
    "rbf.py": "examples/rbf.py",
    "kinds_of_noise.py": "examples/kinds_of_noise.py",
}
# So that a row which is not refused takes little time.
CHEAP = {"evaluate.py": ["--measure=test_set"], "export": ["--num_noise=2", "--num_images=2", "--epsilon=0.1"]}
ROWS = [
    *named(TRAIN, "train.py"),
    *named(MODELS, "evaluate.py"),
    *named(EVALUATE, "evaluate.py"),
    *named(MODELS, "export"),
    *named(EXPORT, "export"),
    *named(CLIENTS, "clients"),
    *named(RAYS, "rays.py"),
    *named(TWO_MOONS, "two_moons.py"),
    *named(RBF, "rbf.py"),
    *named(KINDS, "kinds_of_noise.py"),
]


@pytest.mark.parametrize(("program", "arguments", "says", "prepare"), ROWS)
def test_refused(program, arguments, says, prepare, run_row, place):
    if prepare is not None:
        prepare(place)
    before = tree(place)
    check_refused(program, run_row(SCRIPTS[program], [*CHEAP.get(program, []), *arguments], place), says)
    assert tree(place) == before
