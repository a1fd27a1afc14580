import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from helpers.places import ROOT

from keras_acet.cli import train as train_command
from keras_acet.training.recipe import Recipe

TINY = ["--network=mlp", "--batch_size=16", "--num_noise=8", "--schedule=cosine"]
TINY_ACET = [*TINY, "--method=acet", "--num_steps=3"]
# Whatever has a state of its own: pool, seeds, averaged weights, momenta, schedules.
STATEFUL = [
    *TINY_ACET,
    "--adversary=persistent",
    "--pool_size=32",
    "--ema_momentum=0.9",
    "--penalty_ramp_epochs=2.5",
    "--warmup_epochs=1",
    "--augmentation=crop",
]


def command(images_npz, *flags, run_dir="run"):
    return [f"--dataset=npz:{images_npz}", f"--run_dir={run_dir}", *flags]


def rows(run_dir):
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def outcome(run_dir):
    """Everything a run ends with, as bytes or numbers, without the time it took."""
    results = json.loads((run_dir / "results.json").read_text())
    del results["training_seconds"], results["sha256"]  # a .keras file holds the time at which it was saved
    weights = keras.saving.load_model(run_dir / "model.keras").get_weights()
    checkpoints = {
        path.name: {key: array.tobytes() for key, array in np.load(path).items() if key not in ("meta", "sha256")}
        for path in sorted((run_dir / "checkpoints").iterdir())
    }
    return results, (run_dir / "metrics.csv").read_bytes(), [w.tobytes() for w in weights], checkpoints


def wait_for(path, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.002)


@pytest.mark.parametrize("method", ["plain", "ceda", "acet"])
def test_trains_on_random_images(method, train, images_npz, tmp_path):
    settings = TINY_ACET if method == "acet" else [*TINY, f"--method={method}"]
    done = train(command(images_npz, *settings, "--epochs=2"), tmp_path)

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("Run directory: run")
    for row in ("random.npz", "noise", "adversarial noise", "photos"):
        assert f"\n{row}" in done.stdout
    run = tmp_path / "run"
    visible = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
    assert visible == ["checkpoints", "flags.flags", "metrics.csv", "model.keras", "results.json", "tensorboard"]
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    columns = {"learning_rate", "loss", "cross_entropy", "accuracy", "val_loss", "val_accuracy"}
    if method != "plain":
        columns |= {"penalty", "noise_confidence", "adversarial_confidence"}
    assert set(rows(run)[0]) == columns | {"epoch"}


