"""Flag files against typed flags, in all commands; texts that cannot stand in a line of a flag file."""

import pytest

from keras_acet.cli import commands, evaluate, export, train
from keras_acet.training import flag_files
from keras_acet.training.recipe import Recipe

MAINS = {"train.py": train.main, "evaluate.py": evaluate.main, "export/__main__.py": export.main}


@pytest.fixture
def parsed(monkeypatch):
    """Function that gives a command line to a command and returns what the command would run with, a `Call`."""

    def parse(module, *arguments):
        calls = []
        command = module.COMMAND
        same = {name: getattr(command, name) for name in ("doc", "define", "example", "when_stopped", "read_recipe")}
        assert commands.Command(run=calls.append, **same).main(["program", *arguments]) == 0
        return calls[0]

    return parse


def test_typed_flags_win_in_any_order(parsed, tmp_path):
    (tmp_path / "a.flags").write_text("# Of mine\n--dataset=moons\n--epochs=3\n--nodeterministic\n\n// end\n--seed=5\n")
    file = f"--flagfile={tmp_path}/a.flags"
    typed = ["--dataset=digits", "--epochs=1", "--deterministic"]
    for arguments in ([*typed, file], [file, *typed], [typed[0], "--flagfile", f"{tmp_path}/a.flags", *typed[1:]]):
        flags = parsed(train, *arguments).flags
        assert (flags.dataset, flags.epochs, flags.deterministic, flags.seed) == ("digits", 1, True, 5)


def test_flag_file_wins_over_the_recipe_and_may_name_it(parsed, tmp_path):
    (tmp_path / "a.flags").write_text("--recipe=fast/mnist_ceda\n--epochs=3\n")
    call = parsed(train, "--epochs=2", f"--flagfile={tmp_path}/a.flags", "--recipe=fast/mnist_acet")
    assert (call.flags.epochs, call.flags.method, call.flags.recipe) == (2, "acet", "fast/mnist_acet")
    call = parsed(train, f"--flagfile={tmp_path}/a.flags")
    assert (call.flags.epochs, call.flags.method) == (3, "ceda")
    assert call.given["epochs"] == f"--flagfile={tmp_path}/a.flags"
    assert call.given["method"] == "--recipe=fast/mnist_ceda"


def test_flags_that_may_be_repeated_are_replaced_too(parsed, tmp_path):
    (tmp_path / "a.flags").write_text("--run_dir=a\n--run_dir=b\n--skip=noise\n--quick\n--num_noise=3\n")
    file = f"--flagfile={tmp_path}/a.flags"
    flags = parsed(evaluate, "--run_dir=c", "--num_noise=4", "--noquick", file).flags
    assert (flags.run_dir, flags.skip, flags.num_noise, flags.quick) == (["c"], ["noise"], 4, False)
    assert parsed(evaluate, file).flags.run_dir == ["a", "b"]
    (tmp_path / "b.flags").write_text("--formats=onnx\n--name=x\n")
    flags = parsed(export, "--formats=savedmodel", f"--flagfile={tmp_path}/b.flags").flags
    assert (flags.formats, flags.name) == (["savedmodel"], "x")


