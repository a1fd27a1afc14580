"""A page to try an exported model in a browser: static files that run its ONNX file with onnxruntime-web.

`write_demo` writes them. Browsers load scripts and WebAssembly only from a server: any one that serves files does,
without special headers, such as `python -m http.server --bind 127.0.0.1 --directory DIR`. No request leaves the page.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from keras_acet.files import sha256_of_file, writing

from .clients.images import takes_files

_SOURCES = pathlib.Path(__file__).with_name("demo")
_PAGE = ("index.html", "style.css", "app.js", "pictures.js")
_PACKAGE = ("package.json", "package-lock.json")
# The build without WebGPU, and the one WebAssembly file that it loads.
_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_NUM_EXAMPLES = 12
_NPM_SECONDS = 600


def write_demo(
    version_directory: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> pathlib.Path:
    """Writes a page to try an exported image classifier, whole or not at all.

    `directory` gets `index.html`, `style.css`, `app.js`, `pictures.js`; `metadata.json` of the version;
    `model.browser.onnx`, which is its `model.onnx` with `threshold` as an input that must be given, because
    onnxruntime-web has no optional ones; two files of onnxruntime-web (see `fetch_runtime`); `examples.json` and
    `examples.bin`, images to click on. A demo page that lies there already is replaced.

    Args:
        version_directory: Directory with `model.onnx` and `metadata.json`, as `export` writes it.
        directory: Where the page goes; its parents are made.
        images: None, or array of shape `(n, H, W, C)`, uint8 or floats in [0, 1]. The first 12 are used.
        labels: None, or int array of shape `(n,)`.

    Returns:
        `pathlib.Path` of the directory. To see it: `python -m http.server --bind 127.0.0.1 --directory DIR`.

    Raises:
        ValueError: If the version has no `model.onnx` or `metadata.json`, its data are not images of 1 or 3 channels,
            `images` or `labels` do not fit it, or `directory` holds something else.
        ImportError: If onnxruntime-web cannot be installed.
        OSError: If a file cannot be written.
    """
    version_directory, directory = pathlib.Path(version_directory), pathlib.Path(directory)
    model, metadata = (version_directory / name for name in ("model.onnx", "metadata.json"))
    for path in (model, metadata):
        if not path.is_file():
            raise ValueError(f"The demo page needs {path.name} in {version_directory}. Export with the format onnx.")
    about = json.loads(metadata.read_text(encoding="utf-8"))
    if about.get("artifacts", {}).get(model.name) not in (None, sha256_of_file(model)):
        raise ValueError(f"{model} must be the file that {metadata.name} describes. It is another. Export again.")
    shape = tuple(about["input"]["shape"])
    if not takes_files(shape):
        raise ValueError(
            f"The demo page shows images (H, W, C) of 1 or 3 channels. Received: data of shape {shape}. "
            "Leave the page out."
        )
    if "score" in about:
        raise ValueError(
            f"The demo page shows decisions by the confidence. Received: a model that decides by {about['score']}. "
            "Leave the page out."
        )
    pixels = _examples(images, shape)
    labels = _labels(labels, images, about["data"]["num_classes"])
    check_directory(directory)
    runtime = fetch_runtime()
    with writing(directory):
        _write_page(directory, runtime, metadata, model, pixels, labels)
    return directory


def _write_page(directory, runtime, metadata, model, pixels, labels):
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=directory.parent) as scratch:
        folder = pathlib.Path(scratch) / "new"
        folder.mkdir()
        for path in [*(_SOURCES / name for name in _PAGE), *(runtime / name for name in _RUNTIME), metadata]:
            shutil.copyfile(path, folder / path.name)
        _write_model(model, folder / "model.browser.onnx")
        (folder / "examples.json").write_text(json.dumps({"labels": labels}) + "\n", encoding="utf-8")
        (folder / "examples.bin").write_bytes(pixels.astype("<f4").tobytes())
        _put(folder, directory, pathlib.Path(scratch) / "old")


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raises `ValueError` if `directory` holds something else than an older demo page, which would be replaced."""
    directory = pathlib.Path(directory)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir()) and not _is_demo(directory)):
        raise ValueError(f"`directory` must be new or an older demo page. Received: {directory}. Name another place.")


