"""Tests of what stands around an exported model: warm-up requests, the server's configuration, clients.

The servers here are small ones that speak TensorFlow Serving's protocols, with its own protos, before a SavedModel as
`export.artifacts.savedmodel` writes it; `test_triton.py` asks a real server.
"""

import base64
import concurrent.futures
import csv
import http.server
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import types

import grpc
import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

import keras_acet.export
from keras_acet.export import onnx_graph
from keras_acet.export.artifacts import savedmodel
from keras_acet.export.artifacts.warmup import write_warmup_requests
from keras_acet.export.clients import __main__ as clients
from keras_acet.export.clients import images
from keras_acet.serving import ServingModel

PACKAGE = pathlib.Path(keras_acet.export.__file__).parent
SERVING = PACKAGE / "serving"
NAME, SHAPE, CLASSES = "tiny", (2, 3, 3), ["red", "green", "blue"]
ABOUT = {"name": NAME, "data": {"class_names": CLASSES}, "input": {"shape": list(SHAPE), "resize": False}}
# Logits are 6 times the mean red, green and blue: a red image has the logits 6, 0, 0 and the confidence
# e^6 / (e^6 + 2) = .9951; a gray one 1/3.
WEIGHTS = np.tile(np.eye(3, dtype=np.float32), (6, 1))
RED = 0.9951


@pytest.fixture(scope="module")
def model():
    network = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)])
    network.layers[-1].set_weights([WEIGHTS])
    return ServingModel(network, image_shape=SHAPE, num_classes=3, threshold=0.9)


@pytest.fixture(scope="module")
def directory(tmp_path_factory, model):
    """A SavedModel and an ONNX file of the same model; the ONNX network is written by hand."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "metadata.json").write_text(json.dumps(ABOUT))
    savedmodel.write_savedmodel(model, folder, metadata=ABOUT, metadata_path=folder / "metadata.json")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["images"], ["pixels"]),
            onnx.helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
        ],
        "by_hand",
        [value("images", onnx.TensorProto.FLOAT, ["batch", *SHAPE])],
        [value("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(WEIGHTS, "weights")],
    )
    network = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx_graph.wrap(network, model, metadata=json.dumps(ABOUT)), folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def signatures(directory):
    return tf.saved_model.load(str(directory)).signatures


def png(color, size=(3, 2), mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, size, color).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A red, a gray, and a broken file in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, content in {"red": png((255, 0, 0)), "gray": png((99, 99, 99)), "broken": b"not an image"}.items():
        pathlib.Path(f"{name}.png").write_bytes(content)
    return ["red.png", "gray.png", "broken.png"]


# -- warm-up requests


def test_every_warmup_request_runs(tmp_path, signatures):
    batch = np.random.default_rng(0).random((1, *SHAPE), np.float32)
    requests = {
        "serving_default": ({"images": batch}, None),
        "serving_threshold": ({"images": batch, "threshold": np.array([0.5], np.float32)}, ["label", "accepted"]),
        "serving_uint8": ({"images": np.uint8(batch * 255)}, None),
        "serving_bytes": ({"image_bytes": np.array([png((1, 2, 3))])}, None),
        "metadata": ({}, ["json"]),
    }
    assert set(requests) == set(signatures)
    path = tmp_path / "tf_serving_warmup_requests"
    write_warmup_requests(path, NAME, requests)
    logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log"] * len(requests)
    for log, (signature, (inputs, output_filter)) in zip(logs, requests.items(), strict=True):
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == (NAME, signature)
        assert list(request.output_filter) == (output_filter or [])
        sent = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        assert sent.keys() == inputs.keys()
        for name, array in inputs.items():
            np.testing.assert_array_equal(sent[name], array)
        outputs = signatures[signature](**{name: tf.constant(array) for name, array in sent.items()})
        assert set(request.output_filter) <= outputs.keys()


# -- configuration


def configured(name, message):
    return text_format.Parse((SERVING / name).read_text(encoding="utf-8"), message)


def described(name, fields, others=()):
    """A message class of TensorFlow Serving whose proto `tensorflow-serving-api` lacks, made of its fields.

    Args:
        name: What it is called.
        fields: Dict field name -> type.
        others: Dicts of the same kind, name -> fields, for messages that it holds.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="serving_test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message_name, its_fields in {**dict(others), name: fields}.items():
        message = file.message_type.add(name=message_name)
        for number, (field, kind) in enumerate(its_fields.items(), 1):
            added = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if kind in ("bool", "string"):
                added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName("google/protobuf/wrappers.proto").CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving_test.{name}"))()


