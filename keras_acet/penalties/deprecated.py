"""The former names of penalties, kept for one version: in code with a warning, in saved models without one."""

import warnings
from typing import Any

import keras

from keras_acet.penalties.base import check_precision, check_weight
from keras_acet.penalties.confidence import ConfidencePenalty
from keras_acet.penalties.pool import NoisePool


@keras.saving.register_keras_serializable("keras_acet")
class Adversary:
    """Deprecated: `ConfidencePenalty(noise, attack)`, which this makes."""

    def __new__(cls, noise: Any, attack: Any = None, **arguments: Any) -> Any:
        _warn("Adversary(noise, attack)", "penalties.ConfidencePenalty(noise, attack)")
        return ConfidencePenalty(noise, attack, **arguments)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConfidencePenalty:
        """Makes the penalty of a saved config, without a warning."""
        config = {name: value for name, value in config.items() if name != "name"}  # it is the name of the old class
        return ConfidencePenalty.from_config(config)

    def get_config(self) -> dict[str, Any]:  # Keras asks for it; there are no objects of this class
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_acet")
class PersistentAdversary(Adversary):
    """Deprecated: `ConfidencePenalty(noise, attack, pool=NoisePool())`, which this makes."""

    def __new__(
        cls, noise: Any, attack: Any, *, pool_size: int = 2048, refresh_probability: float = 0.12, **arguments: Any
    ) -> Any:
        _warn(
            "PersistentAdversary(noise, attack)",
            "penalties.ConfidencePenalty(noise, attack, pool=penalties.NoisePool(size=2048))",
        )
        return ConfidencePenalty(noise, attack, pool=NoisePool(pool_size, refresh_probability), **arguments)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConfidencePenalty:
        config = dict(config)
        pool = NoisePool(config.pop("pool_size"), config.pop("refresh_probability"))
        return super().from_config({**config, "pool": keras.saving.serialize_keras_object(pool)})


def penalty_of_old_arguments(penalty: Any, old: dict[str, Any]) -> Any:
    """Makes the penalty of `ACETModel(network, adversary, penalty_weight=..., attack_precision=...)`."""
    unknown = sorted(set(old) - {"adversary", "penalty_weight", "attack_precision"})
    if unknown:
        raise TypeError(f"ACETModel takes network, penalty, name and dtype. Received: {', '.join(unknown)}.")
    if old:
        _warn(
            f"ACETModel(network, {', '.join(f'{name}=...' for name in old)})",
            "ACETModel(network, penalties.ConfidencePenalty(noise, attack, weight=..., attack_precision=...))",
            stacklevel=4,  # what calls the model's __init__
        )
    penalty = old.get("adversary", penalty)
    weight, precision = old.get("penalty_weight", 1.0), old.get("attack_precision", "float32")
    check_weight(weight)
    check_precision(precision)
    if isinstance(penalty, ConfidencePenalty) and "penalty_weight" in old:
        penalty.weight = weight
    if isinstance(penalty, ConfidencePenalty) and "attack_precision" in old:
        penalty.attack_precision = precision
    return penalty


def config_with_penalty(config: dict[str, Any]) -> dict[str, Any]:
    """Makes the config of an ACETModel of one that was saved with an adversary."""
    config = dict(config)
    penalty, weight, precision = (config.pop(name) for name in ("adversary", "penalty_weight", "attack_precision"))
    if penalty is not None:
        penalty = {**penalty, "config": {**penalty["config"], "weight": weight, "attack_precision": precision}}
    return {**config, "penalty": penalty}


def _warn(old: str, new: str, stacklevel: int = 3) -> None:
    message = f"{old} is deprecated and goes with the next version; write {new}."
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
