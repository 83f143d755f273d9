"""Synthetic: a procedural stand-in for CIFAR-10, so that ``--quick`` needs no download.

Ten classes of shape and texture on 32×32 RGB images. What a class looks like is fixed; where it
stands, how large, how tilted and in which two colours is drawn anew for every image, over a
background with a colour gradient, clutter and noise. A pixel by itself thus says nothing about the
class: on average all classes look alike. Only the relation of neighbouring pixels does, wherever it
occurs, which is what a convolution is made for and a fully connected network is not.

All is computed in float64: sines differ between processors in their last digit, and in float32 that
would now and then show in a rounded pixel.

The numbers measured on it show that the code works. They say nothing about CIFAR-10.
"""

import numpy as np

from utils.data.sources import Arrays

SIZE = 32  # pixels along each side
TRAIN_IMAGES = 2_000
TEST_IMAGES = 500
CLUTTER = 3  # pieces in every image
NOISE = 0.04  # standard deviation of each pixel, which goes from 0 to 1

Field = np.ndarray  # float64 [images, SIZE, SIZE]: one number per pixel


def _disc(u: Field, v: Field) -> Field:
    return np.hypot(u, v) - 0.9


def _ring(u: Field, v: Field) -> Field:
    return np.abs(np.hypot(u, v) - 0.75) - 0.2


def _square(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u), np.abs(v)) - 0.8


def _triangle(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u) * 0.87 - v * 0.5, v) - 0.5


def _cross(u: Field, v: Field) -> Field:
    thin, long = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return np.maximum(thin - 0.25, long - 1)


def _stripes(u: Field, v: Field) -> Field:
    return _within_patch(u, v, np.sin(9 * v) / 9)


def _bars(u: Field, v: Field) -> Field:
    return _within_patch(u, v, np.sin(9 * u) / 9)


def _checkers(u: Field, v: Field) -> Field:
    return _within_patch(u, v, np.sin(7 * u) * np.sin(7 * v) / 7)


def _dots(u: Field, v: Field) -> Field:
    return _within_patch(u, v, (0.6 - np.cos(9 * u) - np.cos(9 * v)) / 9)


def _grid(u: Field, v: Field) -> Field:
    return _within_patch(u, v, 0.1 - np.maximum(np.cos(9 * u), np.cos(9 * v)) / 9)


def _within_patch(u: Field, v: Field, texture: Field) -> Field:
    """A texture, cut to a square with rounded corners."""
    return np.maximum((u**4 + v**4) ** 0.25 - 1.1, texture)


# Class -> signed distance from its outline, below 0 inside, in a frame of its own: u to the right
# and v downwards, from about -1 to 1 over the shape.
SHAPES = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "stripes": _stripes,
    "bars": _bars,
    "checkers": _checkers,
    "dots": _dots,
    "grid": _grid,
}
CLASSES = tuple(SHAPES)


def make_arrays(
    seed: int = 0, train_images: int = TRAIN_IMAGES, test_images: int = TEST_IMAGES
) -> Arrays:
    """Both splits, laid out as ``cifar10.npz`` is; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, images in (("train", train_images), ("test", test_images)):
        labels = (np.arange(images) % len(CLASSES)).astype(np.uint8)  # balanced
        arrays[f"x_{split}"] = draw(labels, rng)
        arrays[f"y_{split}"] = labels
    return arrays


def draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image for each label ``[images]``: uint8 ``[images, SIZE, SIZE, 3]``."""
    images = len(labels)
    axis = (np.arange(SIZE) + 0.5) * (2 / SIZE) - 1  # -1 to 1 over the image
    y, x = axis[:, np.newaxis], axis[np.newaxis, :]

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (images, *shape))

    # Background: a colour that changes along a random direction.
    slope = uniform(-0.2, 0.2, 2, 1, 1, 3)
    canvas = uniform(0, 1, 1, 1, 3) + slope[:, 0] * y[..., None] + slope[:, 1] * x[..., None]

    # Clutter: small ellipses in any colour.
    for _ in range(CLUTTER):
        scale = uniform(0.06, 0.16)
        u, v = _frame(x, y, uniform(-1, 1, 2), scale, uniform(-np.pi, np.pi))
        distance = np.hypot(u / uniform(1, 4, 1, 1), v) - 1
        canvas = _paint(canvas, distance, scale, uniform(0, 1, 1, 1, 3))

    # The shape. Its colour is at least 0.3 from the background's mean in every channel, brighter
    # as often as darker: brightness in the middle of the image must not give the class away.
    scale = uniform(0.45, 0.7)
    u, v = _frame(x, y, uniform(-0.3, 0.3, 2), scale, uniform(-0.2, 0.2))
    distance = np.empty((images, SIZE, SIZE))
    for label, shape in enumerate(SHAPES.values()):
        chosen = labels == label
        distance[chosen] = shape(u[chosen], v[chosen])
    background = canvas.mean(axis=(1, 2), keepdims=True)
    canvas = _paint(canvas, distance, scale, (background + uniform(0.3, 0.7, 1, 1, 3)) % 1)

    canvas = canvas + NOISE * rng.standard_normal(canvas.shape)
    return (canvas.clip(0, 1) * 255).round().astype(np.uint8)


def _frame(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, scale: np.ndarray, angle: np.ndarray
) -> tuple[Field, Field]:
    """Every pixel's coordinates in the shape's own frame, one frame per image.

    ``centre`` ``[images, 2]`` and ``scale`` ``[images]`` are in halves of the image's side,
    ``angle`` ``[images]`` is in radians.
    """
    centre, scale, angle = centre[..., None, None], scale[:, None, None], angle[:, None, None]
    dx, dy = (x - centre[:, 0]) / scale, (y - centre[:, 1]) / scale
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _paint(
    canvas: np.ndarray, distance: Field, scale: np.ndarray, colour: np.ndarray
) -> np.ndarray:
    """The canvas ``[images, SIZE, SIZE, 3]`` coloured where ``distance < 0``, edges smoothed."""
    pixels = distance * scale[:, None, None] * (SIZE / 2)
    cover = np.clip(0.5 - pixels, 0, 1)[..., None]  # over one pixel, from none to all
    return canvas + cover * (colour - canvas)