INT64, BOOL, TEXT = (f".google.protobuf.{name}Value" for name in ("Int64", "Bool", "String"))
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto and tensorflow_serving/config/
# monitoring_config.proto. Text format knows fields by name, so their numbers do not matter.
BATCHING = {
    "max_batch_size": INT64,
    "batch_timeout_micros": INT64,
    "max_enqueued_batches": INT64,
    "num_batch_threads": INT64,
    "thread_pool_name": TEXT,
    "enable_large_batch_splitting": BOOL,
    "max_execution_batch_size": INT64,
}
MONITORING = {"prometheus_config": ".serving_test.PrometheusConfig"}
PROMETHEUS = {"PrometheusConfig": {"enable": "bool", "path": "string"}}
# Flags of tensorflow_model_server that may be used here, from tensorflow_serving/model_servers/main.cc.
FLAGS = {
    "port",
    "rest_api_port",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "file_system_poll_wait_seconds",
    "enable_batching",
    "batching_parameters_file",
    "monitoring_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
}


def served_model():
    (config,) = configured("models.config", model_server_config_pb2.ModelServerConfig()).model_config_list.config
    return config


def test_models_config():
    config = served_model()
    assert config.base_path == f"/models/{config.name}"
    assert config.model_platform == "tensorflow"
    assert set(config.version_labels) == {"stable", "canary"}
    assert set(config.version_labels.values()) == {1}, "only version 1 is there after the first export"
    assert config.model_version_policy.latest.num_versions == 2


def test_batching_config():
    config = configured("batching.config", described("BatchingParameters", BATCHING))
    assert 1 <= config.max_execution_batch_size.value <= config.max_batch_size.value
    assert config.enable_large_batch_splitting.value
    assert 0 < config.batch_timeout_micros.value <= 10_000
    assert config.max_enqueued_batches.value >= config.num_batch_threads.value


def test_monitoring_config():
    config = configured("monitoring.config", described("MonitoringConfig", MONITORING, PROMETHEUS))
    assert config.prometheus_config.enable and config.prometheus_config.path.startswith("/")


@pytest.mark.parametrize("text", ["max_batch_sise { value: 1 }", "max_batch_size: 1", "batch_timeout_micros { v: 1 }"])
def test_a_slip_in_a_configuration_would_be_seen(text):
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text, described("BatchingParameters", BATCHING))


def manifest(name):
    yaml = pytest.importorskip("yaml", reason="reading YAML needs pyyaml")
    return yaml.safe_load((SERVING / name).read_text(encoding="utf-8"))


def flags(arguments):
    return dict(re.fullmatch(r"--(\w+)=(.+)", argument).groups() for argument in arguments)


def compose():
    (service,) = manifest("docker-compose.yml")["services"].values()
    return service


def pod():
    return manifest("kubernetes/deployment.yaml")["spec"]["template"]["spec"]


