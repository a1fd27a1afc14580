import shutil
import urllib.request

import numpy as np
import pytest
from helpers.places import DATA, needs_data
from PIL import Image

from keras_acet import datasets
from keras_acet._checks import Notice
from keras_acet.datasets import files, ood, tfds


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def random_images(shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def save_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze()).save(path)
    return image


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


GRAY = ["emnist_letters", "cifar10_gray", "photos"]
RGB = ["lsun_classroom", "imagenet_minus", "photos"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist", ["fashion_mnist", *GRAY]),
        ("fashion_mnist", ["mnist", *GRAY]),
        ("kmnist", ["mnist", "fashion_mnist", *GRAY]),
        ("emnist_letters", ["mnist", "fashion_mnist", *GRAY[1:]]),
        ("svhn", ["cifar10", "cifar100", *RGB]),
        ("cifar10", ["svhn", "cifar100", *RGB]),
        ("cifar100", ["svhn", "cifar10", *RGB]),
    ],
)
def test_sets_beside_a_named_set(tmp_path, name, expected):
    pytest.importorskip("tensorflow_datasets")
    spec = datasets.spec(name)
    assert spec.image_shape == ((28, 28, 1) if "cifar10_gray" in expected else (32, 32, 3))
    sets = ood.sets_beside(spec, spec.image_shape, tmp_path)
    assert list(sets) == expected
    for other in expected[:-1]:  # none of them is there
        assert isinstance(sets[other], str) and len(sets[other]) < 90 and not sets[other].endswith("...")
    assert sets["photos"].shape == (1000, *spec.image_shape)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("svhn", "svhn is not in the data directory; tfds.load('svhn_cropped') gets it"),
        ("lsun_classroom", "lsun_classroom is not in the data directory; tfds.load('lsun/classroom') gets it"),
        ("imagenet_minus", "the list of its classes (ImageNet without those like CIFAR-10) is unpublished"),
    ],
)
def test_a_set_that_cannot_be_had_says_why(tmp_path, caplog, name, reason):
    pytest.importorskip("tensorflow_datasets")
    assert datasets.ood_sets([name], (32, 32, 3), data_dir=tmp_path)[name] == reason
    assert not caplog.records


def test_cifar10_gray_is_what_the_published_code_makes(monkeypatch):
    images = random_images((3, 32, 32, 3))
    monkeypatch.setattr(tfds, "read_test_images", lambda name, source, data_dir: {"cifar10": images}[source.name])
    gray = datasets.ood_sets(["cifar10_gray"], (28, 28, 1))["cifar10_gray"]
    assert gray.dtype == np.float32 and gray.shape == (3, 28, 28, 1)
    for image, made in zip(images, gray, strict=True):
        # torchvision's Resize is this call of Pillow; then np.array(x).mean(axis=2) / 255.
        small = Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(made[..., 0], np.array(small).mean(axis=2) / 255, atol=1e-7)
    wide = datasets.ood_sets(["cifar10_gray"], (28, 28, 3), resize=True)["cifar10_gray"]
    np.testing.assert_array_equal(wide, np.repeat(gray, 3, axis=3))  # still gray


def store_lsun(data_dir, images):
    """Writes images of any size in the layout of TensorFlow Datasets."""
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    features = tensorflow_datasets.features.FeaturesDict(
        {
            "id": tensorflow_datasets.features.Text(),
            "image": tensorflow_datasets.features.Image(encoding_format="png"),
        }
    )
    examples = [(i, {"id": str(i), "image": image}) for i, image in enumerate(images)]
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name="lsun",
        config="classroom",
        version="3.1.0",
        features=features,
        split_datasets={"validation": examples},
        data_dir=data_dir,
        disable_shuffling=True,
    )


