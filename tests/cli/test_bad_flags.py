"""The table of bad flags of every command: each is refused by its own `main`, in this process, before any work."""

import os
import pathlib
import subprocess
import sys

import pytest
from helpers.places import ROOT
from helpers.rows import check_refused, row, tree

from keras_acet.cli import evaluate, export, main, train
from keras_acet.export.clients import __main__ as clients
from keras_acet.training.recipe import Recipe


def write_binary(folder):
    (folder / "my.flags").write_bytes(bytes(range(256)))


def write_circle(folder):
    (folder / "my.flags").write_text("--flagfile=other.flags\n")
    (folder / "other.flags").write_text("--flagfile=my.flags\n")


def write_flags(*lines):
    return lambda folder: (folder / "my.flags").write_text("\n".join(lines) + "\n")


TRAIN = [
    row("unknown flag", "--epsilonn=0.3", "Unknown command line flag 'epsilonn'. Did you mean: epsilon ?"),
    row("unknown negated flag", "--nooverwrit", "Did you mean: overwrite ?"),
    row("negated number", "--noepochs", "Did you mean: epochs ?"),
    row("flag of evaluate", "--report_dir=report", "Unknown command line flag 'report_dir'"),
    row("flag of export", "--formats=onnx", "Unknown command line flag 'formats'"),
    row("flag without a name", "--=3", "expected only flags"),
    row("a hyphen alone", "-", "expected only flags"),
    row("no flag", "digits", "expected only flags, such as --dataset=digits; received 'digits'"),
    row("no flag after flags", "--epochs 2 digits", "received 'digits'"),
    row("flags after the end of flags", "-- --epochs=2", "received '--epochs=2'"),
    row("an empty word", "''", "received ''"),
    row("no value", "--epsilon", "Missing value for flag --epsilon"),
    row("unknown method", "--method=cedar", "flag --method=cedar: value should be one of <plain|ceda|acet"),
    row("method in capitals", "--method=ACET", "value should be one of"),
    row("no method", "--method=", "value should be one of"),
    row("unknown noise", "--noise=gauss", "--out=gauss: An out-distribution must be made of almost_black"),
    row("unknown part", "--out=paper,papre", "Received: 'papre'. Did you mean 'paper'?"),
    row("weight of a part", "--out=paper=0", "must be a positive number. Received: 'paper=0'"),
    row("out-distribution twice", "--out=paper,paper", "named once only. Received: 'paper' twice"),
    row("out-distribution to test with", "--out=photos", "photos are there to test with alone"),
    row(
        "out-distribution of the data",
        "--dataset=digits --out=digits",
        "--out must name another set than --dataset",
    ),
    row("out-distribution without path", "--out=npz:", "with a path. Received: 'npz:'"),
    row("unknown optimizer", "--optimizer=adamw", "--optimizer=adamw: value should be one of <adam|sgd>"),
    row("unknown schedule", "--schedule=linear", "value should be one of <constant|cosine|steps>"),
    row("unknown step schedule", "--step_schedule=cosine", "value should be one of <constant|linear|loguniform>"),
    row("unknown adversary", "--adversary=pool", "value should be one of <fresh|persistent>"),
    row("unknown precision", "--attack_precision=float16", "value should be one of <bfloat16|float32>"),
    row("unknown start", "--attack_start=zero", "value should be one of <input|random>"),
    row("unknown sigma", "--sigma_per=pixel", "value should be one of <batch|image>"),
    row("no boolean", "--overwrite=perhaps", "--overwrite=perhaps"),
    row("a number as boolean", "--deterministic=2", "--deterministic=2"),
    row("no data set", "--dataset=", "--dataset is empty; give it a value or leave it out"),
    row("blank data set", "--dataset=' '", "--dataset must be"),
    row("no path", "--dataset=npz:", "must be a name, folder:PATH or npz:PATH"),
    row("no folder", "--dataset=folder:", "must be a name, folder:PATH or npz:PATH"),
    row("line break in the data set", "--dataset='npz:a\nb'", "in one line"),
    row("line break in the data directory", "--data_dir='a\nb'", "--data_dir"),
    row("escape sequence in the data set", "--dataset='npz:\x1b[31mred'", "--dataset"),
    row("epsilon too large", "--epsilon=8", "must be in (0, 1], in pixel units; for 8-bit levels divide by 255"),
    row("epsilon zero", "--epsilon=0", "must be in (0, 1]"),
    row("epsilon that rounds to zero", "--epsilon=1e-400", "must be in (0, 1]"),
    row("epsilon nan", "--epsilon=nan", "must be in (0, 1]"),
    row("epsilon no number", "--epsilon=big", "could not convert string to float: 'big'"),
    row("epsilon with a comma", "--epsilon=0,3", "could not convert string to float: '0,3'"),
    row("epsilon as a fraction", "--epsilon=8/255", "could not convert string to float: '8/255'"),
    row("evaluation epsilon", "--eval_epsilon=1.5", "must be in (0, 1]"),
    row("step size negative", "--step_size=-0.1", "must be in (0, 1]"),
    row("step size order", "--step_size=0.3", "a --step_size_max that is not smaller; they are 0.3 and 0.2"),
    row("no largest step", "--dataset=mnist --step_schedule=loguniform", "smaller; they are None and None"),
    row("largest step for nothing", "--dataset=mnist --step_size_max=0.1", "--step_size_max=0.1 is for --step_sch"),
    row("no steps", "--num_steps=0", "--num_steps must be at least 1. Received: num_steps=0"),
    row("sigma negative", "--min_sigma=-1", "must be in [0, inf), in pixels; the paper: 1.0"),
    row("sigma infinite", "--max_sigma=inf", "must be in (0, inf), in pixels; the paper: 2.5"),
    row("sigma order", "--min_sigma=3", "--max_sigma must be at least --min_sigma"),
    row("noise fraction", "--noise_fraction=1.5", "must be in (0, 1]"),
    row("refresh probability", "--refresh_probability=0", "must be in (0, 1]"),
    row("image start probability", "--image_start_probability=1.1", "must be in [0, 1]"),
    row("pool too small", "--adversary=persistent --pool_size=64", "--pool_size=64 must be at least the 128 noise"),
    row("momentum", "--momentum=1", "must be in [0, 1)"),
    row("attack momentum", "--attack_momentum=1", "must be in [0, 1)"),
    row("averaging", "--ema_momentum=1", "must be in [0, 1)"),
    row("learning rate", "--learning_rate=0", "must be in (0, inf)"),
    row("learning rate beyond floats", "--learning_rate=1e309", "must be in (0, inf)"),
    row("weight decay", "--weight_decay=-1", "must be in [0, inf). Received: weight_decay=-1.0"),
    row("penalty weight", "--penalty_weight=nan", "must be in [0, inf)"),
    row("penalty weight infinite", "--penalty_weight=inf", "must be in [0, inf)"),
    row("penalty ramp", "--penalty_ramp_epochs=-1", "must be in [0, inf)"),
    row("warm-up", "--warmup_epochs=-0.5", "must be in [0, inf)"),
    row("epochs", "--epochs=0", "--epochs must be at least 1"),
    row("epochs with a point", "--epochs=1.0", "--epochs=1.0"),
    row("epochs as a power", "--epochs=1e2", "--epochs=1e2"),
    row("epochs as a truth", "--epochs=True", "--epochs=True"),
    row("epochs empty", "--epochs=", "--epochs="),
    row("steps per epoch", "--steps_per_epoch=-1", "--steps_per_epoch must be at least 0"),
    row("batch size", "--batch_size=-3", "--batch_size must be at least 1. Received: batch_size=-3"),
    row("crop padding", "--crop_padding=-1", "--crop_padding must be at least 0"),
    row("image size", "--image_size=0", "--image_size must be at least 1"),
    row("image size as a pair", "--image_size=32x32", "--image_size=32x32"),
    row("calibration fraction", "--calibration_fraction=1", "must be in [0, 1)"),
    row("noise images of the table", "--num_noise=0", "--num_noise must be at least 1"),
    row("drop epochs", "--drop_epochs=75,50", "must be rising whole numbers, such as 50,75,90"),
    row("drop epochs twice", "--drop_epochs=50,50", "must be rising whole numbers"),
    row("drop epochs with a gap", "--drop_epochs=50,,90", "must be rising whole numbers"),
    row("drop epochs empty", "--drop_epochs=", "--drop_epochs is empty"),
    row("drop epochs broken", "--drop_epochs=1.5", "must be rising whole numbers"),
    row("seed", "--seed=-1", "--seed must be in [0, 2147483648). Received: seed=-1"),
    row("seed beyond 31 bits", "--seed=2147483648", "--seed must be in [0, 2147483648)"),
    row("bad flag of a plain run", "--method=plain --epsilon=2", "must be in (0, 1]"),
    row("run directory empty", "--run_dir=", "--run_dir"),
    row("data directory empty", "--data_dir=", "--data_dir"),
    row("network empty", "--network=", "--network"),
    row("augmentation empty", "--augmentation=", "--augmentation"),
    row("flag file empty", "--flagfile=", "flag file"),
    row("unknown out-distribution", "--out=nope", "--out=nope"),
    row("out-distribution without a path", "--out=npz:", "--out=npz:"),
    row("weight negative", "--out=outliers=-1", "must be a positive number"),
    row("weight zero", "--out=outliers=0", "must be a positive number"),
    row("weight no number", "--out=outliers=many", "--out=outliers=many"),
    row("weight nan", "--out=outliers=nan", "--out=outliers=nan"),
    row("part twice", "--out=uniform,uniform", "'uniform' twice"),
    row("missing classifier", "--method=prood --classifier=gone.keras", "gone.keras, which does not exist"),
    row("unknown recipe of a classifier", "--method=prood --classifier=recipe:nope", "'nope'"),
    row("classifier empty", "--method=prood --classifier=", "--classifier is empty"),
    row("classifier for other data", "--method=prood --classifier=recipe:fast/cifar10_plain", "must be one for --data"),
    row("unknown inputs", "--method=prood --inputs=levels", "value should be one of <unit|bytes>"),
    row("missing flag file", "--flagfile=none.flags", "cannot be read"),
    row("folder as flag file", "--flagfile=.", "cannot be read"),
    row("binary flag file", "--flagfile=my.flags", "my.flags", write_binary),
    row("flag files of each other", "--flagfile=my.flags", "includes itself", write_circle),
    row("flag file of itself", "--flagfile=my.flags", "my.flags", write_flags("--flagfile=my.flags")),
    row("flag file without flags", "--flagfile=my.flags", "holds lines such as", write_flags("digits")),
    row("flag file with an unknown flag", "--flagfile=my.flags", "'epoch'. Did you mean", write_flags("--epoch=1")),
    row("flag file with a bad number", "--flagfile=my.flags", "--epochs=many", write_flags("--epochs=many")),
    row("unknown recipe", "--recipe=fast/mnist", "A recipe must be one of"),
    row("recipe empty", "--recipe=", "--recipe is empty"),
    row("folder as recipe", "--recipe=.", "A recipe must be one of"),
    row("binary recipe", "--recipe=my.flags", "my.flags", write_binary),
    row("recipe without flags", "--recipe=my.flags", "holds lines such as", write_flags("epochs: 3")),
    row("recipe with an unknown flag", "--recipe=my.flags", "'epoch'. Did you mean", write_flags("--epoch=1")),
    row("recipe with a bad number", "--recipe=my.flags", "--epochs=many", write_flags("--epochs=many")),
    row("recipe of a flag file", "--recipe=my.flags", "includes itself", write_flags("--flagfile=my.flags")),
]

