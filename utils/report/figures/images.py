"""Plotting of what is an image: matrices, heat maps, filters, feature maps.

Like ``utils/report/figures/plotting.py``: plain data and one ``Axes`` in, nothing else drawn.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.patches import Rectangle

from utils.report.figures.canvas import BLACK

TILE = 32  # pixels to which filters and feature maps are enlarged before they stand in a grid


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], ax: Axes) -> None:
    """Confusion matrix ``[true, predicted]`` as per cent of each true class."""
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    ax.grid(False)
    ax.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    ax.set_yticks(range(len(classes)), classes, fontsize=8)
    for (true, predicted), value in np.ndenumerate(share):
        if (text := f"{value:.0f}") != "0":
            shade = "white" if value > 55 else BLACK
            ax.text(predicted, true, text, ha="center", va="center", fontsize=8, color=shade)


def plot_receptive_field(heat: np.ndarray, size: int, ax: Axes) -> None:
    """Mean absolute gradient ``[height, width]``, at most 1, and the theoretical square on it.

    ``size`` is the square's side in pixels; where it reaches beyond the image, so does the plot.
    The shade is the square root of the gradient, as most of the field is faint.
    """
    height, width = heat.shape
    ax.imshow(heat, cmap="magma", norm=PowerNorm(0.5, 0, 1))
    top = square_start(heat.max(1), size)
    left = square_start(heat.max(0), size)
    ax.add_patch(
        Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor="#00BFFF", lw=2)
    )
    ax.set_xlim(min(-0.5, left - 1.5), max(width - 0.5, left + size + 0.5))
    ax.set_ylim(max(height - 0.5, top + size + 0.5), min(-0.5, top - 1.5))
    ticks = range(0, max(width, height), 10)
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_xlabel("pixel", fontsize=9)
    ax.grid(False)


def square_start(profile: np.ndarray, size: int) -> float:
    """Where a receptive field of ``size`` pixels starts, from the gradient along one axis.

    The gradient is not zero on the part of the field that lies inside the image: a side of it
    that touches no border is the field's own; with neither, the field lies around the middle.
    """
    inside = np.flatnonzero(profile)
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(profile) - 1)
    if first > 0 and last == len(profile) - 1:
        return float(first)
    if first == 0 and last < len(profile) - 1:
        return float(last + 1 - size)
    return (first + last + 1 - size) / 2


def plot_grid(maps: np.ndarray, ax: Axes, columns: int) -> None:
    """Images beside each other, each on its own scale: filters or feature maps.

    ``maps``: ``[n, height, width]`` in shades, or ``[n, 3, height, width]`` in colour.
    """
    scale = max(1, round(TILE / maps.shape[-1]))  # small ones get as large as the others
    maps = maps.repeat(scale, axis=-1).repeat(scale, axis=-2)
    images = maps if maps.ndim == 4 else maps[:, None]
    if images.shape[1] != 3:
        images = images.mean(1, keepdims=True)
    grid = tiled(np.moveaxis(images.astype(float), 1, -1), columns)  # [rows, columns, 1 or 3]
    ax.imshow(
        grid.squeeze(-1) if grid.shape[-1] == 1 else np.nan_to_num(grid, nan=1.0),
        cmap="viridis",
        interpolation="nearest",
    )
    ax.set_axis_off()


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """``[n, height, width, channels]``, each scaled to [0, 1] -> one image, NaN between them."""
    n, height, width, channels = images.shape
    rows, gap = -(-n // columns), 2
    low, high = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    scaled = (images - low) / np.maximum(high - low, 1e-5)
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.nan)
    for number, image in enumerate(scaled):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid
