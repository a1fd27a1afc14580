"""The check of images that kinds of noise share."""

import tensorflow as tf


def check_images(images: tf.Tensor, user: str) -> tf.Tensor:
    """Returns images as a tensor, or raises ValueError that names `user`, the function that needs height and width."""
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(
            f"`{user}` needs images of shape (batch, height, width, channels). Received: shape {tuple(images.shape)}. "
            "For vectors use `UniformNoise`."
        )
    return images
