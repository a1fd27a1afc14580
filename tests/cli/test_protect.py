"""`train.py --method=prood`: a detector beside a classifier of any kind, and the run that `evaluate.py` reads."""

import json
import pathlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_acet import ProvableClassifier, classifiers, datasets, networks
from keras_acet.cli import evaluate as evaluate_command
from keras_acet.cli import protect
from keras_acet.cli import train as train_command
from keras_acet.training.recipe import Recipe

TINY = ["--method=prood", "--epochs=2", "--batch_size=16", "--num_noise=8", "--network=mlp", "--epsilon=0.1"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.keras"
    keras.utils.set_random_seed(0)
    networks.mlp((12, 12, 1), 3).save(path)
    return path


def run_train(images_npz, *flags):
    return train_command.main(["train.py", f"--dataset=npz:{images_npz}", "--run_dir=run", *TINY, *flags])


def test_protects_a_classifier_of_ones_own(images_npz, own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_train(images_npz, f"--classifier={own}") == 0
    out, err = capsys.readouterr()
    assert out.rstrip().endswith("Run directory: run")
    data = datasets.load(f"npz:{images_npz}", calibration_fraction=0.1, batch_size=16)
    epochs = -(-960 // data.steps_per_epoch)
    assert f"these are {2 * data.steps_per_epoch}: it may accept everything; give --epochs={epochs}" in err
    assert "the bound never fell: p_in is bounded by 0.9" in err and "or a smaller --batch_size" in err
    run = tmp_path / "run"
    visible = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert visible >= {"classifier.keras", "detector.keras", "provable.json", "flags.flags", "results.json"}
    assert "model.keras" not in visible
    assert f"--classifier={own}" in (run / "flags.flags").read_text()
    header = (run / "metrics.csv").read_text().splitlines()[0]
    assert {"p_in", "p_in_bound", "radius", "val_p_in"} <= set(header.split(","))

    # Image by image, the classes are those of the classifier alone.
    protected, alone = classifiers.load(run), classifiers.load(own)
    assert isinstance(protected, ProvableClassifier)
    images = data.test_images
    assert (protected.labels(images) == alone.logits(images).argmax(axis=1)).all()
    assert (protected.logits(images).argmax(axis=1) == alone.logits(images).argmax(axis=1)).all()
    noise = np.random.default_rng(0).uniform(size=(50, 12, 12, 1)).astype(np.float32)
    assert (protected.confidences(noise) <= protected.confidence_bound(noise, 0.1)).all()

    measure = "--measure=test_set,noise"
    assert evaluate_command.main(["evaluate.py", "--run_dir=run", "--report_dir=report", measure, "--quick"]) == 0
    (result,) = json.loads((tmp_path / "report/results.json").read_text())["runs"]
    assert (result["kind"], result["method"]) == ("provable", "prood")
    error = np.mean(alone.logits(images).argmax(axis=1) != data.test_labels)
    assert result["test_error"]["value"] == pytest.approx(error)

    # Another run may take the classifier from this one.
    recipe = Recipe.from_flags({"dataset": f"npz:{images_npz}", "method": "prood", "classifier": str(run)})
    nothing = _Flags({name: SimpleNamespace(value=None) for name in ("mean", "std", "inputs", "outputs")})
    call = SimpleNamespace(flags=nothing, note_as_flags=print)
    again = protect.classifier_of(call, recipe, data, tmp_path / "again")
    assert (again.logits(images) == protected.classifier.logits(images)).all()


def test_trains_a_plain_classifier_first_and_once(images_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.flags").write_text(
        f"--dataset=npz:{images_npz}\n--method=plain\n--epochs=1\n--network=mlp\n--batch_size=16\n"
    )
    settings = {"dataset": f"npz:{images_npz}", "method": "prood", "classifier": "recipe:plain.flags"}
    recipe = protect.checked(Recipe.from_flags({**settings, "batch_size": "16", "deterministic": "False"}))
    flags = dict.fromkeys(("mean", "std", "inputs", "outputs", "data_dir", "download", "overwrite"))
    call = SimpleNamespace(
        flags=_Flags({name: SimpleNamespace(value=value) for name, value in flags.items()}), note_as_flags=print
    )
    for said in ("First the classifier, in run-classifier.", "The classifier: run-classifier, trained before."):
        first = protect.classifier_of(call, recipe, recipe.load_data(), pathlib.Path("run"))
        assert first.path == pathlib.Path("run-classifier")
        assert first.flags["method"] == "plain"
        assert said in capsys.readouterr().out


def test_flags_say_what_a_classifier_takes(images_npz, tmp_path, monkeypatch, capsys):
    keras.utils.set_random_seed(1)
    network = networks.mlp((1, 12, 12), 3)
    network.save(tmp_path / "first.keras")
    monkeypatch.chdir(tmp_path)
    flags = ["--classifier=first.keras", "--mean=0.5", "--std=0.25", "--outputs=logits", "--inputs=unit"]
    assert run_train(images_npz, *flags, "--mean=half") == 2
    assert "--mean must be one number, or one for each channel" in capsys.readouterr().err
    assert run_train(images_npz, *flags, "--mean=1,2") == 2
    assert "--mean must be one number, or one for each of the 1 channels" in capsys.readouterr().err
    recipe = Recipe.from_flags({"dataset": f"npz:{images_npz}", "method": "prood", "classifier": "first.keras"})
    data = datasets.load(f"npz:{images_npz}", calibration_fraction=0.1, batch_size=16)
    values = SimpleNamespace(mean=["0.5"], std=["0.25"], inputs=None, outputs="logits")
    values = {name: SimpleNamespace(value=value) for name, value in vars(values).items()}
    call = SimpleNamespace(flags=_Flags(values), note_as_flags=print)
    loaded = protect.classifier_of(call, recipe, data, tmp_path / "run")
    images = data.test_images
    expected = network(((images - 0.5) / 0.25).transpose(0, 3, 1, 2)).numpy()
    assert loaded.logits(images) == pytest.approx(expected, abs=1e-4)


class _Flags(dict):
    def __getattr__(self, name):
        return self[name].value


def test_refusals(images_npz, own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_train(images_npz, "--classifier=none.keras") == 2
    assert "--classifier must be a trained classifier, or recipe:NAME. Received: none.keras" in capsys.readouterr().err
    assert run_train(images_npz, "--classifier=recipe:fast/mnist_plain") == 2
    assert "Received: recipe:fast/mnist_plain, a recipe for mnist." in capsys.readouterr().err
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]).save("small.keras")
    assert run_train(images_npz, "--classifier=small.keras") == 2
    assert "takes images of shape (8, 8, 1)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_default_batch_size_above_few_images_is_named(images_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with np.load(images_npz) as there:
        few = {name: values[:60] if name.endswith(("images", "labels")) else values for name, values in there.items()}
    np.savez("few.npz", **few)
    for method in ("plain", "prood"):
        assert train_command.main(["train.py", "--dataset=npz:few.npz", f"--method={method}"]) == 2
        err = capsys.readouterr().err
        assert "Received: batch_size=128, which is the default. Give for instance --batch_size=" in err
