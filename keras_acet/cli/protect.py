"""The classifier that `train.py --method=prood` puts a detector beside, and the run directory with both."""

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from absl import flags as absl_flags

from keras_acet.cli import commands
from keras_acet.training import flag_files
from keras_acet.training.recipe import Recipe

if TYPE_CHECKING:
    from keras_acet.classifiers import Classifier, ProvableClassifier
    from keras_acet.datasets import Data
    from keras_acet.training import PreparedRun

_RECIPE = "recipe:"


def define(values: absl_flags.FlagValues) -> None:
    """Defines the flags that say what a --classifier takes and gives."""
    absl_flags.DEFINE_enum(
        "inputs",
        None,
        ["unit", "bytes"],
        "What --classifier takes: unit for pixels in [0, 1], bytes for 0..255 (default: what makes it right more "
        "often). Channels first are found by its shape.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "outputs",
        None,
        ["logits", "probabilities"],
        "What --classifier gives (default: probabilities where they sum to 1, else logits).",
        flag_values=values,
    )
    for name, what in (("mean", "subtracted from its images"), ("std", "that its images are divided by after that")):
        absl_flags.DEFINE_list(
            name,
            None,
            f"Of --classifier: one number, or one for each channel, {what}, in units of [0, 1].",
            flag_values=values,
        )


def given(flags: absl_flags.FlagValues) -> dict[str, str]:
    """Returns those of these flags that were given, name -> text."""
    values: dict[str, Any] = {name: flags[name].value for name in ("inputs", "outputs", "mean", "std")}
    return {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def _preprocessing(flags: absl_flags.FlagValues) -> Any:
    from keras_acet.classifiers import Preprocessing

    numbers: dict[str, Any] = {}
    for name in ("mean", "std"):
        texts: Any = flags[name].value or ()
        try:
            numbers[name] = tuple(float(text) for text in texts)
        except ValueError:
            raise ValueError(
                f"`{name}` must be one number, or one for each channel, such as 0.5,0.5,0.5. Received: "
                f"{','.join(texts)}."
            ) from None
    return Preprocessing(**numbers)


def checked(recipe: Recipe) -> Recipe:
    """Returns the recipe with the whole path of its classifier, so that it holds wherever the run is repeated.

    Raises:
        ValueError: If `classifier` names no recipe and nothing that exists, or a recipe for other data.
    """
    if recipe.method != "prood":
        return recipe
    name = recipe.classifier
    if name is not None and not name.startswith(_RECIPE):
        path = pathlib.Path(name).expanduser().absolute()
        if not path.exists():
            raise ValueError(
                f"`classifier` must be a trained classifier, or {_RECIPE}NAME. Received: {name}, which does not exist."
            )
        return dataclasses.replace(recipe, classifier=str(path))
    first = _first_recipe(recipe)
    if first.dataset != recipe.dataset:
        raise ValueError(
            f"`classifier` must be one for `dataset={recipe.dataset}`. Received: {name}, a recipe for {first.dataset}."
        )
    return recipe


def classifier_of(call: commands.Call, recipe: Recipe, data: "Data", run_dir: pathlib.Path) -> "Classifier":
    """Loads the classifier of a recipe, or trains it first in a run directory beside that of the detector."""
    from keras_acet import classifiers
    from keras_acet.networks import Interface

    name = recipe.classifier
    if name is None or name.startswith(_RECIPE):
        name = str(_train_first(call, _first_recipe(recipe), run_dir.with_name(f"{run_dir.name}-classifier")))
    loaded = classifiers.load(name)
    if isinstance(loaded, classifiers.ProvableClassifier):
        loaded = loaded.classifier
    flags = call.flags
    preprocessing = _preprocessing(flags)
    if not preprocessing.is_default:
        shape, expected = data.image_shape, loaded.image_shape or data.image_shape
        is_first = len(shape) == 3 and tuple(expected) != tuple(shape) and expected[0] == shape[-1]
        loaded = classifiers.preprocessed(loaded, dataclasses.replace(preprocessing, channels_first=is_first))
    checked = classifiers.check(loaded, data, inputs=flags.inputs, outputs=flags.outputs)
    return checked if checked.interface else checked.replace(interface=Interface())  # found with labels


def protected(call: commands.Call, run: "PreparedRun", classifier: "Classifier") -> "ProvableClassifier":
    """Puts the trained detector beside the classifier, in the run's directory, and says what is wrong with it."""
    from keras_acet import classifiers, detectors

    assert run.detector is not None
    made = classifiers.ProvableClassifier(
        classifier, run.detector, num_classes=run.data.num_classes, name=run.directory.path.name
    )
    made.save(run.directory.path)
    bound = run.progress.history[-1].get("p_in_bound")
    for complaint in detectors.complaints(made.detector.logits(run.data.test_images), bound):
        call.note(commands.as_flags(complaint, call.flags))
    return made


def _first_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the classifier that is trained first."""
    if recipe.classifier is not None:
        first = Recipe.from_flagfile(recipe.classifier.removeprefix(_RECIPE))
    elif f"fast/{recipe.dataset}_plain" in flag_files.names():
        first = Recipe.from_flagfile(f"fast/{recipe.dataset}_plain")
    else:
        network = {"network": recipe.network} if recipe.network else {}
        plain = Recipe.for_dataset(recipe.dataset, method="plain", **network)
        first = dataclasses.replace(plain, batch_size=min(plain.batch_size, recipe.batch_size))  # of few images
    same = ("seed", "deterministic", "image_size", "calibration_fraction")
    return dataclasses.replace(first, **{name: getattr(recipe, name) for name in same})


def _train_first(call: commands.Call, recipe: Recipe, run_dir: pathlib.Path) -> pathlib.Path:
    from keras_acet import training
    from keras_acet.training import runs

    directory = runs.RunDirectory(run_dir)
    data = recipe.load_data(data_dir=call.flags.data_dir, download=call.flags.download)
    flags = recipe.for_data(data).to_flags()
    if directory.is_finished and directory.flags() == flags:
        print(f"The classifier: {run_dir}, trained before.")
        return run_dir
    print(f"First the classifier, in {run_dir}.")
    with training.prepare(recipe, data, run_dir, overwrite=call.flags.overwrite) as run:
        run.fit(verbose=1 if sys.stdout.isatty() else 2)
        run.finish([])
    print("Now the detector.")
    return run_dir
