"""What kinds of noise check."""

import tensorflow as tf


def check_images(images: tf.Tensor, user: str) -> tf.Tensor:
    """Returns images as a tensor, or raises for `user`, who needs height and width."""
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(
            f"`{user}` needs images of shape (batch, height, width, channels). Received: shape {tuple(images.shape)}. "
            "For vectors use `UniformNoise`."
        )
    return images
