"""What all command lines have in common: help, errors in one line, flags of their own, names that have changed."""

import errno
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers.places import ROOT

from keras_acet import files
from keras_acet.cli import commands, evaluate, export, main, train

DATA_FLAGS = ("dataset", "data_dir", "image_size", "ood")
# Program, its command line, flags that its help must list.
PROGRAMS = [
    ("train.py", ["train.py"], ("dataset", "epsilon", "run_dir", "flagfile", "penalty_weight")),
    ("evaluate.py", ["evaluate.py"], ("run_dir", "model", "num_adversarial", "flagfile", *DATA_FLAGS)),
    ("export", ["-m", "export"], ("run_dir", "formats", "flagfile", *DATA_FLAGS)),
    ("keras-acet evaluate", ["-m", "keras_acet.cli.main", "evaluate"], ("run_dir", *DATA_FLAGS)),
]


def seconds_of_children():
    """Processor time: other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("name", "program", "names"), PROGRAMS, ids=[name for name, *_ in PROGRAMS])
def test_help_is_fast_lists_all_flags_and_loads_no_tensorflow(name, program, names, tmp_path):
    # An importable trap in TensorFlow's and Keras' place ends the process if it is touched.
    for module in ("tensorflow", "keras"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('loaded')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    begin = seconds_of_children()
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, env=environment, check=True
    )

    assert seconds_of_children() - begin < 1
    assert f"Flags of {name}:" in done.stdout
    for flag in names:
        assert f"\n--{flag}: " in done.stdout
    assert done.stderr == ""


def test_several_commands_in_one_process(capsys):
    """Each has flags of its own, and every call begins with the defaults."""
    assert train.main(["train.py", "--epsilon=8"]) == 2
    assert capsys.readouterr().err.startswith("train.py: error: --epsilon must be in")
    assert evaluate.main(["evaluate.py", "--epsilon=8"]) == 2
    assert capsys.readouterr().err.startswith("evaluate.py: error: flag --epsilon=8")
    assert export.main(["export/__main__.py"]) == 2
    assert capsys.readouterr().err == "export: error: name one of --run_dir=RUN and --model=PATH.keras\n"
    for command, program in ((train, "train.py"), (evaluate, "evaluate.py")):
        assert command.main([program, "--only_check_args"]) == 0
        assert capsys.readouterr() == ("the flags are in order\n", "")


def test_console_script(capsys):
    assert main.main(["/usr/bin/keras-acet", "train", "--epsilon=8"]) == 2
    assert capsys.readouterr().err.startswith("keras-acet train: error: --epsilon must be in")
    assert main.main(["/usr/bin/keras-acet", "--help"]) == 0
    assert "keras-acet train " in capsys.readouterr().out
    assert main.main(["/usr/bin/keras-acet", "trian"]) == 2
    assert capsys.readouterr().err == (
        "keras-acet: error: the first word must be one of train, evaluate, export; received 'trian'\n"
    )
    assert main.main(["/usr/bin/keras-acet", "clients"]) == 2
    assert capsys.readouterr().err.endswith("received 'clients'; those are python -m keras_acet.export.clients\n")
    assert main.main(["/usr/bin/keras-acet"]) == 2
    assert capsys.readouterr().err.endswith("export; there is none\n")


def test_old_name_of_a_flag_still_works_and_says_so(capsys):
    assert evaluate.main(["evaluate.py", "--adversarial_samples=3", "--only_check_args"]) == 0
    assert capsys.readouterr().err == (
        "evaluate.py: --adversarial_samples is now called --num_adversarial; the old name goes with the next version\n"
    )
    assert evaluate.main(["evaluate.py", "--adversarial_samples=-3", "--only_check_args"]) == 2
    assert "-3" in capsys.readouterr().err
    assert evaluate.main(["evaluate.py", "--help"]) == 0
    assert "adversarial_samples" not in capsys.readouterr().out


def test_arguments_become_flags():
    names = ["resize", "run_dir", "overwrite", "download", "noise"]
    cases = {
        "Give `resize=True`.": "Give --resize.",
        "`run_dir` must name a directory": "--run_dir must name a directory",
        "give `overwrite=True` or another `run_dir`": "give --overwrite or another --run_dir",
        "`download=False`": "--nodownload",
        "`noise='uniform'`": "--noise=uniform",
        "`epsilon` must be positive": "`epsilon` must be positive",  # the command has no such flag
        "`train.py`": "`train.py`",
    }
    assert {text: commands.as_flags(text, names) for text in cases} == cases


def test_measurements_are_listed_without_a_run_and_without_tensorflow(capsys):
    """By the names of their files, which are those of the measurements."""
    from keras_acet import evaluation

    assert evaluate.main(["evaluate.py", "--measure=?"]) == 0
    assert capsys.readouterr() == ("\n".join(sorted(evaluation.measurements.names())) + "\n", "")
    for flag in ("measure", "skip"):
        assert evaluate.main(["evaluate.py", f"--{flag}=noise,nose"]) == 2
        assert f"Received: --{flag}=nose." in capsys.readouterr().err


def test_older_spellings_of_the_export(tmp_path, capsys):
    (tmp_path / "flags.flags").write_text("--dataset=digits\n")
    (tmp_path / "report/scores").mkdir(parents=True)
    arguments = ["export/__main__.py", f"--run_dir={tmp_path}"]
    assert export.main([*arguments, "--quantize=int8", f"--evaluation_dir={tmp_path}/report"]) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert "must hold a finished run" in error
    assert notes == [
        "export: --evaluation_dir is now called --report_dir; the old name goes with the next version",
        "export: --quantize=int8 is now int8 as one of --formats; the old spelling goes with the next version",
    ]
    assert export.main([*arguments, f"--report_dir={tmp_path}/none"]) == 2
    assert "must be a report directory of evaluate.py, which holds scores/" in capsys.readouterr().err


def stop_by_ctrl_c(call):
    raise KeyboardInterrupt


def stop_by_signal(call):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)  # does not last: the signal comes first


def fill_the_disk(call):
    with files.whole_file(pathlib.Path("run/model.keras")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` does, without a name


def lose_the_disk(call):
    pathlib.Path("gone/flags.flags").read_text()


@pytest.mark.parametrize(
    ("run", "code", "message"),
    [
        (stop_by_ctrl_c, 130, "\ntrain.py: stopped; the same command goes on\n"),
        (stop_by_signal, 143, "\ntrain.py: stopped; the same command goes on\n"),
        (
            fill_the_disk,
            2,
            "train.py: error: run/model.keras cannot be written: No space left on device; the same command goes on\n",
        ),
        (
            lose_the_disk,
            2,
            "train.py: error: [Errno 2] No such file or directory: 'gone/flags.flags'; the same command goes on\n",
        ),
    ],
)
def test_what_ends_a_command_is_one_line(run, code, message, capsys):
    before = signal.getsignal(signal.SIGTERM)
    command = commands.Command("Doc.", lambda values: None, run, "--a=b", "the same command goes on")
    assert command.main(["train.py"]) == code
    assert capsys.readouterr().err == message
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_in_another_thread_leaves_signals_alone():
    codes = []
    command = commands.Command("Doc.", lambda values: None, lambda call: None, "--a=b", "")
    thread = threading.Thread(target=lambda: codes.append(command.main(["train.py"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_folder_is_for_one_process(tmp_path):
    folder = tmp_path / "report"
    (folder / "scores").mkdir(parents=True)
    (folder / "scores/.tmp-a.npz").write_text("of a killed process")
    with commands.only_process(folder, "report_dir"):
        assert list(folder.rglob(".tmp-*")) == []
        message = f"another process writes into {folder}; wait for it or name another --report_dir"
        with (
            pytest.raises(commands.UserError, match=re.escape(message)),
            commands.only_process(folder, "report_dir"),
        ):
            pass
    with commands.only_process(folder, "report_dir"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/report cannot be written: Not a directory"):
        commands.only_process(tmp_path / "file/report", "report_dir").__enter__()


@pytest.mark.parametrize(
    ("path", "is_run", "place"),
    [("runs/a", True, "runs/a/export"), ("mine.keras", False, "export-mine"), ("b/saved", False, "b/export-saved")],
)
def test_an_export_lies_in_a_folder_that_is_no_code(path, is_run, place, tmp_path):
    assert export.default_export_dir(tmp_path / path, is_run=is_run) == tmp_path / place


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "export", "--help"],
        ["-m", "keras_acet.cli.main", "export", "--help"],
        ["-m", "keras_acet.cli.main", "--help"],
        ["-m", "export.clients", "--help"],
    ],
    ids=" ".join,
)
def test_who_reads_no_more_ends_a_command_without_a_word(program):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, *program], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode in (0, 141) and done.stderr == b""  # argparse, of the clients, makes it 0


def test_the_export_says_that_it_does_not_use_a_quick_evaluation(tmp_path, capsys):
    from keras_acet.evaluation import Protocol

    call = commands.Call(None, ["export"])
    export.note_quick(call, tmp_path, Protocol())
    for is_quick in (False, True):
        settings = {"quick": is_quick, "num_images": 2000, "num_noise": 64}
        (tmp_path / "results.json").write_text(json.dumps({"settings": settings}))
        assert capsys.readouterr().err == ""
        export.note_quick(call, tmp_path, Protocol())
    assert capsys.readouterr().err == f"export: the evaluation in {tmp_path} was a quick one; measuring anew\n"
    export.note_quick(call, tmp_path, Protocol().quick())
    assert capsys.readouterr().err == ""
