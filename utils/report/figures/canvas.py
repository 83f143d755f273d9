"""Canvas: how every figure looks, how it is saved, and how labels keep out of each other's way.

Figures are read at the width of a README, about 900 pixels, in light and in dark mode: the
background is opaque white. Colours are those of Okabe and Ito (Color Universal Design, 2008),
which the common kinds of colour blindness tell apart; yellow is left out, it is faint on white.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from utils.records.files import write_atomically

matplotlib.use("Agg")  # files only: no window, and no display needed
matplotlib.rcParams.update(
    {
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
)

DPI = 144
WIDTH = 9.0  # inches

BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#777777"

# one colour per name in every figure; names that share a figure differ, and the same network
# under several names keeps its colour
COLOURS = {
    "FCNet": BLACK,
    "DeepFCNet": BLACK,
    "SimpleCNN": BLUE,
    "CNNWithResidual": VERMILLION,
    "CNNWithResidualReg": PURPLE,
    "CNN3x3": BLUE,
    "CNN5x5": ORANGE,
    "CNN7x7": GREEN,
    "CNN1x1+3x3": PURPLE,
    "CNN3x3-60k": BLUE,
    "CNN5x5-60k": ORANGE,
    "CNN7x7-60k": GREEN,
    "CNN1x1+3x3-60k": PURPLE,
    "ShallowCNN": BLUE,
    "MediumCNN": GREEN,
    "DeepCNN": ORANGE,
    "ResNetLikeCNN": VERMILLION,
    "BasicBlockNet": BLUE,
    "BottleneckBlockNet": ORANGE,
    "WideBlockNet": PURPLE,
    "Swish": VERMILLION,
    "Swish(beta=2)": PURPLE,
    "SiLU": SKY,
    "ReLU": BLACK,
}
FAMILIES = {  # colour and marker
    "fully connected": (BLACK, "s"),
    "plain convolutional": (BLUE, "o"),
    "residual": (VERMILLION, "^"),
}


def colour(name: str) -> str:
    """The colour of a model or layer; a name that is not in the list always gets the same one."""
    others = (SKY, GREY, GREEN, ORANGE, PURPLE, VERMILLION, BLUE)
    return COLOURS.get(name) or others[zlib.crc32(name.encode()) % len(others)]


def new_figure(
    rows: int = 1,
    columns: int = 1,
    height: float = 3.6,
    title: str = "",
    share_y: bool | str = False,
) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the README, and its axes ``[rows, columns]``; ``height`` in inches."""
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


def spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions nearest to the given ones, in the same order, that are ``gap`` apart.

    Least squares under ``z[i + 1] - z[i] >= gap``: the isotonic regression of ``y[i] - i * gap``,
    by pooling neighbours that violate the order.
    """
    order = np.argsort(positions, kind="stable")
    pools: list[list[float]] = []  # the members of each pool, of which the mean is the solution
    for rank, index in enumerate(order):
        pools.append([positions[index] - rank * gap])
        while pools[1:] and np.mean(pools[-2]) >= np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    means = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    result = np.empty(len(order))
    result[order] = means + gap * np.arange(len(order))
    return result


def label_line_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Writes ``(text, x, y, colour)`` to the right of each line's end, moved apart vertically.

    Call it last, when the axis limits stand.
    """
    ends = [end for end in ends if np.isfinite(end[2])]
    labels = [
        ax.annotate(
            text,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=paint,
            annotation_clip=False,
        )
        for text, x, y, paint in ends
    ]
    if not labels:
        return
    ax.figure.draw_without_rendering()  # now the layout, and with it every pixel, is known
    pixels = [ax.transData.transform((x, y))[1] for _, x, y, _ in ends]
    gap = 1.05 * max(label.get_window_extent().height for label in labels)
    points = 72 / ax.figure.dpi
    for label, old, new in zip(labels, pixels, spread(pixels, gap), strict=True):
        label.set_position((6, (new - old) * points))