def test_compose_starts_the_server_on_the_configuration():
    service = compose()
    options = flags(service["command"])
    assert options.keys() <= FLAGS
    assert service["entrypoint"] == ["tensorflow_model_server"]
    ports = {options["port"], options["rest_api_port"]}
    assert {tuple(port.split(":")) for port in service["ports"]} == {("127.0.0.1", port, port) for port in ports}
    mounts = {target: (source, mode) for source, target, mode in (v.rsplit(":", 2) for v in service["volumes"])}
    assert mounts["/config"] == (".", "ro")
    assert mounts["/models"][0].startswith("${EXPORT_DIR:?") and mounts["/models"][1] == "ro"
    for option in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert (SERVING / pathlib.PurePosixPath(options[option]).relative_to("/config")).is_file()
    assert options["enable_batching"] == "true", "the server stops at batching parameters without it"
    assert options["allow_version_labels_for_unavailable_models"] == "true", "labels stop the server without it"
    cpus = service["deploy"]["resources"]["limits"]["cpus"]
    assert cpus == options["tensorflow_intra_op_parallelism"] == options["tensorflow_inter_op_parallelism"]
    threads = configured("batching.config", described("BatchingParameters", BATCHING)).num_batch_threads.value
    assert threads == int(cpus)
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["init"]
    assert int(service["user"].partition(":")[0]) > 0


def test_the_image_is_of_the_exporting_tensorflow():
    image, _, version = compose()["image"].partition(":")
    assert image == "tensorflow/serving"
    assert version.split(".")[:2] == tf.__version__.split(".")[:2]


def test_kubernetes_starts_the_same_server():
    (server,) = pod()["containers"]
    service = compose()
    assert server["image"] == service["image"]
    assert server["command"] == service["entrypoint"]
    assert server["args"] == service["command"]
    options = flags(server["args"])
    assert {port["name"]: str(port["containerPort"]) for port in server["ports"]} == {
        "grpc": options["port"],
        "rest": options["rest_api_port"],
    }
    assert server["resources"]["limits"]["cpu"] == options["tensorflow_intra_op_parallelism"]
    assert (
        set(server["resources"]["requests"])
        == set(server["resources"]["limits"])
        == {
            "cpu",
            "memory",
            "ephemeral-storage",
        }
    )
    assert {mount["mountPath"] for mount in server["volumeMounts"]} == {"/models", "/config", "/tmp"}


def test_kubernetes_confines_its_containers():
    spec = pod()
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    assert "USER 65534:65534" in (SERVING / "kubernetes" / "model.Dockerfile").read_text()
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["initContainers"] + spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert ":" in container["image"] and not container["image"].endswith(":latest")


def test_every_way_to_serve_confines_the_server_alike():
    """Compose, Kubernetes, and the command that an export prints."""
    service, spec = compose(), pod()
    (server,) = spec["containers"]
    (command,) = (
        savedmodel.SavedModel()
        .usage(
            pathlib.Path("out/digits-acet/1"),
            types.SimpleNamespace(name="digits-acet", input=types.SimpleNamespace(shape=[2])),
            "CLIENTS",
        )
        .values()
    )
    words = shlex.split(command)
    given = [word.removeprefix("--").partition("=")[::2] for word in words[2:-1]]
    options = {name: [value for other, value in given if other == name] for name, _ in given}
    limits = service["deploy"]["resources"]["limits"]
    assert words[-1] == service["image"] == server["image"]
    assert options["publish"] == service["ports"] and all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert options["user"] == [service["user"]]
    assert service["user"] == "{runAsUser}:{runAsGroup}".format(**spec["securityContext"])
    assert options["cap-drop"] == service["cap_drop"] == server["securityContext"]["capabilities"]["drop"]
    assert {"read-only", "init", "rm"} <= set(options) and service["read_only"] and service["init"]
    assert service["security_opt"] == ["no-new-privileges:true"] and options["security-opt"] == ["no-new-privileges"]
    assert options["memory"] == ["2g"] and limits["memory"] == "2G" and server["resources"]["limits"]["memory"] == "2Gi"
    assert options["cpus"] == [limits["cpus"]] == [server["resources"]["limits"]["cpu"]]
    assert options["pids-limit"] == [str(limits["pids"])]
    assert options["tmpfs"] == service["tmpfs"] == ["/tmp"]
    assert options["log-opt"] == ["max-size=" + service["logging"]["options"]["max-size"]]