def fetch_runtime() -> pathlib.Path:
    """Returns the folder that holds the files of onnxruntime-web, which npm installs at the first use.

    The version, and a digest of its package, are fixed by `demo/package-lock.json`. The folder lies in the user's cache
    directory (`XDG_CACHE_HOME`, or `~/.cache`) under a name made from that file.

    Returns:
        `pathlib.Path`.

    Raises:
        ImportError: If npm is not there, or fails, without a network say.
    """
    locked = sha256_of_file(_SOURCES / "package-lock.json")[:16]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "keras_acet"
    folder = cache / f"onnxruntime-web-{locked}"
    if all((folder / name).is_file() for name in _RUNTIME):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise ImportError(
            "The demo page needs npm, which comes with Node.js, to get onnxruntime-web. Leave the page out."
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=cache) as scratch:
        for name in _PACKAGE:
            shutil.copyfile(_SOURCES / name, pathlib.Path(scratch) / name)
        _npm_ci(npm, scratch)
        folder.mkdir(exist_ok=True)
        for name in _RUNTIME:  # each appears whole
            os.replace(pathlib.Path(scratch) / "node_modules" / "onnxruntime-web" / "dist" / name, folder / name)
    return folder


def _npm_ci(npm, folder):
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        subprocess.run(
            [npm, "ci", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NPM_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ImportError(f"npm could not get onnxruntime-web within {_NPM_SECONDS} seconds. Try again.") from error
    except subprocess.CalledProcessError as error:
        said = [line.removeprefix("npm error ").strip() for line in error.stderr.splitlines() if "npm error " in line]
        said = [line for line in said if not line.startswith(("code ", "errno ", "syscall "))] or ["it gave no reason"]
        raise ImportError(
            f"npm could not get onnxruntime-web: {said[0].rstrip('.')}. The first demo page needs a network."
        ) from error


def _examples(images, shape):
    """Float32 array `(n, *shape)` of up to 12 images."""
    if images is None:
        return np.empty((0, *shape), np.float32)
    images = np.asarray(images)
    if images.shape[1:] != shape:
        raise ValueError(f"`images` must have shape (n, {', '.join(map(str, shape))}). Received: {images.shape}.")
    chosen = images[:_NUM_EXAMPLES]
    if chosen.dtype == np.uint8:
        return chosen.astype(np.float32) / np.float32(255)
    if not np.issubdtype(chosen.dtype, np.floating) or not ((chosen >= 0) & (chosen <= 1)).all():
        raise ValueError(f"`images` must be uint8, or floats in [0, 1]. Received: {images.dtype}, not all in [0, 1].")
    return chosen.astype(np.float32)


def _labels(labels, images, num_classes):
    if labels is None or images is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(f"`labels` must have shape ({len(images)},), as `images`. Received: {labels.shape}.")
    chosen = labels[:_NUM_EXAMPLES].tolist()
    if not all(label in range(num_classes) for label in chosen):
        raise ValueError(f"`labels` must be ints in [0, {num_classes}). Received: {chosen}.")
    return [int(label) for label in chosen]


def _write_model(source, target):
    import onnx

    model = onnx.load(source)
    others = [tensor for tensor in model.graph.initializer if tensor.name != "threshold"]
    if len(others) + 1 != len(model.graph.initializer):
        raise ValueError(f"{source} must have an input `threshold` that may be left out. Export the model again.")
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _is_demo(directory):
    return all((directory / name).is_file() for name in ("index.html", "style.css", "app.js", "model.browser.onnx"))


def _put(folder, directory, old):
    """Renames `folder` to `directory`; what lay there becomes `old`, and comes back if that fails."""
    if directory.exists():
        os.rename(directory, old)
    try:
        os.rename(folder, directory)
    except OSError:
        if old.exists():
            os.rename(old, directory)
        raise
