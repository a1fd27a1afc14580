import csv
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_acet as ka
from keras_acet.training import runs
from keras_acet.training.runs import checkpoints

FLAGS = {"dataset": "digits", "seed": "0"}


def make_model(units=3, use_ema=True):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5, seed=5), keras.layers.Dense(units)])
    pool = ka.penalties.NoisePool(12)
    penalty = ka.penalties.ConfidencePenalty(
        ka.noise.UniformNoise(seed=1), ka.attack.PGD(num_steps=2, seed=2), pool=pool, seed=3
    )
    model = ka.ACETModel(network, penalty)
    model.compile(optimizer=keras.optimizers.Adam(0.01, use_ema=use_ema, ema_momentum=0.8), metrics=["accuracy"])
    model.build((None, 4))
    model.optimizer.build(model.trainable_variables)
    return model


def make_data():
    draw = np.random.default_rng(0)
    return tf.data.Dataset.from_tensor_slices(
        (draw.random((24, 4), dtype=np.float32), np.arange(24, dtype=np.int64) % 3)
    ).batch(8)


def state(model):
    return [keras.ops.convert_to_numpy(v).tobytes() for v in [*model.variables, *model.optimizer.variables]]


@pytest.fixture
def claimed():
    """Function that claims a directory as a new process would; its lock is released at the end."""
    claims = []

    def claim(path, **kwargs):
        for run in claims:
            run.release()
        claims.append(runs.RunDirectory(path))
        claims[-1].claim(FLAGS, **kwargs)
        return claims[-1]

    yield claim
    for run in claims:
        run.release()


def fit(run, epochs, model=None):
    model = model or make_model()
    progress = run.restore(model)
    model.fit(
        make_data(),
        validation_data=make_data(),
        epochs=epochs,
        initial_epoch=progress.epoch,
        callbacks=run.callbacks(progress),
        shuffle=False,
        verbose=0,
    )
    return model, progress


def scalars(run):
    """List of (step, tag) in the TensorBoard log."""
    found = []
    for path in (run.path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(event.step, value.tag) for value in event.summary.value]
    return found


def read_csv(run):
    with (run.path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_checkpoint_restores_every_variable(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    model, progress = fit(run, 3)
    saved = make_model()
    again = run.restore(saved)

    assert (again.epoch, again.history, again.notes) == (3, progress.history, [])
    # fit ends by taking over the averaged weights, so that is what the comparison takes over too.
    saved.optimizer.finalize_variable_values(saved.trainable_variables)
    assert state(saved) == state(model)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["epoch-0002.npz", "epoch-0003.npz"]


def test_training_in_two_parts_equals_training_in_one(claimed, tmp_path):
    whole, in_one = fit(claimed(tmp_path / "whole"), 4)
    run = claimed(tmp_path / "parts")
    progress = run.restore(model := make_model())

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(
            make_data(),
            validation_data=make_data(),
            epochs=4,
            callbacks=[*run.callbacks(progress), Stop()],
            shuffle=False,
            verbose=0,
        )
    parts, in_two = fit(run, 4)

    assert in_two.history == in_one.history
    assert state(parts) == state(whole)
    assert (tmp_path / "parts/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    assert sorted(scalars(run)) == sorted(
        (row["epoch"], name) for row in in_one.history for name in row if name != "epoch"
    )


def test_row_lost_between_checkpoint_and_csv_comes_back(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 2)
    whole = (run.path / "metrics.csv").read_bytes()
    (run.path / "metrics.csv").write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))

    fit(run, 2)

    assert (run.path / "metrics.csv").read_bytes() == whole
    assert len(scalars(run)) == len(set(scalars(run)))


def test_rows_have_what_training_reports(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 1)

    names = {"cross_entropy", "penalty", "noise_confidence", "adversarial_confidence", "accuracy", "learning_rate"}
    assert names <= set(read_csv(run)[0])
    assert names <= {tag for _, tag in scalars(run)}
    assert float(read_csv(run)[0]["learning_rate"]) == pytest.approx(0.01)


def alter_array(path):
    content = dict(np.load(path))
    content["00001"] = content["00001"] + 1
    np.savez(path, **content)


def of_another_model(path):
    run = runs.RunDirectory(path.parent.parent)
    run.save_checkpoint(make_model(units=5), runs.Progress(epoch=int(path.stem[-4:])))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), ""),
        (lambda path: path.write_bytes(b""), "No data left in file"),
        (alter_array, "its contents do not match its SHA-256"),
    ],
)
def test_damaged_checkpoint_falls_back(claimed, damage, reason, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 3)
    damage(run.path / "checkpoints/epoch-0003.npz")
    progress = run.restore(make_model())

    assert progress.epoch == 2
    (note,) = progress.notes
    assert "epoch-0003.npz is damaged and passed over" in note
    assert note.endswith("epoch-0002.npz")
    assert re.search(reason, note)

    (run.path / "checkpoints/epoch-0002.npz").write_bytes(b"PK")
    model = make_model()
    before = state(model)
    progress = run.restore(model)
    assert (progress.epoch, progress.history) == (0, [])
    assert progress.notes[-1].endswith("no whole checkpoint is left, starting anew")
    assert state(model) == before