@pytest.mark.parametrize("folder", ["a b", "a:b", "a,b", 'a"b', "a;touch x", "$(touch x)", "-v=/:/x"])
def test_a_folder_of_any_name_is_mounted_and_nothing_else(folder):
    version = pathlib.Path("/out") / folder / "net" / "1"
    about = types.SimpleNamespace(name="net", input=types.SimpleNamespace(shape=[2]))
    (command,) = savedmodel.SavedModel().usage(version, about, "CLIENTS").values()
    (mount,) = [word.removeprefix("--mount=") for word in shlex.split(command) if word.startswith("--mount=")]
    (fields,) = csv.reader([mount])  # as docker reads it
    assert fields == ["type=bind", f"source=/out/{folder}/net", "target=/models/net", "readonly"]


def test_only_pods_with_the_label_may_ask_the_server():
    policy = manifest("kubernetes/networkpolicy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == manifest("kubernetes/service.yaml")["spec"]["selector"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"} and policy["egress"] == []
    inside = {port["name"] for port in pod()["containers"][0]["ports"]}
    for rule in policy["ingress"]:
        assert rule["from"] and {port["port"] for port in rule["ports"]} <= inside


def test_kubernetes_brings_the_model_where_the_server_looks():
    spec, base_path = pod(), served_model().base_path
    (loader,) = spec["initContainers"]
    (server,) = spec["containers"]
    assert loader["command"] == ["cp", "-r", base_path, loader["volumeMounts"][0]["mountPath"] + "/"]
    volume = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}["/models"]
    assert loader["volumeMounts"][0]["name"] == volume
    assert base_path == f"/models/{served_model().name}"
    assert "COPY ${NAME} /models/${NAME}\n" in (SERVING / "kubernetes" / "model.Dockerfile").read_text()


def test_probes_name_the_model_and_the_ports():
    (server,) = pod()["containers"]
    ports = {port["name"] for port in server["ports"]}
    probes = {name: probe for name, probe in server.items() if name.endswith("Probe")}
    assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for probe in probes.values():
        assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports
    assert probes["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{served_model().name}/metadata"


def test_service_and_autoscaler_point_at_the_deployment():
    deployment, service, scaler = (
        manifest(f"kubernetes/{name}.yaml") for name in ("deployment", "service", "autoscaler")
    )
    name = served_model().name
    assert {one["metadata"]["name"] for one in (deployment, service, scaler)} == {name}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    inside = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == inside
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["apiVersion"]) == (deployment["kind"], deployment["apiVersion"])
    assert target["name"] == name
    assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    assert "replicas" not in deployment["spec"], "two would set it"