def test_lsun_classroom_is_resized(tmp_path):
    images = [random_images((40, 70, 3)), random_images((32, 32, 3), 1), random_images((300, 256, 3), 2)]
    store_lsun(tmp_path, images)
    found = datasets.ood_sets(["lsun_classroom"], (32, 32, 3), data_dir=tmp_path)["lsun_classroom"]
    assert found.dtype == np.float32 and found.shape == (3, 32, 32, 3)
    for image, made in zip(images, found, strict=True):
        small = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(made, np.asarray(small) / 255, atol=1e-7)
    record = next((tmp_path / "lsun" / "classroom" / "3.1.0").glob("*validation*"))
    record.write_bytes(record.read_bytes()[:-20])
    broken = datasets.ood_sets(["lsun_classroom"], (32, 32, 3), data_dir=tmp_path)["lsun_classroom"]
    assert broken.startswith("lsun_classroom: the files in ") and len(broken) < 90


def test_fit_images_by_hand():
    # 4 pixels to 2: the triangle filter has twice the width, support 2. For the left pixel, centre 1 in the source,
    # the pixel centres .5, 1.5, 2.5 (the fourth is 2.5 away) weigh .75, .75, .25, together 1.75:
    # (.75 * 0 + .75 * .7 + .25 * .7) / 1.75 = .4; the right one mirrored: (.25 * .7 + .75 * .7 + .75 * 0) / 1.75 = .4.
    row = np.array([0, 0.7, 0.7, 0], np.float32).reshape(1, 1, 4, 1)
    np.testing.assert_allclose(datasets.fit_images(row, (1, 2, 1)).ravel(), [0.4, 0.4], rtol=1e-6)
    # 1 pixel to 3 is repetition; so is gray to RGB.
    np.testing.assert_array_equal(
        datasets.fit_images(row[:, :, 1:2], (2, 3, 3)), np.full((1, 2, 3, 3), np.float32(0.7))
    )
    # RGB to gray: (.1 + .2 + .6) / 3 = .3, not the .218 of the usual luma weights.
    colour = np.array([0.1, 0.2, 0.6], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(datasets.fit_images(colour, (1, 1, 1)), np.full((1, 1, 1, 1), 0.3), rtol=1e-6)
    ones = datasets.fit_images(np.ones((1, 7, 9, 3), np.float32), (28, 5, 1))
    assert ones.max() <= 1 and ones.min() > 1 - 1e-6


def test_folder_is_read_at_any_depth(tmp_path):
    images = {name: random_images((4, 6, 1), i) for i, name in enumerate(["a.png", "b/c.PNG", "b/d/e.png"])}
    for name, image in images.items():
        save_image(tmp_path / name, image)
    save_image(tmp_path / ".thumbnails" / "a.png", images["a.png"])
    (tmp_path / "notes.txt").write_text("not an image")
    name = f"folder:{tmp_path}"
    with pytest.warns(Notice, match="3 images are read; passed over: 1 .txt .such as 'notes.txt'., 1 hidden"):
        found = datasets.ood_sets([name], (4, 6, 1))[name]
    assert found.dtype == np.float32
    shutil.rmtree(tmp_path / ".thumbnails")
    (tmp_path / "notes.txt").unlink()
    np.testing.assert_array_equal(found, np.stack(list(images.values())) / np.float32(255))
    wide = datasets.ood_sets([name], (4, 6, 3), resize=True)[name]
    np.testing.assert_array_equal(wide, np.repeat(found, 3, axis=3))


def test_folder_of_many_sizes_fits_when_resized(tmp_path):
    gray, colour = random_images((4, 6, 1)), random_images((9, 5, 3))
    save_image(tmp_path / "a.png", gray)
    save_image(tmp_path / "b.png", colour)
    name = f"folder:{tmp_path}"
    found = datasets.ood_sets([name], (4, 6, 1), resize=True)[name]
    np.testing.assert_array_equal(found[0], gray / np.float32(255))
    small = Image.fromarray(colour).resize((6, 9), Image.Resampling.BILINEAR)  # the width first
    small = small.resize((6, 4), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found[1, ..., 0], np.asarray(small).mean(axis=2) / 255, atol=1e-6)
    with pytest.raises(ValueError, match=r"b.png of \(9, 5\) and .*a.png of \(4, 6\).*Give `resize=True`"):
        datasets.ood_sets([name], (4, 6, 1))
    (tmp_path / "b.png").unlink()
    assert datasets.ood_sets([name], (4, 6, 1))[name].shape == (1, 4, 6, 1)


@pytest.mark.parametrize("keys", [("images",), ("x_test",), ("images", "x_test", "labels"), ("x_train", "x_test")])
def test_npz_needs_no_labels(tmp_path, keys):
    saved = {key: random_images((3, 4, 6), i) for i, key in enumerate(keys)}
    name = save_npz(tmp_path / "a.npz", **saved)
    found = datasets.ood_sets([name], (4, 6, 1))[name]
    expected = saved["images" if "images" in keys else "x_test"]
    np.testing.assert_array_equal(found[..., 0], expected / np.float32(255))


def test_npz_of_floats_and_of_vectors(tmp_path):
    images = np.linspace(0, 1, 24).reshape(2, 2, 2, 3)
    name = save_npz(tmp_path / "a.npz", images=images)
    np.testing.assert_array_equal(datasets.ood_sets([name], (2, 2, 3))[name], images.astype(np.float32))
    gray = datasets.ood_sets([name], (2, 2, 1), resize=True)[name]
    np.testing.assert_allclose(gray[..., 0], images.mean(axis=3), rtol=1e-6)
    name = save_npz(tmp_path / "b.npz", images=images.reshape(12, 2))
    np.testing.assert_array_equal(datasets.ood_sets([name], (2,))[name], images.reshape(12, 2).astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "image_shape", "resize", "message"),
    [
        ((2, 4, 6, 3), (4, 6, 1), False, r"shape \(4, 6, 1\). Received: \(4, 6, 3\).*`resize=True`"),
        ((2, 4, 6, 1), (4, 7, 1), False, r"shape \(4, 7, 1\). Received: \(4, 6, 1\).*`resize=True`"),
        ((2, 4, 6, 2), (4, 6, 3), True, r"Received: \(4, 6, 2\). Only 1 channel and 3 turn into each other"),
        ((2, 24), (4, 6, 1), True, r"Received: \(24,\). Vectors and images do not turn into each other"),
        ((2, 4, 6, 1), (24,), True, r"Received: \(4, 6, 1\). Vectors and images do not turn into each other"),
        ((0, 4, 6, 1), (4, 6, 1), False, r"a.npz: images must be a non-empty array"),
    ],
)
def test_npz_of_another_shape(tmp_path, arrays, image_shape, resize, message):
    name = save_npz(tmp_path / "a.npz", images=random_images(arrays))
    with pytest.raises(ValueError, match=message):
        datasets.ood_sets([name], image_shape, resize=resize)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mnits"], "must be one of almost_black, .*svhn, uniform. Received: 'mnits'. Did you mean 'mnist'"),
        (["LSUN-classroom"], "Did you mean 'lsun_classroom'"),
        (["folder:"], "must be a name, folder:PATH or npz:PATH, with a path. Received: .folder:."),
        (["mnist:x"], "must be one of .*'mnist:x'"),
        ([""], "must be one of .*Received: ''"),
        (["mnist", "photos", "mnist"], "named once only. Received: 'mnist' twice"),
        (["cifar10"], r"cifar10: the images must have the shape \(28, 28, 1\). Received: \(32, 32, 3\).*`resize=True`"),
        (["folder:none"], "folder:PATH must name a folder of images. Received: 'none'"),
        (["npz:none.npz"], "npz:PATH must name a file of arrays .*'none.npz' .*No such file"),
    ],
)
def test_names_that_cannot_be_taken(names, message):
    with pytest.raises(ValueError, match=message) as caught:
        datasets.ood_sets(names, (28, 28, 1))
    assert "\n" not in str(caught.value)


