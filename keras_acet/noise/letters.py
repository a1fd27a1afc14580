"""Letters as out-distribution, drawn from the text faces that come with matplotlib."""

import functools
import math
import pathlib
import string
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_acet._checks import check_integer
from keras_acet.noise._checks import check_floats, check_images
from keras_acet.noise.base import Noise

# The faces of matplotlib that have all letters; without its last-resort face, which has one sign for all of them, and
# those of symbols. Every third is kept for tests.
_TEST_FACES = (
    "DejaVuSans-Oblique",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmss10",
    "cmtt10",
)
_TRAIN_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmb10",
    "cmmi10",
    "cmr10",
    "cmti10",
)
_FACES = {"train": _TRAIN_FACES, "test": _TEST_FACES, "all": _TRAIN_FACES + _TEST_FACES}
_STROKES = (0.0, 0.02, 0.05)  # how much wider a line is on each side, as a share of the size of the face
_ROTATION, _SHEAR, _EXTENT = math.radians(25), 0.3, (0.5, 0.95)
_MOST_BYTES = 2**28


@keras.saving.register_keras_serializable("keras_acet")
class Letters(Noise):
    """Upper and lower case letters, white on black, in random faces, places, sizes and slants.

    Each is drawn with Pillow: a letter and a face at random, its lines wider by 0, 2 or 5 % of its size, sheared by up
    to 0.3, turned by up to 25 degrees, scaled so that it fills 50 to 95 % of the image in the direction in which it
    fills more, and put anywhere in the image. The images are drawn once and then taken at random with replacement; they
    are kept in memory alone. All channels are the same.

    Args:
        without: Letters to leave out, such as `letters_like(data.class_names)`.
        faces: `"train"` for 15 of the text faces that come with matplotlib, `"test"` for the 7 others, `"all"`.
        num_images: Number of images; less if they would need more than 256 MiB.
        seed: int or `keras.random.SeedGenerator`; None draws one from Keras' global generator. An int is the seed of
            the drawing too, which is 0 otherwise.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`; only its shape is used.

    Raises:
        ImportError: If matplotlib, Pillow or one of the faces is missing.
        TypeError: If an argument is of another type.
        ValueError: If `without` leaves no letter, `faces` is none of the three or `num_images` is below 1.

    Example:

    >>> Letters(without="IlOo", num_images=10, seed=0)(tf.zeros((2, 16, 12, 3))).shape
    TensorShape([2, 16, 12, 3])
    """

    has_content = True

    def __init__(
        self,
        *,
        without: str = "",
        faces: str = "train",
        num_images: int = 20_000,
        seed: int | keras.random.SeedGenerator | None = None,
        name: str | None = None,
    ):
        super().__init__(seed=seed, name=name)
        if not isinstance(without, str):
            raise TypeError(f"`without` must be a text, such as 'IlOo'. Received: without={without!r}.")
        if not set(string.ascii_letters) - set(without):
            raise ValueError(
                f"`without` must leave at least one letter. Received: without={without!r}. Where all letters are "
                "classes, letters are no out-distribution."
            )
        if faces not in _FACES:
            raise ValueError(f"`faces` must be one of {', '.join(sorted(_FACES))}. Received: faces={faces!r}.")
        self.without = without
        self.faces = faces
        self.num_images = check_integer(num_images, "num_images", minimum=1)
        self._drawn: dict[tuple[int, int], tf.Tensor] = {}

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = check_floats(check_images(images, "Letters"), "Letters")
        letters = self._letters(images.shape[1], images.shape[2])
        count = tf.shape(images)[0]
        index = keras.random.randint((count,), 0, letters.shape[0], seed=self.seed_generator)
        drawn = tf.cast(tf.gather(letters, index), tf.float32)[..., None] / 255.0
        return tf.broadcast_to(drawn, tf.shape(images))

    def _letters(self, height: int, width: int) -> tf.Tensor:
        """All images of a size, a uint8 tensor `(n, height, width)` that a graph refers to instead of holding it."""
        if (height, width) not in self._drawn:
            letters = "".join(letter for letter in string.ascii_letters if letter not in self.without)
            count = max(min(self.num_images, _MOST_BYTES // (height * width)), 1)
            seed = self.seed if isinstance(self.seed, int) else 0
            with tf.init_scope():
                self._drawn[height, width] = tf.constant(_draw(height, width, letters, _FACES[self.faces], count, seed))
        return self._drawn[height, width]

    def get_config(self) -> dict[str, Any]:
        return {
            "without": self.without,
            "faces": self.faces,
            "num_images": self.num_images,
            **super().get_config(),
        }


def letters_like(class_names: Iterable[str]) -> str:
    """Returns the letters that look like one of the classes, to be left out of `Letters`.

    Where all classes are digits: I, l, O and o. A class that is a letter: that letter in upper and lower case.

    >>> letters_like("0123456789"), letters_like(["A", "hen"])
    ('IOlo', 'Aa')
    """
    names = set(class_names)
    alike = set("IlOo") if names and names <= set(string.digits) else set()
    for name in names & set(string.ascii_letters):
        alike |= {name.upper(), name.lower()}
    return "".join(sorted(alike))


@functools.lru_cache(maxsize=4)
def _draw(height: int, width: int, letters: str, faces: tuple[str, ...], count: int, seed: int) -> np.ndarray:
    """Draws letters: uint8 of shape `(count, height, width)`, white on black."""
    from PIL import Image

    random = np.random.default_rng(seed)
    # Drawn larger and averaged, because Pillow's affine maps do not average where they shrink.
    fine = 1 if min(height, width) > 128 else max(2, -(-48 // min(height, width)))
    size = min(max(height, width) * fine, 256)
    glyphs = [
        _glyph(face, letter, size, stroke) for face in _opened(faces, size) for letter in letters for stroke in _STROKES
    ]
    chosen = random.integers(len(glyphs), size=count)
    turn = random.uniform(-_ROTATION, _ROTATION, count)
    shear = random.uniform(-_SHEAR, _SHEAR, count)
    extent = random.uniform(*_EXTENT, count)
    place = random.uniform(-1, 1, (count, 2))
    images = np.empty((count, height, width), np.uint8)
    for i in range(count):
        glyph = glyphs[chosen[i]]
        box = np.array([width * fine, height * fine])
        coefficients = _coefficients(np.array(glyph.size), box, turn[i], shear[i], extent[i], place[i])
        drawn = glyph.transform(tuple(box), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        images[i] = np.asarray(drawn.reduce(fine) if fine > 1 else drawn)
    images.flags.writeable = False
    return images


def _coefficients(
    size: np.ndarray, box: np.ndarray, turn: float, shear: float, extent: float, place: np.ndarray
) -> tuple[float, ...]:
    """The map from places in the image to places in the glyph, as Pillow takes it."""
    cosine, sine = math.cos(turn), math.sin(turn)
    there = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    covered = np.abs(there) @ size  # width and height of what the glyph's rectangle becomes
    there *= extent * (box / covered).min()
    room = box - np.abs(there) @ size
    centre = box / 2 + place * room / 2
    back = np.linalg.inv(there)
    origin = size / 2 - back @ centre
    return (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1])


def _opened(faces: tuple[str, ...], size: int) -> list[Any]:
    try:
        import matplotlib
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError(
            f"Letters need matplotlib, for its faces, and Pillow: pip install matplotlib pillow. {error}"
        ) from error
    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    try:
        return [ImageFont.truetype(str(folder / f"{face}.ttf"), size) for face in faces]
    except OSError as error:
        raise ImportError(
            f"Letters need the faces that come with matplotlib in {folder}: pip install --force-reinstall matplotlib. "
            f"{error}"
        ) from error


def _glyph(face: Any, letter: str, size: int, stroke: float) -> Any:
    """A letter, white on black, cut to its own size."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (3 * size, 3 * size))
    width = round(stroke * size)
    ImageDraw.Draw(image).text((size, size), letter, fill=255, font=face, stroke_width=width)
    return image.crop(image.getbbox())