# Flags that evaluate.py and export share, and what they may be.
DATA = [
    row("unknown flag", "--run_dirr=run", "Did you mean: run_dir ?"),
    row("flag of train", "--epochs=3", "Unknown command line flag 'epochs'"),
    row("no flag", "run", "expected only flags, such as --run_dir=RUN; received 'run'"),
    row("no value", "--run_dir", "Missing value for flag --run_dir"),
    row("nothing", "", "--run_dir=RUN"),
    row("no run", "--run_dir=nowhere", "--run_dir=nowhere must name a run directory of train.py"),
    row("run directory empty", "--run_dir=", "--run_dir"),
    row("file as run", "--run_dir=/dev/null", "must name a run directory of train.py"),
    row("flag file as run", "--run_dir=my.flags", "must name a run directory", write_flags("--epochs=1")),
    row("model without data", "--model=net.keras", "--model needs --dataset"),
    row("epsilon", "--epsilon=8", "must be in (0, 1], in pixel units; for 8-bit levels divide by"),
    row("epsilon zero", "--epsilon=0", "must be in (0, 1]"),
    row("epsilon nan", "--epsilon=nan", "must be in (0, 1]"),
    row("epsilon no number", "--epsilon=small", "could not convert string to float"),
    row("noise images", "--num_noise=0", "--num_noise=0"),
    row("noise images broken", "--num_noise=1.5", "--num_noise=1.5"),
    row("number of images", "--num_images=-1", "--num_images=-1"),
    row("image size no number", "--image_size=large", "--image_size=large"),
    row("image size zero", "--image_size=0", "--image_size=0"),
    row("image size negative", "--image_size=-8", "--image_size=-8"),
    row("seed", "--seed=-1", "--seed=-1"),
    row("seed beyond 31 bits", "--seed=2147483648", "--seed=2147483648"),
    row("unknown inputs", "--inputs=levels", "value should be one of <unit|bytes>"),
    row("unknown outputs", "--outputs=softmax", "value should be one of <logits|probabilities>"),
    row("calibration fraction of all", "--calibration_fraction=1", "must be in (0, 1)"),
    row("calibration fraction nan", "--calibration_fraction=nan", "must be in (0, 1)"),
    row("calibration empty", "--run_dir=run --calibration=", "--calibration is empty"),
    row("resize perhaps", "--resize=perhaps", "--resize=perhaps"),
    row("missing flag file", "--flagfile=none.flags", "cannot be read"),
    row("binary flag file", "--flagfile=my.flags", "my.flags", write_binary),
]

