"""The flags that a recipe begins with, by data set. Imports no TensorFlow."""

from keras_acet.datasets import registry, sources
from keras_acet.training import flag_files

# Of the images of a set with a recipe of the paper, which keeps none: what an export calibrates with.
_KEPT_BACK = "0.04"
# Of data of one's own: few images, and a number of epochs that one changes, which drops at fixed epochs do not follow.
_OF_OWN_DATA = {"calibration_fraction": "0.1", "epochs": "30", "schedule": "cosine"}
# The widths of an RBF network grow too slowly for what suits a ReLU network on the same set.
_BY_NETWORK = {"rbf": {"optimizer": "adam", "learning_rate": "0.01"}}
# Sets whose detectors are trained as those of another set; all others as those of CIFAR-10, with a small radius.
_DETECTOR_LIKE = {"kmnist": "mnist", "emnist_letters": "mnist"}


def check_known(name: str) -> None:
    """Raises ValueError unless there is a data set of that name, or it names files."""
    if sources.parse(name) is None and name not in registry.labelled():
        known = sorted([*registry.labelled(), *sources.names()])
        raise ValueError(
            f"`dataset` must be one of {', '.join(known)}. Received: dataset={name!r}."
            f"{registry.how_to_add(name, known)}"
        )


def flags_of(name: str, network: str | None, of_detector: bool = False) -> dict[str, str]:
    """Flags of a data set's defaults; what is not there its entry decides."""
    known = flag_files.names()
    if of_detector:
        like = _DETECTOR_LIKE.get(name, name)
        like = like if f"fast/{like}_prood" in known else "cifar10"
        flags = flag_files.read_named(f"fast/{like}_prood")
        if like != name:
            of_the_set = ("classifier", "augmentation", "out", "calibration_fraction")
            flags = {key: text for key, text in flags.items() if key not in of_the_set}
        return {**flags_of(name, None), **flags}
    own = [f"{folder}/{name}_acet" for folder in ("own", "paper") if f"{folder}/{name}_acet" in known]
    flags = flag_files.read_named(own[0] if own else "paper/mnist_acet")
    if not own:
        del flags["network"], flags["augmentation"], flags["out"]
    if not (own and own[0].startswith("own/")):
        flags |= {"calibration_fraction": _KEPT_BACK} if name in registry.labelled() else _OF_OWN_DATA
    return {**flags, **_BY_NETWORK.get(str(network or "").lower(), {})}
