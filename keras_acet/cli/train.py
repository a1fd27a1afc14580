"""Trains an image classifier that knows when it does not know: ACET, CEDA, plain training, or a detector beside one.

Examples:

  python train.py --dataset=digits --method=acet
  python train.py --recipe=fast/mnist_acet
  python train.py --dataset=npz:my_images.npz --method=acet --epochs=20 --run_dir=runs/mine
  python train.py --dataset=npz:my_images.npz --method=prood --classifier=mine.keras
  python train.py --dataset=mnist --method=ceda --out=outliers=2,cifar10,letters

Typed flags override those of --flagfile, and these override those of --recipe, in any order; of a flag that is typed
twice the later one counts.
Flags whose default is "by data set" take the paper's value where the paper has the set or a similar one, and our own
value for digits. One default differs from the paper: some training images are kept back for calibration, see
--calibration_fraction. If a run was killed, give the same command again to continue after the last completed epoch.
"""

import pathlib
import sys
from typing import TYPE_CHECKING, Any

from absl import flags as absl_flags

from keras_acet.cli import commands, own_network, protect
from keras_acet.datasets import sources
from keras_acet.training import flag_files, methods
from keras_acet.training.recipe import Recipe
from keras_acet.training.settings import Setting, write

if TYPE_CHECKING:
    from keras_acet.training import PreparedRun


