"""The set an attack may move in: the l_inf ball around an image, cut with the pixel box [0, 1]."""

import tensorflow as tf


def linf_bounds(center: tf.Tensor, *, epsilon: float | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the corners of the l_inf ball around each image, cut with the pixel box.

    `lower = max(center - epsilon, 0)` and `upper = min(center + epsilon, 1)`: an image lies in ball and box exactly
    when `lower <= image <= upper` at every pixel.

    Args:
        center: Float tensor of any shape, values in `[0, 1]`.
        epsilon: Radius in pixel units (1 is the whole range of a pixel), a number or a scalar tensor.

    Returns:
        Two float tensors of the shape of `center`.

    Example:

    >>> [bound.numpy().round(1).tolist() for bound in linf_bounds(tf.constant([0.1, 0.5]), epsilon=0.3)]
    [[0.0, 0.20000000298023224], [0.4000000059604645, 0.800000011920929]]
    """
    center = tf.convert_to_tensor(center)
    epsilon = tf.cast(epsilon, center.dtype)
    return tf.maximum(center - epsilon, 0.0), tf.minimum(center + epsilon, 1.0)


def project_linf(images: tf.Tensor, center: tf.Tensor, *, epsilon: float | tf.Tensor) -> tf.Tensor:
    """Moves each image to the nearest point of the ball around `center` within the pixel box.

    `out = min(max(image, lower), upper)` with the corners of `linf_bounds`. Nearest in every l_p norm, because
    the set is a product of intervals.

    Args:
        images: Float tensor; any values.
        center: Float tensor of the same shape, values in `[0, 1]`.
        epsilon: Radius in pixel units.

    Returns:
        Float tensor of the shape of `images`, in `[0, 1]`; its distance from `center` exceeds `epsilon` by no more
        than float32 rounding (about 3e-8).

    Example:

    >>> project_linf(tf.constant([0.9]), tf.constant([0.5]), epsilon=0.25).numpy()
    array([0.75], dtype=float32)
    """
    lower, upper = linf_bounds(center, epsilon=epsilon)
    return tf.clip_by_value(images, lower, upper)
