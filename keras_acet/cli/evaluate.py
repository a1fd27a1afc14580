"""Evaluates trained runs side by side: tables, figures and a report, with attacks harder than the paper's.

Examples:

  python evaluate.py --run_dir=runs/mnist-acet
  python evaluate.py --run_dir=runs/mnist-plain,runs/mnist-ceda,runs/mnist-acet --report_dir=reports/mnist
  python evaluate.py --model=my_model.keras --dataset=folder:photos/ --ood=folder:other_photos/,npz:more.npz
  python evaluate.py --run_dir=runs/mnist-acet --quick

The points that attacks find on one network are also tried on the others. If an evaluation was killed, give the same
command again to continue: the results of finished sets are stored in the report directory, under scores/.
"""

import collections
import json
import os
import pathlib
import pkgutil
from typing import Any

from absl import flags as absl_flags

import keras_acet
from keras_acet._progress import Progress
from keras_acet.cli import commands, data_flags


def _define(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_multi_string(
        "run_dir",
        [],
        "Finished runs of train.py for one data set, with commas between them or the flag repeated.",
        flag_values=values,
    )
    absl_flags.DEFINE_multi_string(
        "model",
        [],
        "Classifiers of your own, also with a softmax at the end or on pixels in 0..255: .keras files, SavedModel "
        "directories, .onnx files; the last two give no gradients and are not attacked. Needs --dataset where there is "
        "no --run_dir.",
        flag_values=values,
    )
    absl_flags.DEFINE_boolean(
        "trusted",
        False,
        "Load a SavedModel of --model although its graph touches files, the network or Python: you trust who made it.",
        flag_values=values,
    )
    data_flags.define_interface(values)
    data_flags.define(values)
    absl_flags.DEFINE_boolean(
        "resize", False, "Make the images of --ood fit, in size and number of channels.", flag_values=values
    )
    absl_flags.DEFINE_string(
        "report_dir",
        None,
        "Where the report is written (default: RUN/evaluation, beside the first of several).",
        flag_values=values,
    )
    absl_flags.DEFINE_boolean(
        "quick",
        False,
        "A quick first look: 2000 images of each set, 64 under attack, fewer trials. Other flags override it.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "measure",
        [],
        "Measure nothing but these, such as test_set,noise; --measure=? lists all (default: those that apply).",
        flag_values=values,
    )
    absl_flags.DEFINE_list("skip", [], "Leave these measurements out.", flag_values=values)
    data_flags.define_measuring(values)
    _define_radii(values)
    _define_numbers(values)
    commands.define_old_name("adversarial_samples", "num_adversarial", values)


def _define_radii(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_float(
        "larger_epsilon",
        None,
        "A second radius for worst-case noise, 0 for none (default: 4/3 of the first).",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "ood_epsilon",
        None,
        "Radius of the attacks on out-distribution sets (default: 0.3 on gray images, 0.01 on others).",
        flag_values=values,
    )
    commands.between("larger_epsilon", 0, 1, values, low_allowed=True, high_allowed=True, hint=commands.PIXELS)
    commands.between("ood_epsilon", 0, 1, values, high_allowed=True, hint=commands.PIXELS)


def _define_numbers(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_integer(
        "num_bounded",
        None,
        "Noise images for which a bound is proven as well; 0 for none (default: 32).",
        lower_bound=0,
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "num_adversarial",
        None,
        "Test images, and images of each out-distribution set, under attack; 0 for none (default: 512).",
        lower_bound=0,
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "num_trials",
        None,
        "Random inputs that are scaled for Table 2; 0 for none (default: 10000).",
        lower_bound=0,
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "alpha",
        "scan",
        ["scan", "exact"],
        "How the smallest alpha of Table 2 is computed: scan; or exact, which adds the exact value from all linear "
        "pieces of the network. It takes about 0.1 s per input for a LeNet and 2 minutes for a ResNet-20, on one core: "
        "choose --num_trials accordingly.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "num_bootstrap", None, "Replicates behind each interval (default: 1000).", lower_bound=1, flag_values=values
    )


def _paths(flags: absl_flags.FlagValues) -> list[str]:
    paths = [*commands.split(flags.run_dir), *commands.split(flags.model)]
    if not paths:
        raise commands.UserError("name at least one --run_dir=RUN or --model=PATH")
    for path in commands.split(flags.run_dir):
        data_flags.check_is_run(path)
    twice = [path for path, count in collections.Counter(map(os.path.realpath, paths)).items() if count > 1]
    if twice:
        raise commands.UserError(f"name each classifier once; {twice[0]} is there twice")
    data_flags.check_interface(flags)
    if not flags.run_dir and not flags.dataset:
        raise commands.UserError("--model needs --dataset, what to evaluate on")
    return paths


def _measurements() -> list[str]:
    """The names of all measurements, those of their files: so they are told without TensorFlow."""
    files = pathlib.Path(keras_acet.__file__).parent / "evaluation" / "measurements"
    names = [module.name for module in pkgutil.iter_modules([str(files)])]
    return sorted(name for name in names if name != "base")


def _run(call: commands.Call) -> None:
    flags, known = call.flags, _measurements()
    if "?" in flags.measure:
        print("\n".join(known))
        return
    for flag in ("measure", "skip"):
        for name in flags[flag].value or []:
            if name not in known:
                raise commands.UserError(f"A measurement must be one of {known}. Received: --{flag}={name}.")
    paths = _paths(flags)
    if flags.resize and not flags.ood:
        call.note("not used: --resize without --ood")
    if flags.alpha == "exact" and flags.num_trials == 0:
        call.note("not used: --alpha=exact with --num_trials=0")
    with commands.quiet_start():
        import tensorflow as tf

        from keras_acet import classifiers, evaluation

        tf.config.list_logical_devices()
    report_dir = pathlib.Path(flags.report_dir or _default_report_dir(flags, paths))
    # Everything that can fail for the user's reasons comes before any work.
    with call.user_errors():
        models = [classifiers.load(path, trusted=flags.trusted) for path in paths]
        settings = [data_flags.data_settings(model) for model in models if data_flags.is_run(model)]
        data = data_flags.load_data(flags, settings)
        models = [data_flags.check_model(flags, model, data) for model in models]
        data = data_flags.with_ood(flags, data, settings, resize=flags.resize)
        data = data_flags.with_calibration(flags, data)
        protocol = data_flags.protocol(
            flags,
            settings,
            quick=flags.quick,
            epsilon=flags.epsilon,
            larger_epsilon=flags.larger_epsilon,
            ood_epsilon=flags.ood_epsilon,
            num_images=flags.num_images,
            num_noise=flags.num_noise,
            num_bounded=flags.num_bounded,
            num_adversarial=flags.num_adversarial,
            num_trials=flags.num_trials,
            alpha=flags.alpha,
            num_bootstrap=flags.num_bootstrap,
        ).for_data(data)
        measurements = evaluation.measurements.defaults(protocol, data, only=flags.measure, skip=flags.skip)
        if any(isinstance(one, evaluation.measurements.ExactAlpha) for one in measurements):
            for model in models:
                evaluation.scaling.exact_network(model)
    with commands.only_process(report_dir, "report_dir"):
        _note_replaced(call, data, report_dir)
        data_flags.note_unknown(call, models, data)
        _evaluate(call, models, data, protocol, measurements, report_dir)


def _note_replaced(call: commands.Call, data: Any, report_dir: pathlib.Path) -> None:
    """Tells that the report of other data lies where the new one is written; the scores of both are kept."""
    try:
        there = json.loads((report_dir / "results.json").read_text(encoding="utf-8"))["data"]
        name, fingerprint = str(there["name"]), there.get("fingerprint")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or damaged
        return
    if name != data.name or (None not in (fingerprint, data.fingerprint) and fingerprint != data.fingerprint):
        what = name if name != data.name else f"{name} with other images"
        call.note(f"the report of {what} in {report_dir} will be replaced; name another --report_dir to keep both")


def _evaluate(
    call: commands.Call, models: list[Any], data: Any, protocol: Any, measurements: list[Any], report_dir: pathlib.Path
) -> None:
    from keras_acet import evaluation, report

    print(
        f"{data.name}: {len(data.test_labels)} test images, {protocol.num_noise} noise images under attack, "
        f"epsilon {protocol.epsilon:g}; out-distribution sets: {', '.join(data.ood) or 'none'}",
        flush=True,
    )
    store = evaluation.Store(report_dir / "scores")
    evaluations = []
    progress = Progress()
    try:
        for one in evaluation.evaluate_all(
            models, data, protocol, measurements=measurements, store=store, progress=progress.stage
        ):
            evaluations.append(one)
            print(f"\n{one.result.name}\n{one}\n", flush=True)
            if one.result.calibration is not None:
                data_flags.note_calibration(call, one.result.name, one.result.calibration.remarks)
    except evaluation.NonFiniteLogitsError as error:
        raise commands.UserError(error) from error
    finally:
        progress.end()
    with call.user_errors():
        report.write_report(evaluations, report_dir, command=call.line)
    print(f"Report: {report_dir / 'report.html'} and report.md, results.json, results.csv beside it")


def _default_report_dir(flags: absl_flags.FlagValues, paths: list[str]) -> pathlib.Path:
    first = pathlib.Path(paths[0])
    if len(paths) == 1 and flags.run_dir:
        return first / "evaluation"
    names = [pathlib.Path(path).resolve().name.removesuffix(".keras").removesuffix(".onnx") for path in paths]
    return first.resolve().parent / f"evaluation-{'-'.join(names)}"


COMMAND = commands.Command(
    doc=__doc__ or "",
    define=_define,
    run=_run,
    example="--run_dir=RUN",
    when_stopped="the same command goes on with the sets that are not done yet",
)
main = COMMAND.main
