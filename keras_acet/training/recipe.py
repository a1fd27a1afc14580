"""All settings of a run, as one object. Imports no TensorFlow, so that the command line answers fast."""

import dataclasses
import pathlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from keras_acet.datasets import registry, sources
from keras_acet.datasets.out_distributions import checked_out
from keras_acet.noise import names as kinds_of_noise
from keras_acet.training import defaults, flag_files, methods
from keras_acet.training.methods import METHODS
from keras_acet.training.settings import PIXELS, Setting, choice, number, setting, whole, write

if TYPE_CHECKING:
    from keras_acet.datasets import Data

# Settings of where a run reads and writes, not of what it computes.
_NOT_SETTINGS = {
    "run_dir": "give it to `train`",
    "overwrite": "give it to `train`",
    "data_dir": "give it to `load_data`",
    "download": "give it to `load_data`",
}
_BY = " (default: by data set)"
_KINDS = [kind for kind in kinds_of_noise() if kind not in ("letters", "outliers", "paper")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run: the same recipe and the same data give the same network.

    | made by | from |
    | --- | --- |
    | `Recipe.for_dataset("mnist", method="acet", epochs=3)` | the defaults of a data set, and changes |
    | `Recipe.from_flagfile("fast/mnist_acet")` | a recipe of the package, or a flag file such as a run's |
    | `Recipe(dataset=..., ...)` | every number, given |

    Args:
        {settings}

    Raises:
        TypeError: If a setting is of another type, or missing.
        ValueError: If a number is out of its range, a name not one of its choices, or two settings do not fit.

    Example:

    >>> recipe = Recipe.for_dataset("digits", method="acet", epochs=2)
    >>> recipe.epochs, recipe.epsilon, recipe.to_flags()["step_size_max"]
    (2, 0.33, '0.2')
    """

    # Data.
    dataset: str = setting(
        str,
        "What to train on: digits or moons (nothing to download); mnist, fashion_mnist, kmnist, emnist_letters, svhn, "
        "cifar10 or cifar100 (TensorFlow Datasets); folder:PATH (images in one sub-folder per class); npz:PATH. A run "
        "keeps the absolute path.",
        "digits",
    )
    method: str = choice("How to train.", tuple(METHODS), "acet")
    image_size: int | None = setting(
        int, "Height and width that images are scaled to (default: as they are).", None, interval="[1, inf)"
    )
    calibration_fraction: float = number(
        "Share of the training images that is kept out of training, for temperature and thresholds of an export. The "
        "paper, and so recipes/paper: 0 (default: 0.04; digits, folder:PATH and npz:PATH 0.1, moons 0).",
        "[0, 1)",
    )
    seed: int = whole("Seed of weights, order, noise and attacks.", 0, 0, below=2**31)
    deterministic: bool = setting(
        bool,
        "Same seed, same numbers bit for bit, and a killed run ends as an undisturbed one; without it a GPU may be "
        "faster.",
        True,
    )

    # Network and optimisation.
    classifier: str | None = setting(
        str,
        "What prood protects: a trained classifier of any kind, a run directory, .keras file, SavedModel or .onnx "
        "file; or recipe:NAME, the recipe of one to be trained first (default: a plain one, recipe:fast/DATASET_plain "
        "where there is such a recipe).",
        None,
    )
    network: str | None = setting(
        str,
        "lenet, resnet20, mlp, rbf, a model of keras.applications such as MobileNetV2, or FILE.keras: a model of your "
        f"own, which is trained on from its weights{_BY}.",
        None,
    )
    fresh_weights: bool | None = setting(
        bool, "With `network=FILE.keras`: begin with new weights instead of those of the file.", None
    )
    epochs: int = whole(f"Number of epochs; the paper: 100{_BY}.", 1)
    steps_per_epoch: int = whole(
        "Length of an epoch in steps, 0 for once through the training set; fewer try a recipe out (default: 0, moons "
        "100).",
        0,
        0,
    )
    batch_size: int = whole(f"Clean images per step; the paper: 128{_BY}.", 1)
    optimizer: str = choice(f"The optimizer{_BY}.", ("adam", "sgd"))
    learning_rate: float = number(f"The learning rate before any schedule{_BY}.", "(0, inf)")
    momentum: float = number("Momentum of sgd, in [0, 1).", "[0, 1)", 0.9)
    schedule: str = choice(
        f"How the learning rate goes on: cosine falls to 0 at the end, steps divides by 10 at `drop_epochs`{_BY}.",
        ("constant", "cosine", "steps"),
    )
    drop_epochs: tuple[int, ...] = setting(
        tuple, "Number of completed epochs at each division by 10, with `schedule=steps`.", (50, 75, 90)
    )
    warmup_epochs: float = number(
        "Epochs in which the learning rate rises from 0, fractions allowed; the paper: 0.", "[0, inf)", 0.0
    )
    weight_decay: float = number(
        f"Factor of the sum of squared weights in the loss, without 1/2; the paper: 0.0005{_BY}.", "[0, inf)"
    )
    augmentation: str | None = setting(str, f"none, crop or flip_crop{_BY}.", None)
    crop_padding: int = whole("Zero pixels added on each side before a crop; the paper: 4.", 0, 4)
    ema_momentum: float = number(
        "Momentum of the average of the weights that training ends with, in [0, 1); 0, as in the paper: no average.",
        "[0, 1)",
        0.0,
    )

    # Noise.
    out: str | None = setting(
        str,
        "The out-distribution. paper: half permuted images, half uniform, blurred and rescaled. outliers: a mixture of "
        f"seven kinds of images without content. The kinds: {', '.join(_KINDS)}. letters: in the faces of matplotlib. "
        "Or images of a set that is none of the classes: a name as for `dataset`, folder:PATH, npz:PATH. Several with "
        "commas between them, and weights as in outliers=2,cifar10=1 (default: paper; uniform for vectors).",
        None,
    )
    min_sigma: float = number(
        "Smallest standard deviation of the blur, in pixels, 0 for none.",
        "[0, inf)",
        1.0,
        ", in pixels; the paper: 1.0",
    )
    max_sigma: float = number(
        "Largest standard deviation of the blur, in pixels.", "(0, inf)", 2.5, ", in pixels; the paper: 2.5"
    )
    sigma_per: str = choice("One sigma for each; the paper: batch.", ("batch", "image"), "batch")
    noise_fraction: float = number("Noise images per clean image, in (0, 1]; the paper: 1.", "(0, 1]", 1.0)
    penalty_weight: float = number("lambda in the paper, 1 there: weight of the penalty.", "[0, inf)", 1.0)
    penalty_ramp_epochs: float = number(
        "Epochs in which `penalty_weight` rises from 0, fractions allowed; the paper: 0.", "[0, inf)", 0.0
    )

    # Attack.
    epsilon: float = number(
        f"Radius of the attack in pixel units, in (0, 1]; the paper: 0.3{_BY}.", "(0, 1]", hint=PIXELS
    )
    num_steps: int = whole(f"Attack steps per training step; the paper: 40{_BY}.", 1)
    step_schedule: str = choice(
        "Whether all steps of an attack are `step_size`; fall linearly to 0 from there; or from a first step that is "
        "drawn for each batch, log-uniformly between `step_size` and `step_size_max` (default: constant; digits: "
        "loguniform).",
        ("constant", "linear", "loguniform"),
        "constant",
    )
    step_size: float | None = number(
        "Size of an attack step in pixel units (default: by data set, else epsilon / num_steps, as in the paper).",
        "(0, 1]",
        None,
        PIXELS,
    )
    step_size_max: float | None = number(
        "Largest first step, with `step_schedule=loguniform` (digits: 0.2).", "(0, 1]", None, PIXELS
    )
    attack_momentum: float = number(f"Momentum of the attack, in [0, 1); the paper: 0{_BY}.", "[0, 1)", 0.0)
    attack_start: str = choice(
        "Start at the noise image, or at a random point of the ball.", ("input", "random"), "random"
    )
    image_start_probability: float = number(
        f"Chance that an attack starts from a training image, projected into the ball, in [0, 1]; the paper: 0{_BY}.",
        "[0, 1]",
        0.0,
    )
    attack_precision: str = choice(
        "What the network computes in during the attack alone.", ("bfloat16", "float32"), "float32"
    )
    adversary: str = choice(
        "fresh noise for every batch, as published; or a pool of noise images whose attacks go on from batch to batch "
        "(default: fresh; digits: persistent).",
        ("fresh", "persistent"),
        "fresh",
    )
    pool_size: int = whole("Noise images in the pool of the persistent adversary.", 1, 2048)
    refresh_probability: float = number("Chance that a drawn image of the pool is replaced, in (0, 1].", "(0, 1]", 0.12)

    # The table at the end.
    num_noise: int = whole("Noise images in the final table.", 1, 512)
    eval_epsilon: float = number(
        "Radius of the final table's attacks, in (0, 1] (default: 0.3, moons 0.025).", "(0, 1]", 0.3, PIXELS
    )

    def __post_init__(self) -> None:
        for name, one in self.settings().items():
            object.__setattr__(self, name, one.check(name, getattr(self, name)))
        if not self.dataset:
            raise ValueError(f"`dataset` must be a name, {' or '.join(sources.names())}. Received: dataset=''.")
        own_files = sources.parse(self.dataset)
        if own_files is not None:  # the same files wherever the run is evaluated from
            object.__setattr__(self, "dataset", own_files.absolute)
        if self.out is not None:
            object.__setattr__(self, "out", checked_out(self.out, self.dataset))
        if self.has_own_network:
            object.__setattr__(self, "network", str(pathlib.Path(str(self.network)).expanduser().absolute()))
        if self.min_sigma > self.max_sigma:
            raise ValueError(
                f"`max_sigma` must be at least `min_sigma`. Received: {self.max_sigma:g} and {self.min_sigma:g}."
            )
        if self.step_size is None and self.step_schedule != "loguniform":
            object.__setattr__(self, "step_size", self.epsilon / self.num_steps)
        _check_step_sizes(self)
        noise_per_step = self.noise_fraction * self.batch_size
        if self.method == "acet" and self.adversary == "persistent" and self.pool_size < noise_per_step:
            raise ValueError(
                f"`pool_size={self.pool_size}` must be at least the {noise_per_step:.0f} noise images of a step"
            )

    @classmethod
    def for_dataset(cls, name: "str | Data", *, method: str = "acet", **changes: Any) -> Self:
        """Returns the defaults of a data set with changes.

        The numbers are those of the paper, `recipes/paper/NAME_acet.flags`; our own for sets that it has not,
        `recipes/own/NAME_acet.flags`; and the paper's for MNIST, with the set's own network and augmentation, where
        there is no such file. One thing differs from the paper: 4 % of the training images are kept back, because an
        export calibrates with them; `calibration_fraction=0` trains on all. For data of your own these are a tenth,
        with 30 epochs and a learning rate that falls to 0 as a cosine, however many epochs there are.

        Args:
            name: Name of the data set, or `folder:PATH` or `npz:PATH`; or a `Data` of your own, which decides batches
                and seed itself.
            method: "plain", "ceda", "acet" or "prood". The numbers of prood are those of
                `recipes/fast/NAME_prood.flags`, without such a file those of CIFAR-10.
            **changes: Settings that differ.

        Raises:
            TypeError: If a change is no setting, or of another type.
            ValueError: As `Recipe`; or if there is no data set of that name.

        Warns:
            UserWarning: If a change means nothing with the other settings, such as a radius with `method="plain"`.

        >>> Recipe.for_dataset("cifar10", method="plain", epochs=3).learning_rate
        0.1
        """
        recipe, changed = cls._for_dataset(name, method, flag_files.renamed(changes))
        asked = [name for name in changed if getattr(recipe, name)]  # 0 asks for nothing
        dropped = {name: reason for name, reason in recipe.unused().items() if name in asked}
        if dropped:
            warnings.warn(f"{methods.as_line(dropped)}.", stacklevel=2)
        return recipe

    @classmethod
    def _for_dataset(cls, name: "str | Data", method: str, changes: Mapping[str, Any]) -> tuple[Self, list[str]]:
        """The recipe, and the names of the changes that differ from the defaults."""
        if isinstance(name, str):
            defaults.check_known(name)
        else:
            name = name.name
        of_detector = method in METHODS and METHODS[method].trains_detector
        flags = defaults.flags_of(name, changes.get("network"), of_detector)
        given = cls._read({**flags, "dataset": name, "method": method})
        schedule = given.get("step_schedule", cls.step_schedule)
        if changes.get("step_schedule", schedule) != schedule:
            # the set's steps are for its own schedule
            given = {key: value for key, value in given.items() if key not in ("step_size", "step_size_max")}
        default = {name: getattr(cls, name, None) for name in changes} | given
        recipe = cls(**{**given, **changes})
        return recipe, [name for name in changes if getattr(recipe, name) != default[name]]

    @classmethod
    def from_flags(cls, flags: Mapping[str, str]) -> Self:
        """Returns the recipe of flags as they stand in a flag file; those not given are the data set's defaults.

        Args:
            flags: Name -> text.

        Raises:
            ValueError: If a flag is no setting, or its text stands for no value; and as `Recipe`.
        """
        values = cls._read(flag_files.renamed(flags))
        needed = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        if needed <= set(values):  # nothing is left to the data set, which may be arrays under a name of their own
            return cls(**values)
        return cls._for_dataset(values.pop("dataset", cls.dataset), values.pop("method", cls.method), values)[0]

    @classmethod
    def from_flagfile(cls, path: str | pathlib.Path) -> Self:
        """Returns the recipe of a flag file.

        Args:
            path: Name of a recipe of the package, such as "fast/mnist_acet"; or the path of a flag file, such as the
                `flags.flags` of a run.

        Raises:
            ValueError: If there is no such recipe, the message lists the names; or a flag is no setting of a run.

        >>> Recipe.from_flagfile("paper/mnist_acet").num_steps
        40
        """
        return cls.from_flags(flag_files.read_named(str(path)))

    def to_flags(self) -> dict[str, str]:
        """Returns the settings as they stand in a flag file, name -> text, without those that are None."""
        values = {name: getattr(self, name) for name in self.settings()}
        return {name: write(value) for name, value in values.items() if value is not None}

    def unused(self) -> dict[str, str]:
        """Returns the settings that mean nothing with the others: name -> the setting at fault, "method=plain"."""
        return methods.unused({name: getattr(self, name) for name in self.settings()})

    def load_data(self, *, data_dir: str | None = None, download: bool = True) -> "Data":
        """Loads the data as the recipe says: batches, order, augmentation, images kept back.

        Args:
            data_dir: Where TensorFlow Datasets keeps its sets. Default: the environment variable `TFDS_DATA_DIR`, else
                `~/tensorflow_datasets`.
            download: Whether a set that is not there may be downloaded.

        Raises:
            FileNotFoundError, ImportError, ValueError: As `datasets.load`.
        """
        from keras_acet import datasets

        return datasets.load(
            self.dataset,
            data_dir=data_dir,
            batch_size=self.batch_size,
            augmentation=self.augmentation or datasets.spec(self.dataset).augmentation,
            crop_padding=self.crop_padding,
            seed=self.seeds()["data"],
            image_size=self.image_size,
            download=download,
            calibration_fraction=self.calibration_fraction,
        )

    @property
    def has_own_network(self) -> bool:
        """Whether the network is a file of the user's own."""
        return str(self.network or "").lower().endswith(".keras")

    @property
    def data_name(self) -> str:
        """The name of the data, `Data.name`: of files of your own the last part of the path."""
        own_files = sources.parse(self.dataset)
        return self.dataset if own_files is None else registry.of_source(own_files).name

    @property
    def noise(self) -> str | None:
        """The former name of `out`."""
        return self.out

    def for_data(self, data: "Data") -> Self:
        """Returns the recipe with the settings filled in that depend on the data: network, augmentation, out.

        Args:
            data: What `load_data` returned, or a `Data` of your own.
        """
        from keras_acet import datasets

        try:
            entry = datasets.spec(self.dataset)
        except ValueError:  # arrays of one's own, under a name of one's own
            entry = datasets.DatasetSpec(data.name, lambda: (), data.image_shape)
        return dataclasses.replace(
            self,
            network=self.network or datasets.default_network(entry, data.image_shape),
            augmentation=self.augmentation or entry.augmentation,
            out=self.out or ("paper" if len(data.image_shape) == 3 else "uniform"),
        )

    def seeds(self) -> dict[str, int]:
        """Returns one independent seed per use, so that no two random streams are the same."""
        import numpy as np

        uses = ("weights", "data", "noise", "attack", "pool", "evaluation")
        drawn = (np.random.SeedSequence(self.seed).generate_state(len(uses)) >> 1).tolist()
        return dict(zip(uses, drawn, strict=True))

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Returns the declarations of all settings, by name."""
        return {field.name: field.metadata["setting"] for field in dataclasses.fields(cls)}

    @classmethod
    def _read(cls, flags: Mapping[str, str]) -> dict[str, Any]:
        settings = cls.settings()
        for name in flags:
            if name not in settings:
                more = _NOT_SETTINGS.get(name, f"a recipe has {', '.join(settings)}")
                raise ValueError(f"`{name}` is no setting of a recipe; {more}.")
        return {name: settings[name].read(name, text) for name, text in flags.items()}


def _check_step_sizes(recipe: Recipe) -> None:
    low, high = recipe.step_size, recipe.step_size_max
    if recipe.step_schedule != "loguniform":
        if high is not None:
            raise ValueError(
                f"`step_size_max={high:g}` is for `step_schedule=loguniform`; the schedule is {recipe.step_schedule}"
            )
    elif low is None or high is None or low > high:
        raise ValueError(
            "`step_schedule=loguniform` needs a `step_size` and a `step_size_max` that is not smaller; "
            f"they are {low} and {high}"
        )


def _described() -> str:
    lines = []
    for name, one in Recipe.settings().items():
        choices = f" One of {', '.join(one.choices)}." if one.choices else ""
        lines.append(f"{name}: {one.help}{choices}")
    return "\n        ".join(lines)


Recipe.__doc__ = str(Recipe.__doc__).replace("{settings}", _described())