def test_named_sets_of_vectors():
    with pytest.raises(ValueError, match=r"mnist: .*shape \(2,\). Received: \(28, 28, 1\). Vectors and images"):
        datasets.ood_sets(["mnist"], (2,), resize=True)
    assert datasets.ood_sets(["photos"], (2,))["photos"] == "there are no photographs of vectors"
    with pytest.raises(TypeError, match="`names` must be a list of str. Received: 'mnist'"):
        datasets.ood_sets("mnist", (2,))


def test_files_of_the_user_that_cannot_be_read(tmp_path):
    def check(name, message, image_shape=(4, 6, 1)):
        with pytest.raises(ValueError, match=message):
            datasets.ood_sets([name], image_shape)

    check(f"folder:{tmp_path}", r"folder of images \(.bmp, .*\). Received: .*: none")
    (tmp_path / "file.npz").write_bytes(b"no zip")
    check(f"folder:{tmp_path / 'file.npz'}", "must name a folder of images")
    check(f"npz:{tmp_path / 'file.npz'}", "npz:PATH must name a file of arrays")
    check(save_npz(tmp_path / "a.npz", x=np.zeros(3)), r"must hold the keys 'images', or 'x_test'. Received: \('x',\)")
    check(
        save_npz(tmp_path / "a.npz", images=np.full((1, 4, 6), 7.0)), r"a.npz: images .*lie in \[0, 1\].*images / 255"
    )
    save_image(tmp_path / "images" / "a.png", random_images((4, 6, 3)))
    check(f"folder:{tmp_path / 'images'}", r"\(4, 6, 1\). Received: \(4, 6, 3\).*`resize=True`")
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    check(f"folder:{tmp_path / 'images'}", "b.png must be an image that can be read", (4, 6, 3))


