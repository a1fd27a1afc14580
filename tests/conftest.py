import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from helpers.places import ROOT

pytest.register_assert_rewrite("helpers.rows")  # as in a test, an assert shows its values


class Command:
    """A running script."""

    def __init__(self, ask, pid, stdout, stderr):
        self._ask, self.pid, self._stdout, self._stderr = ask, pid, stdout, stderr

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self):
        code = self._ask({"wait": self.pid})
        return types.SimpleNamespace(code=code, stdout=self._stdout.read_text(), stderr=self._stderr.read_text())


@pytest.fixture(scope="session")
def _server():
    script = pathlib.Path(__file__).with_name("helpers") / "command_line.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    environment |= {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }  # no network
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"

        def ask(request):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask


@pytest.fixture
def start_script(_server, tmp_path_factory):
    """Function that starts a script with arguments in a directory and returns a `Command`."""

    def start(script, arguments, cwd, seconds=600):
        logs = tmp_path_factory.mktemp("logs")
        files = {"stdout": logs / "stdout", "stderr": logs / "stderr"}
        request = {"script": script, "arguments": arguments, "cwd": str(cwd), "seconds": seconds}
        pid = _server({**request, **{name: str(path) for name, path in files.items()}})
        return Command(_server, pid, **files)

    return start


@pytest.fixture
def run_row(start_script, request):
    """Function that runs a script and returns `(code, stdout, stderr)`; one that hangs is ended."""
    seconds = 10 if request.node.get_closest_marker("xfail") else 60

    def run(script, arguments, cwd):
        done = start_script(script, arguments, cwd, seconds).wait()
        return done.code, done.stdout, done.stderr

    return run


@pytest.fixture
def start_train(start_script):
    """Function that starts `train.py` with arguments in a directory and returns a `Command`."""
    return lambda arguments, cwd: start_script("train.py", arguments, cwd)


@pytest.fixture
def evaluate(start_script):
    """Function that runs `evaluate.py` to its end: `evaluate(arguments, cwd)` has `code`, `stdout`, `stderr`."""
    return lambda arguments, cwd: start_script("evaluate.py", arguments, cwd).wait()


@pytest.fixture
def start_export(start_script):
    """Function that starts `python -m keras_acet.export` with arguments in a directory and returns a `Command`."""
    return lambda arguments, cwd: start_script("keras_acet.export", arguments, cwd)


@pytest.fixture
def train(start_train):
    """Function that runs `train.py` to its end: `train(arguments, cwd)` has `code`, `stdout`, `stderr`."""
    return lambda arguments, cwd: start_train(arguments, cwd).wait()


@pytest.fixture(scope="session")
def images_npz(tmp_path_factory):
    """Path of 64 random 12x12 images of 3 classes."""
    path = tmp_path_factory.mktemp("data") / "random.npz"
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (64, 12, 12, 1), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(64) % 3)
    return path


@pytest.fixture(scope="module")  # its logs hold what other modules did
def browser():
    """Headless Chromium, with what it logs and asks for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the pip package selenium")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs Chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