def test_prometheus_asks_where_the_metrics_are():
    notes = manifest("kubernetes/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    config = configured("monitoring.config", described("MonitoringConfig", MONITORING, PROMETHEUS))
    assert notes["prometheus.io/path"] == config.prometheus_config.path
    assert notes["prometheus.io/port"] == flags(compose()["command"])["rest_api_port"]


def test_kustomization_holds_every_file():
    listed = manifest("kustomization.yaml")
    assert {SERVING / name for name in listed["resources"]} == set((SERVING / "kubernetes").glob("*.yaml"))
    (generator,) = listed["configMapGenerator"]
    assert {SERVING / name for name in generator["files"]} == set(SERVING.glob("*.config"))
    configs = [volume["configMap"]["name"] for volume in pod()["volumes"] if "configMap" in volume]
    assert configs == [generator["name"]] and listed["generatorOptions"]["disableNameSuffixHash"]


# -- a REST server


class RestHandler(http.server.BaseHTTPRequestHandler):
    """Answers as `tensorflow_serving/util/json_tensor.cc` and `http_rest_api_handler.cc` do; one model, version 1."""

    signatures = None
    state = "AVAILABLE"

    def do_GET(self):
        if self.path != f"/v1/models/{self.server.model_name}":
            return self._send(404, {"error": "Could not find any versions of model nope"})
        status = {"version": "1", "state": self.state, "status": {"error_code": "OK", "error_message": ""}}
        return self._send(200, {"model_version_status": [status]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict", self.path)
        if path is None:
            return self._send(404, {"error": f"Malformed request: POST {self.path}"})
        if path[1] != self.server.model_name or path[2] not in (None, "1"):
            return self._send(404, {"error": f"Servable not found for request: Latest({path[1]})"})
        if path[3] not in (None, "stable"):
            return self._send(400, {"error": f"Unrecognized servable version label: {path[3]}"})
        signature = self.signatures.get(body["signature_name"])
        specs = signature.structured_input_signature[1] if signature else {}
        if not specs:
            error = f"Failed to get input map for signature: {body['signature_name']}"
            return self._send(400, {"error": error})
        inputs = {}
        for name, spec in specs.items():
            values = [row[name] for row in body["instances"]]
            values = [base64.b64decode(v["b64"]) for v in values] if spec.dtype == tf.string else values
            inputs[name] = tf.constant(values, spec.dtype)
        outputs = {name: tensor.numpy().tolist() for name, tensor in signature(**inputs).items()}
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        return self._send(200, {"predictions": rows})

    def _send(self, code, answer):
        content = json.dumps(answer, indent=4).encode()  # as TensorFlow Serving writes it: "state": "AVAILABLE"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def serve(handler, model_name):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.model_name = model_name
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def rest_server(signatures, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = serve(type("Handler", (RestHandler,), {"signatures": signatures}), NAME)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("state", "code"), [("AVAILABLE", 0), ("LOADING", 1)])
def test_the_health_check_of_compose_sees_whether_a_version_is_available(state, code):
    if shutil.which("bash") is None:
        pytest.skip("needs bash, as the image has it")
    kind, *command = compose()["healthcheck"]["test"]
    assert kind == "CMD"
    server = serve(type("Handler", (RestHandler,), {"state": state}), served_model().name)
    try:
        command = [part.replace("/8501", f"/{server.server_port}") for part in command]
        assert subprocess.run(command, timeout=10, check=False).returncode == code
    finally:
        server.shutdown()
        server.server_close()
    gone = subprocess.run(command, timeout=10, stderr=subprocess.DEVNULL, check=False)
    assert gone.returncode == 1


# -- a gRPC server


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as TensorFlow Serving with batching does: rows of all inputs equal, no request without inputs."""

    def __init__(self, signatures):
        self._signatures = signatures

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        if spec.name != NAME or spec.version.value not in (0, 1):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if spec.version_label not in ("", "stable"):
            error = f"Unrecognized servable version label: {spec.version_label}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error)
        signature = self._signatures[spec.signature_name]
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        batched = not request.output_filter or set(request.output_filter) == signature.structured_outputs.keys()
        if batched and len({len(tensor) for tensor in inputs.values()}) != 1:
            error = "Batching Run() input tensors must have equal 0th-dimension size"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error)
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name, tensor in signature(**inputs).items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
        return response


@pytest.fixture(scope="module")
def grpc_server(signatures):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(signatures), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


# -- clients


@pytest.fixture
def ask(directory, rest_server, grpc_server, capsys):
    """Function that runs a client and returns exit code, stdout, stderr."""
    places = {
        "rest": ["--server", rest_server, "--model", NAME],
        "grpc": ["--server", grpc_server, "--model", NAME],
        "onnx": ["--model", str(directory / "model.onnx")],
    }

    def run(kind, *arguments):
        code = clients.main([kind, *places[kind], *arguments])
        return code, *capsys.readouterr()

    return run


KINDS = pytest.mark.parametrize("kind", ["rest", "grpc", "onnx"])


def with_names(kind, directory):
    return ["--metadata", str(directory / "metadata.json")] if kind == "rest" else []


@KINDS
def test_label_confidence_and_decision(kind, ask, files, directory):
    code, out, err = ask(kind, *with_names(kind, directory), "red.png", "gray.png")
    assert (code, err) == (0, "")
    assert out == f"red.png: red  confidence {RED}  accepted\ngray.png: red  confidence 0.3333  not accepted\n"


def test_rest_without_metadata_prints_the_number_of_the_class(ask, files):
    assert ask("rest", "red.png") == (0, f"red.png: 0  confidence {RED}  accepted\n", "")


@KINDS
def test_a_threshold(kind, ask, files, directory):
    names = with_names(kind, directory)
    assert "red.png: red  confidence 0.9951  not accepted" in ask(kind, *names, "--threshold", "0.999", "red.png")[1]
    assert "gray.png: red  confidence 0.3333  accepted" in ask(kind, *names, "--threshold", "0.3", "gray.png")[1]


@KINDS
@pytest.mark.parametrize("threshold", [(), ("--threshold", "0")], ids=["own threshold", "threshold 0"])
def test_a_broken_file_has_its_own_line(kind, threshold, ask, files):
    code, out, err = ask(kind, *threshold, "broken.png", "red.png")
    assert code == 2
    assert out.startswith("red.png: ") and out.endswith(f"  confidence {RED}  accepted\n") and out.count("\n") == 1
    assert err == "clients: error: broken.png: it is no PNG or JPEG file\n"


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_what_only_the_server_finds_broken_has_its_own_line(kind, ask, files):
    jpeg = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(jpeg, "JPEG")
    with open("damaged.jpeg", "wb") as stream:  # its table of quantization has the number 7
        stream.write(jpeg.getvalue().replace(b"\xff\xdb\0C\0", b"\xff\xdb\0C\7", 1))
    code, out, err = ask(kind, "damaged.jpeg", "red.png")
    assert (code, out.count("\n")) == (2, 1)
    assert err == "clients: error: damaged.jpeg: the server cannot decode it, or the model takes another size\n"


@KINDS
def test_another_size_has_its_own_line(kind, ask, files, directory):
    with open("large.png", "wb") as stream:
        stream.write(png("red", size=(4, 2)))
    code, out, err = ask(kind, *with_names(kind, directory), "large.png", "red.png")
    assert (code, out) == (2, f"red.png: red  confidence {RED}  accepted\n")
    assert err.startswith(
        "clients: error: large.png: it is 4 x 2 pixels; the model takes 3 x 2 and was exported without"
    )


@KINDS
def test_what_is_no_regular_file_has_its_own_line(kind, ask, files):
    os.mkfifo("pipe.png")
    os.symlink("nowhere", "link.png")
    code, out, err = ask(kind, "pipe.png", "link.png", "red.png")
    assert (code, out.count("\n")) == (2, 1)
    assert err.splitlines() == [
        "clients: error: pipe.png: it is no regular file",
        "clients: error: link.png: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a,b.png", "a,b.png"),
        ("  two  blanks .png", "  two  blanks .png"),
        ("a\nb.png", r"a\nb.png"),
        ("\x1b[31mred.png", r"\x1b[31mred.png"),
        ("日本.png", "日本.png"),
        ("<img src=x>.png", "<img src=x>.png"),
        ("=A1.png", "=A1.png"),
        (b"\xff.png", r"\udcff.png"),
    ],
)
def test_names_of_files_stay_in_their_line(name, shown, ask, files):
    with open(name, "wb") as stream:
        stream.write(png("red"))
    name = os.fsdecode(name)
    assert ask("onnx", name) == (0, f"{shown}: red  confidence {RED}  accepted\n", "")
    os.remove(name)
    assert ask("onnx", name)[2] == f"clients: error: {shown}: No such file or directory\n"


@KINDS
def test_a_missing_file_has_its_own_line(kind, ask, files, tmp_path):
    code, out, err = ask(kind, "absent.png", "red.png", str(tmp_path))
    assert code == 2
    assert out.endswith(f"  confidence {RED}  accepted\n") and out.count("\n") == 1
    first, second = err.splitlines()
    assert first == "clients: error: absent.png: No such file or directory"
    assert second == f"clients: error: {tmp_path}: Is a directory"


def test_names_that_the_output_cannot_write(directory, files, monkeypatch):
    os.rename("red.png", "日本.png")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    clients.main(["onnx", "--model", str(directory / "model.onnx"), "日本.png"])
    assert written.getvalue().startswith(rb"\u65e5\u672c.png: red  confidence ")


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_versions_and_labels(kind, ask, files):
    for version in ("1", "stable"):
        assert ask(kind, "--version", version, "red.png")[0] == 0
    code, out, err = ask(kind, "--version", "2", "red.png")
    assert (code, out) == (2, "") and "Servable not found" in err
    code, out, err = ask(kind, "--version", "canary", "red.png")
    assert (code, out) == (2, "") and "Unrecognized servable version label: canary" in err


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_another_model(kind, ask, files):
    code, out, err = ask(kind, "--model", "nope", "red.png", "gray.png")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Servable not found for request: Latest(nope)" in err


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_no_server(kind, ask, files, monkeypatch):
    monkeypatch.setenv("no_proxy", "localhost")
    code, out, err = ask(kind, "--server", "localhost:1", "red.png", "gray.png")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.match("clients: error: no TensorFlow Serving answers at (http://)?localhost:1: ", err)
    assert err.endswith("; name another --server\n")


@pytest.mark.parametrize("server", ["local host:80", "localhost:x", "ftp://localhost"])
def test_a_server_that_is_no_address(server, ask, files):
    code, out, err = ask("rest", "--server", server, "red.png")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_another_kind_of_server(ask, files, monkeypatch):
    class Handler(RestHandler):
        def do_POST(self):
            self._send(200, {"message": "hello"})

    server = serve(Handler, NAME)
    try:
        code, out, err = ask("rest", "--server", f"127.0.0.1:{server.server_port}", "red.png")
    finally:
        server.shutdown()
        server.server_close()
    assert (code, out) == (2, "") and "no TensorFlow Serving answers" in err


def test_files_that_are_no_such_onnx_model(ask, files, directory, tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "red.png", tmp_path / "absent.onnx", tmp_path, tmp_path / "pipe.onnx"):
        code, out, err = ask("onnx", "--model", str(path), "red.png")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"clients: error: {path} cannot be loaded: ")
    bare = onnx.load(directory / "model.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    code, out, err = ask("onnx", "--model", str(tmp_path / "bare.onnx"), "red.png")
    assert code == 2 and "bare.onnx is no exported model: it holds no metadata" in err


def test_metadata_that_cannot_be_read(ask, files, directory):
    code, out, err = ask("rest", "--metadata", "red.png", "red.png")
    assert (code, out, err.count("\n")) == (2, "", 1) and "--metadata=red.png holds no metadata" in err
    for text in ("[]", '{"data": {}}', '"a"'):
        pathlib.Path("other.json").write_text(text)
        code, out, err = ask("rest", "--metadata", "other.json", "red.png")
        assert (code, out) == (2, "") and "other.json holds no metadata of an exported model" in err
    about = json.loads((directory / "metadata.json").read_text())
    about["data"]["class_names"] = []
    pathlib.Path("other.json").write_text(json.dumps({**about, "data": {"class_names": ["only"]}}))
    with open("blue.png", "wb") as stream:
        stream.write(png("blue"))
    code, out, err = ask("rest", "--metadata", "other.json", "blue.png")
    assert (code, out) == (2, "") and err.endswith("answers class 2; the metadata, with 1, are another model's\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: kind"),
        (["soap"], "invalid choice: 'soap'"),
        (["rest", "red.png"], "the following arguments are required: --model"),
        (["rest", "--model", "x"], "the following arguments are required: IMAGE"),
        (["onnx", "--model", "x", "--threshold", "half", "red.png"], "invalid float value: 'half'"),
    ],
)
def test_bad_command_lines(arguments, message, capsys):
    assert clients.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


# -- decoding


def about(shape, resize=False):
    return {**ABOUT, "input": {"shape": list(shape), "resize": resize}}


def test_decoding_agrees_with_the_signature():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    gray = rgb[..., 0]
    sixteen = np.random.default_rng(1).integers(0, 2**16, (2, 3), np.uint16)
    made = {
        "rgb": Image.fromarray(rgb),
        "rgba": Image.fromarray(np.concatenate([rgb, rgb[..., :1]], axis=-1)),
        "gray": Image.fromarray(gray),
        "two levels": Image.fromarray(gray > 128),
        "palette": Image.fromarray(rgb).quantize(4),
        "16 bits": Image.fromarray(sixteen),
    }
    for name, image in made.items():
        stream = io.BytesIO()
        image.save(stream, "PNG")
        content = stream.getvalue()
        shapes = [(2, 3, 3)] if name in ("rgb", "rgba", "palette") else [(2, 3, 3), (2, 3, 1)]
        for shape in shapes:  # not from colours to gray, where the two libraries weigh the colours differently
            served = savedmodel.decode(tf.constant([content]), shape, resize=False).numpy()
            np.testing.assert_allclose(images.decode(content, about(shape)), served, atol=1e-6, err_msg=name)


def test_another_size():
    with pytest.raises(ValueError, match="it is 4 x 2 pixels; the model takes 3 x 2 and was exported without `resize`"):
        images.decode(png("red", size=(4, 2)), about(SHAPE))
    decoded = images.decode(png("red", size=(31, 7)), about(SHAPE, resize=True))
    np.testing.assert_allclose(decoded, np.broadcast_to([1, 0, 0], (1, *SHAPE)))


def test_a_model_of_vectors_takes_no_images():
    with pytest.raises(Exception, match=r"tiny takes arrays of shape \(2,\), not image files") as error:
        images.decode(png("red"), about((2,)))
    assert type(error.value).__name__ == "UserError"


# -- imports


def in_a_fresh_process(arguments, absent, cwd):
    """Runs the clients without keras_acet; fails if one of the packages `absent` was imported."""
    code = f"""
import sys
sys.path.append({str(PACKAGE.parent)!r})
from export.clients.__main__ import main
code = main({arguments})
assert not {set(absent)} & set(sys.modules)
sys.exit(code)
"""
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_the_onnx_client_does_without_tensorflow(directory, files, tmp_path):
    arguments = ["onnx", "--model", str(directory / "model.onnx"), "red.png"]
    result = in_a_fresh_process(arguments, ["tensorflow", "keras", "keras_acet", "absl"], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"red.png: red  confidence {RED}  accepted\n"


@pytest.mark.slow
def test_the_grpc_client_keeps_tensorflow_quiet(grpc_server, files, tmp_path):
    arguments = ["grpc", "--server", grpc_server, "--model", NAME, "red.png"]
    result = in_a_fresh_process(arguments, ["keras_acet"], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"red.png: red  confidence {RED}  accepted\n"


def test_the_rest_client_needs_nothing_but_python(rest_server, files, tmp_path):
    arguments = ["rest", "--server", rest_server, "--model", NAME, "red.png"]
    result = in_a_fresh_process(
        arguments, ["tensorflow", "keras", "keras_acet", "absl", "numpy", "PIL", "onnxruntime"], tmp_path
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"red.png: 0  confidence {RED}  accepted\n"


def test_the_clients_name_the_command_they_were_started_by(tmp_path, capsys):
    result = in_a_fresh_process(["soap"], [], tmp_path)
    assert result.returncode == 2 and result.stderr.endswith("; see python -m export.clients --help\n")
    assert clients.main(["soap"]) == 2
    assert capsys.readouterr().err.endswith("; see python -m keras_acet.export.clients --help\n")