def test_a_folder_of_another_size_is_refused_after_one_image(tmp_path, monkeypatch):
    for i in range(3):
        save_image(tmp_path / f"{i}.png", random_images((4, 6, 1)))
    read = []
    read_image = files.read_image
    monkeypatch.setattr(files, "read_image", lambda *arguments: read.append(arguments) or read_image(*arguments))
    with pytest.raises(ValueError, match=r"\(8, 8, 1\). Received: \(4, 6, 1\).*`resize=True`"):
        datasets.ood_sets([f"folder:{tmp_path}"], (8, 8, 1))
    assert len(read) == 1


def test_sets_of_tensorflow_datasets_are_read_when_asked_for(monkeypatch):
    calls = []

    def read(name, source, data_dir):
        calls.append((name, data_dir))
        return random_images((2, 28, 28, 1))

    monkeypatch.setattr(tfds, "read_test_images", read)
    sets = datasets.ood_sets(["kmnist", "mnist"], (28, 28, 1), data_dir="here")
    assert not calls
    np.testing.assert_array_equal(sets["mnist"], random_images((2, 28, 28, 1)) / np.float32(255))
    assert sets["mnist"].dtype == np.float32
    assert calls == [("mnist", "here")]
    assert datasets.ood_sets(["mnist"], (8, 9, 3), resize=True)["mnist"].shape == (2, 8, 9, 3)


@needs_data("mnist")
@needs_data("fashion_mnist")
@needs_data("cifar10")
def test_real_sets_beside_mnist():
    sets = ood.sets_beside(datasets.spec("fashion_mnist"), (28, 28, 1), DATA)
    assert sets["mnist"].shape == sets["cifar10_gray"].shape == (10000, 28, 28, 1)
    gray = sets["cifar10_gray"]
    assert gray.dtype == np.float32 and gray.min() >= 0 and gray.max() <= 1
    # Resizing keeps the mean but for the border and rounding; the colour images have the mean .4766 or so.
    assert abs(gray.mean() - datasets.spec("cifar10").read_test_images(DATA).mean() / 255) < 2e-3
