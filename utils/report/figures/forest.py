"""The overview figure: every main comparison as a row, with its interval, seeds and verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from utils.report.figures.canvas import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    legend_below,
    new_figure,
    save,
)
from utils.report.languages import AS_GOOD, WORDS, localised
from utils.report.verdicts import LITTLE, NO_DIFFERENCE, OPEN, REFUTED, SUPPORTED

LINEAR = 0.5  # points on either side of zero where the axis is not logarithmic
TICKS = (-20, -6, -2, -0.5, 0, 0.5, 2, 6, 20)
SHAPES = {  # verdict -> marker and colour
    SUPPORTED: ("^", BLUE),
    LITTLE: ("^", GREY),
    REFUTED: ("v", VERMILLION),
    NO_DIFFERENCE: ("s", GREY),
    AS_GOOD: ("s", GREY),
    OPEN: ("o", BLACK),
}


@dataclass(frozen=True)
class ForestRow:
    """A difference in points with its 95 % interval, and what is written beside it."""

    label: str
    value: float
    low: float  # NaN where it is not known
    high: float
    seeds: tuple[float, ...]  # each seed of the first less the mean of the second
    margin: float
    numbers: str  # the two accuracies
    verdict: str  # a key of SHAPES
    confounded: bool


def draw_forest(groups: Mapping[str, Sequence[ForestRow]], path: Path, language: str) -> Path:
    """Draws the rows below the question of their group; its own words are the language's."""
    words = WORDS[language]
    lines = sum(len(rows) + 1.2 for rows in groups.values())
    figure, axes = new_figure(1, 1, 0.27 * lines + 1.1, words["title"])
    ax = axes[0, 0]
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
    place, ticks, names = 0.0, [], []
    for question, rows in groups.items():
        ax.annotate(
            question,
            (0, place),
            xycoords=("axes fraction", "data"),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontweight="bold",
        )
        for row in rows:
            place += 1
            _draw_row(ax, place, row, words)
            ticks.append(place)
            names.append(row.label)
        place += 1.2
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_yticks(ticks, names, fontsize=9)
    ax.set_ylim(place - 0.4, -0.7)
    _points_axis(ax, language)
    verdicts = {row.verdict for rows in groups.values() for row in rows}
    key = {
        words[verdict]: {"marker": marker, "color": paint, "linestyle": "none"}
        for verdict, (marker, paint) in SHAPES.items()
        if verdict in verdicts and verdict != AS_GOOD
    }
    hollow = {"marker": "o", "color": BLACK, "linestyle": "none", "fillstyle": "none"}
    legend_below(figure, key | {words["confounded"]: hollow})
    return save(figure, path)


def _draw_row(ax: Axes, place: float, row: ForestRow, words: Mapping[str, str]) -> None:
    marker, paint = SHAPES[row.verdict]
    ax.barh(place, 2 * row.margin, left=-row.margin, height=1, color="#ececec", zorder=0)
    ax.plot(row.seeds, [place + 0.33] * len(row.seeds), ".", color=paint, markersize=4, alpha=0.5)
    if np.isfinite(row.low):
        at = {"linestyle": "none", "marker": "|", "markersize": 9, "color": paint}
        ax.plot([row.low, row.high], [place, place], color=paint, linewidth=1.5)
        ax.plot([row.low, row.high], [place, place], **at)
    ax.plot(
        row.value,
        place,
        marker,
        color=paint,
        markerfacecolor="white" if row.confounded else paint,
        markersize=5,
    )
    ax.annotate(
        f"{row.numbers}   {words[row.verdict]}",
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def _points_axis(ax: Axes, language: str) -> None:
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -1.5), max(high, 1.5))
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(
        FuncFormatter(
            lambda value, _: localised(f"{value:+g}" if value else "0", language).replace("-", "−")
        )
    )
    ax.tick_params(axis="x", labelsize=9)
    ax.set_xlabel(WORDS[language]["axis"])
    ax.grid(axis="y", visible=False)
