"""Exports a trained run as SavedModel and ONNX file with calibrated confidence, and verifies them.

Examples:

  python -m export --run_dir=runs/mnist-acet
  python -m export --run_dir=runs/mnist-acet --formats=savedmodel,onnx,int8 --threshold=99 --demo
  python -m export --model=mine.keras --dataset=folder:photos --name=photos --export_dir=models

The version appears in EXPORT_DIR/NAME/NUMBER when fresh processes have loaded everything in it and computed the outputs
of the live model. Before that, noise is attacked, so that the metadata can state the worst case; if there is an
evaluation of the same run (evaluate.py --run_dir=RUN), the export uses its results.
"""

import importlib.util
import json
import os
import pathlib
import shlex
import shutil
import sys
from typing import Any

from absl import flags as absl_flags

from keras_acet._progress import Progress
from keras_acet.cli import commands, data_flags


def _define(values: absl_flags.FlagValues) -> None:
    _define_what(values)
    _define_how(values)


def _define_what(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("run_dir", None, "A finished run of train.py.", flag_values=values)
    absl_flags.DEFINE_string(
        "model",
        None,
        "A classifier of your own instead: a .keras file, also with a softmax at the end or on pixels in 0..255; needs "
        "--dataset.",
        flag_values=values,
    )
    data_flags.define_interface(values)
    data_flags.define(values)
    absl_flags.DEFINE_list(
        "formats",
        ["savedmodel", "onnx"],
        "What to write, one or several: savedmodel, onnx, int8 (a quantised ONNX file, calibrated on its own).",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "export_dir",
        None,
        "Where the model's folder lies (default: RUN/export, or export-MODEL beside MODEL.keras).",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "name", None, "Name of the model (default: that of the run directory or the file).", flag_values=values
    )
    absl_flags.DEFINE_integer(
        "version", None, "Number of the version (default: the next one).", lower_bound=1, flag_values=values
    )
    absl_flags.DEFINE_string(
        "threshold",
        "95",
        "The threshold that decides by default: 95 or 99, which accepts that percentage of held-out in-distribution "
        "images; conformal, which accepts 95 % of new images with a guarantee; or a confidence in [0, 1), such as 0.9.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "quantize", None, ["int8"], "Older spelling of int8 as one more of --formats.", flag_values=values
    )


def _define_how(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_boolean(
        "resize", False, "Resize PNG and JPEG images of another size instead of refusing them.", flag_values=values
    )
    absl_flags.DEFINE_boolean(
        "demo",
        False,
        "Write a page to try the model in a browser as well, to EXPORT_DIR/demo; needs npm.",
        flag_values=values,
    )
    data_flags.define_measuring(values)
    absl_flags.DEFINE_string(
        "report_dir",
        None,
        "Report directory of evaluate.py whose results are used (default: RUN/evaluation).",
        flag_values=values,
    )
    commands.define_old_name("evaluation_dir", "report_dir", values)


def _path(flags: absl_flags.FlagValues) -> pathlib.Path:
    if (flags.run_dir is None) == (flags.model is None):
        raise commands.UserError("name one of --run_dir=RUN and --model=PATH.keras")
    if flags.run_dir is not None:
        data_flags.check_is_run(flags.run_dir)
    elif flags.dataset is None:
        raise commands.UserError("--model needs --dataset, what it was trained on")
    data_flags.check_interface(flags)
    return pathlib.Path(flags.run_dir or flags.model)


def _threshold(flags: absl_flags.FlagValues) -> str | float:
    if flags.threshold in ("95", "99", "conformal"):
        return flags.threshold
    try:
        value = float(flags.threshold)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1:
        raise commands.UserError(
            f"--threshold={flags.threshold} must be 95, 99, conformal, or a confidence in [0, 1), such as 0.9"
        )
    return value


def _run(call: commands.Call) -> None:
    flags = call.flags
    path, threshold = _path(flags), _threshold(flags)
    if flags.report_dir and not (pathlib.Path(flags.report_dir) / "scores").is_dir():
        raise commands.UserError(
            f"--report_dir={flags.report_dir} must be a report directory of evaluate.py, which holds scores/"
        )
    if flags.quantize:
        call.note("--quantize=int8 is now int8 as one of --formats; the old spelling goes with the next version")
    with commands.quiet_start():
        import tensorflow as tf

        _check_installed()
        from keras_acet import evaluation
        from keras_acet.export import artifacts, demo, stage, verification

        tf.config.experimental.enable_tensor_float_32_execution(False)  # artifacts are compared in float32
        tf.config.list_logical_devices()
    with call.user_errors():
        # Everything that can fail for the user's reasons comes before any work.
        chosen = artifacts.chosen(_formats(flags))
        classifier, data, arguments = _prepare(call, path)
        directory = arguments.pop("directory")
        if flags.demo:
            _check_demo(flags, data, directory, arguments["name"])
    progress = Progress()
    try:
        with call.user_errors():
            version = stage.export_model(
                classifier, data, directory, formats=chosen, threshold=threshold, progress=progress, **arguments
            )
    except (verification.VerificationError, evaluation.NonFiniteLogitsError) as error:
        raise commands.UserError(f"{error}; nothing was exported", code=1) from error
    finally:
        progress.end()
    data_flags.note_unknown(call, [classifier], data)
    _tell(call, version, chosen)
    if flags.demo:
        with call.user_errors():
            page = demo.write_demo(
                version, directory / "demo", images=data.test_images[:12], labels=data.test_labels[:12]
            )
        print(
            f"Try it in a browser:   {_python()} -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(page))}"
        )


def _formats(flags: absl_flags.FlagValues) -> list[str]:
    return [*flags.formats, *([flags.quantize] if flags.quantize and flags.quantize not in flags.formats else [])]


def _prepare(call: commands.Call, path: pathlib.Path) -> tuple[Any, Any, dict[str, Any]]:
    """The classifier, its data, and arguments of `export`: where to, under which name, measured how."""
    from keras_acet import classifiers, evaluation

    flags = call.flags
    classifier = classifiers.load(path)
    is_run = flags.run_dir is not None
    settings = [data_flags.data_settings(classifier)] if is_run else []
    data = data_flags.load_data(flags, settings)
    if not isinstance(classifier, classifiers.SavedModelClassifier | classifiers.ONNXClassifier):
        classifier = data_flags.check_model(flags, classifier, data)
    data = data_flags.with_calibration(flags, data_flags.with_ood(flags, data, settings))
    reports = flags.report_dir or (path / "evaluation" if is_run else None)
    protocol = data_flags.protocol(
        flags, settings, epsilon=flags.epsilon, num_noise=flags.num_noise, num_images=flags.num_images
    )
    if reports:
        note_quick(call, pathlib.Path(reports), protocol)
    return (
        classifier,
        data,
        {
            "directory": pathlib.Path(flags.export_dir or default_export_dir(path, is_run=is_run)),
            "name": flags.name or classifier.name,
            "version": flags.version,
            "resize": flags.resize,
            "protocol": protocol,
            "store": evaluation.Store(pathlib.Path(reports) / "scores" if reports else None),
        },
    )


def note_quick(call: commands.Call, report_dir: pathlib.Path, protocol: Any) -> None:
    """Tells that the results of a quick evaluation are not used, since they are of other numbers of images.

    Args:
        call: The call.
        report_dir: Report directory of evaluate.py, which may hold no report.
        protocol: `evaluation.Protocol` of the export.
    """
    try:
        there = json.loads((report_dir / "results.json").read_text(encoding="utf-8"))["settings"]
        is_quick, numbers = there["quick"] is True, (there["num_images"], there["num_noise"])
    except (OSError, ValueError, LookupError, TypeError):  # none, or damaged
        return
    if is_quick and numbers != (protocol.num_images, protocol.num_noise):
        call.note(f"the evaluation in {report_dir} was a quick one; measuring anew")


def default_export_dir(path: pathlib.Path, *, is_run: bool) -> pathlib.Path:
    """Where a model's folder lies: beside a model, under its name, since `export` is a folder of the checkout.

    Args:
        path: The run directory, or the model.
        is_run: Whether it is a run directory.
    """
    if is_run:
        return path / "export"
    path = path.resolve()
    return path.parent / f"export-{path.name.removesuffix('.keras').removesuffix('.onnx')}"


def _check_installed() -> None:
    if importlib.util.find_spec("keras_acet.export") is None:
        raise commands.UserError("keras_acet.export is not installed; run `pip install -e .` in the checkout once")


def _check_demo(flags: absl_flags.FlagValues, data: Any, directory: pathlib.Path, name: str) -> None:
    from keras_acet.export import demo
    from keras_acet.export.clients.images import takes_files

    if name == "demo":
        raise commands.UserError("--demo writes to EXPORT_DIR/demo; give the model another --name")
    demo.check_directory(directory / "demo")
    if "onnx" not in _formats(flags):
        raise commands.UserError("--demo needs the ONNX file; add onnx to --formats")
    if not takes_files(data.image_shape):
        raise commands.UserError(f"--demo is for images; those of {data.name} have shape {data.image_shape}")
    demo.fetch_runtime()  # npm, or what it needs, may be missing


def _tell(call: commands.Call, version: pathlib.Path, chosen: list[Any]) -> None:
    """Prints the confidence on every set, and how to use what was written."""
    from keras_acet.export.metadata import read

    metadata = read(version / "metadata.json")
    data_flags.note_calibration(call, metadata.name, metadata.calibration.remarks)
    width = max(len(row.set) for row in metadata.confidence)
    error = metadata.test_error
    print(f"\nTest error of the model: {error.value:.2%} on {error.n} images")
    for file, share, count in _test_errors(version):
        print(f"Test error of {file}: {share:.2%} on {count} images")
    print(f"\n{'set':{width}}  images    MMC  accepted (threshold {metadata.threshold.value:.4f})")
    for row in metadata.confidence:
        numbers = f"{row.n:6d} {row.mmc:6.3f} {row.accepted:9.1%}" if row.n else "     -      -         -"
        print(f"{row.set:{width}}  {numbers}  {row.note}".rstrip())
    print(f"\nVerified: {version}")
    for artifact in chosen:
        for what, command in artifact.usage(version, metadata, f"{_python()} -m keras_acet.export.clients").items():
            print(f"{what + ':':22} {command}")


def _test_errors(version: pathlib.Path) -> list[tuple[str, float, int]]:
    """What each file makes on test images, in a fresh process."""
    from keras_acet.export.verification import TEST_SET

    verified = json.loads((version / "verification.json").read_text(encoding="utf-8"))
    found = {one["file"]: one["cases"][TEST_SET] for one in verified["artifacts"] if TEST_SET in one["cases"]}
    return [(file, case["test_error"], case["images"]) for file, case in found.items()]


def _python() -> str:
    """The command that starts this Python from the current folder."""
    found, here = shutil.which("python"), pathlib.Path(sys.executable)
    if found is not None and os.path.abspath(found) == os.path.abspath(sys.executable):
        return "python"
    return shlex.quote(str(here.relative_to(pathlib.Path.cwd()) if here.is_relative_to(pathlib.Path.cwd()) else here))


COMMAND = commands.Command(
    doc=__doc__ or "",
    define=_define,
    run=_run,
    example="--run_dir=RUN",
    when_stopped="a version appears only once it is whole",
)
main = COMMAND.main
