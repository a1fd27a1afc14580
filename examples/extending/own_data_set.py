"""A data set of one's own: stripes that run across or down, with the photographs as out-distribution beside it."""

import numpy as np

import keras_acet as ka


def read():
    """Returns 400 images of 12 x 12 pixels, striped with a random period and shift, and which way the stripes run."""
    draw = np.random.default_rng(0)
    labels = np.arange(400) % 2
    places = np.arange(12) / draw.uniform(2, 6, (400, 1)) + draw.uniform(size=(400, 1))
    stripes = (0.5 + 0.5 * np.sin(2 * np.pi * places)).astype(np.float32)
    images = np.broadcast_to(stripes[:, None, :], (400, 12, 12)).copy()
    images[labels == 1] = images[labels == 1].transpose(0, 2, 1)
    return ka.datasets.Splits((images, labels), class_names=["down", "across"])


STRIPES = ka.datasets.DatasetSpec("stripes", read, image_shape=(12, 12, 1), network="mlp", beside=("photos",))

if __name__ == "__main__":
    ka.datasets.register(STRIPES)  # makes the name known in this process
    print(ka.datasets.load("stripes", batch_size=32))