Place = tuple[float, float, str, str]
PLACES: list[Place] = [  # offset in points and alignment, the nearest first
    (dx * distance, dy * distance, side, base)
    for distance in (7, 14, 24, 36, 50)
    for dx, dy, side, base in (
        (1, 0, "left", "center"),
        (-1, 0, "right", "center"),
        (0, 1, "center", "bottom"),
        (0, -1, "center", "top"),
        (0.7, 0.7, "left", "bottom"),
        (-0.7, 0.7, "right", "bottom"),
        (0.7, -0.7, "left", "top"),
        (-0.7, -0.7, "right", "top"),
    )
]
ROUNDS = 4  # in which each label looks for a better place, given the others'


def label_points(
    ax: Axes, points: Sequence[tuple[str, float, float, str]], obstacles: Sequence[Bbox] = ()
) -> None:
    """Writes ``(text, x, y, colour)`` beside each point, where it covers least.

    Obstacles are boxes in pixels. Labels that must stand far off get a line to their point.
    Call it last, when the axis limits stand.
    """
    ax.figure.draw_without_rendering()  # now the layout, and with it every pixel, is known
    scale = ax.figure.dpi / 72  # pixels in a point
    labels = [
        ax.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=9, color=paint
        )
        for text, x, y, paint in points
    ]
    centres = [ax.transData.transform((x, y)) for _, x, y, _ in points]
    marks = [Bbox([centre - 5 * scale, centre + 5 * scale]) for centre in centres]
    fixed = np.array([box.extents for box in [*obstacles, *marks]])
    options = [  # of each label: place -> the boxes that it would cover there
        {place: _boxes(centre, label.get_window_extent().size, place, scale) for place in PLACES}
        for label, centre in zip(labels, centres, strict=True)
    ]
    chosen: dict[int, Place] = {}
    for number in [*range(len(labels))] * ROUNDS:
        chosen.pop(number, None)
        taken = np.concatenate([fixed, *(options[other][chosen[other]] for other in chosen)])
        costs = {
            place: _cost(boxes, taken, ax.bbox.extents) + np.hypot(*place[:2])
            for place, boxes in options[number].items()
        }
        chosen[number] = min(costs, key=costs.get)
    for number, place in chosen.items():
        labels[number].set_position(place[:2])
        labels[number].set(ha=place[2], va=place[3])
        if _is_far(place):
            line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}
            ax.annotate(
                "",
                labels[number].xy,
                xytext=place[:2],
                textcoords="offset points",
                arrowprops=line,
            )


def _boxes(centre: np.ndarray, size: np.ndarray, place: Place, scale: float) -> np.ndarray:
    """What a label of this size covers: its text, and a line to its point where that is far.

    All in pixels; boxes are ``[boxes, 4]``: left, bottom, right, top.
    """
    dx, dy, side, base = place
    end = centre + scale * np.array([dx, dy])
    shares = {"left": 0, "bottom": 0, "center": 0.5, "right": 1, "top": 1}
    corner = end - size * [shares[side], shares[base]]
    boxes = [[*(corner - 1), *(corner + size + 1)]]
    if _is_far(place):
        steps = np.linspace(centre, end, 9)[2:-1]  # not the point itself, nor the text
        boxes += [[*(step - 2), *(step + 2)] for step in steps]
    return np.array(boxes)


def _cost(boxes: np.ndarray, taken: np.ndarray, axes: np.ndarray) -> float:
    """Square pixels that the boxes share with what is taken, or have outside the axes."""
    inside = _overlap(boxes[:1], axes[None]).sum()
    outside = np.prod(boxes[0, 2:] - boxes[0, :2]) - inside
    return float(_overlap(boxes, taken).sum() + outside)


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area that each box of the first shares with each of the second, ``[first, second]``."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return (high - low).clip(min=0).prod(-1)


def _is_far(place: Place) -> bool:
    """Whether a label is too far from its point to be read as its own without a line."""
    return bool(np.hypot(*place[:2]) > 12)
