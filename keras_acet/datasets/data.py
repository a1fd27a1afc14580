"""`Data`: a training and a test set with their pipelines, and `OODSets`, the sets beside them."""

import copy
import functools
import hashlib
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_acet._checks import UnknownNameError
from keras_acet.datasets.checks import check_images, check_labels
from keras_acet.datasets.embedded import photo_patches
from keras_acet.files import sha256

Pair = tuple[np.ndarray, np.ndarray]


class OODSets(Mapping[str, np.ndarray | str]):
    """Out-distribution sets by name, each read when first asked for.

    A value is a float32 array `(n, *image_shape)` in [0, 1], or a `str` of less than 90 characters that says why the
    set is not available, so that one missing set does not stop an evaluation.

    Args:
        loaders: Mapping from name to a function that returns such an array, or raises `OSError`, `ImportError` or
            `ValueError`, whose text becomes the value.
        also: Mapping from other names to those of `loaders`: "folder:/data/photos" for "photos", say. They are found
            and not listed.

    Raises:
        KeyError: If there is no set of a name; it lists those that there are.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], np.ndarray]], *, also: Mapping[str, str] | None = None
    ) -> None:
        self._loaders = dict(loaders)
        self._also = dict(also or {})
        self._values: dict[str, np.ndarray | str] = {}

    def __getitem__(self, name: str) -> np.ndarray | str:
        name = self._also.get(name, name)
        if name not in self._loaders:
            raise UnknownNameError("out-distribution set", name, self._loaders)
        if name not in self._values:
            try:
                self._values[name] = self._loaders[name]()
            except (OSError, ImportError, ValueError) as error:
                self._values[name] = textwrap.shorten(str(error), 89, placeholder=" ...")
        return self._values[name]

    def joined(self, others: "OODSets") -> "OODSets":
        """Returns these sets and other `OODSets`; a set of the others replaces one of the same name."""
        return OODSets(
            {name: functools.partial(_read, sets, name) for sets in (self, others) for name in sets},
            also={**self._also, **others._also},
        )

    def __contains__(self, name: object) -> bool:
        return name in self._loaders or name in self._also

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def _read(sets, name):
    return sets[name]


class Data:
    """A training and a test set in memory, with `tf.data` pipelines over them.

    The order of epoch `e` is a full permutation computed from `(seed, e)` alone, and so is the seed of each batch's
    augmentation. So any epoch can be entered directly (`train_from`), and is the same bit for bit in another process.

    Args:
        name: Name of the set; starts every error message.
        train: Pair `(images, labels)`. Images are uint8 in 0..255 or floats in [0, 1], of shape `(n, height, width)`,
            `(n, height, width, channels)` or, for vectors, `(n, size)`. Labels are integers from 0, of shape `(n,)` or
            `(n, 1)`; gaps are allowed.
        test: Pair of the same form. Default: a fifth of each training class, at least one image of two, is held out,
            always the same for the same labels.
        class_names: List of `str`, one per class. Default: the numbers from 0 to the largest training label.
        batch_size: Images per batch.
        seed: int >= 0; governs order and augmentation, never the split.
        augmentation: None or a callable `(images, seed) -> images`, given float32 images in [0, 1] and a seed of shape
            `(2,)`.
        ood: Mapping from name to float32 images in [0, 1], or to a `str` saying why there are none. Default: "photos",
            see `photo_patches`; nothing for vectors.
        calibration_fraction: Share of the training images, in `[0, 1)`, that is kept out of training, for a temperature
            and thresholds (`calibration`); always the same ones. 0 is published.

    Attributes:
        image_shape: Tuple such as `(28, 28, 1)`, or `(2,)` for vectors.
        num_classes: Number of classes.
        train_images, test_images: uint8 or float32 arrays `(n, *image_shape)`.
        train_labels, test_labels: int64 arrays `(n,)`.
        calibration_images, calibration_labels: Images kept out of training and their labels; none by default.
        calibration_source: The images that `with_calibration` gave, in words; else None.
        test_is_split_off: Whether the test set is the fifth that was held out here, as no test set was given.
        steps_per_epoch: `n_train // batch_size`; the last partial batch is dropped, as published.

    Raises:
        ValueError: If images or labels are not as described, shapes or lengths differ, there is one class only, or
            `batch_size` is not between 1 and the number of training images.

    Example:

    >>> images, labels = np.zeros((10, 2, 2), "uint8"), np.repeat([0, 1], 5)
    >>> data = Data(name="mine", train=(images, labels), batch_size=3)
    >>> data.image_shape, data.num_classes, data.steps_per_epoch, data.test_labels
    ((2, 2, 1), 2, 2, array([0, 1]))
    >>> data
    Data('mine': images (2, 2, 1) uint8, 2 classes (0, 1), 8 to train on, 2 to test with; beside it: photos)
    """

    def __init__(
        self,
        *,
        name: str,
        train: Pair,
        test: Pair | None = None,
        class_names: Sequence[str] | None = None,
        batch_size: int = 128,
        seed: int = 0,
        augmentation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
        ood: Mapping[str, np.ndarray | str] | None = None,
        calibration_fraction: float = 0.0,
    ) -> None:
        self.name = name
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation

        images = check_images(f"{name}: training images", train[0])
        limit = len(class_names or images)  # at most one class per image
        labels = check_labels(f"{name}: training labels", train[1], len(images), limit)
        self.image_shape = images.shape[1:]
        self.class_names = list(class_names or map(str, range(labels.max() + 1)))
        self.num_classes = len(self.class_names)
        present = np.unique(labels)
        if len(present) < 2:
            raise ValueError(f"{name}: images of at least two classes are needed. Received: labels {present} only.")
        self.calibration_source: str | None = None
        self.test_is_split_off = test is None
        if test is None:
            held_out = _fifth_of_each_class(name, labels)
            test = images[held_out], labels[held_out]
            images, labels = images[~held_out], labels[~held_out]
        kept_out = _kept_out(name, len(labels), calibration_fraction)
        self.calibration_images, self.calibration_labels = images[kept_out], labels[kept_out]
        images, labels = images[~kept_out], labels[~kept_out]
        self.train_images, self.train_labels = images, labels
        self._is_kept_out = kept_out
        self._split = images, labels, self.calibration_images, self.calibration_labels

        self.test_images = check_images(f"{name}: test images", test[0])
        if self.test_images.shape[1:] != self.image_shape:
            raise ValueError(
                f"{name}: test images must have the shape of the training images, {self.image_shape}. "
                f"Received: {self.test_images.shape[1:]}."
            )
        self.test_labels = check_labels(f"{name}: test labels", test[1], len(self.test_images), self.num_classes)
        if not 1 <= batch_size <= len(labels):
            raise ValueError(
                f"{name}: `batch_size` must be between 1 and the {len(labels)} training images. "
                f"Received: batch_size={batch_size}."
            )
        self.steps_per_epoch = len(labels) // batch_size
        if ood is None:
            is_image = len(self.image_shape) == 3
            ood = OODSets({"photos": functools.partial(photo_patches, self.image_shape)} if is_image else {})
        self.ood = (
            ood if isinstance(ood, OODSets) else OODSets({name: functools.partial(_read, ood, name) for name in ood})
        )

    def with_calibration(self, images: np.ndarray, labels: np.ndarray, *, source: str) -> "Data":
        """Returns a copy with other images for a temperature and thresholds, which nothing was trained on.

        Whether that is so cannot be seen here: reports and exports name `source` and say that it was given so.

        Args:
            images: As `Data` takes them, of the shape of the others.
            labels: The classes of `images`, at least 2 of them.
            source: Where they come from, in words.

        Raises:
            ValueError: If images or labels are not as described, or if more than 1 % of the images are also among the
                images to train on or to test with.
        """
        images = check_images(f"{source}: calibration images", images)
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"{source}: calibration images must have the shape of the training images, {self.image_shape}. "
                f"Received: {images.shape[1:]}."
            )
        labels = check_labels(f"{source}: calibration labels", labels, len(images), self.num_classes)
        if len(labels) < 2:
            raise ValueError(f"{source}: calibration needs at least 2 images. Received: {len(labels)}.")
        for what, others in (("train on", self.train_images), ("test with", self.test_images)):
            shared = len(_digests(images) & _digests(others))
            if shared > 0.01 * len(images):
                raise ValueError(
                    f"{source}: calibration images must be others than those to {what}. Received: {shared} that are "
                    f"among those of {self.name}. Name images that were kept out of both."
                )
        other = copy.copy(self)
        other.calibration_images, other.calibration_labels = images, labels
        other.calibration_source = source
        return other

    @property
    def calibration_digest(self) -> str | None:
        """First 16 hex digits of the SHA-256 of what `with_calibration` gave; None where the images are the data's."""
        if self.calibration_source is None:
            return None
        images, labels = self.calibration_images, self.calibration_labels
        return sha256(f"{images.shape}{images.dtype.str}", images, labels)[:16]

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:10]) + (", ..." if self.num_classes > 10 else "")
        kept_out = f", {len(self.calibration_labels)} kept out for calibration" if len(self.calibration_labels) else ""
        return (
            f"Data({self.name!r}: images {self.image_shape} {self.train_images.dtype}, {self.num_classes} classes "
            f"({names}), {len(self.train_labels)} to train on{kept_out}, {len(self.test_labels)} to test with; beside "
            f"it: {', '.join(self.ood) or 'no sets'})"
        )

    @functools.cached_property
    def train(self) -> tf.data.Dataset:
        """One epoch of `(images, labels)` batches; each iteration is the next epoch.

        Images are float32 `(batch_size, *image_shape)` in [0, 1], augmented; labels are int64. The first iteration
        gives epoch 0, the second epoch 1, and so on; to look at a batch without moving on, use `train_from(0)`.
        """
        with tf.device("CPU:0"):  # tf.data runs on the CPU and counts there.
            count = tf.Variable(-1, dtype=tf.int64, trainable=False)
        epoch = tf.data.Dataset.from_tensors(0).map(lambda _: count.assign_add(1))
        return self._batches(epoch).apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch))

    def train_from(self, epoch: int) -> tf.data.Dataset:
        """Endless training batches that begin with the first batch of `epoch`.

        Batch `i` is batch `i % steps_per_epoch` of epoch `epoch + i // steps_per_epoch` of an undisturbed run, bit for
        bit. Each iteration starts at `epoch` again.
        """
        batches = self._batches(tf.data.Dataset.counter(start=epoch))
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    @functools.cached_property
    def test(self) -> tf.data.Dataset:
        """The test set in its own order: nothing dropped, nothing augmented, same dtypes."""
        images, labels = _on_cpu(self.test_images), _on_cpu(self.test_labels)
        return (
            tf.data.Dataset.range(len(self.test_labels))
            .batch(self.batch_size)
            .map(lambda index: (_to_pixels(tf.gather(images, index)), tf.gather(labels, index)))
            .prefetch(2)
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of a SHA-256: of images, labels, their order and split, and the names of the classes."""
        return self._fingerprint(*self._split)

    def is_of(self, fingerprint: str, *, calibration_fraction: float | None = None) -> bool:
        """Whether these are the data of a fingerprint, such as that of a run: the same to train on and to test with.

        Args:
            fingerprint: `Data.fingerprint`, of this version or of one before, which did not look at class names.
            calibration_fraction: The share of training images that was kept out there; None for the same as here.
        """
        if fingerprint == self.fingerprint or fingerprint == self._fingerprint(*self._split, with_names=False):
            return True
        if calibration_fraction is None:
            return False
        train_images, train_labels, images, labels = self._split
        kept_out = self._is_kept_out
        all_images = np.empty((len(kept_out), *self.image_shape), train_images.dtype)
        all_labels = np.empty(len(kept_out), labels.dtype)
        all_images[kept_out], all_images[~kept_out] = images, train_images
        all_labels[kept_out], all_labels[~kept_out] = labels, train_labels
        kept_out = _kept_out(self.name, len(kept_out), calibration_fraction)
        split = all_images[~kept_out], all_labels[~kept_out], all_images[kept_out], all_labels[kept_out]
        return any(fingerprint == self._fingerprint(*split, with_names=one) for one in (True, False))

    def _fingerprint(self, train_images, train_labels, images, labels, *, with_names=True):
        sets = [train_images, train_labels, self.test_images, self.test_labels]
        if len(labels):
            sets += [images, labels]
        parts = [part for array in sets for part in (f"{array.shape}{array.dtype.str}", array)]
        return sha256(*parts, *([f"{self.class_names}"] if with_names else []))[:16]

    def ood_digest(self, name: str) -> str:
        """First 16 hex digits of the SHA-256 of an out-distribution set's shape, dtype and images; computed once.

        For a set that is not available it is the text that says why.
        """
        images = self.ood[name]
        if isinstance(images, str):
            return images
        if name not in self._ood_digests or self._ood_digests[name][0] is not images:
            self._ood_digests[name] = images, sha256(f"{images.shape}{images.dtype.str}", images)[:16]
        return self._ood_digests[name][1]

    @functools.cached_property
    def _ood_digests(self) -> dict[str, tuple[np.ndarray, str]]:
        return {}

    @functools.cached_property
    def _train_tensors(self):
        return _on_cpu(self.train_images), _on_cpu(self.train_labels)

    def _batches(self, epochs):
        """Training batches of the epochs whose numbers the dataset `epochs` yields."""
        # Eager tensors are captured by reference: the images do not enter the graph.
        images, labels = self._train_tensors
        steps, batch_size, size = self.steps_per_epoch, self.batch_size, len(self.train_labels)

        def plan(epoch):
            keys = tf.random.split(tf.stack([tf.constant(self.seed, tf.int64), epoch]), steps + 1)
            draws = tf.random.stateless_uniform([size], keys[0], minval=None, maxval=None, dtype=tf.int64)
            order = tf.argsort(draws)[: steps * batch_size]
            return tf.data.Dataset.from_tensor_slices((tf.reshape(order, [steps, batch_size]), keys[1:]))

        def batch(index, key):
            pixels = _to_pixels(tf.gather(images, index))
            if self.augmentation is not None:
                pixels = self.augmentation(pixels, key)
            return pixels, tf.gather(labels, index)

        return epochs.flat_map(plan).map(batch).prefetch(2)


def _fifth_of_each_class(name, labels):
    random = np.random.RandomState(0)  # its stream is frozen across NumPy versions
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(len(members) // 5, 1) if len(members) > 1 else 0
        held_out[random.permutation(members)[:count]] = True
    if not held_out.any():
        raise ValueError(
            f"{name}: at least one class must have two images or more, so that some can be held out as the test set. "
            "Received: one image per class."
        )
    return held_out


def _kept_out(name, num_images, fraction):
    """Which training images are for calibration."""
    if not 0 <= fraction < 1:
        raise ValueError(f"{name}: `calibration_fraction` must be in [0, 1). Received: {fraction}.")
    count = round(fraction * num_images)
    if (count == 0 and fraction > 0) or count == num_images:
        raise ValueError(
            f"{name}: `calibration_fraction` must leave images on both sides. Received: {fraction} of {num_images}."
        )
    kept_out = np.zeros(num_images, bool)
    kept_out[np.random.RandomState(1).permutation(num_images)[:count]] = True  # a stream frozen across NumPy versions
    return kept_out


def _digests(images):
    """A digest of each image, the same for 8-bit images and for floats made of them."""
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    return {hashlib.blake2b((image / scale).astype(np.float32).tobytes(), digest_size=16).digest() for image in images}


def _on_cpu(array):
    with tf.device("CPU:0"):
        return tf.constant(array)


def _to_pixels(images):
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images
