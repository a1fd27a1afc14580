import keras
import numpy as np
import pytest

from keras_acet import schedules


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_steps_fall_at_the_first_step_of_the_epoch():
    schedule = schedules.learning_rate("steps", 0.1, epochs=100, steps_per_epoch=390)

    # Epoch 50 (counted from 0) begins with step 50 * 390 = 19500.
    steps = [0, 19499, 19500, 29249, 29250, 35099, 35100]
    np.testing.assert_allclose(rates(schedule, steps), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001], rtol=1e-6)


def test_cosine_ends_at_zero():
    schedule = schedules.learning_rate("cosine", 0.2, epochs=2, steps_per_epoch=5)

    # (1 + cos(pi * step / 10)) / 2: 1, 1/2 and 0 at steps 0, 5 and 10.
    np.testing.assert_allclose(rates(schedule, [0, 5, 10]), [0.2, 0.1, 0.0], atol=1e-8)


def test_warmup_multiplies():
    schedule = schedules.learning_rate("steps", 1.0, epochs=4, steps_per_epoch=4, drop_epochs=[1], warmup_epochs=1.5)

    # 6 steps of warm-up; the rate falls to 0.1 at step 4: 5/6 * 0.1 there.
    np.testing.assert_allclose(rates(schedule, [0, 3, 4, 6]), [1 / 6, 4 / 6, 0.5 / 6, 0.1], rtol=1e-6)
    assert schedules.learning_rate("constant", 0.5, epochs=1, steps_per_epoch=1) == 0.5


def test_config_round_trip():
    schedule = schedules.learning_rate("cosine", 0.2, epochs=2, steps_per_epoch=5, warmup_epochs=1)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))

    np.testing.assert_array_equal(rates(copy, range(10)), rates(schedule, range(10)))


def test_messages():
    with pytest.raises(ValueError, match=r"`name` must be 'constant', 'cosine' or 'steps'\. Received: name='linear'"):
        schedules.learning_rate("linear", 0.1, epochs=1, steps_per_epoch=1)
    with pytest.raises(ValueError, match=r"`drop_epochs` must rise\. Received: drop_epochs=\[2, 1\]"):
        schedules.learning_rate("steps", 0.1, epochs=1, steps_per_epoch=1, drop_epochs=[2, 1])
    with pytest.raises(ValueError, match=r"`num_steps` must be at least 1\. Received: num_steps=0"):
        schedules.Warmup(0.1, 0)
