"""Plotting: each function takes plain data and one ``Axes``, and draws nothing else.

Accuracies come in as fractions and are drawn in per cent; what a network looks like is from
``canvas.looks``. The other modules of this folder make whole figures of these; what is drawn as
an image is in ``images.py``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from utils.report.figures.canvas import BLACK, BLUE, GREY, LAYER_COLOURS, Look
from utils.report.statistics import Estimate


def epoch_axis(ax: Axes, epochs: int) -> None:
    """Whole epochs from 1, with room for a single one."""
    ax.set_xlim(min(0.8, 1 - 0.02 * epochs), epochs + 0.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    ax.set_xlabel("epoch")


def plot_models_by_epoch(
    values: Mapping[str, np.ndarray], shown: Mapping[str, Look], ax: Axes
) -> None:
    """One line per network: the mean over seeds of its ``[seeds, epochs]``.

    Around it a band of ± one sample standard deviation.
    """
    for model, array in values.items():
        epochs, mean = np.arange(1, array.shape[1] + 1), array.mean(0)
        ax.plot(epochs, mean, **shown[model])
        if len(array) > 1:
            deviation = array.std(0, ddof=1)
            low, high = mean - deviation, mean + deviation
            ax.fill_between(epochs, low, high, color=shown[model]["color"], alpha=0.2, lw=0)
    epoch_axis(ax, max(array.shape[1] for array in values.values()))


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
    """A logarithmic y axis with 1, 2 and 5 of each decade in plain figures.

    Where nothing that is drawn is positive it stays linear.
    """
    if np.isinf(ax.dataLim.minposy):
        return
    ax.set_yscale("log")
    ax.margins(y=0.1)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """A round number as a tick has room for it: 0.5, 20, 500k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def plot_recall(
    recall: Mapping[str, np.ndarray], shown: Mapping[str, Look], classes: Sequence[str], ax: Axes
) -> None:
    """For each network the share of every class that is recognised, ``[classes]``."""
    for model, values in recall.items():
        ax.plot(100 * values, range(len(classes)), **shown[model], markersize=6)
    ax.set_yticks(range(len(classes)), classes, fontsize=8)
    ax.set(xlabel="recognised, %")
    ax.invert_yaxis()


def plot_functions(x: np.ndarray, curves: Mapping[str, np.ndarray], ax: Axes) -> None:
    """Functions of ``x``; a dashed line lets one under it be seen where two are the same."""
    for name, values in curves.items():
        style, above = ("--", 3) if name == "SiLU" else ("-", 2)
        look = {"color": LAYER_COLOURS[name], "linestyle": style, "zorder": above}
        ax.plot(x, values, **look, label=name.replace("(beta=2)", ", β = 2"))
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="x")
    ax.legend(loc="upper left", fontsize=9)


def plot_ratios(names: Sequence[str], ratios: Mapping[str, Sequence[Estimate]], ax: Axes) -> None:
    """A row per name: each kind of ratio with its interval, from estimates of the logarithm."""
    ax.axvline(1, color=BLACK, lw=1)
    for (kind, found), fill, above in zip(
        ratios.items(), ("none", "full"), (-0.18, 0.18), strict=True
    ):
        for row, each in enumerate(found):
            half = np.nan_to_num(each.half)  # of a single pass there is none
            low, value, high = np.exp(each.value + half * np.array([-1, 0, 1]))
            ax.errorbar(
                value,
                row + above,
                xerr=[[value - low], [high - value]],
                fmt="o",
                color=BLUE,
                fillstyle=fill,
                markersize=7,
                capsize=3,
                label=None if row else kind,
            )
            at = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
            ax.annotate(f"{value:#.2g}", (high, row + above), **at)
    _log_axis(ax, [1, *(np.exp(each.value) for found in ratios.values() for each in found)])
    ax.set_xlabel("times as long (logarithmic)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
