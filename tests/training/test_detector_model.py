"""The Keras model that trains a detector: its loss by hand, what it learns, what it keeps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.penalties import OnesNoise
from keras import layers

from keras_acet import DetectorModel, detectors, noise, schedules
from keras_acet.detectors.negative_head import assemble


def line():
    """`g(x) = 1 - x` on one pixel."""
    layer = layers.Dense(1, activation="relu")
    layer.build((None, 1))
    layer.set_weights([np.ones((1, 1)), np.zeros(1)])
    return detectors.NegativeHead(assemble((1,), [layer], np.ones(1), 1.0))


def test_the_loss_by_hand():
    model = DetectorModel(line(), OnesNoise(), epsilon=0.25, weight=2.0)
    model.compile(keras.optimizers.SGD(1.0))
    images = np.array([[0.0], [0.5]], np.float32)
    logs = model.fit(images, batch_size=2, epochs=1, verbose=0).history
    # In: softplus(-1) = .3133 and softplus(-.5) = .4741, mean .3937. Out, at 1 within .25: the bound is 1 - .75 = .25,
    # and 2 softplus(.25) = 1.6519. Together 2.0456. p_in: sigma(1) = .7311, sigma(.5) = .6225, and sigma(.25) = .5622.
    assert logs["loss"] == pytest.approx([2.0456], abs=1e-4)
    assert logs["p_in"] == pytest.approx([0.6768], abs=1e-4)
    assert logs["p_in_bound"] == pytest.approx([0.5622], abs=1e-4)
    assert logs["radius"] == pytest.approx([0.25])
    # The gradient of b: -(.2689 + .3775) / 2 + 2 * .5622 = .8011.
    assert model.detector().bias == pytest.approx(1 - 0.8011, abs=1e-3)


def test_sample_weights_weigh_the_clean_images():
    model = DetectorModel(line(), OnesNoise(), epsilon=0.0)
    model.compile("sgd")
    images = np.array([[0.0], [0.5]], np.float32)
    logs = model.fit(images, np.zeros(2), sample_weight=np.array([2.0, 0.0]), batch_size=2, verbose=0).history
    assert logs["loss"] == pytest.approx([0.3133 + 0.6931], abs=1e-4)  # 2 * .3133 / 2 and softplus(0)


def striped(count, seed=0):
    """Images of stripes, which no uniform noise looks like."""
    draw = np.random.default_rng(seed)
    images = np.zeros((count, 8, 8, 1), np.float32)
    images[:, ::2] = 1
    return np.clip(images + draw.normal(scale=0.05, size=images.shape), 0, 1).astype(np.float32)


def test_it_learns_and_certifies(tmp_path):
    keras.utils.set_random_seed(0)
    images = striped(512)
    model = DetectorModel(
        detectors.build("negative_head", (8, 8, 1)),
        noise.UniformNoise(seed=1),
        epsilon=schedules.Ramp(0.1, start=16, end=96),
    )
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(images, batch_size=32, epochs=10, validation_data=(striped(64, 1),), verbose=0).history
    assert history["radius"][0] == 0
    assert history["radius"][-1] == pytest.approx(0.1)
    assert history["val_p_in"][-1] > 0.95
    detector = model.detector()
    fresh = np.random.default_rng(2).uniform(size=(500, 8, 8, 1)).astype(np.float32)
    bound = detectors.confidence_bound_of(tf.constant(detector.logit_bounds(fresh, 0.1)), 10).numpy()
    assert np.mean(bound) < 0.12
    assert detector.logits(images) == pytest.approx(model.predict(images, verbose=0), abs=1e-3)

    # Saved and loaded, the model goes on and gives the same detector.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.epsilon(56).numpy() == pytest.approx(0.05)
    assert (loaded.detector().logits(images) == detector.logits(images)).all()
    assert loaded.optimizer.iterations == 160
    loaded.fit(images[:32], batch_size=32, verbose=0)


def test_images_in_another_range_are_refused_on_every_path():
    model = DetectorModel(line(), OnesNoise(), epsilon=0.1)
    model.compile("adam")
    good, levels = np.zeros((4, 1), np.float32), np.full((4, 1), 255.0, np.float32)
    message = r"Images must lie in \[0, 1\]. Received: values from 255 to 255"
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match=message):
            call(levels, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.fit(good, validation_data=(levels,), verbose=0)
    with pytest.raises(TypeError, match="Images must be floats in"):
        model.fit(levels.astype(np.uint8), verbose=0)


def test_refusals():
    with pytest.raises(TypeError, match="`detector` must be a detector"):
        DetectorModel(keras.Sequential(), OnesNoise(), epsilon=0.1)
    with pytest.raises(TypeError, match="`noise` must be an out-distribution"):
        DetectorModel(line(), "paper", epsilon=0.1)
    with pytest.raises(ValueError, match=r"`epsilon` must be in \[0, 1\]"):
        DetectorModel(line(), OnesNoise(), epsilon=8)
    with pytest.raises(ValueError, match="`weight` must be positive"):
        DetectorModel(line(), OnesNoise(), epsilon=0.1, weight=0)
    with pytest.raises(TypeError, match="`loss` must be left out"):
        DetectorModel(line(), OnesNoise(), epsilon=0.1).compile(loss="mse")
    with pytest.raises(ValueError, match="0 <= `start` < `end`"):
        schedules.Ramp(0.1, start=5, end=5)
