"""`Data`: a training and a test set with their pipelines."""

import copy
import functools
import hashlib
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_acet._checks import as_float, check_integer
from keras_acet.datasets.beside import OODSets
from keras_acet.datasets.checks import check_class_names, check_images, check_labels, check_pair
from keras_acet.datasets.embedded import photo_patches
from keras_acet.files import sha256

DEFAULT_BATCH_SIZE = 128

Pair = tuple[np.ndarray, np.ndarray]


class Data:
    """A training and a test set in memory, with `tf.data` pipelines over them.

    The order of epoch `e` is a full permutation computed from `(seed, e)` alone, and so is the seed of each batch's
    augmentation. So any epoch can be entered directly (`train_from`), and is the same bit for bit in another process.

    Args:
        name: Name of the set; starts every error message.
        train: Pair `(images, labels)`. Images are uint8 in 0..255 or floats in [0, 1], of shape `(n, height, width)`,
            `(n, height, width, channels)` or, for vectors, `(n, size)`. Labels are whole numbers from 0, of shape
            `(n,)` or `(n, 1)`; gaps are allowed.
        test: Pair of the same form. Default: a fifth of each training class, at least one image of two, is held out,
            always the same for the same labels.
        class_names: List of `str`, one per class. Default: the numbers from 0 to the largest training label.
        batch_size: Images per batch.
        seed: int >= 0; governs order and augmentation, never the split.
        augmentation: None or a callable `(images, seed) -> images`, given float32 images in [0, 1] and a seed of shape
            `(2,)`.
        ood: Mapping from name to images of the same shape, uint8 in 0..255 or floats in [0, 1], or to a `str` saying
            why there are none. Default: "photos", see `photo_patches`; nothing for vectors.
        calibration_fraction: Share of the training images, in `[0, 1)`, that is kept out of training, for a temperature
            and thresholds (`calibration`); always the same ones. 0 is published.

    Attributes:
        image_shape: Tuple such as `(28, 28, 1)`, or `(2,)` for vectors.
        num_classes: Number of classes.
        train_images, test_images: float32 arrays `(n, *image_shape)` in [0, 1], whatever was given, not to be written
            to. Images of 8 bits are kept as such, and these arrays are made of them, four times as large, when they
            are first asked for; `some_images` makes a few.
        train_labels, test_labels: int64 arrays `(n,)`.
        calibration_images, calibration_labels: Images kept out of training and their labels; none by default.
        calibration_source: The images that `with_calibration` gave, in words; else None.
        test_is_split_off: Whether the test set is the fifth that was held out here, as no test set was given.
        ood: `OODSets`; a mapping that is assigned is checked and becomes one.
        steps_per_epoch: `n_train // batch_size`; the last partial batch is dropped, as published.

    Raises:
        TypeError: If an argument is of another type than described.
        ValueError: If images, labels or names are not as described, shapes or lengths differ, there is one class only,
            or `batch_size` is not between 1 and the number of training images.

    Example:

    >>> images, labels = np.zeros((10, 2, 2), "uint8"), np.repeat([0, 1], 5)
    >>> data = Data(name="mine", train=(images, labels), batch_size=3)
    >>> data.image_shape, data.num_classes, data.steps_per_epoch, data.test_labels
    ((2, 2, 1), 2, 2, array([0, 1]))
    >>> data
    Data('mine': images (2, 2, 1) in [0, 1], 2 classes (0, 1), 8 to train on, 2 to test with; beside it: photos)
    """

    def __init__(
        self,
        *,
        name: str,
        train: Pair,
        test: Pair | None = None,
        class_names: Sequence[str] | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seed: int = 0,
        augmentation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
        ood: Mapping[str, np.ndarray | str] | None = None,
        calibration_fraction: float = 0.0,
    ) -> None:
        _check_types(name, augmentation)
        self.name = name
        self.batch_size = check_integer(batch_size, "batch_size", minimum=-(2**63))
        self.seed = check_integer(seed, "seed", minimum=0)
        self.augmentation = augmentation

        images, labels = check_pair(name, "train", train)
        images = check_images(f"{name}: training images", images)
        names = None if class_names is None else check_class_names(name, class_names)
        limit = len(names or images)  # at most one class per image
        labels = check_labels(f"{name}: training labels", labels, len(images), limit)
        self.image_shape = images.shape[1:]
        self.class_names = names or list(map(str, range(labels.max() + 1)))
        self.num_classes = len(self.class_names)
        present = np.unique(labels)
        if len(present) < 2:
            raise ValueError(f"{name}: images of at least two classes are needed. Received: labels {present} only.")
        self.calibration_source: str | None = None
        self.test_is_split_off = test is None
        if test is None:
            held_out = _fifth_of_each_class(name, labels)
            test_images, test_labels = images[held_out], labels[held_out]
            images, labels = images[~held_out], labels[~held_out]
        else:
            test_images, test_labels = check_pair(name, "test", test)
            test_images, test_labels = self._checked(f"{name}: test", test_images, test_labels)
            test_images = test_images.copy()  # what becomes of the user's array is not our concern
        kept_out = _kept_out(name, len(labels), calibration_fraction)
        self._stored = {"train": images[~kept_out], "test": test_images, "calibration": images[kept_out]}
        self.train_labels, self.test_labels, self.calibration_labels = labels[~kept_out], test_labels, labels[kept_out]
        self._is_kept_out = kept_out
        self._split = self._stored["train"], self.train_labels, self._stored["calibration"], self.calibration_labels
        _check_batch_size(name, self.batch_size, len(self.train_labels))
        self.steps_per_epoch = len(self.train_labels) // self.batch_size
        if ood is None:
            is_image = len(self.image_shape) == 3
            ood = OODSets({"photos": functools.partial(photo_patches, self.image_shape)} if is_image else {})
        self.ood = ood

    def _checked(self, what, images, labels):
        """More images and labels, as `check_images` and `check_labels` give them, of the shape and classes of these."""
        images = check_images(f"{what} images", images)
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"{what} images must have the shape of the training images, {self.image_shape}. "
                f"Received: {images.shape[1:]}."
            )
        return images, check_labels(f"{what} labels", labels, len(images), self.num_classes)

    @functools.cached_property
    def train_images(self) -> np.ndarray:
        return self._float_images("train")

    @functools.cached_property
    def test_images(self) -> np.ndarray:
        return self._float_images("test")

    @functools.cached_property
    def calibration_images(self) -> np.ndarray:
        return self._float_images("calibration")

    def _float_images(self, part):
        stored = self._stored[part]
        images = as_float(stored) if stored.dtype == np.uint8 else stored.view()
        images.flags.writeable = False  # the pipelines would not follow
        return images

    def some_images(self, part: str, index: Any) -> np.ndarray:
        """Returns some images of a part, without making floats of all of them.

        Args:
            part: "train", "test" or "calibration".
            index: What NumPy takes as an index: a slice, positions, or a mask.

        Returns:
            float32 array in [0, 1]: `train_images[index]`, say.
        """
        return as_float(self._stored[part][index])

    def num_shared(self) -> int:
        """Returns how many test images are equal, at 8 bits a pixel, to one of those to train on."""
        known = _digests(self._stored["train"])
        return sum(1 for one in self._stored["test"] if _digests(one[None]) <= known)

    @property
    def ood(self) -> OODSets:
        return self._ood

    @ood.setter
    def ood(self, sets: Mapping[str, np.ndarray | str]) -> None:
        self._ood = OODSets.of(sets, self.image_shape, name=self.name)

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
        images, labels = self._checked(f"{source}: calibration", images, labels)
        if len(labels) < 2:
            raise ValueError(f"{source}: calibration needs at least 2 images. Received: {len(labels)}.")
        for what, others in (("train on", self._stored["train"]), ("test with", self._stored["test"])):
            shared = len(_digests(images) & _digests(others))
            if shared > 0.01 * len(images):
                raise ValueError(
                    f"{source}: calibration images must be others than those to {what}. Received: {shared} that are "
                    f"among those of {self.name}. Name images that were kept out of both."
                )
        other = copy.copy(self)
        other.__dict__.pop("calibration_images", None)
        other._stored, other.calibration_labels = {**self._stored, "calibration": images}, labels
        other.calibration_source = source
        return other

    @property
    def calibration_digest(self) -> str | None:
        """First 16 hex digits of the SHA-256 of what `with_calibration` gave; None where the images are the data's."""
        if self.calibration_source is None:
            return None
        images, labels = self._stored["calibration"], self.calibration_labels
        return sha256(f"{images.shape}{images.dtype.str}", images, labels)[:16]

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:10]) + (", ..." if self.num_classes > 10 else "")
        kept_out = f", {len(self.calibration_labels)} kept out for calibration" if len(self.calibration_labels) else ""
        return (
            f"Data({self.name!r}: images {self.image_shape} in [0, 1], {self.num_classes} classes "
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
        images, labels = _on_cpu(self._stored["test"]), _on_cpu(self.test_labels)
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
        sets = [train_images, train_labels, self._stored["test"], self.test_labels]
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
        return _on_cpu(self._stored["train"]), _on_cpu(self.train_labels)

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


def _check_types(name, augmentation):
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"`name` must be a str that is not empty. Received: {name!r}.")
    if augmentation is not None and not callable(augmentation):
        raise TypeError(
            f"{name}: `augmentation` must be None or a function (images, seed) -> images. Received: "
            f"{augmentation!r}. Such are `datasets.random_crop` and `datasets.random_flip_crop`."
        )


def _check_batch_size(name, batch_size, num_images):
    if not 1 <= batch_size <= num_images:
        fitting = min(32, 2 ** max(num_images.bit_length() - 2, 0))  # at least two steps an epoch
        default = ", which is the default" if batch_size == DEFAULT_BATCH_SIZE else ""
        raise ValueError(
            f"{name}: `batch_size` must be between 1 and the {num_images} training images. Received: "
            f"batch_size={batch_size}{default}. Give for instance `batch_size={fitting}`."
        )


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
    if not isinstance(fraction, numbers.Real) or isinstance(fraction, bool):
        raise TypeError(f"{name}: `calibration_fraction` must be a number in [0, 1). Received: {fraction!r}.")
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
