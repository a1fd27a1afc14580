"""A Triton Inference Server, in an environment of its own, serves an exported ONNX file over HTTP and gRPC.

The server is the one that `nvidia-pytriton` brings. It lacks Triton's ONNX Runtime backend, so its Python backend runs
`model.onnx` with ONNX Runtime: server, protocols, model repository and configuration are real, that backend is not.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import onnxruntime
import pytest

from keras_acet import classifiers, datasets, evaluation, networks
from keras_acet.attack import PGD
from keras_acet.export import stage, verification
from keras_acet.serving import OUTPUTS

pytestmark = pytest.mark.slow
NAME = "digits"
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime")
CONFIGURATION = """
backend: "python"
input { name: "images" data_type: TYPE_FP32 dims: [-1, 8, 8, 1] }
input { name: "threshold" data_type: TYPE_FP32 dims: [1] optional: true }
output { name: "label" data_type: TYPE_INT64 dims: [-1] }
output { name: "confidence" data_type: TYPE_FP32 dims: [-1] }
output { name: "probabilities" data_type: TYPE_FP32 dims: [-1, 10] }
output { name: "logits" data_type: TYPE_FP32 dims: [-1, 10] }
output { name: "accepted" data_type: TYPE_BOOL dims: [-1] }
"""
BACKEND = """
import pathlib

import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        path = pathlib.Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if "threshold" in inputs:
            inputs["threshold"] = inputs["threshold"].reshape(())  # Triton has no scalars
        names = request.requested_output_names()
        arrays = self.session.run(names, inputs)
        return utils.InferenceResponse([utils.Tensor(name, array) for name, array in zip(names, arrays)])
"""
# Asks over gRPC for every case of an .npz file, whose keys are CASE/INPUT; writes CASE/OUTPUT.
ASK = """
import sys
import numpy as np
import tritonclient.grpc as triton

address, name, source, target, *outputs = sys.argv[1:]
client = triton.InferenceServerClient(address)
cases, answers = {}, {}
with np.load(source) as archive:
    for key in archive.files:
        case, _, tensor = key.partition("/")
        cases.setdefault(case, {})[tensor] = archive[key]
for case, arrays in cases.items():
    inputs = [triton.InferInput(tensor, array.shape, "FP32") for tensor, array in arrays.items()]
    for tensor, array in zip(inputs, arrays.values()):
        tensor.set_data_from_numpy(array)
    answer = client.infer(name, inputs, outputs=[triton.InferRequestedOutput(output) for output in outputs])
    answers.update({f"{case}/{output}": answer.as_numpy(output) for output in outputs})
np.savez(target, **answers)
"""


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", batch_size=64, calibration_fraction=0.1)


@pytest.fixture(scope="module")
def repository(tmp_path_factory, data):
    """An export, with what Triton's Python backend needs besides."""
    keras.utils.set_random_seed(0)
    network = networks.build("lenet", data.image_shape, data.num_classes)
    model = keras.Model(network.inputs, network.outputs)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data.train, epochs=3, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("model") / "digits.keras"
    model.save(path)
    version = stage.export_model(
        classifiers.load(path),
        data,
        tmp_path_factory.mktemp("repository"),
        name=NAME,
        formats=["onnx"],
        protocol=evaluation.Protocol(num_noise=8, num_images=100),
        suite=lambda epsilon, *, seed: [evaluation.Trial("short", PGD(epsilon=epsilon, num_steps=5, seed=seed))],
    )
    (version / "model.py").write_text(BACKEND)
    (version.parent / "config.pbtxt").write_text(CONFIGURATION)
    return version.parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Python of a virtual environment with the server."""
    folder = tmp_path_factory.mktemp("triton")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if installed.returncode:
        reason = (installed.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"{PACKAGES[0]} cannot be installed: {reason}")
    return python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(environment, repository, tmp_path_factory):
    """Addresses of the running server: HTTP, gRPC."""
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = pathlib.Path(subprocess.check_output([environment, "-c", query], text=True).strip())
    triton = packages / "pytriton" / "tritonserver"
    stub = triton / "python_backend_stubs" / "{}.{}".format(*sys.version_info) / "triton_python_backend_stub"
    if not stub.is_file():
        pytest.skip(f"the server brings no Python backend for {sys.version_info.major}.{sys.version_info.minor}")
    backends = tmp_path_factory.mktemp("backends")
    shutil.copytree(triton / "backends" / "python", backends / "python")
    shutil.copy(stub, backends / "python")
    variables = {
        **os.environ,
        "PATH": f"{environment.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(packages),
        # libpython, which may lie outside the system's folders, and the libraries of the wheel.
        "LD_LIBRARY_PATH": f"{sysconfig.get_config_var('LIBDIR')}:{packages / 'nvidia_pytriton.libs'}",
    }
    http, grpc = free_port(), free_port()
    command = [
        *(str(triton / "bin" / "tritonserver"), f"--model-repository={repository}", f"--backend-directory={backends}"),
        *(f"--http-port={http}", f"--grpc-port={grpc}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
        "--allow-metrics=false",
    ]
    log = backends / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(f"http://127.0.0.1:{http}/v2/models/{NAME}/versions/1/ready", process, log)
        yield f"127.0.0.1:{http}", f"127.0.0.1:{grpc}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(url, process, log):
    for _ in range(600):
        assert process.poll() is None, f"the server stopped: {log.read_text()[-2000:]}"
        try:
            with direct(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise AssertionError(f"the server is not ready: {log.read_text()[-2000:]}")


def direct(request, timeout=60):
    """Opens an address of this machine, whatever proxy the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


