import base64
import functools
import http.server
import json
import os
import shutil
import struct
import threading
import time
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import pictures
from onnx import TensorProto, helper, numpy_helper

from keras_acet.datasets import decoding
from keras_acet.export import demo

NAMES = ["zero", "<b>one</b>", "two & a rather long name of a class that goes on", "日本"]
THRESHOLDS = (0.6, 0.3, 0.62)


# -- a version by hand


def write_version(directory, shape=(8, 6, 1), class_names=NAMES, seed=0):
    """A linear classifier between guard and decision, as `onnx_file.wrap` has them, and its metadata."""
    draw = np.random.default_rng(seed)
    num_pixels, num_classes = int(np.prod(shape)), len(class_names)
    constants = {
        "low": np.float32(0),
        "high": np.float32(1),
        "axes": np.arange(1, len(shape) + 1),
        "classes": np.array([1]),
        "flat": np.array([-1, num_pixels]),
        "weights": draw.normal(scale=0.8, size=(num_pixels, num_classes)).astype(np.float32),
        "tolerance": np.float32(1e-3),
        "threshold": np.float32(THRESHOLDS[0]),
    }
    nodes = [
        ("Clip", ["images", "low", "high"], "inside", {}),
        ("Sub", ["images", "inside"], "differences", {}),
        ("ReduceL1", ["differences", "axes"], "excess", {"keepdims": 0}),
        ("LessOrEqual", ["excess", "tolerance"], "usable", {}),
        ("Reshape", ["inside", "flat"], "rows", {}),
        ("MatMul", ["rows", "weights"], "product", {}),
        ("Unsqueeze", ["usable", "classes"], "usable_rows", {}),
        ("Where", ["usable_rows", "product", "low"], "logits", {}),
        ("Softmax", ["logits"], "probabilities", {"axis": 1}),
        ("ReduceMax", ["probabilities", "classes"], "confidence", {"keepdims": 0}),
        ("ArgMax", ["logits"], "label", {"axis": 1, "keepdims": 0}),
        ("GreaterOrEqual", ["confidence", "threshold"], "confident", {}),
        ("And", ["usable", "confident"], "accepted", {}),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], **options) for op, inputs, output, options in nodes],
        "linear",
        [value("images", TensorProto.FLOAT, ["batch", *shape]), value("threshold", TensorProto.FLOAT, [])],
        [
            value("label", TensorProto.INT64, ["batch"]),
            value("confidence", TensorProto.FLOAT, ["batch"]),
            value("probabilities", TensorProto.FLOAT, ["batch", num_classes]),
            value("logits", TensorProto.FLOAT, ["batch", num_classes]),
            value("accepted", TensorProto.BOOL, ["batch"]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    directory.mkdir(parents=True)
    onnx.save(model, directory / "model.onnx")
    rules = [
        {"name": f"rule {i}", "threshold": float(np.float32(value)), "num_images": 72, "guarantee": "None."}
        | {"accepted_test": 0.938, "accepted_worst_noise": None}
        for i, value in enumerate(THRESHOLDS)
    ]
    metadata = {
        "schema_version": 1,
        "name": "linear <i>",
        "method": None,
        "data": {"name": "random", "num_classes": num_classes, "class_names": list(class_names)},
        "input": {"shape": list(shape), "low": 0.0, "high": 1.0, "box_tolerance": 1e-3},
        "temperature": 1.0,
        "threshold": {"name": "95", "value": rules[0]["threshold"]},
        "thresholds": rules,
        "test_error": {"value": 0.0676, "low": 0.0438, "high": 0.0989},
        "notes": ["Inside [0, 1] nothing is proven. <script>alert(1)</script>"],
    }
    (directory / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return directory


def random_images(shape, n=13, dtype=np.float32):
    draw = np.random.default_rng(1)
    return draw.integers(0, 256, (n, *shape), dtype=np.uint8) if dtype == np.uint8 else draw.random((n, *shape), dtype)


def in_python(version, images, **feeds):
    """The outputs of the version's own ONNX file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(version / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images, **feeds}), strict=True))


def rgb_png(pixels):
    """A PNG file of a uint8 array (H, W, 3)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """A cache that holds stand-ins for the files of onnxruntime-web, for tests that open no browser."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "_npm_ci", _stand_in)
    return demo.fetch_runtime()


def _stand_in(npm, folder):
    dist = os.path.join(folder, "node_modules", "onnxruntime-web", "dist")
    os.makedirs(dist)
    for name in demo._RUNTIME:
        with open(os.path.join(dist, name), "w") as stream:
            stream.write(name)


# -- what is written


@pytest.fixture
def version(tmp_path):
    return write_version(tmp_path / "linear" / "1")


def test_the_page_holds_the_model_and_exact_examples(version, runtime, tmp_path):
    images = random_images((8, 6, 1))
    labels = np.arange(13) % 4
    directory = demo.write_demo(version, tmp_path / "new" / "page", images=images, labels=labels)
    assert sorted(path.name for path in directory.iterdir()) == [
        "app.js",
        "examples.bin",
        "examples.json",
        "index.html",
        "metadata.json",
        "model.browser.onnx",
        "ort-wasm-simd-threaded.wasm",
        "ort.wasm.bundle.min.mjs",
        "pictures.js",
        "style.css",
    ]
    assert (directory / "metadata.json").read_bytes() == (version / "metadata.json").read_bytes()
    np.testing.assert_array_equal(np.fromfile(directory / "examples.bin", "<f4").reshape(12, 8, 6, 1), images[:12])
    assert json.loads((directory / "examples.json").read_text()) == {"labels": labels[:12].tolist()}
    # The model is the version's own, but for a threshold that has to be given.
    ours, theirs = onnx.load(directory / "model.browser.onnx"), onnx.load(version / "model.onnx")
    theirs.graph.initializer.remove(next(t for t in theirs.graph.initializer if t.name == "threshold"))
    assert ours == theirs
    assert [path.name for path in directory.parent.iterdir()] == ["page"]


def test_uint8_examples_become_floats(version, runtime, tmp_path):
    images = random_images((8, 6, 1), 3, np.uint8)
    directory = demo.write_demo(version, tmp_path / "page", images=images)
    np.testing.assert_array_equal(
        np.fromfile(directory / "examples.bin", "<f4"), (images / np.float32(255)).astype(np.float32).ravel()
    )
    assert json.loads((directory / "examples.json").read_text()) == {"labels": None}


def test_an_older_page_is_replaced_and_nothing_else(version, runtime, tmp_path):
    directory = tmp_path / "page"
    directory.mkdir()
    demo.write_demo(version, directory, images=random_images((8, 6, 1)))  # an empty folder is taken
    demo.write_demo(version, directory)
    assert (directory / "examples.bin").read_bytes() == b""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(ValueError, match="must be new or an older demo page. Received: .*Name another place"):
            demo.write_demo(version, path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_older_page_stays_if_the_new_one_cannot_be_written(version, runtime, tmp_path, monkeypatch):
    directory = demo.write_demo(version, tmp_path / "page")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    names = sorted(path.name for path in tmp_path.iterdir())
    rename = os.rename

    def full(source, target):
        if os.path.basename(source) == "new":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        demo.write_demo(version, directory, images=random_images((8, 6, 1)))
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == names


# -- errors


@pytest.mark.parametrize("missing", ["model.onnx", "metadata.json"])
def test_a_version_without_a_file_is_refused(version, tmp_path, missing):
    (version / missing).unlink()
    with pytest.raises(ValueError, match=f"needs {missing} in .*linear/1. Export with the format onnx."):
        demo.write_demo(version, tmp_path / "page")


@pytest.mark.parametrize("shape", [(2,), (8, 8, 4)])
def test_data_that_are_not_pictures_are_refused(tmp_path, shape):
    version = write_version(tmp_path / "1", shape)
    with pytest.raises(ValueError, match=r"images \(H, W, C\) of 1 or 3 channels. Received: data of shape \(.*Leave"):
        demo.write_demo(version, tmp_path / "page")


def test_a_model_without_optional_threshold_is_refused(version, runtime, tmp_path):
    model = onnx.load(version / "model.onnx")
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "threshold"))
    onnx.save(model, version / "model.onnx")
    with pytest.raises(ValueError, match="must have an input `threshold` that may be left out"):
        demo.write_demo(version, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_model_that_is_not_the_one_of_the_metadata_is_refused(version, tmp_path):
    about = json.loads((version / "metadata.json").read_text())
    about["artifacts"] = {"model.onnx": "0" * 64}
    (version / "metadata.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"must be the file that metadata.json describes. It is another."):
        demo.write_demo(version, tmp_path / "page")


BAD_EXAMPLES = {
    "shape": ({"images": np.zeros((3, 8, 8, 1))}, r"must have shape \(n, 8, 6, 1\). Received: \(3, 8, 8, 1\)"),
    "levels": ({"images": np.full((3, 8, 6, 1), 255.0)}, r"floats in \[0, 1\]. Received: float64, not all"),
    "nan": ({"images": np.full((3, 8, 6, 1), np.nan)}, r"floats in \[0, 1\]"),
    "ints": ({"images": np.zeros((3, 8, 6, 1), int)}, r"must be uint8, or floats in \[0, 1\]. Received: int64"),
    "number": ({"images": np.zeros((3, 8, 6, 1)), "labels": [0]}, r"`labels` must have shape \(3,\)"),
    "classes": ({"images": np.zeros((2, 8, 6, 1)), "labels": [0, 4]}, r"ints in \[0, 4\). Received: \[0, 4\]"),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_bad_examples_are_refused(version, tmp_path, name):
    arguments, message = BAD_EXAMPLES[name]
    with pytest.raises(ValueError, match=message):
        demo.write_demo(version, tmp_path / "page", **arguments)


def test_npm_is_asked_for_when_the_cache_is_empty(version, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="needs npm, which comes with Node.js, to get onnxruntime-web. Leave"):
        demo.write_demo(version, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_npm_without_a_network(version, tmp_path, monkeypatch):
    if not shutil.which("npm"):
        pytest.skip("needs npm (Debian: npm)")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "empty"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(ImportError, match="could not get onnxruntime-web: .+. The first demo page needs") as caught:
        demo.write_demo(version, tmp_path / "page")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page").exists()
    assert list((tmp_path / "cache" / "keras_acet").iterdir()) == []


def test_the_lock_names_one_version_and_no_host():
    folder = demo._SOURCES
    locked = json.loads((folder / "package-lock.json").read_text())
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = {name: package for name, package in locked["packages"].items() if name}
    assert wanted == {"onnxruntime-web": packages["node_modules/onnxruntime-web"]["version"]}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())


# -- in a browser


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def serve():
    """Function from a directory to the address at which it is served."""
    servers = []

    def start(directory):
        handler = functools.partial(QuietHandler, directory=directory)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=[0.02], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Version and demo page, by number of channels, with the real onnxruntime-web."""
    if not shutil.which("npm"):
        pytest.skip("needs npm (Debian: npm)")
    try:
        demo.fetch_runtime()
    except ImportError as error:
        pytest.skip(f"needs onnxruntime-web: {error}")
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for channels, names in ((1, NAMES), (3, [f"class {i}" for i in range(20)])):
        shape = (8, 6, channels)
        version = write_version(folder / str(channels) / "1", shape, names)
        images = random_images(shape)
        directory = demo.write_demo(version, folder / f"page{channels}", images=images, labels=np.arange(13) % 4)
        found[channels] = version, directory, images
    return found


class Tab:
    """An open demo page, and what it shows."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get_log("browser"), browser.get_log("performance")  # of pages before
        browser.get(address)
        self.wait(lambda: self.js("return !$('page').hidden || $('status').className === 'failed'"))

    def js(self, code, *arguments):
        return self.browser.execute_script(f"const $ = (id) => document.getElementById(id); {code}", *arguments)

    def wait(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.js("return document.body.innerText")
            time.sleep(0.02)

    def set(self, name, value):
        self.js("$(arguments[0]).value = arguments[1]; $(arguments[0]).dispatchEvent(new Event('input'))", name, value)

    def click(self, selector, index=0):
        self.browser.find_elements("css selector", selector)[index].click()

    def expect(self, **shown):
        """Waits until the page shows this."""
        self.wait(lambda: {name: self.text(name) for name in shown} == shown)

    def text(self, name):
        return self.js("return $(arguments[0]).textContent", name)

    def number(self, name="confidence"):
        return float(self.js("return $(arguments[0]).value", name))

    def pixels(self):
        """Red of the image as it is shown, flat."""
        code = "const c = $('seen'); return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        return np.array(self.js(code)[::4])


@pytest.fixture
def tab(browser, pages, serve):
    return Tab(browser, serve(pages[1][1]))


def test_the_page_loads_in_silence_and_asks_nobody_else(browser, pages, serve):
    for width, channels in ((1280, 1), (390, 3)):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        address = serve(pages[channels][1])
        tab = Tab(browser, address)
        assert tab.js("return document.documentElement.scrollWidth") <= width
        assert browser.get_log("browser") == []
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
        files = {path.name for path in pages[channels][1].iterdir()} - {"index.html"}
        assert {url for url in asked if not url.startswith("data:")} == {address} | {address + name for name in files}
        names = tab.js(
            "return [...document.querySelectorAll('input, select, canvas[tabindex]')].map(e => "
            "(e.labels && e.labels.length && e.labels[0].textContent.trim()) || e.ariaLabel)"
        )
        assert all(names), names
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_give_the_numbers_of_python(browser, pages, serve, channels):
    version, directory, images = pages[channels]
    names = json.loads((version / "metadata.json").read_text())["data"]["class_names"]
    expected = in_python(version, images)
    assert {True, False} == set(expected["accepted"][:12].tolist()), "change the seed: both decisions should occur"
    tab = Tab(browser, serve(directory))
    assert len(browser.find_elements("css selector", ".example")) == 12
    for i in range(12):
        tab.click(".example", i)
        tab.wait(lambda i=i: abs(tab.number() - expected["confidence"][i]) < 1e-4)
        verdict = "✓ Accepted" if expected["accepted"][i] else "✕ Refused"
        tab.expect(label=names[expected["label"][i]], verdict=verdict)
        shown = tab.js("return [...document.querySelectorAll('#probabilities data')].map(e => Number(e.value))")
        probabilities = expected["probabilities"][i]
        likeliest = probabilities if channels == 1 else np.sort(probabilities)[:-11:-1]
        np.testing.assert_allclose(shown, likeliest, atol=1e-4)
    assert tab.js("return $('channels').hidden") == (channels == 1)


def test_alpha_is_refused_by_the_guard_and_clipping_is_not(tab, pages):
    version, _, images = pages[1]
    for exponent, alpha in ((0.5, "3.16"), (3, "1000"), (2, "100")):
        tab.set("alpha", exponent)
        tab.expect(verdict="✕ Refused", label="none", confidence=".250", **{"alpha-value": alpha})
    assert tab.text("reason").startswith("The image lies outside the box [0, 1]")
    assert "values outside [0, 1], up to " in tab.text("seen-caption")
    tab.click("#clip")
    clipped = in_python(version, np.minimum(100 * images[:1], 1))
    tab.wait(lambda: abs(tab.number() - clipped["confidence"][0]) < 1e-4)
    tab.expect(label=NAMES[clipped["label"][0]])
    assert "all values in [0, 1]" in tab.text("seen-caption")
    tab.click("#reset")
    untouched = in_python(version, images[:1])
    tab.wait(lambda: abs(tab.number() - untouched["confidence"][0]) < 1e-4)


def test_noise_changes_the_image(tab, pages):
    before = tab.pixels()
    np.testing.assert_array_equal(before, np.round(255 * pages[1][2][0].ravel()))
    seen = [before]
    tab.set("noise", 0.1)
    for step in (None, "#new-noise", "gaussian"):
        if step == "gaussian":
            tab.js("$('noise-kind').value = 'gaussian'; $('noise-kind').dispatchEvent(new Event('change'))")
        elif step:
            tab.click(step)
        tab.wait(lambda: not any((tab.pixels() == other).all() for other in seen))
        seen.append(tab.pixels())
    assert abs(seen[1] - before).max() <= 26  # .1 of 255, rounded
    assert abs(seen[2] - before).max() <= 26
    # 48 gaussians: with probability 1 - .68^48, or all but 1e-8, one is beyond a standard deviation, unless clipped.
    assert abs(seen[3] - before).max() > 26
    tab.set("noise", 0)
    tab.wait(lambda: (tab.pixels() == before).all())


def test_the_chosen_threshold_decides(tab, pages):
    version, _, images = pages[1]
    confidence = in_python(version, images[:12])["confidence"]
    between = int(np.argmax((confidence < THRESHOLDS[0]) & (confidence > THRESHOLDS[1])))
    assert THRESHOLDS[1] < confidence[between] < THRESHOLDS[0], "change the seed"
    tab.click(".example", between)
    tab.expect(verdict="✕ Refused")
    assert "is below threshold A, .600" in tab.text("reason")
    assert not in_python(version, images[[between]])["accepted"][0]
    tab.click("#thresholds input", 1)
    tab.expect(verdict="✓ Accepted")
    assert "reaches threshold B, .300" in tab.text("reason")
    assert in_python(version, images[[between]], threshold=np.array(THRESHOLDS[1], np.float32))["accepted"][0]
    assert "A at .600, B at .300, C at .620; B decides" in tab.js("return $('bar').ariaLabel")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_averaged_and_turned_gray_where_needed(browser, pages, serve, tmp_path, channels):
    version, directory, _ = pages[channels]
    pixels = np.random.default_rng(2).integers(0, 256, (24, 12, 3), dtype=np.uint8)
    (tmp_path / "picture.png").write_bytes(rgb_png(pixels))
    tab = Tab(browser, serve(directory))
    field = browser.find_element("css selector", "#file")
    field.send_keys(str(tmp_path / "picture.png"))
    averaged = decoding.fit(pixels, (8, 6, channels))
    expected = in_python(version, averaged[None])
    tab.wait(lambda: abs(tab.number() - expected["confidence"][0]) < 1e-4)
    np.testing.assert_allclose(tab.pixels(), 255 * averaged[..., 0].ravel(), atol=0.51)
    assert "picture.png, of 12 \N{MULTIPLICATION SIGN} 24 pixels" in tab.text("seen-caption")
    assert ("turned to gray, the mean" in tab.text("file-help")) == (channels == 1)
    (tmp_path / "letter.txt").write_text("not a picture")
    field.send_keys(str(tmp_path / "letter.txt"))
    tab.wait(lambda: tab.text("file-error").startswith("letter.txt could not be read as a picture"))


_READ = """
const [files, shape, done] = arguments;
const {read, fit} = await import('./pictures.js');
const seen = [];
for (const file of files) {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  try {
    const pixels = await read(new File([bytes], 'a'));
    seen.push([[pixels.height, pixels.width, 3], [...pixels.data], [...fit(pixels, shape)]]);
  } catch (error) {
    seen.push(error.message);
  }
}
done(seen);
"""


def read_in_the_page(tab, files, shape):
    """`(shape, levels, floats of another shape)` of each file, or why it is refused."""
    files = [base64.b64encode(content).decode() for content in files]
    tab.browser.set_script_timeout(60)
    return tab.browser.execute_async_script(f"(async function() {{{_READ}}}).apply(null, arguments)", files, shape)


@pytest.mark.parametrize("shape", [(7, 9, 3), (40, 33, 1)])
def test_the_page_sees_what_training_sees(tab, shape):
    good = pictures.good()
    for (name, (_, levels)), seen in zip(
        good.items(), read_in_the_page(tab, [content for content, _ in good.values()], shape), strict=True
    ):
        assert not isinstance(seen, str), (name, seen)
        size, data, floats = seen
        data = np.array(data).reshape(size)
        np.testing.assert_array_equal(data, np.broadcast_to(levels, data.shape), err_msg=name)
        np.testing.assert_array_equal(np.reshape(floats, shape), decoding.fit(levels, shape), err_msg=name)


def test_the_page_refuses_what_clients_refuse(tab):
    bad = {**pictures.bad(), **pictures.not_served(), **pictures.not_read()}
    for name, seen in zip(bad, read_in_the_page(tab, bad.values(), (2, 2, 1)), strict=True):
        assert isinstance(seen, str) and seen.startswith("it "), name


def test_drawing_with_a_mouse_and_with_keys(tab):
    from selenium.webdriver import ActionChains, Keys

    pad = tab.browser.find_element("css selector", "#pad")
    tab.js("$('pad').scrollIntoView({block: 'center'})")
    size = pad.size
    middle, left = size["width"] // 2, -size["width"] // 2 + 2
    ActionChains(tab.browser, duration=20).move_to_element_with_offset(pad, left, 0).click_and_hold().move_by_offset(
        middle, 0
    ).release().perform()
    tab.wait(lambda: "your drawing" in tab.text("seen-caption"))
    drawn = tab.pixels().reshape(8, 6)
    assert (drawn[:2] == 0).all() and (drawn[-2:] == 0).all()  # a line through the middle, from the left
    assert (drawn[3:5, :2] > 0).all() and (drawn[:, 4:] == 0).all()
    tab.click("#clear")
    tab.wait(lambda: not tab.pixels().any())
    pad.send_keys(Keys.SPACE, *[Keys.ARROW_DOWN] * 20)
    tab.wait(lambda: tab.pixels().any())
    drawn = tab.pixels().reshape(8, 6)
    assert (drawn[:3] == 0).all() and (drawn[4:, 2:4] > 0).all()  # from the middle downwards


def test_the_page_may_not_ask_others(tab, pages, serve):
    other = serve(pages[3][1])
    tab.browser.set_script_timeout(10)
    blocked = tab.browser.execute_async_script(
        "const [url, done] = arguments;"
        "addEventListener('securitypolicyviolation', (event) => done(event.blockedURI)); fetch(url)",
        other,
    )
    assert blocked == other


def test_names_are_shown_as_text(tab):
    assert tab.text("title") == "Try linear <i>"
    assert tab.js("return [...document.querySelectorAll('#probabilities th')].map(e => e.textContent)") == NAMES
    assert tab.js("return document.querySelectorAll('main b, main i, main script').length") == len(THRESHOLDS)


def test_what_is_missing_is_told(browser, pages, serve, tmp_path):
    for name in ("metadata.json", "model.browser.onnx", "ort.wasm.bundle.min.mjs"):
        directory = tmp_path / name
        shutil.copytree(pages[1][1], directory)
        (directory / name).unlink()
        tab = Tab(browser, serve(directory))
        assert tab.js("return $('page').hidden")
        assert name in tab.text("status")
        assert tab.text("status").startswith("The model could not be loaded: ")


def test_opened_as_a_file_it_says_how_to_serve_it(browser, pages):
    browser.get((pages[1][1] / "index.html").as_uri())
    shown = browser.find_element("css selector", "#status")
    end = time.monotonic() + 10
    while not shown.is_displayed():  # it appears a second later
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "python -m http.server --bind 127.0.0.1 --directory DIR" in shown.text
    assert not browser.find_element("css selector", "#page").is_displayed()