def test_files_that_include_others_and_files_named_twice(parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.flags").write_bytes(b"\xef\xbb\xbf--epochs=3\r\n--flagfile=b.flags\r\n--seed=1\r\n")
    (tmp_path / "b.flags").write_text("--seed=2\n--batch_size=7\n  --network=mlp  \n")
    flags = parsed(train, "--flagfile=a.flags").flags
    assert (flags.epochs, flags.seed, flags.batch_size, flags.network) == (3, 1, 7, "mlp")
    flags = parsed(train, "--flagfile=a.flags", "--flagfile=b.flags", "--flagfile=b.flags", "--epochs=4").flags
    assert (flags.epochs, flags.seed) == (4, 2)
    assert parsed(train, "--recipe=a.flags").flags.batch_size == 7


def test_recipe_of_a_run_keeps_where_its_data_lie(parsed, tmp_path):
    text = flag_files.write_run({"dataset": "mnist"}, fingerprint="f", extra_flags={"data_dir": "some where/é"})
    (tmp_path / "flags.flags").write_text(text, encoding="utf-8")
    assert parsed(train, f"--recipe={tmp_path}/flags.flags").flags.data_dir == "some where/é"


# Name -> content of the flag file, part of the message.
BAD_FILES = {
    "no flag": (b"--epochs=3\nepochs=4\n", "line 2: a file of flags holds lines such as --epochs=100"),
    "a blank for the sign": (b"--run_dir x\n", "Received: '--run_dir x'"),
    "unknown flag": (b"--epochz=3\n", "a.flags: Unknown command line flag 'epochz'"),
    "no value": (b"--run_dir\n", "a.flags: Missing value for flag --run_dir"),
    "value of a negated flag": (b"--noonly_check_args=3\n", "a.flags: --noonly_check_args=3 does not take an argument"),
    "hidden mistakes": (b"--undefok=epochz\n--epochz=3\n", "Unknown command line flag 'undefok'"),
    "no text": (b"\xff\xfe-\0", "must be a text file in UTF-8"),
    "in itself": (b"--flagfile=a.flags\n", "The flag file a.flags includes itself: a.flags -> a.flags"),
    "file that is not there": (b"--flagfile=b.flags\n", "The flag file b.flags cannot be read: No such file"),
    "folder": (b"--flagfile=.\n", "The flag file . cannot be read: Is a directory"),
    "control character": (b"--run_dir=a\x0bb\n", "a.flags: --run_dir must be text in one line"),
}


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_flag_file(content, message, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.flags").write_bytes(content)

    assert MAINS[name]([name, "--flagfile=a.flags"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.flags"]


def test_bad_recipe_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cases = {
        "--recipe=fast/mnist_acet\n": "--recipe=a.flags names another recipe; give that one",
        "--epochs=many\n": "--recipe=a.flags: ",
        "--nonsense\n": "--recipe=a.flags: Unknown command line flag 'nonsense'",
    }
    for content, message in cases.items():
        (tmp_path / "a.flags").write_text(content)
        assert train.main(["train.py", "--recipe=a.flags"]) == 2
        assert message in capsys.readouterr().err


SEVERAL_LINES = ["data\n--epochs=3", "a\rb", "a\u2028b", "a\x85b", "a\x00b", "tab\tbed", "bytes\udcff", "end "]


@pytest.mark.parametrize("text", SEVERAL_LINES)
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        *[("train.py", flag) for flag in ("dataset", "data_dir", "run_dir", "network", "augmentation")],
        *[("evaluate.py", flag) for flag in ("run_dir", "model", "ood", "dataset", "data_dir", "report_dir")],
        *[("export/__main__.py", flag) for flag in ("run_dir", "model", "dataset", "name", "export_dir", "threshold")],
    ],
)
def test_text_of_several_lines_is_refused(text, name, flag, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert MAINS[name]([name, f"--{flag}={text}"]) == 2
    error = capsys.readouterr().err
    assert f"--{flag} must be text in one line" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_text_of_several_lines_is_refused_in_code():
    for name in ("dataset", "network", "augmentation"):
        with pytest.raises(ValueError, match=f"`{name}` must be text in one line"):
            Recipe.for_dataset(**{"name": "digits", "name" if name == "dataset" else name: "npz:a\n--epochs=3"})
    with pytest.raises(ValueError, match="`data_dir` must be text in one line"):
        flag_files.write_run({}, fingerprint=None, extra_flags={"data_dir": "a\n--epochs=3"})


def test_odd_paths_come_back_from_the_flag_file():
    flags = {"dataset": "folder:Fotos von é, 日本/#x=1 // y"}
    written = flag_files.write_run(flags, fingerprint=None, extra_flags={"data_dir": "a\u00a0b"})
    assert flag_files.read_run(written) == (flags, {"data_dir": "a\u00a0b"}, None, None)
    assert flag_files.read(written, "here") == flags


def test_a_run_that_goes_on_finds_its_data_where_they_were(parsed, tmp_path, monkeypatch):
    """Not given again, or given from another folder."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    assert train._data_dir(parsed(train).flags, run) is None
    assert train._data_dir(parsed(train, "--data_dir=sets").flags, run) == str(tmp_path / "sets")
    assert train._data_dir(parsed(train, "--data_dir=gs://sets").flags, run) == "gs://sets"
    (run / "flags.flags").write_text(flag_files.write_run({"a": "b"}, fingerprint=None, extra_flags={"data_dir": "/x"}))
    assert train._data_dir(parsed(train).flags, run) == "/x"
    assert train._data_dir(parsed(train, "--overwrite").flags, run) is None
