import numpy as np

from keras_acet.projections import linf_bounds, project_linf


def test_bounds_by_hand():
    lower, upper = linf_bounds([0.1, 0.5, 0.9], epsilon=0.25)
    np.testing.assert_allclose(lower, [0.0, 0.25, 0.65], atol=1e-7)
    np.testing.assert_allclose(upper, [0.35, 0.75, 1.0], atol=1e-7)


def test_projection_is_inside_and_nearest():
    rng = np.random.default_rng(0)
    center = rng.uniform(size=(20, 4, 4, 1)).astype(np.float32)
    images = rng.normal(scale=2, size=center.shape).astype(np.float32)
    projected = project_linf(images, center, epsilon=0.3).numpy()
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert np.abs(projected - center).max() <= 0.3 + 1e-6
    # The published order, box first and ball second, gives the same point.
    published = center + np.clip(np.clip(images, 0, 1) - center, -0.3, 0.3)
    np.testing.assert_allclose(projected, published, atol=1e-6)


def test_points_inside_stay():
    center = np.full((2, 3), 0.5, np.float32)
    np.testing.assert_array_equal(project_linf(center + 0.1, center, epsilon=0.3), center + np.float32(0.1))
