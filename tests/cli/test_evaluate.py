"""`evaluate.py` through its command line."""

import csv
import json
import shutil
import signal
import time

import keras
import numpy as np
import pytest

from keras_acet import evaluation, report
from keras_acet.cli import evaluate as evaluate_command

TINY = ["--network=mlp", "--batch_size=16", "--num_noise=8", "--schedule=cosine", "--epochs=1"]
SMALL = ["--num_noise=8", "--num_trials=5", "--num_bootstrap=20"]
SHORT = [*SMALL, "--num_bounded=0", "--num_adversarial=0", "--larger_epsilon=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def runs(_server, folder, images_npz):
    """Folder with the runs `plain` and `acet`, 64 random images of 3 classes."""
    for method in ("plain", "acet"):
        arguments = [f"--dataset=npz:{images_npz}", f"--method={method}", f"--run_dir={method}", *TINY]
        pid = _server(
            {
                "script": "train.py",
                "arguments": arguments,
                "cwd": str(folder),
                "stdout": str(folder / f"{method}.out"),
                "stderr": str(folder / f"{method}.err"),
            }
        )
        assert _server({"wait": pid}) == 0, (folder / f"{method}.err").read_text()
    return folder


def numbers(path):
    """What `results.json` holds but for times."""
    results = json.loads((path / "results.json").read_text())
    for run in results["runs"]:
        del run["seconds"]
    return {key: value for key, value in results.items() if key not in ("created", "command")}


@pytest.mark.slow
def test_two_runs_side_by_side_and_again(runs, evaluate):
    arguments = ["--run_dir=plain", "--run_dir=acet", "--ood=photos", "--report_dir=report", *SMALL]
    done = evaluate(arguments, runs)
    assert done.code == 0, done.stderr
    report = runs / "report"
    first = numbers(report)
    assert [run["name"] for run in first["runs"]] == ["plain", "acet"]
    for run in first["runs"]:
        sets = [row["label"] for row in run["rows"]]
        assert sets == [
            "random.npz (test)",
            "photos",
            "noise",
            "adversarial noise",
            "worst-case noise",
            "worst-case noise, 0.4",
            "worst-case photos",
            "adversarial samples (changed)",
            "adversarial samples (all)",
        ]
        assert {trial["name"] for trial in run["attacks"]} >= {t.name for t in evaluation.full_suite(0.3)}
        assert any(trial["name"].startswith("transferred from") for trial in run["attacks"])
        assert run["calibration"]["is_held_out"] is True
        table = json.loads((runs / run["name"] / "results.json").read_text())["table"]
        assert run["test_error"] == table[0]["test_error"]
    with (report / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 18
    assert (report / "report.html").stat().st_size > 50_000
    assert "plain" in (report / "report.md").read_text()
    assert "worst-case noise" in done.stdout and "Report: report/report.html" in done.stdout

    scores = {path: path.stat().st_mtime_ns for path in (report / "scores").iterdir()}
    again = evaluate(arguments, runs)
    assert again.code == 0
    assert {path: path.stat().st_mtime_ns for path in (report / "scores").iterdir()} == scores
    assert numbers(report) == first


@pytest.mark.slow
def test_killed_evaluation_ends_like_an_undisturbed_one(runs, evaluate, start_script, tmp_path):
    for method in ("plain", "acet"):
        shutil.copytree(runs / method, tmp_path / method)
    arguments = ["--run_dir=plain,acet", *SHORT]
    assert evaluate([*arguments, "--report_dir=undisturbed"], tmp_path).code == 0
    running = start_script("evaluate.py", [*arguments, "--report_dir=killed"], tmp_path)
    end = time.monotonic() + 120
    scores = tmp_path / "killed/scores"
    while not any(scores.glob("worst-case-noise*")):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert running.kill().code == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in scores.glob("[!.]*.npz")}  # not one that was being written
    assert not (tmp_path / "killed/report.html").exists()

    done = evaluate([*arguments, "--report_dir=killed"], tmp_path)

    assert done.code == 0
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "undisturbed")
    assert all(path.stat().st_mtime_ns == modified for path, modified in kept.items())
    assert {path.name for path in scores.iterdir()} == {
        path.name for path in (tmp_path / "undisturbed/scores").iterdir()
    }


