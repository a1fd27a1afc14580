"""Confidence penalties on logits, one value per example."""

import tensorflow as tf


def log_max_confidence(logits: tf.Tensor) -> tf.Tensor:
    """Computes the log of the largest softmax probability of each example.

    `out[i] = max_k log_softmax(logits[i])[k]`, always in `[-log(num_classes), 0]`. Its mean over noise images
    is the penalty of CEDA and ACET; its minimum, `log(1/num_classes)`, is the uniform prediction.

    Args:
        logits: Float tensor of shape `(batch, num_classes)`; any real values.

    Returns:
        Float tensor of shape `(batch,)`, dtype of `logits`. Not reduced.

    Raises:
        ValueError: If `logits` is not of rank 2.

    Example:

    >>> log_max_confidence(tf.zeros((1, 4))).numpy().round(4)
    array([-1.3863], dtype=float32)

    Source: Hein et al., CVPR 2019, arXiv:1812.05720.
        Differs: the authors' code takes minus a cross-entropy with the argmax label; the value is the same.
    """
    logits = _check_logits(logits)
    # max_k log_softmax_k = -log(sum_j exp(z_j - max_k z_k)): one pass, no overflow.
    gap = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    return -tf.math.log(tf.reduce_sum(tf.exp(gap), axis=-1))


def logit_gap(logits: tf.Tensor) -> tf.Tensor:
    """Computes the gap between the largest and the second largest logit of each example.

    `out[i] = z_(1) - z_(2)` with the logits of example `i` in falling order; `0` at a tie, never negative. As an
    attack's objective it does not saturate where the softmax does: its gradient keeps its size at confidence 1
    and does not vanish with the distance of the other logits at confidence `1/num_classes`.

    Args:
        logits: Float tensor of shape `(batch, num_classes)`, `num_classes >= 2`; any real values.

    Returns:
        Float tensor of shape `(batch,)`, dtype of `logits`. Not reduced.

    Raises:
        ValueError: If `logits` is not of rank 2.

    Example:

    >>> logit_gap(tf.constant([[1.0, 4.0, 2.0]])).numpy()
    array([2.], dtype=float32)

    Source: the margin objective of Carlini and Wagner, S&P 2017, arXiv:1608.04644, without a target class.
    """
    largest = tf.math.top_k(_check_logits(logits), k=2).values
    return largest[:, 0] - largest[:, 1]


def _check_logits(logits):
    logits = tf.convert_to_tensor(logits)
    if logits.shape.rank == 2 and logits.shape[1] == 1:
        raise ValueError(
            "`logits` must have a column for each of two classes or more: one alone has always the confidence 1. "
            "Received: one column. networks.wrapped(network) makes two of it, 0 and the logit."
        )
    if logits.shape.rank != 2:
        raise ValueError(
            "`logits` must have shape (batch, num_classes), one row per example. "
            f"Received: shape {tuple(logits.shape)}. A network that ends in a feature map needs pooling and a "
            "dense layer first."
        )
    return logits