def _define(values: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string(
        "recipe",
        None,
        "Settings to begin with: the name of a recipe, or the path of a flag file. The recipes: "
        f"{', '.join(flag_files.names())}.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "run_dir", None, "Where the run is written (default: runs/DATASET-METHOD).", flag_values=values
    )
    absl_flags.DEFINE_boolean(
        "overwrite",
        False,
        "Replace a finished run, or one made with other flags: all that is in the run directory goes.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "data_dir", None, "Where TensorFlow Datasets keeps its data (default: its own choice).", flag_values=values
    )
    absl_flags.DEFINE_boolean(
        "download", True, "Download a data set that is not in the data directory.", flag_values=values
    )
    protect.define(values)
    settings = Recipe.settings()
    defaults = {name: getattr(Recipe, name, None) for name in settings}
    for name, setting in settings.items():
        text = commands.as_flags(setting.help, settings)
        if defaults[name] is not None and "(default" not in text:
            text += f" (default: {write(defaults[name])})"
        _define_setting(name, setting, text, values)
    for old, name in flag_files.RENAMED.items():
        commands.define_old_name(old, name, values)


def _define_setting(name: str, setting: Setting, text: str, values: absl_flags.FlagValues) -> None:
    """A flag for a setting of a recipe; the recipe says what it may be."""
    if setting.choices:
        absl_flags.DEFINE_enum(name, None, setting.choices, text, flag_values=values)
    elif setting.kind is bool:
        absl_flags.DEFINE_boolean(name, None, text, flag_values=values)
    elif setting.kind is int:
        absl_flags.DEFINE_integer(name, None, text, flag_values=values)
    elif setting.kind is float:
        absl_flags.DEFINE_float(name, None, text, flag_values=values)
    elif setting.kind is tuple:
        absl_flags.DEFINE_list(name, None, text, flag_values=values)
    else:
        absl_flags.DEFINE_string(name, None, text, flag_values=values)


def _recipe(flags: absl_flags.FlagValues) -> Recipe:
    given = {name: flags[name].value for name in Recipe.settings() if flags[name].value is not None}
    return Recipe.from_flags({name: write(value) for name, value in given.items()})


def _dropped(call: commands.Call, recipe: Recipe) -> dict[str, str]:
    """What the user gave that means nothing: all that was typed, and of a flag file what differs from the default."""
    default = Recipe.from_flags({"dataset": recipe.dataset, "method": recipe.method})
    given = {flag_files.RENAMED.get(name, name): where for name, where in call.given.items()}

    def counts(name: str) -> bool:
        where = given.get(name, "--recipe")  # which only proposes
        value = getattr(recipe, name)
        return not where.startswith("--recipe") and (not where or value not in (0, getattr(default, name)))

    return {name: reason for name, reason in recipe.unused().items() if counts(name)}


def _run(call: commands.Call) -> None:
    flags = call.flags
    with call.user_errors():
        recipe = protect.checked(_recipe(flags))
    call.note_old_names()
    if flags.only_check_args:
        print(commands.IN_ORDER)
        return
    run_dir = pathlib.Path(flags.run_dir or _default_run_dir(recipe))
    with commands.quiet_start():
        import tensorflow as tf

        from keras_acet import training, typed_json
        from keras_acet.training import runs

        if recipe.deterministic:
            training.make_deterministic()
        tf.config.list_logical_devices()

    # Everything that can fail for the user's reasons comes before the run directory is touched.
    with call.user_errors():
        runs.RunDirectory(run_dir).check(recipe.to_flags(), overwrite=flags.overwrite)
        data_dir = _data_dir(flags, run_dir)
        data = recipe.load_data(data_dir=data_dir, download=flags.download)
        extra_flags = {"data_dir": data_dir} if data_dir else {}
        extra_flags |= protect.given(flags)
        protects = recipe.method == "prood"
        classifier = protect.classifier_of(call, recipe, data, run_dir) if protects else None
        run = training.prepare(
            recipe,
            data,
            run_dir,
            network=own_network.load(call, recipe, data) if recipe.has_own_network else None,
            overwrite=flags.overwrite,
            extra_flags=extra_flags,
            data_dir=data_dir,
            download=flags.download,
        )
    with run:
        for note in run.progress.notes:
            call.note(commands.as_flags(note, flags))
        if dropped := _dropped(call, run.recipe):
            call.note(commands.as_flags(methods.as_line(dropped), flags))
        print(run.summary(), flush=True)
        if run.progress.epoch:
            print(f"Going on after epoch {run.progress.epoch} of {recipe.epochs}.")
        try:
            run.fit(verbose=1 if sys.stdout.isatty() else 2)
        except runs.NonFiniteLossError as error:
            raise commands.UserError(commands.as_flags(str(error), flags), code=1) from error
        table = _table(run, run.network if classifier is None else protect.protected(call, run, classifier))
        run.finish(typed_json.to_json(table.rows))
    print(f"\n{table}\n\nRun directory: {run_dir}")


def _table(run: "PreparedRun", model: Any) -> Any:
    """The table at the end of a run: one attack on noise, and the worst of several."""
    from keras_acet import evaluation

    protocol = evaluation.Protocol(
        epsilon=run.recipe.eval_epsilon,
        larger_epsilon=0.0,
        num_noise=run.recipe.num_noise,
        num_bounded=0,
        num_adversarial=0,
        num_trials=0,
        num_bootstrap=100,
        seed=run.recipe.seeds()["evaluation"],
    )
    measured = None
    if run.detector is not None:
        kind = "paper" if len(run.data.image_shape) == 3 else "uniform"
        chosen = evaluation.measurements.Certificates(kinds=(kind,), set_names=(), num_attacked=0)
        measured = [
            *evaluation.measurements.defaults(protocol.for_data(run.data), run.data, skip=["certificates"]),
            chosen,
        ]
    return evaluation.evaluate(model, run.data, protocol, measurements=measured, suite=evaluation.worst_case_attacks)


def _data_dir(flags: absl_flags.FlagValues, run_dir: pathlib.Path) -> str | None:
    """Where the data sets lie, so that it holds in any folder; if not given, what the run that goes on was given."""
    from keras_acet.training import runs

    given = flags.data_dir
    if given is None and not flags.overwrite and (run_dir / "flags.flags").exists():
        given = runs.RunDirectory(run_dir).extra_flags().get("data_dir")
    return given if given is None or "://" in given else str(pathlib.Path(given).expanduser().absolute())


def _default_run_dir(recipe: Recipe) -> str:
    own_files = sources.parse(recipe.dataset)
    name = recipe.dataset if own_files is None else f"{own_files.kind}-{own_files.path.stem}"
    return f"runs/{name}-{recipe.method}"


COMMAND = commands.Command(
    doc=__doc__ or "",
    define=_define,
    run=_run,
    example="--dataset=digits",
    when_stopped="the same command goes on after the last completed epoch",
    read_recipe=flag_files.arguments_named,
    checks_flags=True,
)
main = COMMAND.main
