"""Sets of TensorFlow Datasets."""

import contextlib
import string
import threading
import urllib.error
import urllib.request

import tensorflow as tf
from absl import logging

# Our names -> the names in TensorFlow Datasets.
TFDS_NAMES = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "emnist_letters": "emnist/letters",
    "fashion_mnist": "fashion_mnist",
    "kmnist": "kmnist",
    "mnist": "mnist",
    "svhn": "svhn_cropped",
}
_LSUN = "lsun_classroom"  # out-of-distribution images only: they have no labels
# TensorFlow Datasets retries for minutes without a network; this bounds our own look beforehand.
_PROBE_SECONDS = 6.0


def read(name, data_dir=None, *, download=True):
    """Returns `(training pair, test pair, class names)`; downloads a set that is not in `data_dir` if allowed.

    Images are uint8 `(n, height, width, channels)`. EMNIST letters are turned upright and labelled from 0.
    """
    builder, is_prepared = _builder(name, data_dir)
    if not is_prepared:
        _download(name, builder, download)
    train, test = _read_splits(name, builder, ["train", "test"])
    if name == "emnist_letters":
        return train, test, list(string.ascii_uppercase)
    return train, test, list(builder.info.features["label"].names)


def read_test_images(name, data_dir=None):
    """Returns the test images as uint8 `(n, height, width, channels)`; never downloads."""
    builder, is_prepared = _builder(name, data_dir)
    if not is_prepared:
        raise FileNotFoundError(f"{name} is not in the data directory; tfds.load({_tfds_name(name)!r}) gets it")
    ((images, _),) = _read_splits(name, builder, ["test"])
    return images


def read_lsun_classroom(data_dir=None):
    """Returns the validation images as a list of uint8 arrays `(height, width, 3)` of any size; never downloads."""
    builder, is_prepared = _builder(_LSUN, data_dir)
    if not is_prepared:
        raise FileNotFoundError(f"{_LSUN} is not in the data directory; tfds.load({_tfds_name(_LSUN)!r}) gets it")
    from tensorflow_datasets import decode

    with _readable_errors(_LSUN, builder):
        examples = builder.as_dataset(
            split="validation", decoders={"image": decode.SkipDecoding()}, shuffle_files=False
        )
        return [_decode(example["image"], channels=3).numpy() for example in examples]


def _tfds_name(name):
    return "lsun/classroom" if name == _LSUN else TFDS_NAMES[name]


def _builder(name, data_dir):
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
        builder = tensorflow_datasets.builder(_tfds_name(name), data_dir=data_dir)
        return builder, builder.is_prepared()
    finally:
        logging.set_verbosity(verbosity)


def _read_splits(name, builder, splits):
    from tensorflow_datasets import decode

    channels = builder.info.features["image"].shape[-1]

    def decode_image(encoded, label):
        return _decode(encoded, channels), label

    sets = []
    with _readable_errors(name, builder):
        for split in splits:
            encoded = builder.as_dataset(
                split=split, as_supervised=True, decoders={"image": decode.SkipDecoding()}, shuffle_files=False
            )
            decoded = encoded.map(decode_image, num_parallel_calls=tf.data.AUTOTUNE)
            sets.append(decoded.batch(builder.info.splits[split].num_examples).get_single_element())
    sets = [(images.numpy(), labels.numpy()) for images, labels in sets]
    if name == "emnist_letters":  # stored transposed, and labelled from 1
        sets = [(images.transpose(0, 2, 1, 3), labels - 1) for images, labels in sets]
    return sets


def _decode(encoded, channels):
    # JPEG files (some copies of CIFAR-10) depend on the decoder: its default is a faster approximation, off by up to
    # five levels. This one gives what Pillow gives. PNG files pass through the same operation.
    return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")


@contextlib.contextmanager
def _readable_errors(name, builder):
    try:
        yield
    except (tf.errors.OpError, OSError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"{name}: the files in {builder.data_dir} cannot be read ({' '.join(str(error).split())}). "
            f"Delete that folder; to get the set again, {_how_to_get(name, builder)}"
        ) from error


def _how_to_get(name, builder):
    tfds_name = _tfds_name(name)
    return (
        f"run `python -c \"import tensorflow_datasets as tfds; tfds.load('{tfds_name}', data_dir='data')\"` where "
        f"there is a network, and copy data/{tfds_name}/{builder.version} to {builder.data_dir}."
    )


def _download(name, builder, download):
    missing = f"{name} is not in the data directory"
    how = f"To get it, {_how_to_get(name, builder)}"
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
