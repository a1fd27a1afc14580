"""The joint model of a classifier and a detector, and the bound of its confidence, both rounded to float32.

With the detector's logit `g`, `p_in = sigma(g)` and the classifier's probabilities `s`,

`p(y|x) = p_in(x) s_y(x) + (1 - p_in(x)) / K`, so `max_y p(y|x) <= 1/K + (1 - 1/K) p_in(x)`, because `s_y <= 1`.

The bound does not look at the classifier. Source: Meinke, Bitterwolf, Hein, NeurIPS 2022 (ProoD).
"""

import tensorflow as tf

# By how much two float32 implementations of the logistic function may differ. The rational functions that runtimes
# use for it clip their argument near 18 and are right to some 1e-7.
_LOGISTIC = 2.0**-21
_SOFTMAX = 2.0**-19
# Of p_in: so that logits of different classes never become the same number, and none of them infinite.
_LOWEST, _HIGHEST = 2.0**-90, 1 - 2.0**-24


def probability_in(logit: tf.Tensor) -> tf.Tensor:
    """Computes `p_in = sigma(g)`, within [2^-90, 1 - 2^-24]: float32, in the shape of `logit`.

    >>> probability_in(tf.constant([0.0, -1000.0])).numpy() > 0
    array([ True,  True])
    """
    return tf.clip_by_value(tf.sigmoid(tf.cast(logit, tf.float32)), _LOWEST, _HIGHEST)


def joint_logits(logits: tf.Tensor, logit_in: tf.Tensor) -> tf.Tensor:
    """Computes logits of the joint model: `log p(y|x) + log K = log(1 + p_in (K s_y - 1))`.

    Their softmax is `p(y|x)`. They keep the order of the classes when `p_in` is so small that `p(y|x)` rounds to `1/K`
    for all of them.

    Args:
        logits: Float tensor `(n, num_classes)` of the classifier, already divided by its temperature.
        logit_in: Float tensor `(n,)` of the detector.

    Returns:
        float32 tensor `(n, num_classes)`.

    Example: `p_in = 1/2` and `s = (3/4, 1/4)` give `p = (5/8, 3/8)`.

    >>> logits = joint_logits(tf.math.log([[0.75, 0.25]]), tf.constant([0.0]))
    >>> tf.nn.softmax(logits).numpy().round(4)
    array([[0.625, 0.375]], dtype=float32)
    """
    probs = tf.nn.softmax(tf.cast(logits, tf.float32))
    num_classes = tf.cast(tf.shape(probs)[1], tf.float32)
    return tf.math.log1p(probability_in(logit_in)[:, None] * (num_classes * probs - 1))


def confidence_bound_of(logit_bound: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Computes `1/K + (1 - 1/K) sigma(u)` for an upper bound `u` of `g`, rounded outwards.

    It is never below a confidence that is computed in float32 from any `g <= u`, up to 1: the logistic function may be
    off by 2^-21, and the result by 2^-19 of its value. That covers a softmax of `joint_logits`, whose rounding, at most
    `log K` times 2^-24, the exponential passes on, and the sum of the exponentials.

    Args:
        logit_bound: Float tensor `(n,)`.
        num_classes: K, at least 2.

    Returns:
        float32 tensor `(n,)`, in `[1/K, 1]`.

    Example: the head `b = 0, w = 0, h = (1, 2)` has `g = -3`, and `.1 + .9 * .0474 = .1427`.

    >>> confidence_bound_of(tf.constant([-3.0]), 10).numpy().round(4)
    array([0.1427], dtype=float32)
    """
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2. Received: num_classes={num_classes}.")
    highest = tf.sigmoid(tf.cast(logit_bound, tf.float32)) * (1 + _LOGISTIC) + _LOGISTIC
    return tf.minimum((1 / num_classes + (1 - 1 / num_classes) * highest) * (1 + _SOFTMAX), 1.0)
