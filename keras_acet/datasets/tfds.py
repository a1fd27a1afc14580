"""Sets of TensorFlow Datasets. TensorFlow is loaded when one is read."""

import contextlib
import dataclasses
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import numpy as np
from absl import logging

# TensorFlow Datasets retries for minutes without a network; this bounds our own look beforehand.
_PROBE_SECONDS = 6.0

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TFDS:
    """The source of a data set in TensorFlow Datasets.

    Args:
        name: Its name there, such as "mnist" or "emnist/letters".
        prepare: None, or a function from images and labels as stored to what they should be.
        class_names: Tuple of one `str` per class; None for those of TensorFlow Datasets.
    """

    name: str
    prepare: Callable[[np.ndarray, np.ndarray], Pair] | None = None
    class_names: tuple[str, ...] | None = None


_LSUN = TFDS("lsun/classroom")  # out-distribution images only: they have no labels


def read(
    name: str, source: TFDS, data_dir: str | None = None, *, download: bool = True
) -> tuple[Pair, Pair, list[str]]:
    """Returns `(training pair, test pair, class names)`; downloads a set that is not in `data_dir` if allowed.

    Images are uint8 `(n, height, width, channels)`. `name` is what error messages call the set.
    """
    builder, is_prepared = _builder(name, source, data_dir)
    if not is_prepared:
        _download(name, source, builder, download)
    train, test = _read_splits(name, source, builder, ["train", "test"])
    return train, test, list(source.class_names or builder.info.features["label"].names)


def read_test_images(name: str, source: TFDS, data_dir: str | None = None) -> np.ndarray:
    """Returns the test images as uint8 `(n, height, width, channels)`; never downloads."""
    builder = _prepared_builder(name, source, data_dir)
    ((images, _),) = _read_splits(name, source, builder, ["test"])
    return images


def read_lsun_classroom(data_dir: str | None = None) -> list[np.ndarray]:
    """Returns the validation images as a list of uint8 arrays `(height, width, 3)` of any size; never downloads."""
    name = "lsun_classroom"
    builder = _prepared_builder(name, _LSUN, data_dir)
    from tensorflow_datasets import decode

    with _readable_errors(name, _LSUN, builder):
        examples = builder.as_dataset(
            split="validation", decoders={"image": decode.SkipDecoding()}, shuffle_files=False
        )
        return [_decode(example["image"], channels=3).numpy() for example in examples]


def _prepared_builder(name, source, data_dir):
    builder, is_prepared = _builder(name, source, data_dir)
    if not is_prepared:
        raise FileNotFoundError(f"{name} is not in the data directory; tfds.load({source.name!r}) gets it")
    return builder


def _builder(name, source, data_dir):
    """TensorFlow Datasets' object for a set, and whether its files are there."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"{name} needs TensorFlow Datasets: `pip install tensorflow-datasets importlib_resources`. Cause: {error}."
        ) from error
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # it warns of a set that is not there; one line about that is enough
    try:
        builder = tensorflow_datasets.builder(source.name, data_dir=data_dir)
        return builder, builder.is_prepared()
    finally:
        logging.set_verbosity(verbosity)


def _read_splits(name, source, builder, splits):
    import tensorflow as tf
    from tensorflow_datasets import decode

    channels = builder.info.features["image"].shape[-1]

    def decode_image(encoded, label):
        return _decode(encoded, channels), label

    sets = []
    with _readable_errors(name, source, builder):
        for split in splits:
            encoded = builder.as_dataset(
                split=split, as_supervised=True, decoders={"image": decode.SkipDecoding()}, shuffle_files=False
            )
            decoded = encoded.map(decode_image, num_parallel_calls=tf.data.AUTOTUNE)
            sets.append(decoded.batch(builder.info.splits[split].num_examples).get_single_element())
    pairs = [(images.numpy(), labels.numpy()) for images, labels in sets]
    return pairs if source.prepare is None else [source.prepare(*pair) for pair in pairs]


def _decode(encoded, channels):
    import tensorflow as tf

    # JPEG files (some copies of CIFAR-10) depend on the decoder: its default is a faster approximation, off by up to
    # five levels. This one gives what Pillow gives. PNG files pass through the same operation.
    return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")


@contextlib.contextmanager
def _readable_errors(name, source, builder):
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, OSError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"{name}: the files in {builder.data_dir} cannot be read ({' '.join(str(error).split())}). "
            f"Delete that folder; to get the set again, {_how_to_get(source, builder)}"
        ) from error


def _how_to_get(source, builder):
    return (
        f"run `python -c \"import tensorflow_datasets as tfds; tfds.load('{source.name}', data_dir='data')\"` where "
        f"there is a network, and copy data/{source.name}/{builder.version} to {builder.data_dir}."
    )


def _download(name, source, builder, download):
    missing = f"{name} is not in the data directory"
    how = f"To get it, {_how_to_get(source, builder)}"
    if not download:
        raise FileNotFoundError(f"{missing}, and downloading was not allowed. {how}")
    url = min(builder.url_infos)
    obstacle = _obstacle(url, _PROBE_SECONDS)
    if obstacle:
        raise FileNotFoundError(f"{missing}, and {url} cannot be reached ({obstacle}). {how}")
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever stopped it, the set is not there
        raise FileNotFoundError(f"{missing}, and its download failed ({error!r}). {how}") from error


def _obstacle(url, seconds):
    """None if a server answers for `url`, else why not, after `seconds` at most."""
    outcome = [f"no answer within {seconds:g} seconds"]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=seconds).close()
            outcome[0] = None
        except urllib.error.HTTPError as error:
            # 405: a server that does not know HEAD. Others may come from a proxy.
            outcome[0] = None if error.code == 405 else str(error)
            error.close()
        except OSError as error:
            outcome[0] = str(error)

    # Looking up a name has no time limit of its own, so this waits for a thread, not for the call.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0]
