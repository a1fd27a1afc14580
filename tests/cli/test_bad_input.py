"""The tables of bad data, directories and models, each tried through the command line.

Each must end with exit code 2 and one line on stderr, and leave nothing behind. Flags alone are in `test_bad_flags.py`.
"""

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.inputs import (
    IMAGES,
    LABELS,
    UNIT,
    array_file,
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
    pets,
    png_of,
    split_npz,
    together,
    unix_socket,
)
from helpers.places import ROOT
from helpers.rows import check_refused, row, tree

OWN = "--dataset=npz:mine.npz --method=plain --network=mlp --batch_size=8 --epochs=1 --num_noise=4"
PETS = "--dataset=folder:pets --method=plain --network=mlp --batch_size=2 --epochs=1 --num_noise=4"


def begun(flags="--dataset=npz:mine.npz\n--learning_rate=0.5\n", finished=False):
    """A run that has begun with some flags."""
    steps = [npz(), directory("run/checkpoints"), file("run/flags.flags", flags)]
    return together(*steps, *([file("run/results.json", "{}")] if finished else []))


DATA = [
    row("unknown data set", "--dataset=mnits", "'mnits'. Did you mean 'mnist'"),
    row("data set in capitals", "--dataset=Digits", "Did you mean 'digits'"),
    row("unknown source", "--dataset=zip:mine.npz", "zip:mine.npz"),
    row("data set as a path", "--dataset=./mine.npz", "mine.npz", npz()),
    row("unknown network", f"{OWN} --network=lnet", "Received: 'lnet'. Did you mean 'lenet'", npz()),
    row("network as a path", f"{OWN} --network=net.keras", "net.keras", npz()),
    row("unknown augmentation", f"{OWN} --augmentation=corp", "Received: 'corp'", npz()),
    row("image size of arrays", f"{OWN} --image_size=16", "--image_size is for folder:PATH only", npz()),
    row("missing file", OWN, "mine.npz"),
    row("folder as npz", OWN, "mine.npz", directory("mine.npz")),
    row("link that leads nowhere", OWN, "mine.npz", link("mine.npz", "gone.npz")),
    row("link to itself", OWN, "mine.npz", link("mine.npz", "mine.npz")),
    row("pipe as npz", OWN, "mine.npz", fifo("mine.npz")),
    row("socket as npz", OWN, "mine.npz", unix_socket("mine.npz")),
    row("endless device as npz", f"{OWN} --dataset=npz:/dev/zero", "/dev/zero"),
    row("empty device as npz", f"{OWN} --dataset=npz:/dev/null", "/dev/null"),
    row("name that is too long", f"{OWN} --dataset=npz:{'a' * 300}", "aaa"),
    row("empty npz", OWN, "mine.npz", file("mine.npz")),
    row("text as npz", OWN, "mine.npz", file("mine.npz", "images, labels")),
    row("picture as npz", OWN, "mine.npz", file("mine.npz", encoded(gray()))),
    row("one array as npz", OWN, "mine.npz", file("mine.npz", array_file(IMAGES))),
    row("npz cut short", OWN, "mine.npz", together(npz(), cut("mine.npz", 500))),
    row("damaged npz", OWN, "npz:PATH must name a file of arrays of numbers", together(npz(), damaged("mine.npz"))),
    row("other keys", OWN, "must hold the keys", npz(None, None, data=IMAGES, target=LABELS)),
    row("no labels", OWN, "must hold the keys", npz(labels=None)),
    row("no images", OWN, "must hold the keys", npz(images=None)),
    row("training set alone", OWN, "must hold the keys", npz(None, None, x_train=IMAGES, y_train=LABELS)),
    row("objects", OWN, "mine.npz", npz(images=np.array([{}] * 30, dtype=object))),
    row("labels as objects", OWN, "mine.npz", npz(labels=LABELS.astype(object))),
    row("texts as images", OWN, "images must be", npz(images=IMAGES.astype(str))),
    row("complex images", OWN, "images must be", npz(images=UNIT.astype(complex))),
    row("images of whole numbers", OWN, "use images.astype('uint8')", npz(images=IMAGES.astype(int))),
    row("images with signs", OWN, "images must be", npz(images=IMAGES.astype(np.int8))),
    row("one number as images", OWN, "non-empty array", npz(images=np.float32(0.5))),
    row("rank of images", OWN, "Received: (30, 8, 8, 1, 1)", npz(images=IMAGES[..., None])),
    row("numbers as images", OWN, "non-empty array", npz(images=UNIT[:, 0, 0, 0])),
    row("no image", OWN, "non-empty array", npz(images=IMAGES[:0], labels=LABELS[:0])),
    row("images without pixels", OWN, "non-empty array", npz(images=IMAGES[:, :0])),
    row("channels first", OWN, "np.moveaxis(images, 1, -1)", npz(images=np.zeros((30, 3, 8, 8), np.uint8))),
    row("nan pixel", OWN, "must be finite", npz(images=changed(UNIT, (3, 2, 1), np.nan))),
    row("infinite pixel", OWN, "must be finite", npz(images=changed(UNIT, (3, 2, 1), np.inf))),
    row("infinite pixel of float64", OWN, "must be finite", npz(images=changed(UNIT.astype(float), 3, -np.inf))),
    row("pixel range", OWN, "must lie in [0, 1]", npz(images=IMAGES.astype("float32"))),
    row("negative pixels", OWN, "must lie in [0, 1]", npz(images=UNIT * 2 - 1)),
    row("pixel just above one", OWN, "must lie in [0, 1]", npz(images=changed(UNIT, 3, 1.001))),
    row("nan pixel in the test set", OWN, "test images must be finite", split_npz(x_test=changed(UNIT, 0, np.nan))),
    row("pixel range of the test set", OWN, "test images of a float", split_npz(x_test=IMAGES.astype("float32"))),
    row("shape of the test set", OWN, "shape of the training images", split_npz(x_test=IMAGES[:, :4])),
    row("test set without images", OWN, "test images must be", split_npz(x_test=IMAGES[:0], y_test=LABELS[:0])),
    row("negative label", OWN, "must count classes from 0", npz(labels=LABELS - 1)),
    row("label beyond classes", OWN, "test labels must count classes from 0, here up", split_npz(y_test=LABELS + 1)),
    row("huge label", OWN, "must count classes from 0", npz(labels=changed(LABELS, 0, 2**40))),
    row("one class", OWN, "images of at least two classes are needed", npz(labels=0 * LABELS + 2)),
    row("one image of each class", f"{OWN} --batch_size=1", "two images or more", npz(labels=np.arange(30))),
    row("labels of a float type", OWN, "must be integers of shape (30,)", npz(labels=LABELS / 2)),
    row("nan as label", OWN, "must be integers", npz(labels=changed(LABELS / 1, 0, np.nan))),
    row("labels as texts", OWN, "must be integers", npz(labels=np.array(["cat", "dog", "cow"] * 10))),
    row("labels of two classes as truths", OWN, "must be integers", npz(labels=LABELS > 1)),
    row("one-hot labels", OWN, "must be integers of shape (30,)", npz(labels=np.eye(3)[LABELS])),
    row("one-hot labels of integers", OWN, "must be integers of shape", npz(labels=np.eye(3, dtype=int)[LABELS])),
    row("too few labels", OWN, "each image needs one. Received: 30 images and 29", npz(labels=LABELS[:-1])),
    row("too many test labels", OWN, "test labels: each image needs one", split_npz(y_test=np.arange(31) % 3)),
    row("batch too large", f"{OWN} --batch_size=500", "Received: batch_size=500", npz()),
    row("nothing kept back", f"{OWN} --calibration_fraction=.001", "must leave images on both sides", npz()),
    row("all kept back", f"{OWN} --calibration_fraction=.999", "must leave images on both sides", npz()),
    row(
        "noise on vectors",
        "--dataset=moons --out=paper",
        "vectors such as those of moons take --out=uniform",
    ),
    row("network on vectors", "--dataset=moons --network=resnet20", "`image_shape` must"),
    row("crops of vectors", "--dataset=moons --augmentation=crop", "vectors cannot be cropped"),
    row(
        "padding beyond memory",
        f"{OWN} --augmentation=crop --crop_padding=1000000",
        "crop_padding",
        npz(),
    ),
    row("data directory is a file", "--dataset=mnist --nodownload --data_dir=mine.npz", "mine.npz", npz()),
]

