"""Images of the user's own that a classifier was not trained on, for a temperature and thresholds."""

import numpy as np

from keras_acet.datasets.data import Data
from keras_acet.datasets.loading import load
from keras_acet.datasets.sources import parse


def with_calibration(data: Data, name: str, *, image_size: int | None = None) -> Data:
    """Returns data with the images of `folder:PATH` or `npz:PATH`, all of them, for a temperature and thresholds.

    Args:
        data: The data.
        name: Name of the set. Its classes are those of the data by name, or by number where it has numbers alone.
        image_size: For `folder:PATH`, as for `load`; the default is that of the data, where their images are square.

    Returns:
        A copy of `data`, see `Data.with_calibration`.

    Raises:
        ValueError: If a class is none of the data's, a file cannot be read; and as `Data.with_calibration`.
    """
    shape = data.image_shape
    if image_size is None and len(shape) == 3 and shape[0] == shape[1]:
        image_size = shape[0]
    source = parse(name)
    takes_size = source is not None and source.takes_image_size
    other = load(name, batch_size=1, image_size=image_size if takes_size else None)
    images = np.concatenate([other.train_images, other.test_images])
    labels = np.concatenate([other.train_labels, other.test_labels])
    numbers = [str(number) for number in range(other.num_classes)]
    if set(other.class_names) <= set(data.class_names):
        labels = np.array([data.class_names.index(one) for one in other.class_names])[labels]
    elif other.class_names != numbers or other.num_classes > data.num_classes:
        unknown = sorted(set(other.class_names) - set(data.class_names))
        raise ValueError(
            f"{name}: its classes must be among those of {data.name}, {', '.join(data.class_names)}. Received: "
            f"{', '.join(unknown)}."
        )
    return data.with_calibration(images, labels, source=other.name)
