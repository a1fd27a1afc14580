"""What is known of the images that a classifier was trained on, and what is claimed because of that."""

import keras
import numpy as np
import pytest
from helpers.toys import data_of, evaluate, linear_network
from PIL import Image

from keras_acet import calibration, classifiers, datasets, report
from keras_acet.cli import evaluate as evaluate_command
from keras_acet.cli import export as export_command

IMAGES = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
LABELS = (IMAGES[:, 0] > 0.5).astype(int)
OTHERS = np.linspace(0.01, 0.99, 24, dtype=np.float32)[:, None]
OTHER_LABELS = (OTHERS[:, 0] > 0.4).astype(int)


def result(model, data):
    return evaluate(model, data).result


def test_of_a_live_model_nothing_is_known():
    data = data_of(IMAGES, LABELS, calibration_fraction=0.5)
    found = result(linear_network(), data)
    assert found.calibration.is_held_out is None is found.test_is_held_out
    assert found.calibration.thresholds[2].guarantee == "None: the network may have been trained on these 2 images."


def test_a_path_is_a_model_too(tmp_path):
    data = data_of(IMAGES, LABELS)
    linear_network().save(tmp_path / "mine.keras")
    assert result(tmp_path / "mine.keras", data).name == "mine"


def test_who_says_what_a_model_was_trained_on_gets_the_guarantee():
    data = data_of(IMAGES, LABELS, calibration_fraction=0.5)
    known = classifiers.as_classifier(linear_network()).replace(trained_on=data)
    assert not known.is_foreign and known.trained_on == data.fingerprint
    found = result(known, data)
    assert found.calibration.is_held_out is True is found.test_is_held_out
    assert not any(rule.guarantee.startswith("None: the network") for rule in found.calibration.thresholds)


def test_without_images_kept_back_a_known_model_was_trained_on_those_of_the_calibration():
    data = data_of(IMAGES, LABELS)
    known = classifiers.as_classifier(linear_network()).replace(trained_on=data)
    assert result(known, data).calibration.is_held_out is False


def test_images_given_as_held_out_are_used_and_named():
    data = data_of(IMAGES, LABELS).with_calibration(OTHERS, OTHER_LABELS, source="my own")
    found = result(linear_network(), data)
    assert found.calibration.is_held_out is True and found.calibration.num_images == 24
    assert found.calibration.source == "my own" and found.test_is_held_out is None
    said = [rule.guarantee for rule in found.calibration.thresholds]
    assert all(one.startswith("If the network was not trained on my own, as was said: ") for one in said)


def test_given_images_change_the_calibration_alone(tmp_path):
    data = data_of(IMAGES, LABELS)
    given = data.with_calibration(OTHERS, OTHER_LABELS, source="a")
    others = data.with_calibration(OTHERS, 1 - OTHER_LABELS, source="a")
    assert data.fingerprint == given.fingerprint == others.fingerprint
    assert data.calibration_digest is None
    assert given.calibration_digest != others.calibration_digest
    assert len(data.calibration_labels) == 0 and given.num_classes == 2


@pytest.mark.parametrize("is_held_out", [None, False])
def test_images_that_may_be_trained_on_never_make_a_network_surer(is_held_out):
    labels = np.arange(400) % 2
    sure = np.stack([labels == 0, labels == 1], axis=1) * 1.0  # always right with a logit of 1: sharpened as held out
    wrong = sure.copy()
    wrong[:20] = 1 - wrong[:20]
    unsure = 8 * wrong  # surer than it is right: 20 of 400 wrong
    for logits, as_held_out in ((wrong, lambda t: t < 1), (unsure, lambda t: t > 1)):
        held_out = calibration.calibrate(logits, labels, logits, labels)
        assert as_held_out(held_out.temperature)
        found = calibration.calibrate(logits, labels, logits, labels, is_held_out=is_held_out)
        assert found.temperature == max(held_out.temperature, 1.0)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[1:10], LABELS[1:10], "others than those to test with. Received: 9 that are among those of toy"),
        (np.array([[0.0], [1.0]], np.float32), [0, 1], "others than those to train on. Received: 2"),
        (OTHERS[:, :0], OTHER_LABELS, "mine: calibration images"),
        (np.hstack([OTHERS, OTHERS]), OTHER_LABELS, r"shape of the training images, \(1,\). Received: \(2,\)"),
        (OTHERS, OTHER_LABELS + 5, "mine: calibration labels"),
        (OTHERS[:1], OTHER_LABELS[:1], "needs at least 2 images. Received: 1"),
    ],
)
def test_images_that_cannot_be_held_out_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        data_of(IMAGES, LABELS).with_calibration(images, labels, source="mine")


def test_the_report_says_what_is_not_known(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 4), np.uint8)
    data = datasets.Data(name="mine", train=(images, np.arange(40) % 2), batch_size=4, ood={})
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="theirs")
    report.write_report(evaluate(network, data), tmp_path / "unknown")
    text = " ".join((tmp_path / "unknown" / "report.md").read_text().split())
    assert "Nothing says what **theirs** was trained on. If the test images were part of it" in text
    assert "The data came without a test set, and a fifth of each class, chosen here, stands for it" in text
    assert "theirs on 32 images that it may have been trained on" in text
    known = classifiers.as_classifier(network).replace(trained_on=data)
    report.write_report(evaluate(known, data), tmp_path / "known")
    assert "Nothing says" not in (tmp_path / "known" / "report.md").read_text()


def folder_of(path, classes):
    draw = np.random.default_rng(1)
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(draw.integers(0, 256, (6, 6), np.uint8)).save(path / name / f"{i}.png")
    return f"folder:{path}"


def images_of(class_names=None):
    draw = np.random.default_rng(0)
    train = draw.integers(0, 256, (30, 4, 4, 1), np.uint8), np.arange(30) % 3
    return datasets.Data(name="pets", train=train, class_names=class_names, batch_size=4, ood={})


def test_classes_of_a_folder_are_found_by_name(tmp_path):
    data = images_of(["ant", "bee", "cat"])
    given = datasets.with_calibration(data, folder_of(tmp_path / "held", ["cat", "ant"]))
    assert given.calibration_images.shape == (12, 4, 4, 1)  # resized to the data's own size
    assert sorted(given.calibration_labels) == [0] * 6 + [2] * 6
    with pytest.raises(ValueError, match=r"must be among those of pets, ant, bee, cat. Received: dog"):
        datasets.with_calibration(data, folder_of(tmp_path / "other", ["dog", "ant"]))


def test_classes_of_an_npz_are_found_by_number(tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (12, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "held.npz", images=images, labels=np.arange(12) % 3)
    for names in (["ant", "bee", "cat"], None):
        given = datasets.with_calibration(images_of(names), f"npz:{tmp_path / 'held.npz'}")
        assert np.bincount(given.calibration_labels).tolist() == [4, 4, 4]


@pytest.mark.parametrize("command", [evaluate_command, export_command])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--calibration=mnist"], "--calibration=mnist must be folder:PATH or npz:PATH"),
        (["--calibration=npz:a.npz", "--calibration_fraction=.1"], "exclude each other; give one of them"),
        (["--calibration_fraction=1.5"], "calibration_fraction.* must be in (0, 1)"),
        (["--calibration=npz:missing.npz"], "missing.npz"),
    ],
)
def test_flags_that_name_no_held_out_images(command, flags, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save("mine.keras")
    assert command.main(["evaluate.py", "--model=mine.keras", "--dataset=digits", *flags]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and all(part in lines[0] for part in message.split(".*"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.keras"]
