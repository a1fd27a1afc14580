"""The methods of training, and which settings of a recipe mean something with which others."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        penalty: The module of `keras_acet.penalties` whose `from_recipe` makes the penalty; None for no penalty. It is
            a name because the command line lists the methods without TensorFlow.
        settings: The settings of a recipe that this penalty reads, beyond those of all training.
        trains_detector: Whether it trains a detector, and no classifier.
    """

    penalty: str | None
    settings: tuple[str, ...] = ()
    trains_detector: bool = False


_NOISE = ("out", "min_sigma", "max_sigma", "sigma_per", "noise_fraction", "penalty_weight", "penalty_ramp_epochs")
_STEPS = ("num_steps", "step_schedule", "step_size", "step_size_max", "attack_momentum", "attack_start")
_ATTACK = ("epsilon", *_STEPS, "image_start_probability", "attack_precision")
_POOL = ("adversary", "pool_size", "refresh_probability")

METHODS = {
    "plain": Method(None),
    "ceda": Method("confidence", _NOISE),
    "acet": Method("confidence", (*_NOISE, *_ATTACK, *_POOL)),
    "prood": Method(
        None,
        ("out", "min_sigma", "max_sigma", "sigma_per", "penalty_weight", "epsilon", "classifier"),
        trains_detector=True,
    ),
}
# Setting -> another setting, and the values of it with which the first means something.
_NEEDS = {
    "momentum": ("optimizer", ("sgd",)),
    "drop_epochs": ("schedule", ("steps",)),
    "crop_padding": ("augmentation", ("crop", "flip_crop")),
    **dict.fromkeys(("min_sigma", "max_sigma", "sigma_per"), ("out", ("paper",))),
    **dict.fromkeys(("pool_size", "refresh_probability"), ("adversary", ("persistent",))),
}


def unused(settings: Mapping[str, Any]) -> dict[str, str]:
    """Finds the settings that mean nothing with the others.

    Args:
        settings: The settings of a recipe, or its flags. One that is None, which the data decide, rules nothing out.

    Returns:
        Name -> the setting that it has no meaning with, such as "method=plain".

    >>> unused({"method": "plain", "epsilon": 0.3, "optimizer": "adam", "momentum": 0.9})
    {'epsilon': 'method=plain', 'momentum': 'optimizer=adam'}
    """
    method = settings.get("method")
    read = METHODS[method].settings if method in METHODS else ()
    of_methods = {name for one in METHODS.values() for name in one.settings}
    found = {}
    is_file = str(settings.get("network") or "").lower().endswith(".keras")
    for name in (name for name, value in settings.items() if value is not None):
        if name == ("weight_decay" if is_file else "fresh_weights"):  # a file has its own regularizers
            found[name] = f"network={settings.get('network')}"
            continue
        other, values = _NEEDS.get(name, ("", ()))
        if method in METHODS and name in of_methods and name not in read:
            found[name] = f"method={method}"
        elif other and not _is_among(settings.get(other), values):
            found[name] = f"{other}={settings[other]}"
    return found


def _is_among(value: Any, values: tuple[str, ...]) -> bool:
    """Whether one of the values is asked for; of an out-distribution each part counts. None, which is open, may be."""
    return value is None or any(part.partition("=")[0] in values for part in str(value).split(","))


def as_line(names: Mapping[str, str]) -> str:
    """Returns the sentence on settings that mean nothing, from what `unused` found.

    >>> as_line({"epsilon": "method=plain", "num_steps": "method=plain", "momentum": "optimizer=adam"})
    'not used: `epsilon`, `num_steps` with `method=plain`; `momentum` with `optimizer=adam`'
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in names.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    return "not used: " + "; ".join(f"{', '.join(group)} with `{reason}`" for reason, group in reasons.items())
