"""Tests of keras_acet.published_weights: made-up checkpoints, and the authors' own."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.places import SHARED

from keras_acet import networks
from keras_acet.published_weights import load_published_weights


def published_shapes(num_classes=10):
    """Name -> shape of each weight of the authors' ResNet-20, read off their checkpoint."""
    shapes = {
        "block_init/conv/weights": (3, 3, 3, 16),
        "logit/fc/weights": (64, num_classes),
        "logit/fc/biases": (num_classes,),
    }

    def add_norm(scope, channels):
        for variable in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{scope}/batch_normalization/{variable}"] = (channels,)

    channels = 16
    for stage, width in ((1, 16), (2, 32), (3, 64)):
        for unit in range(3):
            block = f"block_{stage}_{unit}"
            first = "shared_activation" if unit == 0 else "residual_only_activation"
            add_norm(f"{block}/{first}", channels)
            shapes[f"{block}/sub1/conv1/weights"] = (3, 3, channels, width)
            add_norm(f"{block}/sub2", width)
            shapes[f"{block}/sub2/conv2/weights"] = (3, 3, width, width)
            channels = width
    add_norm("unit_last", 64)
    return shapes


def made_up_tensors(num_classes=10):
    generator = np.random.default_rng(0)
    tensors = {
        name: generator.uniform(0.5, 1.5, size=shape).astype(np.float32)
        for name, shape in published_shapes(num_classes).items()
    }
    slots = {f"{name}/Momentum": np.zeros_like(tensor) for name, tensor in tensors.items() if "moving" not in name}
    return tensors | slots | {"Variable": np.int32(39_000)}


def write(path, tensors):
    """Writes a name-based checkpoint, as TensorFlow 1's Saver does."""
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return path


def test_every_tensor_goes_to_its_variable(tmp_path):
    tensors = made_up_tensors()
    network = networks.resnet20((32, 32, 3), 10)
    assert load_published_weights(network, write(tmp_path / "model-1", tensors)) is network

    def value(layer, variable):
        return next(w for w in network.get_layer(layer).weights if w.name == variable).numpy()

    pairs = {
        ("init_conv", "kernel"): "block_init/conv/weights",
        ("block_1_0_norm1", "gamma"): "block_1_0/shared_activation/batch_normalization/gamma",
        ("block_2_1_norm1", "beta"): "block_2_1/residual_only_activation/batch_normalization/beta",
        ("block_3_2_norm2", "moving_mean"): "block_3_2/sub2/batch_normalization/moving_mean",
        ("block_3_0_conv1", "kernel"): "block_3_0/sub1/conv1/weights",
        ("block_3_0_conv2", "kernel"): "block_3_0/sub2/conv2/weights",
        ("last_norm", "moving_variance"): "unit_last/batch_normalization/moving_variance",
        ("logits", "bias"): "logit/fc/biases",
    }
    for (layer, variable), name in pairs.items():
        np.testing.assert_array_equal(value(layer, variable), tensors[name])
    # All values differ, so equal sums mean that each tensor was used once.
    total = sum(np.sum(weight, dtype=np.float64) for weight in network.get_weights())
    expected = sum(np.sum(tensors[name], dtype=np.float64) for name in published_shapes())
    np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_names_cover_the_network():
    assert len(published_shapes()) == len(networks.resnet20((32, 32, 3), 10).weights)


def unchanged(network, call, match):
    """Asserts that `call` raises and leaves the weights alone."""
    before = network.get_weights()
    with pytest.raises(ValueError, match=match):
        call()
    for first, second in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(name="network", scope="module")