@pytest.fixture(scope="module")
def cases(data):
    images = np.asarray(data.test_images[:64], np.float32)
    found = {
        "one": {"images": images[:1]},
        "many": {"images": images},
        "guard": {"images": verification.guard_cases(images)},
    }
    for threshold in (0.0, 0.99, 1.01):
        found[f"threshold {threshold}"] = {"images": images, "threshold": np.array([threshold], np.float32)}
    return found


@pytest.fixture(scope="module")
def expected(repository, cases):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = repository / NAME / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answers = {}
    for case, arrays in cases.items():
        inputs = {name: array.reshape(()) if name == "threshold" else array for name, array in arrays.items()}
        answers[case] = dict(zip(OUTPUTS, session.run(list(OUTPUTS), inputs), strict=True))
    accepted = {case: answer["accepted"].sum() for case, answer in answers.items()}
    assert accepted["threshold 0.0"] == 64 and accepted["threshold 1.01"] == 0, "the cases tell something"
    assert 0 < accepted["guard"] < 32
    return answers


def compare(case, answer, expected):
    assert answer.keys() == set(OUTPUTS)
    for name in OUTPUTS:
        assert answer[name].shape == expected[name].shape
        if name in ("label", "accepted"):
            np.testing.assert_array_equal(answer[name], expected[name], err_msg=f"{name} of {case}")
        else:
            np.testing.assert_allclose(answer[name], expected[name], atol=1e-5, err_msg=f"{name} of {case}")


def over_http(address, arrays):
    """Asks with the KServe protocol, version 2, in plain JSON."""
    tensors = [
        {"name": name, "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in arrays.items()
    ]
    body = json.dumps({"inputs": tensors, "outputs": [{"name": name} for name in OUTPUTS]}).encode()
    with direct(urllib.request.Request(f"http://{address}/v2/models/{NAME}/versions/1/infer", body)) as response:
        answer = json.load(response)
    kinds = {"FP32": np.float32, "INT64": np.int64, "BOOL": bool}
    return {o["name"]: np.array(o["data"], kinds[o["datatype"]]).reshape(o["shape"]) for o in answer["outputs"]}


def test_http(server, cases, expected):
    for case, arrays in cases.items():
        if all(np.isfinite(array).all() for array in arrays.values()):  # JSON has no NaN
            compare(case, over_http(server[0], arrays), expected[case])


def test_grpc(server, cases, expected, environment, tmp_path):
    np.savez(tmp_path / "cases.npz", **{f"{c}/{name}": x for c, arrays in cases.items() for name, x in arrays.items()})
    command = [environment, "-c", ASK, server[1], NAME, tmp_path / "cases.npz", tmp_path / "answers.npz", *OUTPUTS]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "answers.npz") as archive:
        for case in cases:
            compare(case, {name: archive[f"{case}/{name}"] for name in OUTPUTS}, expected[case])


def test_the_server_tells_of_the_model(server):
    with direct(f"http://{server[0]}/v2/models/{NAME}") as response:
        told = json.load(response)
    assert told["versions"] == ["1"]
    assert {tensor["name"] for tensor in told["inputs"]} == {"images", "threshold"}
    assert {tensor["name"] for tensor in told["outputs"]} == set(OUTPUTS)
    with direct(f"http://{server[0]}/v2") as response:
        assert json.load(response)["name"] == "triton"
