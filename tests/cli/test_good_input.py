"""The tables of odd but good inputs, which have to work: spellings of flags, data, and whole commands."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from helpers.inputs import IMAGES, LABELS, UNIT, encoded, file, gray, link, npz, pets, split_npz, together
from helpers.models import dense
from helpers.rows import row
from PIL import Image

from keras_acet import datasets
from keras_acet.cli import train

BLANKS = "my photos, all of them (2)"
MARKUP = "<img src=x onerror=alert(1)>"
WORLD = "Größe 尺寸 🐈"

# Spellings of flags, checked in this process: the second text is the flag file, where there is one.
FLAGS = [
    row("one hyphen", "-epochs=2"),
    row("value as a word of its own", "--epochs 2"),
    row("flag twice", "--epochs=1 --epochs=2"),
    row("no flag", ""),
    row("end of flags", "--epochs=2 --"),
    row("negated", "--nodeterministic"),
    row("truths", "--deterministic=false --overwrite=True --download=0"),
    row("whole number with a sign", "--epochs=+2"),
    row("whole number with zeros", "--epochs=007"),
    row("many epochs", "--epochs=1000000"),
    row("number without a zero", "--epsilon=.3"),
    row("number as a power", "--epsilon=3e-1"),
    row("whole number as a number", "--epsilon=1 --learning_rate=1"),
    row("tiny learning rate", "--learning_rate=1e-30"),
    row("largest seed", "--seed=2147483647"),
    row("pool as large as the noise", "--adversary=persistent --pool_size=128 --batch_size=128"),
    row("one epoch to drop at", "--schedule=steps --drop_epochs=1"),
    row("blanks in a path", f"--dataset='npz:{BLANKS}.npz'"),
    row("markup in a path", f"--dataset='folder:{MARKUP}'"),
    row("letters of the world in a path", f"--dataset='folder:{WORLD}'"),
    row("colon in a path", "--dataset=npz:C:/mine.npz"),
    row("equals sign in a path", "--dataset=npz:a=b.npz"),
    row("quotes in a path", '--dataset="npz:it\'s.npz"'),
    row("hyphens in a path", "--dataset=npz:--mine.npz"),
    row("recipe and typed flags", "--epochs=2 --recipe=fast/mnist_acet --epsilon=.2"),
    row("recipe of one's own", "--recipe=my.flags", "", file("my.flags", "--epochs=2\n")),
    row("flag file with comments", "--flagfile=my.flags", "", file("my.flags", "# mine\n\n// too\n  --epochs=2  \n")),
    row("flag file of Windows", "--flagfile=my.flags", "", file("my.flags", b"\xef\xbb\xbf--epochs=2\r\n--seed=1\r\n")),
    row("flag file without an end", "--flagfile=my.flags", "", file("my.flags", "--epochs=2")),
    row("empty flag file", "--flagfile=my.flags", "", file("my.flags")),
    row("flag file in a flag file", "--flagfile=a", "", together(file("a", "--flagfile=b"), file("b", "--epochs=2"))),
    row("flag file with an odd name", f"--flagfile='{BLANKS}'", "", file(BLANKS, "--epochs=2")),
]


@pytest.mark.parametrize(("arguments", "says", "prepare"), FLAGS)
def test_flags(arguments, says, prepare, tmp_path, monkeypatch, capfd):
    if prepare is not None:
        prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert train.main(["train.py", "--only_check_args", *arguments]) == 0
    assert capfd.readouterr() == ("the flags are in order\n", "")


def save_as(image, name, **options):
    """One more picture among the cats."""
    ending = name.rpartition(".")[2].lower()
    format = {"jpg": "JPEG", "jpeg": "JPEG"}.get(ending, ending.upper())
    return together(pets, file(f"pets/cats/{name}", encoded(image, format, **options)))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def rename_class(name):
    def rename(folder):
        pets(folder)
        (folder / "pets/dogs").rename(folder / "pets" / name)

    return rename


RGB = Image.fromarray(np.repeat(IMAGES[1], 3, axis=2))
DEEP = Image.fromarray((IMAGES[1, :, :, 0].astype(np.uint16)) * 257)
FRAMES = [gray(1), gray(2)]

# Data, read in this process: name, set-up, the data set, shape of an image, number of classes, of images.
DATA = [
    ("gray pictures", pets, "folder:pets", (8, 8, 1), 2, 12),
    ("colour", save_as(RGB, "a.png"), "folder:pets", (8, 8, 3), 2, 13),
    ("transparency", save_as(RGB.convert("RGBA"), "a.png"), "folder:pets", (8, 8, 3), 2, 13),
    ("gray with transparency", save_as(gray().convert("LA"), "a.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("one bit", save_as(gray().convert("1"), "a.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("palette", save_as(RGB.convert("P"), "a.png"), "folder:pets", (8, 8, 3), 2, 13),
    ("sixteen bits", save_as(DEEP, "a.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("photograph", save_as(RGB, "a.jpg"), "folder:pets", (8, 8, 3), 2, 13),
    ("gray photograph", save_as(gray(), "a.jpeg"), "folder:pets", (8, 8, 1), 2, 13),
    ("progressive photograph", save_as(RGB, "a.jpg", progressive=True), "folder:pets", (8, 8, 3), 2, 13),
    ("turned photograph", save_as(RGB, "a.jpg", exif=exif(6)), "folder:pets", (8, 8, 3), 2, 13),
    ("photograph with odd orientation", save_as(RGB, "a.jpg", exif=exif(99)), "folder:pets", (8, 8, 3), 2, 13),
    ("capital ending", save_as(gray(), "A.PNG"), "folder:pets", (8, 8, 1), 2, 13),
    ("name with blanks", save_as(gray(), f"{BLANKS}.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name of markup", save_as(gray(), f"{MARKUP}.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name of the world", save_as(gray(), f"{WORLD}.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name with a line break", save_as(gray(), "a\nb.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name with a hyphen", save_as(gray(), "-a.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name with a percent sign", save_as(gray(), "100%d.png"), "folder:pets", (8, 8, 1), 2, 13),
    ("name of two dots", save_as(gray(), "a..png"), "folder:pets", (8, 8, 1), 2, 13),
    ("link to a picture", together(pets, link("pets/cats/a.png", "0.png")), "folder:pets", (8, 8, 1), 2, 13),
    ("hidden files", together(pets, file("pets/cats/.DS_Store"), file("pets/.x")), "folder:pets", (8, 8, 1), 2, 12),
    ("hidden folder", together(pets, file("pets/.cache/a.png")), "folder:pets", (8, 8, 1), 2, 12),
    ("class of markup", rename_class("<b>dogs"), "folder:pets", (8, 8, 1), 2, 12),
    ("class with blanks", rename_class(BLANKS), "folder:pets", (8, 8, 1), 2, 12),
    ("class of the world", rename_class(WORLD), "folder:pets", (8, 8, 1), 2, 12),
    ("class of a number", rename_class("7"), "folder:pets", (8, 8, 1), 2, 12),
    ("slash at the end", pets, "folder:pets/", (8, 8, 1), 2, 12),
    ("path with dots", pets, "folder:./pets/../pets", (8, 8, 1), 2, 12),
    ("link to a folder", together(pets, link("more", "pets")), "folder:more", (8, 8, 1), 2, 12),
    ("arrays", npz(), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("arrays without channels", npz(IMAGES[..., 0]), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("float16", npz(UNIT.astype("float16")), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("float64", npz(UNIT.astype("float64")), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("truths", npz(IMAGES > 99), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("big-endian floats", npz(UNIT.astype(">f4")), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("Fortran order", npz(np.asfortranarray(UNIT)), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("constant images", npz(0 * IMAGES), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("images of one pixel", npz(IMAGES[:, :1, :1]), "npz:mine.npz", (1, 1, 1), 3, 30),
    ("wide images", npz(IMAGES.reshape(30, 1, 64, 1)), "npz:mine.npz", (1, 64, 1), 3, 30),
    ("two channels", npz(IMAGES.reshape(30, 8, 4, 2)), "npz:mine.npz", (8, 4, 2), 3, 30),
    ("vectors", npz(UNIT.reshape(30, 64)), "npz:mine.npz", (64,), 3, 30),
    ("labels in a column", npz(labels=LABELS[:, None]), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("labels of eight bits", npz(labels=LABELS.astype("uint8")), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("a class without images", npz(labels=LABELS * 2), "npz:mine.npz", (8, 8, 1), 5, 30),
    ("a class of one image", npz(labels=np.append(LABELS[:-1], 3)), "npz:mine.npz", (8, 8, 1), 4, 30),
    ("more keys", npz(about=np.array("mine")), "npz:mine.npz", (8, 8, 1), 3, 30),
    ("two sets", split_npz(), "npz:mine.npz", (8, 8, 1), 3, 60),
    ("other test images", split_npz(x_test=UNIT), "npz:mine.npz", (8, 8, 1), 3, 60),
    ("a test set of one class", split_npz(y_test=0 * LABELS), "npz:mine.npz", (8, 8, 1), 3, 60),
    ("file without an ending", together(npz(), link("mine", "mine.npz")), "npz:mine", (8, 8, 1), 3, 30),
    ("file with an odd name", npz(name=f"{WORLD}, {BLANKS}.npz"), f"npz:{WORLD}, {BLANKS}.npz", (8, 8, 1), 3, 30),
]


@pytest.mark.parametrize(
    ("prepare", "name", "shape", "classes", "count"), [c[1:] for c in DATA], ids=[c[0] for c in DATA]
)
@pytest.mark.filterwarnings("ignore::keras_acet._checks.Notice")  # what was passed over is told
def test_data(prepare, name, shape, classes, count, tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = datasets.load(name, batch_size=2)
    assert (data.image_shape, data.num_classes) == (shape, classes)
    assert len(data.train_labels) + len(data.test_labels) == count
    images, labels = next(iter(data.train))
    assert images.shape == (2, *shape) and float(images.numpy().max()) <= 1
    assert labels.shape == (2,)


OWN = "--dataset=npz:mine.npz --method=plain --network=mlp --batch_size=8 --epochs=1 --steps_per_epoch=1 --num_noise=1"
FIRST = "--measure=test_set"


def moved(old, new):
    def move(folder):
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / old, folder / new)

    return move


def model(name, **options):
    return lambda folder: dense(**options).save(folder / name)


def unfinished(folder):
    (folder / "run/results.json").unlink()


# Whole commands, each in a copy of the folder `stock`; the text is a part of what they print.
TRAIN = [
    row("floats of half precision", f"{OWN} --run_dir=new", "Run directory: new", npz(UNIT.astype("float16"))),
    row("a class without images", f"{OWN} --run_dir=new", "Run directory: new", npz(labels=LABELS * 2)),
    row("odd directory", f"{OWN} --run_dir='a/b/{BLANKS} {WORLD} {MARKUP}/'", BLANKS),
    row(
        "odd file",
        f"{OWN} --run_dir=new --dataset='npz:{WORLD}, {BLANKS}'",
        "Run",
        moved("mine.npz", f"{WORLD}, {BLANKS}"),
    ),
    row(
        "link to a directory",
        f"{OWN} --run_dir=here",
        "Run directory: here",
        together(lambda folder: (folder / "there").mkdir(), link("here", "there")),
    ),
    row("finished run, overwrite", f"{OWN} --run_dir=run --overwrite --seed=1", "Run directory: run"),
    row("run that goes on", "--flagfile=run/flags.flags --run_dir=run", "Run directory: run", unfinished),
]
EVALUATE = [
    row("slash at the end", f"{FIRST} --run_dir=run/", "run"),
    row("dots in the path", f"{FIRST} --run_dir=./served/../run", "run"),
    row("odd run", f"{FIRST} --run_dir='{WORLD} {MARKUP[:4]}'", "Report: ", moved("run", f"{WORLD} {MARKUP[:4]}")),
    row("run and model", f"{FIRST} --run_dir=run --model=net.keras --report_dir=a/b", "Report: a/b"),
    row("flag twice", f"{FIRST} --run_dir=run --model=net.keras --model=net.onnx", "Report: "),
    row("SavedModel", f"{FIRST} --model=saved --dataset=npz:mine.npz", "Report: "),
    row("exported SavedModel", f"{FIRST} --model=served --dataset=npz:mine.npz", "Report: "),
    row("ONNX file", f"{FIRST} --model=net.onnx --dataset=npz:mine.npz", "Report: "),
    row(
        "softmax",
        f"{FIRST} --model=soft.keras --dataset=npz:mine.npz",
        "Report: ",
        model("soft.keras", activation="softmax"),
    ),
    row(
        "odd model",
        f"{FIRST} --model='{BLANKS.replace(',', '')}.keras' --dataset=npz:mine.npz",
        "Report: ",
        model(f"{BLANKS.replace(',', '')}.keras"),
    ),
    row(
        "channels first",
        f"{FIRST} --model=first.keras --dataset=npz:mine.npz",
        "Report: ",
        model("first.keras", shape=(1, 8, 8)),
    ),
    row("pictures beside", "--measure=out_distribution --run_dir=run --ood=folder:pets", "pets", pets),
    row(
        "larger pictures beside",
        "--measure=out_distribution --run_dir=run --ood=folder:pets --resize",
        "pets",
        lambda f: pets(f, size=(20, 30)),
    ),
    row(
        "several sets beside",
        "--measure=out_distribution --run_dir=run --ood=photos,npz:more.npz --ood=folder:pets",
        "more",
        together(pets, npz(UNIT, name="more.npz")),
    ),
]
CLIENTS = [
    row("several pictures", "onnx --model=served/model.onnx 7.png 7.png", "7.png: "),
    row("threshold zero", "onnx --model=served/model.onnx --threshold=0 7.png", "accepted"),
    row("threshold one", "onnx --model=served/model.onnx --threshold 1 7.png", "not accepted"),
    row(
        "odd names",
        f"onnx --model=served/model.onnx '{MARKUP[:4]}.png' './-{BLANKS}.png'",
        MARKUP[:4],
        together(file(f"{MARKUP[:4]}.png", encoded(gray())), file(f"-{BLANKS}.png", encoded(gray()))),
    ),
    row("colour for gray", "onnx --model=served/model.onnx a.jpg", "a.jpg: ", file("a.jpg", encoded(RGB, "JPEG"))),
    row("picture of another name", "onnx --model=served/model.onnx a", "a: ", file("a", encoded(gray()))),
]
OTHERS = [
    row("one ray", "--model=net.keras --num_directions=1 --output=./rays.PNG", "Drawn: ./rays.PNG"),
]


@pytest.mark.parametrize(("arguments", "says", "prepare"), TRAIN)
def test_train(arguments, says, prepare, run_row, place):
    finished(run_row, "train.py", arguments, says, prepare, place)


@pytest.mark.parametrize(("arguments", "says", "prepare"), EVALUATE)
def test_evaluate(arguments, says, prepare, run_row, place):
    finished(run_row, "evaluate.py", arguments, says, prepare, place)


@pytest.mark.parametrize(("arguments", "says", "prepare"), CLIENTS)
def test_clients(arguments, says, prepare, run_row, place):
    finished(run_row, "keras_acet.export.clients", arguments, says, prepare, place)


@pytest.mark.parametrize(("arguments", "says", "prepare"), OTHERS)
def test_rays(arguments, says, prepare, run_row, place):
    finished(run_row, "examples/rays.py", arguments, says, prepare, place)


def test_a_run_is_evaluated_from_another_folder(run_row, place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    finished(
        run_row, "evaluate.py", [FIRST, f"--run_dir={os.path.relpath(place, elsewhere)}/run"], "run", None, elsewhere
    )


def finished(run_row, script, arguments, says, prepare, folder: pathlib.Path):
    if prepare is not None:
        prepare(folder)
    code, stdout, stderr = run_row(script, arguments, folder)
    assert (code, "Traceback" in stderr, "error" in stderr) == (0, False, False), stderr[-900:]
    assert says in stdout