def fixture_network():
    return networks.resnet20((32, 32, 3), 10)


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("model-2", "`checkpoint` must be the path.*In that folder: .*model-1.$"),
        ("model-1.index", "`checkpoint` must be the path.*In that folder: .*model-1.$"),
        ("", "`checkpoint` must be the path.*In that folder: .*model-1.$"),
        ("empty/model-1", "There is no checkpoint in `.*empty`"),
        ("nowhere/model-1", "The folder `.*nowhere` does not exist either"),
    ],
)
def test_missing_checkpoint(tmp_path, network, path, match):
    write(tmp_path / "model-1", {"a": np.zeros(1)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=match):
        load_published_weights(network, tmp_path / path)


def test_other_shapes(tmp_path, network):
    path = write(tmp_path / "model-1", made_up_tensors(num_classes=100))
    unchanged(
        network,
        lambda: load_published_weights(network, path),
        r"`logit/fc/weights` .*shape \(64, 10\). Received: \(64, 100\). Build the network",
    )


def test_missing_and_left_over_tensors(tmp_path, network):
    tensors = made_up_tensors()
    tensors["surplus/weights"] = tensors.pop("logit/fc/weights")
    path = write(tmp_path / "model-1", tensors)
    unchanged(
        network,
        lambda: load_published_weights(network, path),
        r"Missing: logit/fc/weights. Left over: surplus/weights\.",
    )


def test_another_kind_of_checkpoint(tmp_path, network):
    path = tf.train.Checkpoint(step=tf.Variable(1)).write(str(tmp_path / "model-1"))
    with pytest.raises(ValueError, match="holds none of the 97 expected tensors"):
        load_published_weights(network, path)


@pytest.mark.parametrize("file", ["model-1.index", "model-1.data-00000-of-00001"])
def test_damaged_checkpoint(tmp_path, network, file):
    path = write(tmp_path / "model-1", made_up_tensors())
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    unchanged(network, lambda: load_published_weights(network, path), "cannot be read; copy it again")


def test_another_network(tmp_path):
    path = write(tmp_path / "model-1", made_up_tensors())
    with pytest.raises(ValueError, match="what `keras_acet.networks.resnet20` returns.*`lenet`"):
        load_published_weights(networks.lenet((32, 32, 3), 10), path)


# --- the authors' checkpoints on real images -------------------------------------------------


@pytest.fixture(name="cifar10", scope="module")
def fixture_cifar10():
    """All 10,000 test images, with the JPEG decoder that the expected numbers were measured with.

    These images are stored as JPEG. TensorFlow decodes them with a fast approximate transform
    unless told otherwise, which moves the errors by up to 0.2 %.
    """
    if not (SHARED / "tfds" / "cifar10").is_dir():
        pytest.skip(f"needs CIFAR-10 for TensorFlow Datasets in {SHARED / 'tfds'}")
    tfds = pytest.importorskip("tensorflow_datasets")
    examples = tfds.load(
        "cifar10",
        data_dir=str(SHARED / "tfds"),
        split="test",
        decoders={"image": tfds.decode.SkipDecoding()},
        download=False,
    )
    examples = examples.map(
        lambda example: (
            tf.io.decode_jpeg(example["image"], 3, dct_method="INTEGER_ACCURATE"),
            example["label"],
        )
    )
    images, labels = next(iter(examples.batch(10_000)))
    assert images.shape == (10_000, 32, 32, 3)
    return images, labels.numpy()


@pytest.mark.parametrize(
    ("method", "error_percent", "mmc"),
    [
        ("plain", "19.42", "0.894"),
        pytest.param("ceda", "19.56", "0.891", marks=pytest.mark.slow),
        pytest.param("acet", "18.66", "0.896", marks=pytest.mark.slow),
    ],
)
def test_published_checkpoints_give_the_known_numbers(cifar10, method, error_percent, mmc):
    checkpoint = SHARED / "weights" / f"cifar10-{method}" / "model-100"
    if not checkpoint.with_suffix(".index").exists():
        pytest.skip(f"needs the authors' checkpoint {checkpoint}")
    network = load_published_weights(networks.resnet20((32, 32, 3), 10), checkpoint)
    images, labels = cifar10

    @tf.function(input_signature=[tf.TensorSpec((500, 32, 32, 3), tf.uint8)])
    def probs_of(batch):
        return tf.nn.softmax(network(tf.cast(batch, tf.float32) / 255.0, training=False))

    batches = range(0, 10_000, 500)
    probs = np.concatenate([probs_of(images[start : start + 500]) for start in batches])
    assert f"{100 * np.mean(probs.argmax(axis=1) != labels):.2f}" == error_percent
    assert f"{probs.max(axis=1).mean(dtype=np.float64):.3f}" == mmc