EVALUATE = [
    row("radius as a larger one", "--larger_epsilon=2", "must be in [0, 1]"),
    row("radius of the sets", "--ood_epsilon=0", "must be in (0, 1]"),
    row("unknown alpha", "--alpha=best", "value should be one of <scan|exact>"),
    row("replicates", "--num_bootstrap=0", "--num_bootstrap=0"),
    row("trials", "--num_trials=-1", "--num_trials=-1"),
    row("bounded", "--num_bounded=-1", "--num_bounded=-1"),
    row("attacked", "--num_adversarial=-1", "--num_adversarial=-1"),
    row("old name of attacked", "--adversarial_samples=-1", "-1"),
    row("quick perhaps", "--quick=perhaps", "--quick=perhaps"),
    row("commas alone", "--run_dir=,", "--run_dir=RUN"),
    row("model empty", "--model=", "--model"),
    row("report directory empty", "--run_dir=run --report_dir=", "--report_dir"),
    row("nothing to measure", "--run_dir=run --measure=", "--measure"),
    row("flag of export", "--formats=onnx", "Unknown command line flag 'formats'"),
]

EXPORT = [
    row("run and model", "--run_dir=run --model=net.keras", "name one of --run_dir=RUN and --model=PATH"),
    row("version zero", "--version=0", "--version=0"),
    row("version no number", "--version=latest", "--version=latest"),
    row("unknown quantization", "--quantize=int4", "value should be one of <int8>"),
    row("demo perhaps", "--demo=perhaps", "--demo=perhaps"),
    row("name empty", "--run_dir=run --name=", "--name"),
    row("export directory empty", "--run_dir=run --export_dir=", "--export_dir"),
    row("report directory empty", "--run_dir=run --report_dir=", "--report_dir"),
    row("report directory empty, by its old name", "--run_dir=run --evaluation_dir=", "--report_dir"),
    row("formats empty", "--run_dir=run --formats=", "--formats"),
    row("flag of evaluate", "--measure=noise", "Unknown command line flag 'measure'"),
]

