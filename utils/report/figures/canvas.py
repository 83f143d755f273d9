"""Canvas: how every figure looks, how it is saved, and how labels keep out of each other's way.

Figures are read at the width of a README, about 830 pixels, in light and in dark mode: the
background is opaque white, text is black. Colours are those of Okabe and Ito (Color Universal
Design, 2008), which the common kinds of colour blindness tell apart; yellow is left out, it is
faint on white.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from utils.records.files import write_atomically
from utils.records.study import Evidence

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
    "lines.markersize": 5,
    "legend.frameon": False,
}

# A user's matplotlibrc is for the user's own figures; rcdefaults() would read their styles too.
DEFAULTS = {
    key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")
}

DPI = 144
WIDTH = 9.0  # inches
LETTERS = 100  # of size 10, in a line across a figure

BLACK, BLUE, SKY = "#000000", "#0072B2", "#56B4E9"
ORANGE, VERMILLION, PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#777777"

LAYER_COLOURS = {"Swish": VERMILLION, "Swish(beta=2)": PURPLE, "SiLU": SKY, "ReLU": BLACK}

Look = Mapping[str, Any]  # of a line, as matplotlib's Line2D takes it


class Picture(NamedTuple):
    """A written figure, and the words that go with it."""

    file: Path
    caption: str  # what one sees, and what bars and bands are
    finding: str  # the alternative text: what it shows, in a line for who cannot see it


def title(evidence: Evidence, what: str) -> str:
    """As in "Kernel size at equal parameters: learning curves, CIFAR-10"."""
    subject = evidence.experiment.subject or evidence.experiment.name
    return f"{subject}: {what}{f', {evidence.dataset}' if evidence.runs else ''}"


def extremes(values: Mapping[str, float], what: str, unit: str = " %") -> str:
    """As in "Test accuracy: highest 80.82 % (CNN3x3), lowest 73.28 % (CNN7x7)".

    Accuracies have two decimals, as in the tables.
    """
    high, low = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    form = ".2f" if unit == " %" else "#.3g"
    first, last = (
        f"{values[name]:{form}}".rstrip(".") + f"{unit} ({name})" for name in (high, low)
    )
    return f"{what}: {first}" if high == low else f"{what}: highest {first}, lowest {last}"


def looks(labels: Iterable[str], evidence: Evidence, lines: bool = True) -> dict[str, Look]:
    """Label -> colour and marker of its network; where it has several, lines tell them apart.

    Beyond four of them, or without ``lines``, other markers do.
    """
    shown: dict[str, Look] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for label in labels:
        network = evidence.styles[label]
        before = seen[network.colour, network.marker]
        seen[network.colour, network.marker] += 1
        markers = [network.marker, *(each for each in "oDs^vPX" if each != network.marker)]
        shown[label] = {
            "color": network.colour,
            "marker": markers[(before // 4 if lines else before) % len(markers)],
            "linestyle": ("-", "--", ":", "-.")[before % 4] if lines else "none",
            "fillstyle": "none" if before else "full",
        }
    return shown


def new_figure(
    rows: int = 1,
    columns: int = 1,
    height: float = 3.6,
    title: str = "",
    share_y: bool | str = False,
) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the README, and its axes ``[rows, columns]``; ``height`` in inches."""
    matplotlib.rcParams.update(DEFAULTS | STYLE)  # read when a figure is made
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    lines = textwrap.fill(title, 85, break_on_hyphens=False)
    figure.suptitle(lines, fontsize=12, fontweight="bold")
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


def legend_below(figure: Figure, shown: Mapping[str, Look]) -> None:
    """Names with their lines and markers below all panels, up to four beside each other."""
    handles = [Line2D([], [], **look, label=name) for name, look in shown.items()]
    settings: dict[str, Any] = {"loc": "outside lower center", "fontsize": 10}
    for beside in range(min(len(handles), 4), 0, -1):
        legend = figure.legend(handles=handles, ncols=beside, **settings)
        # a little of it is the padding of a frame that is not drawn
        if beside == 1 or legend.get_window_extent().width <= 1.02 * figure.bbox.width:
            return
        legend.remove()


def in_lines(name: str, ax: Axes) -> str:
    """A name above its panel, in as many lines as there must be."""
    width = LETTERS // ax.get_gridspec().ncols
    return textwrap.fill(name, max(width, 10), break_on_hyphens=False)


def label_line_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Writes ``(text, x, y, colour)`` to the right of each line's end, joined to it in its colour.

    Labels are moved apart vertically. Call it last, when the axis limits stand.
    """
    ends = [end for end in ends if np.isfinite(end[2])]
    labels = [
        ax.annotate(
            text,
            (x, y),
            xytext=(20, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            arrowprops={"arrowstyle": "-", "color": paint, "relpos": (0, 0.5)},
            annotation_clip=False,
        )
        for text, x, y, paint in ends
    ]
    if not labels:
        return
    ax.figure.draw_without_rendering()  # now the layout, and with it every pixel, is known
    pixels = [ax.transData.transform((x, y))[1] for _, x, y, _ in ends]
    gap = 1.05 * max(label.get_window_extent().height for label in labels)
    for label, shift in zip(labels, moved_apart(pixels, gap) - pixels, strict=True):
        label.set_position((20, shift * 72 / ax.figure.dpi))
