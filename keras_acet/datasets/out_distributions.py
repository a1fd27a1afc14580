"""Out-distributions by name, for training: kinds of noise, sets of images, and mixtures of them.

What `ood_sets` gives is measured; what this module gives is trained on, so it takes training images. Loads no
TensorFlow before a noise object is made.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import keras_acet.noise as noise  # `from keras_acet import noise` would load Keras
from keras_acet._checks import did_you_mean
from keras_acet.datasets import registry, sources
from keras_acet.datasets.checks import check_images
from keras_acet.datasets.fitting import check_shape, fitted
from keras_acet.datasets.specs import DatasetSpec, OODSpec
from keras_acet.files import sha256

if TYPE_CHECKING:
    from keras_acet.datasets.data import Data

_WEIGHT = re.compile(r"(?P<name>.+)=(?P<weight>[-+.\deE]+)", re.DOTALL)


class Part(NamedTuple):
    """A part of an out-distribution.

    Attributes:
        name: Of a kind of noise or of a set of images; one of files has an absolute path.
        weight: Positive; only the ratios of the weights matter.
    """

    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        return self.name if self.weight == 1 and not _WEIGHT.fullmatch(self.name) else f"{self.name}={self.weight:.15g}"


@dataclasses.dataclass(frozen=True)
class OutDistribution:
    """An out-distribution that is ready to be trained on.

    Attributes:
        noise: A `noise.Noise`: a kind, an `ImageSet` or a `Mixture`.
        notes: One line for each set of images: how many they are, and what was done to make them fit.
        fingerprint: First 16 hex digits of the SHA-256 of all images of sets; None without sets.
    """

    noise: "noise.Noise"
    notes: tuple[str, ...] = ()
    fingerprint: str | None = None


def out_names() -> list[str]:
    """Returns the sorted list of what an out-distribution may be made of; the capital `PATH` stands for a path.

    >>> out_names()[-3:]
    ['stripes', 'svhn', 'uniform']
    """
    return sorted({*noise.names(), *registry.labelled(), *registry.own(), *sources.names()})


def parse_out(text: str) -> tuple[Part, ...]:
    """Reads an out-distribution as it stands in a recipe.

    Args:
        text: Names of `out_names()` with commas between them, such as "paper" or "outliers,cifar10,npz:mine.npz". Each
            makes as many images as the others, or as many as its weight says: "outliers=2,cifar10=1". Of a path that
            ends with "=" and a number the last "=" begins the weight.

    Returns:
        A `Part` for each name.

    Raises:
        ValueError: If a name is none of them or there twice, a path holds a comma, or a weight is no positive number.

    >>> [tuple(part) for part in parse_out("outliers=2,cifar10")]
    [('outliers', 2.0), ('cifar10', 1.0)]
    """
    parts = [_part(one.lstrip()) for one in text.split(",")]
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Each part of an out-distribution can be named once only. Received: {name!r} twice.")
    return tuple(parts)


def write_out(parts: tuple[Part, ...]) -> str:
    """Returns the text of an out-distribution, which `parse_out` reads."""
    return ",".join(map(str, parts))


def out_sources(text: str) -> tuple[str, ...]:
    """Returns the names of what the images of an out-distribution come from, each once: `Noise.sources`.

    Of a mixture these are its parts, of files of your own the name of their set.

    Args:
        text: As for `parse_out`.

    >>> out_sources("paper,cifar10")
    ('paper', 'cifar10')
    """
    found: dict[str, None] = {}
    for name, _ in parse_out(text):
        found |= dict.fromkeys(noise.build(name).sources if _is_kind(name) else [_label(name)])
    return tuple(found)


def is_among(name: str, known: Sequence[str]) -> bool:
    """Whether a set of images is one of the known ones, or is made from one of them, as `cifar10_gray` from CIFAR-10.

    >>> is_among("cifar10_gray", ["paper", "cifar10"])
    True
    """
    entry = registry.registered().get(name)
    return name in known or (isinstance(entry, OODSpec) and entry.made_of in known)


def checked_out(out: str, dataset: str) -> str:
    """Returns the text of an out-distribution for a data set, as a run keeps it: with absolute paths.

    Raises:
        ValueError: As `parse_out`, or if a part is the data set itself; the message names the argument `out`.
    """
    try:
        parts = parse_out(out)
    except ValueError as error:
        raise ValueError(f"`out={out}`: {error}") from None
    if dataset in [part.name for part in parts]:
        raise ValueError(f"`out` must name another set than `dataset`. Received: {dataset} for both.")
    return write_out(parts)


def out_distribution(
    text: str,
    data: "Data",
    *,
    seed: int | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    data_dir: str | None = None,
    download: bool = False,
) -> OutDistribution:
    """Makes an out-distribution to train on.

    * Kinds of noise, `letters` and `outliers`: `noise.build`. Letters that look like a class of the data are left out.
    * A data set by name: its training images. `folder:PATH`: all of its images, of a folder of just `train` and `test`
      those of `train`; `npz:PATH`: key `images`, else `x_train`, else `x_test`. Images of another size or number of
      channels are made to fit by the rule of `fit_images`. Those of sets with natural photographs, which are mirrored
      when they are trained on, are mirrored here too.
    * Several with commas: `noise.Mixture`.

    Args:
        text: As for `parse_out`.
        data: The data that the images have to be like in size and channels.
        seed: Seed of all draws.
        settings: Settings of a run; each kind of noise takes those that are arguments of its class.
        data_dir: Where TensorFlow Datasets keeps its sets. Default: as for `load`.
        download: Whether a set that is not there may be downloaded.

    Raises:
        ValueError: As `parse_out`; if a part cannot be made for these data, or is the data themselves.
        FileNotFoundError, ImportError: If a set cannot be read.
    """
    parts = parse_out(text)
    seeds: Sequence[int | None] = [seed] * len(parts)
    if len(parts) > 1 and seed is not None:
        seed, *seeds = [int(one) for one in np.random.SeedSequence(seed).generate_state(len(parts) + 1) >> 1]
    made, notes, images_of_sets = [], [], []
    for part, own_seed in zip(parts, seeds, strict=True):
        if _is_kind(part.name):
            made.append(_of_kind(part.name, data, own_seed, settings))
            continue
        label = _label(part.name)
        images, is_mirrored, note = _read(part.name, data, data_dir, download)
        made.append(noise.ImageSet(images, source=label, flip=is_mirrored, seed=own_seed))
        notes.append(f"out-distribution {label}: {note}{', mirrored at random' if is_mirrored else ''}")
        images_of_sets.append(images)
    whole = made[0] if len(made) == 1 else noise.Mixture(made, weights=[part.weight for part in parts], seed=seed)
    return OutDistribution(whole, tuple(notes), sha256(*images_of_sets)[:16] if images_of_sets else None)


def _part(text: str) -> Part:
    weighted = _WEIGHT.fullmatch(text)
    name, weight = (text, 1.0) if weighted is None else (weighted["name"], _weight(text, weighted["weight"]))
    source = sources.parse(name)
    if source is not None:
        if "," in source.absolute:
            raise ValueError(f"A path in an out-distribution must hold no comma. Received: {source.absolute!r}.")
        return Part(source.absolute, weight)
    name = name.strip()
    if name in noise.names() or name in registry.labelled() or name in registry.own():
        return Part(name, weight)
    if name in registry.registered():
        raise ValueError(
            f"The images of {name} are there to test with alone. To train on, name a set that has training images: "
            f"{', '.join(registry.labelled())}."
        )
    raise ValueError(
        f"An out-distribution must be made of {', '.join(out_names())}, with commas between several and weights as in "
        f"'outliers=2,cifar10=1'. Received: {name!r}.{did_you_mean(name, out_names())}"
    )


def _weight(text: str, weight: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"The weight of a part of an out-distribution must be a positive number. Received: {text!r}.")
    return value


def _is_kind(name: str) -> bool:
    return name in noise.names() and name not in registry.registered()  # a set of the user's own goes first


def _label(name: str) -> str:
    """The name of a set without the path of its files."""
    source = sources.parse(name)
    return name if source is None else registry.of_source(source).name


def _of_kind(name: str, data: "Data", seed: int | None, settings: Mapping[str, Any]) -> "noise.Noise":
    if len(data.image_shape) != 3 and not noise.kind(name).takes_vectors:
        raise ValueError(f"`out={name}` needs images; vectors such as those of {data.name} take `out=uniform`")
    if name == "letters":
        settings = {**settings, "without": noise.letters_like(data.class_names)}
    return noise.build(name, seed=seed, settings=settings)


def _read(name: str, data: "Data", data_dir: str | None, download: bool) -> tuple[np.ndarray, bool, str]:
    """The training images of a set, made to fit; whether they may be mirrored; what was done, for a note."""
    shape, label, source = data.image_shape, _label(name), sources.parse(name)
    if name == data.name:
        raise ValueError(f"The out-distribution must be another set than the data. Received: {name!r} for both.")
    if source is not None:
        size = shape[:2] if source.takes_image_size and len(shape) == 3 else None
        images: Any = source.read_unlabelled(
            size, to_train=True, check=lambda given: check_shape(label, (*given[:2], *shape[2:]), shape, True)
        )
        is_mirrored = False
    else:
        entry = registry.registered()[name]
        if isinstance(entry, DatasetSpec):
            images = entry.read(data_dir, download=download).train[0]
            is_mirrored = entry.augmentation == "flip_crop"
        else:
            images, is_mirrored = entry.read(shape, data_dir), False
    images = check_images(f"{label}: images", images)
    fit = images if images.shape[1:] == shape else fitted(label, images, shape, True)
    if images.dtype == np.uint8 != fit.dtype:  # a quarter of the memory
        fit = np.rint(fit * 255).astype(np.uint8)
    return fit, is_mirrored, f"{len(fit)} images{_what_was_done(images.shape[1:], shape)}"


def _what_was_done(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Says how images of one shape became those of another."""
    if given == shape:
        return ""
    steps = ["resized"] if given[:2] != shape[:2] else []
    if given[2] != shape[2]:
        steps.append("the mean of the channels" if shape[2] == 1 else "the channel repeated")
    return f", made {'x'.join(map(str, shape))} from {'x'.join(map(str, given))} ({', '.join(steps)})"