CLIENTS = [
    row("nothing", "", "kind"),
    row("unknown kind", "soap --model=m 7.png", "'soap'"),
    row("model missing", "onnx 7.png", "--model"),
    row("images missing", "onnx --model=m.onnx", "IMAGE"),
    row("unknown flag", "onnx --model=m.onnx --treshold=.5 7.png", "--treshold"),
    row("server for a file", "onnx --server=localhost --model=m.onnx 7.png", "--server"),
    row("metadata over gRPC", "grpc --model=m --metadata=metadata.json 7.png", "--metadata"),
    row("threshold no number", "rest --model=m --threshold=high 7.png", "--threshold"),
    row("threshold empty", "rest --model=m --threshold= 7.png", "--threshold"),
]

COMMANDS = [
    row("nothing", "", "there is none"),
    row("unknown command", "trian", "received 'trian'"),
    row("capitals", "Train", "received 'Train'"),
    row("flag first", "--dataset=digits train", "received '--dataset=digits'"),
    row("path of a script", "train.py", "received 'train.py'"),
    row("empty", "''", "must be one of"),
]


def values_that_are_none():
    """For each number of a recipe, texts that stand for none of its kind, or for one that nothing can be."""
    for name, setting in Recipe.settings().items():
        if setting.kind in (int, float):
            for text in ("", "abc", "nan", "-inf", "-1", "1;2", "0x", "--5", "None", "1 2"):
                yield pytest.param([f"--{name}={text}"], f"--{name}", None, id=f"{name}={text}")


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Function that holds that a main refuses a command line, writing nothing."""

    def check(run, program, arguments, says, prepare):
        folder = tmp_path / "folder"
        folder.mkdir()
        if prepare is not None:
            prepare(folder)
        before = tree(folder)
        monkeypatch.chdir(folder)
        code = run(arguments)
        captured = capfd.readouterr()
        check_refused(program, (code, captured.out, captured.err), says)
        assert tree(folder) == before

    return check


def by_name(run, program):
    return lambda arguments: run([program, *arguments])


@pytest.mark.parametrize(("arguments", "says", "prepare"), TRAIN)
def test_train(arguments, says, prepare, refused):
    refused(by_name(train.main, "train.py"), "train.py", ["--only_check_args", *arguments], says, prepare)


@pytest.mark.parametrize(("arguments", "says", "prepare"), list(values_that_are_none()))
def test_numbers_of_a_recipe(arguments, says, prepare, refused):
    refused(by_name(train.main, "train.py"), "train.py", ["--only_check_args", *arguments], says, prepare)


@pytest.mark.parametrize(("arguments", "says", "prepare"), [*DATA, *EVALUATE])
def test_evaluate(arguments, says, prepare, refused):
    refused(by_name(evaluate.main, "evaluate.py"), "evaluate.py", arguments, says, prepare)


@pytest.mark.parametrize(("arguments", "says", "prepare"), [*DATA, *EXPORT])
def test_export(arguments, says, prepare, refused):
    refused(by_name(export.main, "export"), "export", arguments, says, prepare)


@pytest.mark.parametrize(("arguments", "says", "prepare"), CLIENTS)
def test_clients(arguments, says, prepare, refused):
    refused(clients.main, "clients", arguments, says, prepare)


@pytest.mark.parametrize(("arguments", "says", "prepare"), COMMANDS)
def test_keras_acet(arguments, says, prepare, refused):
    refused(by_name(main.main, "keras-acet"), "keras-acet", arguments, says, prepare)


# A process of each command: name, its start, arguments, part of the message.
PROCESSES = [
    ("train.py", [str(ROOT / "train.py")], ["--epsilon=8"], "for 8-bit levels divide by 255"),
    ("evaluate.py", [str(ROOT / "evaluate.py")], ["--run_dir=nowhere"], "must name a run directory of train.py"),
    ("export", ["-m", "export"], ["--run_dir=nowhere"], "must name a run directory of train.py"),
    ("keras-acet train", ["-m", "keras_acet.cli.main"], ["train", "--epochs=0"], "--epochs must be at least 1"),
    ("keras-acet", ["-m", "keras_acet.cli.main"], ["trian"], "received 'trian'"),
    ("clients", ["-m", "export.clients"], ["soap"], "'soap'"),
]


@pytest.mark.parametrize(("program", "start", "arguments", "says"), PROCESSES, ids=[name for name, *_ in PROCESSES])
def test_a_process_says_so_before_tensorflow_loads(program, start, arguments, says, tmp_path):
    # An importable trap in TensorFlow's and Keras' place ends the process if it is touched.
    traps, folder = tmp_path / "traps", tmp_path / "empty"
    traps.mkdir()
    folder.mkdir()
    for name in ("tensorflow", "keras"):
        (traps / f"{name}.py").write_text("raise SystemExit('loaded')")
    done = subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(traps), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    check_refused(program, (done.returncode, done.stdout, done.stderr), says)
    assert tree(pathlib.Path(folder)) == {}
