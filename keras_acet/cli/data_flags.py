"""The flags that say what a classifier is measured on, for all commands that measure."""

import pathlib
from typing import Any

from absl import flags as absl_flags

from keras_acet._checks import notify
from keras_acet.cli.commands import PIXELS, Call, UserError, between, split
from keras_acet.datasets import sources


def define(values: absl_flags.FlagValues) -> None:
    """Defines the flags that say what a classifier is measured on; `load_data` reads them."""
    absl_flags.DEFINE_string(
        "dataset",
        None,
        "What to measure on, as for train.py (default: the data set of the runs).",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "data_dir",
        None,
        "Where TensorFlow Datasets keeps its data (default: as in training).",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "image_size",
        None,
        "Height and width that the images of folder:PATH are scaled to (default: as in training).",
        lower_bound=1,
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "calibration",
        None,
        "Images that the classifiers were not trained on, for temperature and thresholds: folder:PATH (a sub-folder "
        "per class) or npz:PATH. Default: those that a run kept back; of a --model nothing is known or promised.",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "calibration_fraction",
        None,
        "The same as a share of the training images of --dataset, kept out of the training of a --model as Data("
        "calibration_fraction=...) and train.py keep them.",
        flag_values=values,
    )
    between("calibration_fraction", 0, 1, values)
    absl_flags.DEFINE_multi_string(
        "ood",
        [],
        "More out-distribution sets: names as for --dataset, cifar10_gray, lsun_classroom, photos, folder:PATH, "
        "npz:PATH; letters; a kind of images without content of train.py's --out, or kinds for all sixteen.",
        flag_values=values,
    )


def define_measuring(values: absl_flags.FlagValues) -> None:
    """Defines the flags that say how much is measured; `protocol` reads them."""
    absl_flags.DEFINE_float(
        "epsilon",
        None,
        "Radius of the attacks in pixel units, in (0, 1] (default: as in training's table).",
        flag_values=values,
    )
    between("epsilon", 0, 1, values, high_allowed=True, hint=PIXELS)
    absl_flags.DEFINE_integer(
        "num_images", None, "Images measured of each set, 0 for all (default: all).", lower_bound=0, flag_values=values
    )
    absl_flags.DEFINE_integer(
        "num_noise", None, "Noise images under attack (default: 512).", lower_bound=1, flag_values=values
    )
    absl_flags.DEFINE_integer(
        "seed", 0, "Seed of noise, attacks and choices.", lower_bound=0, upper_bound=2**31 - 1, flag_values=values
    )


def define_interface(values: absl_flags.FlagValues) -> None:
    """Defines the flags that say what a --model takes and gives; `check_model` reads them."""
    absl_flags.DEFINE_enum(
        "inputs",
        None,
        ["unit", "bytes"],
        "What a --model takes: unit for pixels in [0, 1], bytes for 0..255 (default: what makes it right more often).",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "outputs",
        None,
        ["logits", "probabilities"],
        "What a --model gives (default: probabilities where they sum to 1, else logits).",
        flag_values=values,
    )


def check_model(flags: absl_flags.FlagValues, model: Any, data: Any) -> Any:
    """Returns a classifier as `classifiers.check` gives it back, wrapped as the flags say."""
    from keras_acet import classifiers

    if isinstance(model, classifiers.RunClassifier):
        return classifiers.check(model, data)
    return classifiers.check(model, data, inputs=flags.inputs, outputs=flags.outputs)


def check_interface(values: absl_flags.FlagValues) -> None:
    """Raises `UserError` if the flags say what a --model takes and gives, and there is none."""
    for name in ("inputs", "outputs"):
        if values[name].value is not None and not values.model:
            raise UserError(f"--{name} needs --model: a run goes from images in [0, 1] to logits")


def check_is_run(path: str) -> None:
    """Raises `UserError` unless `path` is a run directory."""
    if not (pathlib.Path(path) / "flags.flags").is_file():
        raise UserError(
            f"--run_dir={path} must name a run directory of train.py, which holds flags.flags; for other models "
            "there is --model"
        )


def is_run(classifier: Any) -> bool:
    """Whether a classifier lies in a run directory, with a detector or without."""
    return classifier.flags is not None and (classifier.path / "flags.flags").is_file()


def data_settings(classifier: Any) -> dict[str, str]:
    """The flags of a classifier's run, also those that do not make the run, such as where the data lie; its name.

    And the fingerprint of its data, where it has one.
    """
    from keras_acet.training import runs

    extra = runs.RunDirectory(classifier.path).extra_flags()
    known = {} if classifier.trained_on is None else {"fingerprint": classifier.trained_on}
    if "dataset" not in classifier.flags:
        raise ValueError(f"{classifier.path / 'flags.flags'} is damaged: it names no data set. Train the run again.")
    own_files = sources.parse(classifier.flags["dataset"])  # a path that is not absolute is one of an earlier version
    dataset = {} if own_files is None else {"dataset": own_files.absolute}
    return {"name": classifier.name, **known, **extra, **classifier.flags, **dataset}


def _names(texts: list[str]) -> list[str]:
    """Names between commas; a path that is there may hold commas itself."""
    names = []
    for text in texts:
        own_files = sources.parse(text)
        names += [text] if own_files is not None and own_files.path.exists() else split([text])
    return names


def _number(run: dict[str, str], name: str, default: float = 0.0) -> float:
    """A number in the flags of a run."""
    text = run.get(name, default)
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"the flags of {run['name']} are damaged: --{name}={text} is no number. Train the run again."
        ) from None


