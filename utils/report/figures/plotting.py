"""Plotting: each function takes plain data and one ``Axes``, and draws nothing else.

Accuracies come in as fractions and are drawn in per cent; times come in as the unit that the
axis names. The other modules of this folder make whole figures of these; colours are in
``canvas.py``, what is drawn as an image in ``images.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from utils.report.figures.canvas import (
    BLACK,
    FAMILIES,
    GREY,
    LAYER_COLOURS,
    ORANGE,
    label_in_column,
    label_line_ends,
    label_points,
)


@dataclass(frozen=True)
class Point:
    """A network in a scatter plot; accuracies are fractions."""

    label: str
    x: float
    accuracy: float
    colour: str = BLACK  # where it is not that of the family
    x_range: tuple[float, float] | None = None  # the quartiles of x
    seeds: tuple[float, ...] = ()  # the accuracies of which it is the mean
    reported: tuple[float, ...] = ()  # the report's accuracies, one for each of its names
    family: str | None = None  # a key of FAMILIES, for plots that are coloured by it


def epoch_axis(ax: Axes, epochs: int) -> None:
    """Whole epochs from 1, with room for a single one."""
    ax.set_xlim(min(0.8, 1 - 0.02 * epochs), epochs + 0.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    ax.set_xlabel("epoch")


def plot_epochs(
    values: np.ndarray, ax: Axes, paint: str, style: str = "-", label: str = ""
) -> tuple[float, float]:
    """One line: the mean over seeds of ``values`` ``[seeds, epochs]``; a band of ± one deviation.

    Returns the line's last point, for a label.
    """
    epochs = np.arange(1, values.shape[1] + 1)
    mean = values.mean(0)
    ax.plot(epochs, mean, style, color=paint, marker="o", markersize=3, label=label)
    if len(values) > 1:
        deviation = values.std(0, ddof=1)
        ax.fill_between(epochs, mean - deviation, mean + deviation, color=paint, alpha=0.2, lw=0)
    return float(epochs[-1]), float(mean[-1])


def plot_models_by_epoch(
    values: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
    ax: Axes,
    label_ends: bool = True,
) -> None:
    """One line per network from ``[seeds, epochs]`` each, labelled at its end."""
    ends = []
    for model, array in values.items():
        ends.append((model, *plot_epochs(array, ax, colours[model]), colours[model]))
    epoch_axis(ax, max(array.shape[1] for array in values.values()))
    if label_ends:
        label_line_ends(ax, ends)


def plot_cost(points: Sequence[Point], ax: Axes, xlabel: str) -> None:
    """Test accuracy against a cost (log); bars: quartiles of the cost.

    With several seeds a stroke at their mean and a dot for each.
    """
    for point in points:
        x_error = point.x_range and [[point.x - point.x_range[0]], [point.x_range[1] - point.x]]
        ax.errorbar(
            point.x,
            100 * point.accuracy,
            xerr=x_error,
            fmt="_" if point.seeds[1:] else "o",
            markersize=12 if point.seeds[1:] else 7,
            markeredgewidth=2,
            color=point.colour,
        )
        dot_each_seed(point, ax, point.colour)
    _log_axis(ax, [point.x for point in points])
    ax.set(xlabel=xlabel)
    ax.margins(y=0.2)
    label_points(ax, [(p.label, p.x, 100 * p.accuracy, p.colour) for p in points])


def dot_each_seed(point: Point, ax: Axes, colour: str) -> None:
    """Small dots where the seeds are whose mean the point is; none for a single one."""
    if point.seeds[1:]:
        heights = [100 * accuracy for accuracy in point.seeds]
        x = [point.x] * len(heights)
        ax.plot(x, heights, "o", color=colour, markersize=3, alpha=0.4, zorder=1)


def _log_axis(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with room for labels and, the shorter it is, the more ticks."""
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.25, 1.5)
    ax.set_xscale("log")
    ax.set_xlim(low / margin, high * margin)
    span = high / low * margin**2
    steps = (1,) if span > 300 else (1, 2, 5) if span > 10 else (1, 1.5, 2, 3, 4, 5, 7)
    if span < 4:
        steps = (1, 1.5, *range(2, 10))
    lowest, highest = np.floor(np.log10(low / margin)), np.ceil(np.log10(high * margin))
    ticks = [step * 10.0**power for power in np.arange(lowest, highest + 1) for step in steps]
    ticks = [tick for tick in ticks if low / margin <= tick <= high * margin]
    ax.set_xticks(ticks, [_short(tick) for tick in ticks])
    ax.set_xticks([], minor=True)