def test_checkpoints_of_another_model_are_passed_over_but_not_all_of_them(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 3)
    of_another_model(run.path / "checkpoints/epoch-0003.npz")
    progress = run.restore(make_model())
    assert progress.epoch == 2
    assert re.search(r"has shape \(4, 3\) here and \(4, 5\) there", *progress.notes)

    (run.path / "checkpoints/epoch-0002.npz").write_bytes(b"PK")
    with pytest.raises(
        runs.RunDirectoryError, match=r"cannot go on: .*epoch-0003.npz.*Name another `run_dir`, or remove"
    ):
        run.restore(make_model())


def test_a_checkpoint_from_before_pools_were_objects_fits(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 2)
    model = make_model()
    run.restore(model)
    expected = state(model)
    path = run.path / "checkpoints/epoch-0002.npz"
    with np.load(path) as file:
        meta = json.loads(file["meta"].tobytes())
        arrays = [file[f"{index:05d}"] for index in range(len(meta["paths"]))]
    names = ("noise_images", "states", "filled")
    before = {
        f"acet_model/confidence_penalty/noise_pool/{name}": f"acet_model/persistent_adversary/{name}" for name in names
    }
    there = [(before.get(path, path), array) for path, array in zip(meta["paths"], arrays, strict=True)]
    there.sort(key=lambda entry: not entry[0].startswith("acet_model/"))  # their order was another one, too
    assert [path for path, _ in there[:3]] == list(before.values())
    checkpoints.write_checkpoint(path, there, {key: value for key, value in meta.items() if key != "paths"})

    model = make_model()
    assert run.restore(model).epoch == 2
    assert state(model) == expected


def test_checkpoint_holds_no_pickle(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 1)

    with np.load(run.path / "checkpoints/epoch-0001.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "biufU" for name in file.files)
        assert json.loads(file["meta"].tobytes())["epoch"] == 1


def test_a_file_is_there_whole_or_not_at_all(claimed, tmp_path):
    run = claimed(tmp_path / "run")

    class Network:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.save_network(Network())
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "checkpoints", "flags.flags"]


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", ".tmp-flags.flags"]])
def test_killed_before_the_flags_were_written(left, claimed, tmp_path):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_text("")
    claimed(tmp_path / "run")

    assert (tmp_path / "run/flags.flags").read_text().endswith("--dataset=digits\n--seed=0\n")


def test_left_over_temporary_files_are_removed(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    left = [run.path / ".tmp-metrics.csv", run.path / "checkpoints/.tmp-epoch-0001.npz"]
    for path in left:
        path.write_text("half")
    run.release()
    claimed(tmp_path / "run")

    assert not any(path.exists() for path in left)


def test_validation_sees_the_averaged_weights_and_training_does_not(claimed, tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append([weight.numpy() for weight in self.model.trainable_variables])

        def on_epoch_end(self, epoch, logs=None):
            seen.append([weight.numpy() for weight in self.model.trainable_variables])

    run = claimed(tmp_path / "run")
    model = make_model()
    progress = run.restore(model)
    model.fit(
        make_data(),
        validation_data=make_data(),
        epochs=1,
        callbacks=[*run.callbacks(progress), Watch()],
        shuffle=False,
        verbose=0,
    )
    validated, trained = seen
    for averaged, raw, final in zip(validated, trained, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(averaged, final.numpy())
        assert not np.array_equal(averaged, raw)


def test_finished_run_is_kept_until_it_is_overwritten(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    fit(run, 1)
    run.finish({"table": []})
    run.release()
    other = runs.RunDirectory(tmp_path / "run")
    with pytest.raises(runs.RunDirectoryError, match="holds a finished run; name another `run_dir`, give a larger"):
        other.check(FLAGS)
    other.check(FLAGS, overwrite=True)
    assert other.is_finished

    other = claimed(tmp_path / "run", overwrite=True)
    assert sorted(path.name for path in other.path.iterdir()) == [".lock", "checkpoints", "flags.flags"]
    assert other.last_checkpoint() is None


def test_overwrite_goes_on_with_an_unfinished_run_of_the_same_flags(claimed, tmp_path):
    run = claimed(tmp_path / "run", overwrite=True)
    fit(run, 1)
    run.release()

    assert claimed(tmp_path / "run", overwrite=True).restore(make_model()).epoch == 1


def test_flags_given_only_then_count_too_but_not_extra_ones(claimed, tmp_path):
    run = claimed(tmp_path / "run", extra_flags={"data_dir": "/old"})
    claimed(tmp_path / "run", extra_flags={"data_dir": "/new"})
    assert (run.path / "flags.flags").read_text().splitlines()[-1] == "--data_dir=/new"

    fewer = {"dataset": "digits"}
    runs.RunDirectory(tmp_path / "other").check(fewer, complete=True)
    run = claimed(tmp_path / "run")
    run.check(fewer)
    with pytest.raises(runs.RunDirectoryError, match="begun with other settings: `seed` was 0, now not given"):
        run.check(fewer, complete=True)


def test_check_changes_nothing(tmp_path):
    runs.RunDirectory(tmp_path / "a/b").check(FLAGS)

    assert list(tmp_path.iterdir()) == []


def test_non_finite_loss_names_step_and_checkpoint(claimed, tmp_path):
    run = claimed(tmp_path / "run")
    model, progress = fit(run, 1)
    model.trainable_variables[0].assign(model.trainable_variables[0] * np.nan)
    with pytest.raises(runs.NonFiniteLossError, match=r"the loss is nan at step 4 \(epoch 2, batch 1\); .*epoch-0001"):
        model.fit(make_data(), epochs=2, initial_epoch=1, callbacks=run.callbacks(progress), shuffle=False, verbose=0)
