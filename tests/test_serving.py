import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_acet import scores
from keras_acet.serving import BOX_TOLERANCE, OUTPUTS, ServingModel

K = 3


def linear(images):
    """Logits of one pixel each: of 3 pixels for 3 classes."""
    return 4 * images


def model(network=linear, **options):
    return ServingModel(network, image_shape=(K,), num_classes=K, **options)


def test_outputs_by_hand():
    # Logits 4, 0, 0 over a temperature of 2: e^2 = 7.389, so 7.389 / 9.389 = .787 and 1 / 9.389 = .1065.
    outputs = model(temperature=2.0, threshold=0.78).predict([[1.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
    np.testing.assert_allclose(outputs["probabilities"][0], [0.7870, 0.1065, 0.1065], atol=1e-4)
    np.testing.assert_allclose(outputs["logits"], [[4, 0, 0], [0, 0, 2]])
    # Logits 0, 0, 2 over 2: e / (e + 2) = .576, below the threshold.
    np.testing.assert_allclose(outputs["confidence"], [0.7870, 0.5761], atol=1e-4)
    assert outputs["label"].tolist() == [0, 2] and outputs["accepted"].tolist() == [True, False]
    assert {name: outputs[name].dtype.name for name in OUTPUTS} == {
        "label": "int64",
        "confidence": "float32",
        "probabilities": "float32",
        "logits": "float32",
        "accepted": "bool",
    }


@pytest.mark.parametrize(
    "bad",
    [1 + 2 * BOX_TOLERANCE, -2 * BOX_TOLERANCE, 255.0, -1e30, 3e38, np.nan, np.inf, -np.inf],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_bad_pixel_refuses_its_image_alone(bad, position):
    images = np.eye(3, dtype=np.float32)
    images[1, position] = bad
    outputs = model().predict(images)
    assert outputs["accepted"].tolist() == [True, False, True]
    np.testing.assert_array_equal(outputs["probabilities"][1], np.float32(1 / 3))
    np.testing.assert_array_equal(outputs["logits"][1], 0)
    alone = model().predict(images[[0, 2]])
    for name in OUTPUTS:
        np.testing.assert_array_equal(outputs[name][[0, 2]], alone[name])


def test_rounding_at_the_edge_of_the_box_is_forgiven_and_clipped():
    inside, beyond = BOX_TOLERANCE * 0.9, BOX_TOLERANCE * 1.1
    outputs = model().predict([[1 + inside, 0, 0], [1 + beyond, 0, 0], [1, -inside / 2, 1 + inside / 2], [1, 0, 0]])
    assert outputs["accepted"].tolist() == [True, False, True, True]
    np.testing.assert_array_equal(outputs["logits"][0], outputs["logits"][3])


def test_pixels_that_cancel_are_not_forgiven():
    assert not model().predict([[1.5, -0.5, 0.0]])["accepted"][0]
    assert not model().predict([[np.inf, -np.inf, 0.0]])["accepted"][0]


@pytest.mark.parametrize("logits", [np.nan, np.inf, -np.inf, 2e30])
def test_logits_that_are_not_finite_refuse_the_image(logits):
    broken = model(lambda x: tf.where(x[:, :1] > 0.5, [[logits, 0.0, 0.0]], linear(x)))
    outputs = broken.predict([[1.0, 0, 0], [0, 1.0, 0]])
    assert outputs["accepted"].tolist() == [False, True]
    np.testing.assert_array_equal(outputs["confidence"][0], np.float32(1 / 3))


@pytest.mark.parametrize("threshold", [0.0, -1.0])
def test_no_threshold_accepts_what_the_guard_refuses(threshold):
    assert not model(threshold=threshold).predict([[2.0, 0, 0]])["accepted"][0]


def test_a_threshold_of_the_call_wins():
    images = tf.constant(np.eye(3, dtype=np.float32))  # confidence e^4 / (e^4 + 2) = .965
    assert model(threshold=0.99)(images)["accepted"].numpy().tolist() == [False] * 3
    assert model(threshold=0.99)(images, threshold=tf.constant(0.9))["accepted"].numpy().all()
    each = tf.constant([0.9, 0.99, float("nan")])
    assert model()(images, threshold=each)["accepted"].numpy().tolist() == [True, False, False]


def test_small_and_large_temperatures_stay_finite():
    for temperature in (1e-3, 1e3):
        outputs = model(lambda x: 1e29 * x, temperature=temperature).predict([[1.0, 0, 0], [0, 0, 0]])
        assert np.isfinite(outputs["probabilities"]).all()
        assert outputs["label"][0] == 0


@pytest.mark.parametrize("network", ["lenet", "mlp"])
def test_a_batch_of_none(network):
    from keras_acet import networks

    built = networks.build(network, (8, 8, 1), 4)
    outputs = ServingModel(built, image_shape=(8, 8, 1), num_classes=4).predict(np.zeros((0, 8, 8, 1), np.float32))
    shapes = {name: array.shape for name, array in outputs.items()}
    wide, narrow = (0, 4), (0,)
    assert shapes == {"label": narrow, "confidence": narrow, "probabilities": wide, "logits": wide, "accepted": narrow}


def test_dropout_and_batch_norm_are_in_inference_mode():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((K,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.9), keras.layers.Dense(K)]
    network = keras.Sequential(layers)
    images = np.random.default_rng(0).random((5, K), np.float32)
    np.testing.assert_allclose(model(network).predict(images)["logits"], network(images, training=False), rtol=1e-6)


def test_8_bit_images_are_divided_by_255():
    levels = np.array([[255, 0, 51]], np.uint8)
    np.testing.assert_allclose(model().predict(levels)["logits"], [[4, 0, 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"`temperature` must be in \[0.001, 1000\]. Received: temperature=0.0."),
        ({"temperature": np.nan}, "Received: temperature=nan"),
        ({"threshold": np.nan}, "`threshold` must be a number. Received: threshold=nan."),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="`num_classes` must be at least 2. Received: num_classes=1."):
        ServingModel(linear, image_shape=(1,), num_classes=1)


class MaxLogit(scores.Score):
    name = "max_logit"

    def __call__(self, logits):
        return tf.reduce_max(logits, axis=1)


def test_another_score_decides_and_is_told():
    live = model(temperature=2.0, threshold=3.0, score=MaxLogit())
    assert live.outputs == (*OUTPUTS, "score")
    # Logits 4, 0, 0 and 2, 2, 3.2: the score is the largest one, whatever the temperature; the confidence is not.
    outputs = live.predict([[1.0, 0, 0], [0.5, 0.5, 0.8], [0.5, 0, 0], [2.0, 0, 0]])
    assert list(outputs)[:5] != list(outputs) and set(outputs) == set(live.outputs)
    np.testing.assert_allclose(outputs["score"][:3], [4.0, 3.2, 2.0], rtol=1e-6)
    assert outputs["accepted"].tolist() == [True, True, False, False]
    same = model(temperature=2.0, threshold=3.0).predict([[1.0, 0, 0], [0.5, 0.5, 0.8], [0.5, 0, 0], [2.0, 0, 0]])
    for name in ("label", "confidence", "probabilities", "logits"):
        np.testing.assert_array_equal(outputs[name], same[name])


def test_no_threshold_accepts_every_usable_image_by_any_score():
    negative = model(lambda x: 4 * x - 10, score=MaxLogit())
    assert negative.predict([[0.1, 0, 0], [2.0, 0, 0]])["accepted"].tolist() == [True, False]
    assert model().threshold == 0.0 and model().outputs == OUTPUTS


def test_the_score_is_one():
    with pytest.raises(TypeError, match="`score` must be a `scores.Score`. Received: score='max_logit'"):
        model(score="max_logit")