def log_y_axis(ax: Axes) -> None:
    """A logarithmic y axis with 1, 2 and 5 of each decade in plain figures."""
    ax.set_yscale("log")
    ax.margins(y=0.3)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """A round number as a tick has room for it: 0.5, 20, 500k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def plot_overview(points: Sequence[Point], ax: Axes) -> None:
    """Test accuracy against parameters, by family; hollow: what the report has, where it does."""
    for point in points:
        paint, marker = FAMILIES[point.family]
        at = {"color": paint, "marker": marker, "markersize": 8, "linestyle": "none"}
        for reported in point.reported:
            both = [100 * reported, 100 * point.accuracy]
            ax.plot([point.x] * 2, both, color=paint, linewidth=0.7)
            ax.plot(point.x, both[0], fillstyle="none", **at)
        ax.plot(point.x, 100 * point.accuracy, **at)
        dot_each_seed(point, ax, paint)
    _log_axis(ax, [point.x for point in points])
    ax.set(xlabel="trainable parameters", ylabel="test accuracy after the last epoch, %")
    ax.margins(y=0.08)
    for family in dict.fromkeys(point.family for point in points):
        paint, marker = FAMILIES[family]
        ax.plot([], [], color=paint, marker=marker, ls="none", markersize=8, label=family)
    if any(point.reported for point in points):
        ax.plot([], [], color=GREY, marker="o", ls="none", fillstyle="none", label="reported")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, fontsize=9)
    _label_crowd(ax, points)


def _label_crowd(ax: Axes, points: Sequence[Point]) -> None:
    """Labels in the widest gap for all points on its left, and beside those on its right."""
    labels = [(p.label, p.x, 100 * p.accuracy, FAMILIES[p.family][0]) for p in points]
    order = np.log([*sorted(point.x for point in points), ax.get_xlim()[1]])
    widest = int(np.argmax(np.diff(order)))
    edge = float(np.exp(order[widest]))
    column = float(np.exp(order[widest] + 0.2 * (order[widest + 1] - order[widest])))
    label_in_column(ax, [label for label in labels if label[1] <= edge], column)
    label_points(ax, [label for label in labels if label[1] > edge])


def plot_recall(
    recall: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
    classes: Sequence[str],
    ax: Axes,
) -> None:
    """For each network the share of every class that is recognised, ``[classes]``."""
    for model, values in recall.items():
        ax.plot(100 * values, range(len(classes)), "o", markersize=6, color=colours[model])
    ax.set_yticks(range(len(classes)), classes, fontsize=8)
    ax.set(xlabel="recognised, %")
    ax.invert_yaxis()


def plot_gradient_flow(
    layers: Sequence[str], first: np.ndarray, last: np.ndarray, ax: Axes
) -> None:
    """Gradient norm by layer ``[layers]``: hollow in the first epoch, filled in the last (log)."""
    positions = range(len(layers))
    ax.plot(
        positions, first, "o--", color=GREY, fillstyle="none", markersize=6, label="first epoch"
    )
    ax.plot(positions, last, "o-", color=BLACK, markersize=6, label="last epoch")
    log_y_axis(ax)
    ax.set_xticks(positions, layers, rotation=90, fontsize=8)


def plot_layer_norms(norms: Mapping[str, np.ndarray], ax: Axes) -> None:
    """Gradient norm over epochs, a line per layer (log), from dark (input) to light (output)."""
    for values, shade in zip(norms.values(), _shades(len(norms)), strict=True):
        ax.plot(np.arange(1, len(values) + 1), values, "o-", color=shade, lw=1.4, markersize=3)
    log_y_axis(ax)
    epoch_axis(ax, max(len(values) for values in norms.values()))


def label_layer_norms(norms: Mapping[str, np.ndarray], ax: Axes) -> None:
    """Names the first and the last layer at the ends of their lines; the axis limits must stand."""
    shades = _shades(len(norms))
    ends = [
        (layer, len(v), v[-1], shade)
        for (layer, v), shade in zip(norms.items(), shades, strict=True)
    ]
    label_line_ends(ax, [ends[0], ends[-1]] if len(ends) > 1 else ends)


def _shades(count: int) -> list[tuple[float, ...]]:
    """Colours from dark to light of an even colour map, none of them too faint on white."""
    return [tuple(colormaps["viridis"](0.8 * i / max(count - 1, 1))) for i in range(count)]


def plot_field_growth(
    sizes: Mapping[str, Sequence[int]], colours: Mapping[str, str], image: int, ax: Axes
) -> None:
    """Theoretical receptive field (pixels) layer by layer, one line per model."""
    ends = []
    for model, values in sizes.items():
        ax.plot(range(1, len(values) + 1), values, "o-", color=colours[model])
        ends.append((model, len(values), values[-1], colours[model]))
    ax.axhline(image, color=GREY, linestyle=":", lw=1.2)
    ax.annotate(
        "image size", (1, image), xytext=(0, 3), textcoords="offset points", fontsize=8, color=GREY
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(
        xlabel="convolution, pooling or join, counted from the input",
        ylabel="receptive field, pixels",
    )
    label_line_ends(ax, ends)


def plot_functions(x: np.ndarray, curves: Mapping[str, np.ndarray], ax: Axes) -> None:
    """Functions of ``x``; a dashed line lets one under it be seen where two are the same."""
    ends = []
    for name, values in curves.items():
        style = "--" if name == "SiLU" else "-"
        ax.plot(x, values, style, color=LAYER_COLOURS[name], zorder=3 if style == "--" else 2)
        ends.append((name, x[-1], values[-1], LAYER_COLOURS[name]))
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="x")
    label_line_ends(ax, ends)


def plot_timings(
    names: Sequence[str],
    quartiles: Sequence[tuple[float, float, float]],
    emphasised: Sequence[bool],
    ax: Axes,
) -> None:
    """A row per name: the median with its quartiles ``(q1, median, q3)`` on a log axis.

    Emphasised ones are filled, the others hollow.
    """
    for row, ((low, median, high), strong) in enumerate(zip(quartiles, emphasised, strict=True)):
        ax.errorbar(
            median,
            row,
            xerr=[[median - low], [high - median]],
            fmt="o",
            markersize=6,
            capsize=4,
            color=ORANGE if strong else GREY,
            markerfacecolor=ORANGE if strong else "white",
        )
        ax.annotate(
            f"{median:.3g}", (high, row), xytext=(8, 0), textcoords="offset points", va="center"
        )
    medians = [median for _, median, _ in quartiles]
    _log_axis(ax, [*medians, 2 * max(medians)])  # room for the last number
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