def test_model_loads_without_keras_acet(train, images_npz, tmp_path):
    train(command(images_npz, *TINY_ACET, "--epochs=1"), tmp_path)

    script = (
        "import sys, keras, numpy as np; model = keras.saving.load_model('run/model.keras', safe_mode=True); "
        "print(model(np.zeros((1, 12, 12, 1), 'float32')).shape, 'keras_acet' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.split("\n")[0] == "(1, 3) False"


@pytest.mark.slow
def test_flag_file_repeats_the_run(train, images_npz, tmp_path):
    assert train(command(images_npz, *STATEFUL, "--epochs=2"), tmp_path).code == 0
    assert train(["--flagfile=run/flags.flags", "--run_dir=again"], tmp_path).code == 0

    assert outcome(tmp_path / "again") == outcome(tmp_path / "run")


@pytest.fixture(scope="module")
def undisturbed(_server, tmp_path_factory, images_npz):
    """The outcome of a run of 4 epochs that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    request = {"cwd": str(folder), "stdout": str(folder / "stdout"), "stderr": str(folder / "stderr")}
    pid = _server({"script": "train.py", "arguments": command(images_npz, *STATEFUL, "--epochs=4"), **request})
    assert _server({"wait": pid}) == 0
    return outcome(folder / "run")


@pytest.mark.parametrize(
    ("sign", "delay"),
    [
        ("checkpoints/epoch-0002.npz", 0.0),  # between checkpoint and metrics.csv, or little later
        pytest.param("checkpoints/epoch-0001.npz", 0.03, marks=pytest.mark.slow),  # within an epoch
        ("checkpoints/epoch-0004.npz", 0.0),  # after the last epoch, before its average is taken over
        pytest.param("model.keras", 0.0, marks=pytest.mark.slow),  # before the table
    ],
)
def test_killed_run_ends_like_an_undisturbed_one(sign, delay, start_train, train, undisturbed, images_npz, tmp_path):
    arguments = command(images_npz, *STATEFUL, "--epochs=4")
    running = start_train(arguments, tmp_path)
    wait_for(tmp_path / "run" / sign)
    time.sleep(delay)
    assert running.kill().code == -signal.SIGKILL
    assert not (tmp_path / "run" / "results.json").exists()

    done = train(arguments, tmp_path)

    assert (done.code, done.stderr) == (0, "")
    assert "Going on after epoch" in done.stdout
    assert outcome(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_goes_on_before_a_damaged_checkpoint(start_train, train, undisturbed, images_npz, tmp_path):
    arguments = command(images_npz, *STATEFUL, "--epochs=4")
    running = start_train(arguments, tmp_path)
    wait_for(tmp_path / "run/checkpoints/epoch-0003.npz")
    running.kill()
    newest = max((tmp_path / "run/checkpoints").glob("epoch-*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])

    done = train(arguments, tmp_path)

    assert done.code == 0
    assert len(done.stderr.splitlines()) == 1
    assert f"{newest.name} is damaged and passed over" in done.stderr
    assert "going on from run/checkpoints/epoch-000" in done.stderr
    assert outcome(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_ten_kills_at_random_moments(start_train, train, undisturbed, images_npz, tmp_path):
    arguments = command(images_npz, *STATEFUL, "--epochs=4")
    draw = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    begin = time.monotonic()
    train(command(images_npz, *STATEFUL, "--epochs=4", run_dir="measured"), tmp_path)
    whole = time.monotonic() - begin
    kills = finished = 0
    while kills < 10:
        running = start_train(arguments, tmp_path)
        time.sleep(draw.uniform(0, whole))
        running.kill()
        if (tmp_path / "run/results.json").exists():  # it was faster: begin the run anew
            finished += 1
            (tmp_path / "run").rename(tmp_path / f"finished-{finished}")
            assert outcome(tmp_path / f"finished-{finished}") == undisturbed
        else:
            kills += 1

    assert train(arguments, tmp_path).code == 0
    assert outcome(tmp_path / "run") == undisturbed


def test_overwrite_replaces_a_finished_run(train, images_npz, tmp_path):
    arguments = command(images_npz, *TINY, "--method=plain", "--epochs=1")
    assert train(arguments, tmp_path).code == 0
    (tmp_path / "run/notes.txt").write_text("of the old run")

    assert train([*arguments, "--seed=1", "--overwrite"], tmp_path).code == 0

    assert not (tmp_path / "run/notes.txt").exists()
    assert "--seed=1\n" in (tmp_path / "run/flags.flags").read_text()


def test_stops_at_a_loss_that_is_not_finite(train, images_npz, tmp_path):
    arguments = command(images_npz, *TINY, "--method=plain", "--optimizer=sgd", "--schedule=constant", "--epochs=3")
    done = train([*arguments, "--learning_rate=1e30"], tmp_path)

    assert done.code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "train.py: error: the loss is nan at step" in done.stderr
    assert "there is no checkpoint yet" in done.stderr
    assert not (tmp_path / "run/model.keras").exists()


@pytest.mark.slow
def test_a_short_epoch_is_entered_in_its_middle(start_train, train, images_npz, tmp_path):
    # 52 training images make 3 batches of 16, so epochs of 2 steps begin anywhere in the data.
    arguments = command(images_npz, *STATEFUL, "--epochs=4", "--steps_per_epoch=2")
    assert train([*arguments, "--run_dir=whole"], tmp_path).code == 0
    running = start_train(arguments, tmp_path)
    wait_for(tmp_path / "run/checkpoints/epoch-0001.npz")
    running.kill()
    assert train(arguments, tmp_path).code == 0

    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


# Training settings and attack of the paper (its supplement, and the authors' code), common to the four sets.
PUBLISHED = {
    "calibration_fraction": "0.0",
    "epochs": "100",
    "batch_size": "128",
    "schedule": "steps",
    "drop_epochs": "50,75,90",
}
PUBLISHED |= {"weight_decay": "0.0005", "crop_padding": "4"}
NOISE = {"out": "paper", "min_sigma": "1.0", "max_sigma": "2.5", "sigma_per": "batch", "noise_fraction": "1.0"}
NOISE |= {"penalty_weight": "1.0"}
ATTACK = {"adversary": "fresh", "epsilon": "0.3", "num_steps": "40", "step_size": "0.0075", "attack_momentum": "0.0"}
ATTACK |= {"step_schedule": "constant", "attack_start": "random"}
ADAM = {"optimizer": "adam", "learning_rate": "0.001"}
SGD = {"optimizer": "sgd", "learning_rate": "0.1", "momentum": "0.9"}
BY_SET = {
    "mnist": {"network": "lenet", **ADAM, "augmentation": "crop"},
    "svhn": {"network": "resnet20", **SGD, "augmentation": "crop"},
    "cifar10": {"network": "resnet20", **SGD, "augmentation": "flip_crop"},
    "cifar100": {"network": "resnet20", **SGD, "augmentation": "flip_crop"},
}


@pytest.mark.parametrize("dataset", BY_SET)
@pytest.mark.parametrize("method", ["plain", "ceda", "acet"])
def test_paper_recipes_hold_the_papers_numbers(dataset, method):
    extra = {"plain": {}, "ceda": NOISE, "acet": NOISE | ATTACK}[method]
    numbers = {"dataset": dataset, "method": method, **PUBLISHED, **BY_SET[dataset], **extra}
    found = Recipe.from_flagfile(f"paper/{dataset}_{method}").to_flags()

    assert {name: found[name] for name in numbers} == numbers
    # What the file says, and not only the defaults; a step is epsilon / num_steps.
    text = (ROOT / f"recipes/paper/{dataset}_{method}.flags").read_text()
    assert {name for name in numbers if f"\n--{name}=" not in text} <= {"step_size"}


def test_recipe_by_name_and_flags_that_are_typed(train, images_npz, tmp_path):
    """The flags win, whatever the order."""
    arguments = [*TINY, "--epochs=1", "--steps_per_epoch=1", "--recipe=fast/mnist_ceda", "--augmentation=none"]
    arguments += ["--num_steps=3"]
    done = train(command(images_npz, *arguments), tmp_path)
    assert (done.code, done.stderr) == (0, "train.py: not used: --num_steps with --method=ceda\n")

    flags = Recipe.from_flagfile(tmp_path / "run/flags.flags").to_flags()
    recipe = Recipe.from_flagfile("fast/mnist_ceda").to_flags()
    changed = {"dataset", "network", "batch_size", "num_steps", "step_size", "num_noise", "epochs", "steps_per_epoch"}
    assert {name for name in flags if flags[name] != recipe[name]} == {*changed, "augmentation"}
    assert (flags["num_noise"], flags["penalty_weight"], flags["noise_fraction"]) == ("8", "1.0", "0.5")


def test_digits_take_the_papers_attack_when_asked(train, tmp_path):
    published = ["--adversary=fresh", "--epsilon=0.3", "--num_steps=40", "--step_schedule=constant"]
    published += ["--attack_momentum=0", "--image_start_probability=0"]
    arguments = ["--dataset=digits", *published, "--epochs=1", "--steps_per_epoch=1", "--num_noise=2", "--run_dir=run"]
    assert train(arguments, tmp_path).code == 0

    lines = (tmp_path / "run/flags.flags").read_text().splitlines()
    assert {"--step_size=0.0075", "--step_schedule=constant"} <= set(lines)
    assert not [line for line in lines if line.startswith("--step_size_max")]


def test_vectors_take_uniform_noise_by_default(train, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).uniform(size=(64, 5)), labels=np.arange(64) % 2)
    arguments = ["--dataset=npz:a.npz", "--batch_size=16", "--epochs=1", "--num_steps=2", "--num_noise=4"]
    assert train([*arguments, "--run_dir=run"], tmp_path).code == 0

    assert "--out=uniform" in (tmp_path / "run/flags.flags").read_text().splitlines()


def test_last_step_that_blows_up_ends_the_run(train, images_npz, tmp_path):
    """Its loss was still finite; the weights it leaves are not."""
    blow_up = ["--optimizer=sgd", "--schedule=constant", "--learning_rate=1e30", "--steps_per_epoch=1"]
    done = train(command(images_npz, *TINY, "--method=plain", *blow_up, "--epochs=1"), tmp_path)

    assert done.code == 1
    assert re.search(r"error: .* after step 1 \(epoch 1, its last\); there is no checkpoint yet", done.stderr)
    assert not list(tmp_path.glob("run/checkpoints/*"))
    assert not (tmp_path / "run/model.keras").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.flags")), ids=lambda path: path.stem)
def test_recipe_is_accepted(path, capsys):
    """All flags exist and are in range: --only_check_args ends before anything is loaded."""
    assert train_command.main(["train.py", f"--flagfile={path}", "--only_check_args"]) == 0
    assert train_command.main(["train.py", f"--recipe={path.parent.name}/{path.stem}", "--only_check_args"]) == 0
    assert capsys.readouterr() == (2 * "the flags are in order\n", "")
    assert path.read_text().startswith("# ")
