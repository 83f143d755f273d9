"""Canvas: how every figure looks, how it is saved, and how labels keep out of each other's way.

Figures are read at the width of a README, about 900 pixels, in light and in dark mode: the
background is opaque white. Colours are those of Okabe and Ito (Color Universal Design, 2008),
which the common kinds of colour blindness tell apart; yellow is left out, it is faint on white.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from scipy.optimize import isotonic_regression

from utils.records.files import write_atomically

STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "legend.frameon": False,
}

DPI = 144
WIDTH = 9.0  # inches

BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#777777"

LAYER_COLOURS = {"Swish": VERMILLION, "Swish(beta=2)": PURPLE, "SiLU": SKY, "ReLU": BLACK}
FAMILIES = {  # colour and marker
    "fully connected": (BLACK, "s"),
    "plain convolutional": (BLUE, "o"),
    "residual": (VERMILLION, "^"),
}


class Picture(NamedTuple):
    """A written figure, and what one sees on it: caption and alternative text."""

    file: Path
    caption: str


def new_figure(
    rows: int = 1,
    columns: int = 1,
    height: float = 3.6,
    title: str = "",
    share_y: bool | str = False,
) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the README, and its axes ``[rows, columns]``; ``height`` in inches."""
    matplotlib.rcParams.update(STYLE)  # read when a figure is made
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.07)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure, axes


def new_panels(
    names: Sequence[str], height: float, title: str, columns: int = 4, share_y: bool | str = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per name, at most ``columns`` beside each other; none is empty.

    ``height`` is that of one row, in inches.
    """
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(rows, columns, rows * height + 0.4, title, share_y)
    for unused in axes.flat[len(names) :]:
        unused.remove()
    return figure, list(axes.flat[: len(names)])


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG atomically; without the writer's version, so that equal figures are equal."""
    write_atomically(
        path,
        lambda temporary: figure.savefig(
            temporary, format="png", dpi=DPI, metadata={"Software": None}
        ),
    )
    return path


def moved_apart(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions nearest to the given ones, in the same order, that are ``gap`` apart.

    Least squares under ``z[i + 1] - z[i] >= gap``: the isotonic regression of ``y[i] - i * gap``.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    result = np.empty(len(order))
    result[order] = isotonic_regression(np.asarray(positions, float)[order] - steps).x + steps
    return result


def label_line_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Writes ``(text, x, y, colour)`` to the right of each line's end, moved apart vertically.

    Call it last, when the axis limits stand.
    """
    finite = [end for end in ends if np.isfinite(end[2])]
    _write_apart(ax, finite, [6] * len(finite))


def label_points(ax: Axes, points: Sequence[tuple[str, float, float, str]]) -> None:
    """Writes ``(text, x, y, colour)`` beside each point, towards the middle of the axes.

    Moved apart vertically; call it last, when the axis limits stand.
    """
    middle = np.mean(ax.transAxes.transform([(0, 0), (1, 1)])[:, 0])
    at = [ax.transData.transform((x, y))[0] for _, x, y, _ in points]
    _write_apart(ax, points, [8 if pixel < middle else -8 for pixel in at])


def _write_apart(
    ax: Axes, points: Sequence[tuple[str, float, float, str]], offsets: Sequence[float]
) -> None:
    """Each text as many points to the right of its point as its offset says, or to the left."""
    labels = [
        ax.annotate(
            text,
            (x, y),
            xytext=(offset, 0),
            textcoords="offset points",
            ha="left" if offset > 0 else "right",
            va="center",
            fontsize=9,
            color=paint,
            annotation_clip=False,
        )
        for (text, x, y, paint), offset in zip(points, offsets, strict=True)
    ]
    shifts = _shifts(ax, labels, [point[2] for point in points])
    for label, offset, shift in zip(labels, offsets, shifts, strict=True):
        label.set_position((offset, shift))


def label_in_column(ax: Axes, points: Sequence[tuple[str, float, float, str]], x: float) -> None:
    """Writes ``(text, x, y, colour)`` below each other at ``x``, each with a line to its point.

    For points that crowd; call it last, when the axis limits stand.
    """
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 5}
    labels = [
        ax.annotate(
            text, (at, y), xytext=(x, y), va="center", fontsize=9, color=paint, arrowprops=line
        )
        for text, at, y, paint in points
    ]
    heights = [y for _, _, y, _ in points]
    for label, y, shift in zip(labels, heights, _shifts(ax, labels, heights), strict=True):
        pixel = ax.transData.transform((x, y))[1] + shift * ax.figure.dpi / 72
        label.set_position((x, ax.transData.inverted().transform((0, pixel))[1]))


def _shifts(ax: Axes, labels: Sequence[Annotation], heights: Sequence[float]) -> np.ndarray:
    """By how many points each label has to move up so that none covers another."""
    if not labels:
        return np.array([])
    ax.figure.draw_without_rendering()  # now the layout, and with it every pixel, is known
    pixels = [ax.transData.transform((ax.get_xlim()[1], y))[1] for y in heights]
    gap = 1.05 * max(label.get_window_extent().height for label in labels)
    return (moved_apart(pixels, gap) - pixels) * 72 / ax.figure.dpi