FOLDERS = [
    row("missing folder", PETS, "folder:PATH must name a folder of class folders"),
    row("file as folder", PETS, "folder:PATH must name a folder of class folders", file("pets")),
    row("link that leads nowhere", PETS, "folder:PATH must name a folder", link("pets", "gone")),
    row("empty folder", PETS, "pets must hold one sub-folder", directory("pets")),
    row("images without classes", PETS, "pets", file("pets/0.png", encoded(gray()))),
    row("hidden classes", PETS, "pets", together(directory("pets/.cats"), directory("pets/.dogs"))),
    row("one class", PETS, "two classes", lambda f: pets(f, ["cats"])),
    row("empty class", PETS, "pets/birds", together(pets, directory("pets/birds"))),
    row("class of hidden files", PETS, "pets/birds", together(pets, file("pets/birds/.0.png", encoded(gray())))),
    row("class of other files", PETS, "pets/birds", together(pets, file("pets/birds/notes.txt", "a bird"))),
    row("text as image", PETS, "pets/cats/a.png", together(pets, file("pets/cats/a.png", "no picture"))),
    row("empty image", PETS, "pets/cats/a.png", together(pets, file("pets/cats/a.png"))),
    row("page as image", PETS, "pets/cats/a.jpg", together(pets, file("pets/cats/a.jpg", "<html></html>"))),
    row("drawing as image", PETS, "pets/cats/a.png", together(pets, file("pets/cats/a.png", "<svg></svg>"))),
    row("array as image", PETS, "pets/cats/a.png", together(pets, file("pets/cats/a.png", IMAGES[0].tobytes()))),
    row("image cut short", PETS, "pets/cats/0.png", together(pets, cut("pets/cats/0.png", 60))),
    row(
        "damaged image", PETS, "pets/cats/0.png", together(lambda f: pets(f, size=(64, 64)), damaged("pets/cats/0.png"))
    ),
    row("photograph cut short", PETS, "a.jpg", together(pets, file("pets/cats/a.jpg", encoded(gray(), "JPEG")[:300]))),
    row("image of the size of a wall", PETS, "a.png", together(pets, file("pets/cats/a.png", png_of(60000, 60000)))),
    row("image wider than memory", PETS, "a.png", together(pets, file("pets/cats/a.png", png_of(2**31 - 1, 1)))),
    row("image without width", PETS, "a.png", together(pets, file("pets/cats/a.png", png_of(0, 8)))),
    row("folder as image", PETS, "a.png", together(pets, directory("pets/cats/a.png"))),
    row("pipe as image", PETS, "a.png", together(pets, fifo("pets/cats/a.png"))),
    row("socket as image", PETS, "a.png", together(pets, unix_socket("pets/cats/a.png"))),
    row("link as image that leads nowhere", PETS, "a.png", together(pets, link("pets/cats/a.png", "gone.png"))),
    row("two sizes", PETS, "Give --image_size", together(pets, file("pets/cats/a.png", encoded(gray(0, (9, 8)))))),
    row(
        "image size beyond memory",
        f"{PETS} --image_size=1000000",
        "image_size",
        pets,
    ),
    row(
        "class of the test set alone",
        "--dataset=folder:split",
        "split/test/cows: the training set must have this class too",
        together(
            *(
                file(f"split/{part}/{one}/{i}.png", encoded(gray(i)))
                for part, names in (("train", ("cats", "dogs")), ("test", ("cats", "cows")))
                for one in names
                for i in range(3)
            )
        ),
    ),
    row(
        "training set without classes",
        "--dataset=folder:split",
        "split/train must hold one sub-folder",
        together(directory("split/train"), file("split/test/cats/0.png", encoded(gray()))),
    ),
]

DIRECTORIES = [
    row("other flags", OWN, "begun with other settings: --learning_rate was 0.5, now 0.001", begun()),
    row(
        "finished run",
        OWN,
        "a finished run with other settings: --learning_rate was 0.5, now ",
        begun(finished=True),
    ),
    row("damaged flag file", OWN, "run/flags.flags is damaged: it holds no flags", begun(b"\xff\xfe")),
    row("empty flag file", OWN, "run/flags.flags", begun("")),
    row("folder as flag file", OWN, "run", together(npz(), directory("run/flags.flags"))),
    row("directory in other use", OWN, "run is not empty and holds no run", together(npz(), file("run/thesis.tex"))),
    row("other use, overwrite", f"{OWN} --overwrite", "run is not empty", together(npz(), file("run/thesis.tex"))),
    row("directory of the data", f"{PETS} --run_dir=pets --overwrite", "pets is not empty and holds no run", pets),
    row("the working directory", f"{OWN} --run_dir=.", "is not empty and holds no run", npz()),
    row("the root directory", f"{OWN} --run_dir=/ --overwrite", "holds no run", npz()),
    row("file in the way", OWN, "run is a file; --run_dir must name a directory", together(npz(), file("run"))),
    row("file above", f"{OWN} --run_dir=run/deeper", "cannot be created", together(npz(), file("run"))),
    row("pipe in the way", OWN, "run", together(npz(), fifo("run"))),
    row("link that leads nowhere", OWN, "run", together(npz(), link("run", "gone/deeper"))),
    row("link to itself", OWN, "run", together(npz(), link("run", "run"))),
    row("name that is too long", f"{OWN} --run_dir={'a' * 300}", "aaa", npz()),
    # /proc takes no new directory, not even from root.
    row("directory not writable", f"{OWN} --run_dir=/proc/run", "/proc/run cannot be", npz()),
]