def test_a_keras_model_of_ones_own(runs, evaluate, images_npz, tmp_path):
    network = keras.Sequential([keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    network.save(tmp_path / "mine.keras")
    done = evaluate(["--model=mine.keras", f"--dataset=npz:{images_npz}", *SHORT], tmp_path)
    assert done.code == 0, done.stderr
    (run,) = numbers(tmp_path / "evaluation-mine")["runs"]
    assert (run["name"], run["kind"], run["method"]) == ("mine", "keras", None)
    assert run["calibration"]["is_held_out"] is None  # nobody knows
    assert run["calibration"]["thresholds"][2]["guarantee"].startswith("None: the network may have been trained on")

    short = ["--model=mine.keras", "--measure=test_set", *SHORT]
    assert "will be replaced" not in evaluate([*short, f"--dataset=npz:{images_npz}"], tmp_path).stderr
    shutil.copy(images_npz, tmp_path / "others.npz")
    told = evaluate([*short, "--dataset=npz:others.npz"], tmp_path).stderr
    assert f"evaluate.py: the report of random.npz in {tmp_path / 'evaluation-mine'} will be replaced; name " in told


def test_measurements_are_chosen_by_name(runs, evaluate, tmp_path):
    arguments = [f"--run_dir={runs / 'plain'}", "--ood=photos", "--num_bootstrap=20"]
    done = evaluate([*arguments, "--measure=noise,test_set,out_distribution", "--skip=noise"], tmp_path)
    assert done.code == 0, done.stderr
    results = report.read_results(runs / "plain" / "evaluation" / "results.json")
    assert [row.kind for row in results.runs[0].rows] == ["test", "ood"]
    assert [one["name"] for one in results.measurements] == ["test_set", "out_distribution"]
    assert (results.settings.quick, results.settings.epsilon) == (False, None)


def model(path, *, classes=3, size=12, activation=None, scale=1.0):
    network = keras.Sequential(
        [keras.Input((size, size, 1)), keras.layers.Flatten(), keras.layers.Dense(classes, activation=activation)]
    )
    network.set_weights([scale * weight for weight in network.get_weights()])
    network.save(path)


# Name, arguments (DATA stands for the data set), part of the message.
BAD = [
    ("nothing", [], "name at least one --run_dir=RUN or --model=PATH"),
    ("no flag", ["plain"], "expected only flags, such as --run_dir=RUN; received 'plain'"),
    ("no run", ["--run_dir=nowhere"], "--run_dir=nowhere must name a run directory of train.py"),
    ("unfinished run", ["--run_dir=unfinished"], "unfinished must hold a finished run. Received: one without results"),
    ("no network", ["--run_dir=no_network"], "Received: a run without model.keras"),
    ("runs on other data", ["--run_dir=plain,digits"], "the runs must be for the same data: plain has --dataset=npz:"),
    ("model without data", ["--model=logits.keras"], "--model needs --dataset, what to evaluate on"),
    ("no model", ["--model=none.keras", "DATA"], "A classifier must be a run directory, a .keras file"),
    (
        "inputs of a run",
        ["--run_dir=plain", "--inputs=bytes"],
        "--inputs needs --model: a run goes from images",
    ),
    ("classes", ["--model=five.keras", "DATA"], "five must give one logit for each of the 3 classes"),
    ("shape", ["--model=large.keras", "DATA"], "large takes images of shape (20, 20, 1). Received: "),
    ("not finite", ["--model=nan.keras", "DATA"], "The logits of nan must be finite"),
    ("unknown set", ["--run_dir=plain", "--ood=fashon_mnist"], "Did you mean 'fashion_mnist'?"),
    (
        "unknown measurement",
        ["--run_dir=plain", "--skip=nose"],
        "A measurement must be one of ['adversarial_samples', ",
    ),
    ("other shape", ["--run_dir=plain", "--ood=mnist"], "--resize"),
    ("no folder", ["--run_dir=plain", "--ood=folder:nowhere"], "folder:PATH must name a folder"),
    ("epsilon", ["--run_dir=plain", "--epsilon=8"], "must be in (0, 1], in pixel units; for 8-bit levels divide by"),
    (
        "radii",
        ["--run_dir=plain,other_radius"],
        "the runs have different --eval_epsilon, [0.1, 0.3]; say with --epsilon",
    ),
    ("report is a file", ["--run_dir=plain", "--report_dir=plain.out"], "plain.out"),
]


def copy_of_plain(runs, name):
    """A run as an earlier version left it, which does not say what its files are: so its flags may be changed."""
    shutil.copytree(runs / "plain", runs / name)
    results = json.loads((runs / name / "results.json").read_text())
    del results["sha256"]
    (runs / name / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def places(runs):
    for name, file in (("unfinished", "results.json"), ("no_network", "model.keras")):
        shutil.copytree(runs / "plain", runs / name)
        (runs / name / file).unlink()
    copy_of_plain(runs, "digits")
    flags = runs / "digits/flags.flags"
    lines = ["--dataset=digits" if line.startswith("--dataset=") else line for line in flags.read_text().splitlines()]
    flags.write_text("\n".join([*lines, ""]))
    copy_of_plain(runs, "other_radius")
    flags = runs / "other_radius/flags.flags"
    flags.write_text(flags.read_text().replace("--eval_epsilon=0.3", "--eval_epsilon=0.1"))
    keras.utils.set_random_seed(0)
    model(runs / "logits.keras")
    model(runs / "five.keras", classes=5)
    model(runs / "large.keras", size=20)
    model(runs / "nan.keras", scale=np.nan)
    return runs


@pytest.mark.parametrize(("name", "arguments", "message"), BAD, ids=[name for name, *_ in BAD])
def test_bad_input(name, arguments, message, places, evaluate, images_npz):
    before = sorted(places.rglob("*"))
    done = evaluate([a.replace("DATA", f"--dataset=npz:{images_npz}") for a in arguments], places)
    assert done.code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("evaluate.py: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(places.rglob("*")) == before


def test_a_model_with_a_softmax_is_wrapped_in_one_line(tmp_path, images_npz, capsys):
    keras.utils.set_random_seed(0)
    parts = [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    keras.Sequential(parts).save(tmp_path / "mine.keras")
    quick = [f"--dataset=npz:{images_npz}", "--measure=test_set,noise", *SHORT, f"--report_dir={tmp_path / 'report'}"]
    command = ["evaluate.py", f"--model={tmp_path / 'mine.keras'}", *quick]
    told = "evaluate.py: mine gives probabilities, so their logarithms are taken for logits"
    rows = []
    for more, expected in (
        ([], f"{told}; --inputs=... and --outputs=... would decide otherwise\n"),
        (
            ["--inputs=unit", "--outputs=probabilities"],
            f"{told}\n",
        ),
    ):
        assert evaluate_command.main([*command, *more]) == 0
        assert [line for line in capsys.readouterr().err.splitlines(keepends=True) if "py: mine" in line] == [expected]
        rows.append(json.loads((tmp_path / "report/results.json").read_text())["runs"][0]["rows"])
    assert rows[0] == rows[1]
    assert evaluate_command.main([*command, "--outputs=logits"]) == 0
    confident = json.loads((tmp_path / "report/results.json").read_text())["runs"][0]["rows"][0]["mmc"]["value"]
    assert confident < rows[0][0]["mmc"]["value"]  # the softmax of probabilities is at most e / (e + 2)