def load_data(values: absl_flags.FlagValues, settings: list[dict[str, str]]) -> Any:
    """Loads the data that the flags name, or that the runs were trained on.

    Args:
        values: The flags of the command.
        settings: List of `data_settings`, one per run.
    """
    from keras_acet import datasets

    first = settings[0] if settings else {}
    for other in settings[1:]:
        for flag in ("dataset", "image_size"):
            if other.get(flag) != first.get(flag):
                raise ValueError(
                    f"the runs must be for the same data: {first['name']} has --{flag}={first.get(flag)}, "
                    f"{other['name']} --{flag}={other.get(flag)}; evaluate them one by one"
                )
    _check_calibration(values, settings)
    size = values.image_size or (int(_number(first, "image_size")) if "image_size" in first else None)
    data = datasets.load(
        values.dataset or first["dataset"],
        data_dir=_data_dir(values, settings),
        batch_size=1,
        image_size=size,
        download=False,
        # The smallest fraction of all runs: these images were kept out of training by every one of them.
        calibration_fraction=min(
            (_number(run, "calibration_fraction", 0) for run in settings), default=values.calibration_fraction or 0.0
        ),
    )
    for run in settings:
        _check_same(data, run, is_its_own=values.dataset is None and values.image_size is None)
    return data


def with_ood(values: absl_flags.FlagValues, data: Any, settings: list[dict[str, str]], *, resize: bool = False) -> Any:
    """Returns the data with the sets of --ood; call it after `check_model`, which tells of data of a wrong shape.

    Args:
        values: The flags of the command.
        data: What `load_data` returned.
        settings: List of `data_settings`, one per run.
        resize: Whether the images of --ood are made to fit.
    """
    from keras_acet import datasets

    if values.ood:
        directory = _data_dir(values, settings)
        sets = datasets.ood_sets(
            _names(values.ood), data.image_shape, data_dir=directory, resize=resize, like=data, seed=values.seed
        )
        data.ood = data.ood.joined(sets)
    return data


def _data_dir(values: absl_flags.FlagValues, settings: list[dict[str, str]]) -> str | None:
    return values.data_dir or (settings[0].get("data_dir") if settings else None)


def with_calibration(values: absl_flags.FlagValues, data: Any) -> Any:
    """Returns the data with the images that the flags give as kept out of training; else the data as they are."""
    from keras_acet import datasets

    if values.calibration is not None:
        return datasets.with_calibration(data, values.calibration, image_size=values.image_size)
    if values.calibration_fraction is not None:
        data.calibration_source = f"{values.calibration_fraction:g} of the training images of {data.name}"
    return data


def note_unknown(call: Call, models: list[Any], data: Any) -> None:
    """Tells of which models nothing says what they were trained on, and what can be done."""
    from keras_acet import classifiers

    runs = classifiers.RunClassifier  # of those `load_data` tells
    names = ", ".join(model.name for model in models if model.is_foreign and not isinstance(model, runs))
    if names and data.calibration_source is None:
        call.note(
            f"nothing says what {names} was trained on, so temperature and thresholds promise nothing of new images; "
            "name images that it was not trained on with --calibration=folder:PATH or --calibration=npz:PATH"
        )


def note_calibration(call: Call, name: str, remarks: list[str]) -> None:
    """Tells what the images behind temperature and thresholds of a model were too few for."""
    for remark in remarks:
        call.note(f"{name}: {remark}")


def _check_calibration(values: absl_flags.FlagValues, settings: list[dict[str, str]]) -> None:
    if values.calibration is not None and values.calibration_fraction is not None:
        raise UserError("--calibration and --calibration_fraction exclude each other; give one of them")
    if values.calibration is not None and sources.parse(values.calibration) is None:
        raise UserError(f"--calibration={values.calibration} must be folder:PATH or npz:PATH")
    if values.calibration_fraction is not None and settings:
        raise UserError(
            "--calibration_fraction is for --model alone: a run keeps to the images that it kept back; give other "
            "images with --calibration"
        )


def _check_same(data: Any, run: dict[str, str], *, is_its_own: bool) -> None:
    """Raises if the data of a run are not those that it was trained on: what was held out then is not known now.

    Of other data that the user named on purpose `classifiers.check` tells.
    """
    if "fingerprint" not in run:
        text = f"which data {run['name']} was trained on is not known, so nothing here counts as held out"
        notify(text)
        return
    fraction = _number(run, "calibration_fraction", 0)
    if is_its_own and not data.is_of(run["fingerprint"], calibration_fraction=fraction):
        raise ValueError(
            f"the data of {run['name']} have changed since it was trained: other images, labels, classes or another "
            f"order, so that images it was trained on may count as held out. Put them back as they were; or say on "
            f"purpose what to measure on, `dataset={run['dataset']}`, and nothing counts as held out."
        )


def protocol(
    values: absl_flags.FlagValues, settings: list[dict[str, str]], *, quick: bool = False, **numbers: Any
) -> Any:
    """The `evaluation.Protocol` of the flags: at the radius of the runs' own tables, unless one is given.

    Args:
        values: The flags of the command.
        settings: List of `data_settings`, one per run.
        quick: Whether numbers that are not given are those of a first look.
        **numbers: Of the protocol; None stands for the default.
    """
    from keras_acet import evaluation

    radii = sorted({_number(run, "eval_epsilon") for run in settings if "eval_epsilon" in run})
    if len(radii) > 1 and numbers["epsilon"] is None:
        raise ValueError(f"the runs have different --eval_epsilon, {radii}; say with --epsilon at which to attack them")
    chosen = evaluation.Protocol(epsilon=radii[0] if radii else 0.3, seed=values.seed)
    if quick:
        chosen = chosen.quick()
    return chosen.replace(**{name: value for name, value in numbers.items() if value is not None})
