"""The table of every bad input, each tried through the command line.

Each must end with exit code 2 and one line on stderr, and leave nothing behind.
"""

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.places import ROOT

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
LABELS = np.arange(30) % 3
OWN = ["--dataset=npz:mine.npz", "--method=plain", "--network=mlp", "--batch_size=8", "--epochs=1", "--num_noise=4"]


def save_npz(folder, images=IMAGES, labels=LABELS):
    np.savez(folder / "mine.npz", images=images, labels=labels)


def save_with_nan(folder):
    images = IMAGES / np.float32(255)
    images[3, 2, 1] = np.nan
    save_npz(folder, images)


def save_high_label(folder):
    np.savez(folder / "mine.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS + 1)


def save_with_test_nan(folder):
    test = IMAGES / np.float32(255)
    test[0, 0, 0] = np.nan
    np.savez(folder / "mine.npz", x_train=IMAGES, y_train=LABELS, x_test=test, y_test=LABELS)


def save_damaged(folder):
    np.savez_compressed(folder / "mine.npz", images=IMAGES, labels=LABELS)
    content = bytearray((folder / "mine.npz").read_bytes())
    for position in range(200, 1200):
        content[position] ^= 0xFF
    (folder / "mine.npz").write_bytes(content)


def make_damaged_image(folder):
    make_empty_class(folder)
    (folder / "pets/dogs/0.png").write_bytes(b"no picture")


def make_huge_image(folder):
    from PIL import Image

    make_empty_class(folder)
    Image.new("1", (20000, 20000)).save(folder / "pets/dogs/0.png")


def make_empty_class(folder):
    from PIL import Image

    for name in ("cats", "dogs"):
        (folder / "pets" / name).mkdir(parents=True)
    for i in range(4):
        Image.fromarray(IMAGES[i, :, :, 0]).save(folder / "pets/cats" / f"{i}.png")


def begin_run(folder, flags="--dataset=npz:mine.npz\n--learning_rate=0.5\n", finished=False):
    save_npz(folder)
    (folder / "run/checkpoints").mkdir(parents=True)
    (folder / "run/flags.flags").write_text(flags)
    if finished:
        (folder / "run/results.json").write_text("{}")


def damage_flags(folder):
    begin_run(folder)
    (folder / "run/flags.flags").write_bytes(b"\xff\xfe")


def make_other_folder(folder):
    save_npz(folder)
    (folder / "run").mkdir()
    (folder / "run/thesis.tex").write_text("years of work")


def make_file(folder):
    save_npz(folder)
    (folder / "run").write_text("")


# With files, turned away by the library: (name, set-up of the folder, arguments, part of the message).
INPUTS = [
    ("unknown data set", None, ["--dataset=mnits"], "Received: dataset='mnits'. Did you mean 'mnist'"),
    ("unknown network", save_npz, [*OWN, "--network=lnet"], "Received: 'lnet'. Did you mean 'lenet'"),
    ("unknown augmentation", save_npz, [*OWN, "--augmentation=corp"], "Received: 'corp'"),
    ("missing file", None, OWN, "mine.npz' ([Errno 2] No such file"),
    ("missing folder", None, ["--dataset=folder:pets"], "folder:PATH must name a folder of class folders"),
    ("empty class folder", make_empty_class, ["--dataset=folder:pets"], "pets/dogs: each class folder must hold"),
    ("rank of images", lambda f: save_npz(f, IMAGES[..., None]), OWN, "Received: (30, 8, 8, 1, 1)"),
    ("nan pixels", save_with_nan, OWN, "must be finite"),
    ("nan pixels in the test set", save_with_test_nan, OWN, "test images must be finite"),
    ("pixel range", lambda f: save_npz(f, IMAGES.astype("float32")), OWN, "must lie in [0, 1]"),
    ("negative label", lambda f: save_npz(f, labels=LABELS - 1), OWN, "must count classes from 0"),
    ("one class", lambda f: save_npz(f, labels=0 * LABELS + 2), OWN, "images of at least two classes are needed"),
    ("labels of a float type", lambda f: save_npz(f, labels=LABELS / 2), OWN, "must be integers of shape (30,)"),
    ("damaged npz", save_damaged, OWN, "npz:PATH must name a file of arrays of numbers"),
    ("damaged image", make_damaged_image, ["--dataset=folder:pets"], "0.png must be an image that Pillow can read"),
    ("huge image", make_huge_image, ["--dataset=folder:pets"], "exceeds limit of"),
    ("label beyond classes", save_high_label, OWN, "test labels must count classes from 0, here up to 2"),
    ("batch too large", save_npz, [*OWN, "--batch_size=500"], "Received: batch_size=500"),
    (
        "noise on vectors",
        None,
        ["--dataset=moons", "--noise=paper"],
        "vectors such as those of moons take --noise=uniform",
    ),
    (
        "network on vectors",
        None,
        ["--dataset=moons", "--network=resnet20"],
        "`image_shape` must",
    ),
    ("other flags", begin_run, OWN, "begun with other settings: --learning_rate was 0.5, now 0.001"),
    ("finished run", lambda f: begin_run(f, finished=True), OWN, "run holds a finished run; name another --run_dir"),
    ("damaged flag file", damage_flags, OWN, "run/flags.flags is damaged: it holds no flags"),
    ("directory in other use", make_other_folder, OWN, "run is not empty and holds no run"),
    ("directory in other use, overwrite", make_other_folder, [*OWN, "--overwrite"], "run is not empty and holds no"),
    ("file in the way", make_file, OWN, "run is a file; --run_dir must name a directory"),
    ("file above", make_file, [*OWN, "--run_dir=run/deeper"], "cannot be created"),
    # /proc takes no new directory, not even from root.
    ("directory not writable", save_npz, [*OWN, "--run_dir=/proc/run"], "/proc/run cannot be"),
]


def tree(folder):
    """Every file below a folder and what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check(done, message):
    code, stdout, stderr = done
    assert stderr.startswith("train.py: error: "), stderr
    assert stderr.count("\n") == 1, stderr
    assert stderr.endswith("\n")
    assert message in stderr
    assert (code, stdout) == (2, "")


def train_for_real(arguments, cwd, **environment):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("prepare", "arguments", "message"), [c[1:] for c in INPUTS], ids=[c[0] for c in INPUTS])
def test_inputs(prepare, arguments, message, train, tmp_path):
    if prepare is not None:
        prepare(tmp_path)
    before = tree(tmp_path)
    done = train(["--run_dir=run", *arguments], tmp_path)

    check((done.code, done.stdout, done.stderr), message)
    assert tree(tmp_path) == before


def test_other_backend(tmp_path):
    check(
        train_for_real([], tmp_path, KERAS_BACKEND="jax"),
        "keras_acet needs the TensorFlow backend of Keras, but KERAS_BACKEND=jax; unset it",
    )
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("level", ["", "3"])  # TensorFlow's own; a shell may export it
def test_process_of_its_own_writes_one_line_too(level, tmp_path):
    """What TensorFlow says while it loads does not get in between."""
    save_with_nan(tmp_path)
    before = tree(tmp_path)

    check(train_for_real(OWN, tmp_path, TF_CPP_MIN_LOG_LEVEL=level), "must be finite")
    assert tree(tmp_path) == before


def test_data_set_that_may_not_be_downloaded(train, tmp_path):
    done = train(["--dataset=kmnist", "--nodownload", "--data_dir=here"], tmp_path)

    check((done.code, done.stdout, done.stderr), "downloading was not allowed. To get it, run")
    assert "tfds.load('kmnist', data_dir='data')" in done.stderr
    assert tree(tmp_path) == {}


def test_data_set_without_a_network(train, tmp_path):
    done = train(["--dataset=kmnist", "--data_dir=here"], tmp_path)  # how long it may look: tests/datasets

    check((done.code, done.stdout, done.stderr), "cannot be reached")
    assert "tfds.load('kmnist', data_dir='data')" in done.stderr
    assert tree(tmp_path) == {}


def test_second_process_on_one_directory(train, tmp_path):
    begin_run(tmp_path, flags="--dataset=npz:mine.npz\n")
    with (tmp_path / "run/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = tree(tmp_path)
        done = train(["--run_dir=run", *OWN, "--overwrite"], tmp_path)

    check((done.code, done.stdout, done.stderr), "another process is training in run")
    assert tree(tmp_path) == before


def test_finished_run_outlives_an_overwrite_that_fails(train, tmp_path):
    begin_run(tmp_path, finished=True)
    save_with_nan(tmp_path)
    before = tree(tmp_path)
    done = train(["--run_dir=run", *OWN, "--overwrite"], tmp_path)

    check((done.code, done.stdout, done.stderr), "must be finite")
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_run_goes_on_with_its_own_data_only(train, tmp_path):
    save_npz(tmp_path)
    assert train(["--run_dir=run", *OWN], tmp_path).code == 0
    (tmp_path / "run/results.json").unlink()
    save_npz(tmp_path, 255 - IMAGES)
    before = tree(tmp_path)
    done = train(["--run_dir=run", *OWN], tmp_path)

    check((done.code, done.stdout, done.stderr), "the data have changed since the run in run began; name another")
    assert tree(tmp_path) == before
    assert train(["--run_dir=run", *OWN, "--overwrite"], tmp_path).code == 0


def test_damaged_checkpoint_is_passed_over(train, tmp_path):
    save_npz(tmp_path)
    assert train(["--run_dir=run", *OWN, "--epochs=2"], tmp_path).code == 0
    (tmp_path / "run/results.json").unlink()
    newest = tmp_path / "run/checkpoints/epoch-0002.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    done = train(["--run_dir=run", *OWN, "--epochs=2"], tmp_path)

    assert done.code == 0
    assert "Going on after epoch 1 of 2." in done.stdout
    assert "epoch-0002.npz is damaged and passed over" in done.stderr
    assert done.stderr.rstrip().endswith("going on from run/checkpoints/epoch-0001.npz")
    assert done.stderr.count("\n") == 1