@pytest.mark.parametrize(("arguments", "says", "prepare"), [*DATA, *FOLDERS, *DIRECTORIES])
def test_train(arguments, says, prepare, run_row, tmp_path):
    if prepare is not None:
        prepare(tmp_path)
    before = tree(tmp_path)
    check_refused("train.py", run_row("train.py", ["--run_dir=run", *arguments], tmp_path), says)
    assert tree(tmp_path) == before


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


def test_other_backend(tmp_path):
    check_refused(
        "train.py",
        train_for_real([], tmp_path, KERAS_BACKEND="jax"),
        "keras_acet needs the TensorFlow backend of Keras, but KERAS_BACKEND=jax; unset it",
    )
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("level", ["", "3"])  # TensorFlow's own; a shell may export it
def test_process_of_its_own_writes_one_line_too(level, tmp_path):
    """What TensorFlow says while it loads does not get in between."""
    npz(images=changed(UNIT, (3, 2, 1), np.nan))(tmp_path)
    before = tree(tmp_path)

    check_refused("train.py", train_for_real(OWN.split(), tmp_path, TF_CPP_MIN_LOG_LEVEL=level), "must be finite")
    assert tree(tmp_path) == before


def test_data_set_that_may_not_be_downloaded(train, tmp_path):
    done = train(["--dataset=kmnist", "--nodownload", "--data_dir=here"], tmp_path)

    check_refused("train.py", (done.code, done.stdout, done.stderr), "downloading was not allowed. To get it, run")
    assert "tfds.load('kmnist', data_dir='data')" in done.stderr
    assert tree(tmp_path) == {}


def test_data_set_without_a_network(train, tmp_path):
    done = train(["--dataset=kmnist", "--data_dir=here"], tmp_path)  # how long it may look: tests/datasets

    check_refused("train.py", (done.code, done.stdout, done.stderr), "cannot be reached")
    assert "tfds.load('kmnist', data_dir='data')" in done.stderr
    assert tree(tmp_path) == {}


def test_second_process_on_one_directory(train, tmp_path):
    begun("--dataset=npz:mine.npz\n")(tmp_path)
    with (tmp_path / "run/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = tree(tmp_path)
        done = train(["--run_dir=run", *OWN.split(), "--overwrite"], tmp_path)

    check_refused("train.py", (done.code, done.stdout, done.stderr), "another process is training in run")
    assert tree(tmp_path) == before


def test_finished_run_outlives_an_overwrite_that_fails(train, tmp_path):
    begun(finished=True)(tmp_path)
    npz(images=changed(UNIT, (3, 2, 1), np.nan))(tmp_path)
    before = tree(tmp_path)
    done = train(["--run_dir=run", *OWN.split(), "--overwrite"], tmp_path)

    check_refused("train.py", (done.code, done.stdout, done.stderr), "must be finite")
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_run_goes_on_with_its_own_data_only(train, tmp_path):
    npz()(tmp_path)
    assert train(["--run_dir=run", *OWN.split()], tmp_path).code == 0
    (tmp_path / "run/results.json").unlink()
    npz(images=255 - IMAGES)(tmp_path)
    before = tree(tmp_path)
    done = train(["--run_dir=run", *OWN.split()], tmp_path)

    check_refused(
        "train.py",
        (done.code, done.stdout, done.stderr),
        "the data have changed since the run in run began; name another",
    )
    assert tree(tmp_path) == before
    assert train(["--run_dir=run", *OWN.split(), "--overwrite"], tmp_path).code == 0


def test_damaged_checkpoint_is_passed_over(train, tmp_path):
    npz()(tmp_path)
    assert train(["--run_dir=run", *OWN.split(), "--epochs=2"], tmp_path).code == 0
    (tmp_path / "run/results.json").unlink()
    newest = tmp_path / "run/checkpoints/epoch-0002.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    done = train(["--run_dir=run", *OWN.split(), "--epochs=2"], tmp_path)

    assert done.code == 0
    assert "Going on after epoch 1 of 2." in done.stdout
    assert "epoch-0002.npz is damaged and passed over" in done.stderr
    assert done.stderr.rstrip().endswith("going on from run/checkpoints/epoch-0001.npz")
    assert done.stderr.count("\n") == 1
