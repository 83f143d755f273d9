"""Figures of the control experiments: accuracies row by row, along an axis, and on moved images.

Each function takes the evidence of an experiment and the folder of its plots, writes PNG files
and returns them with their captions; without the records that it needs it returns none.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from utils.records.schema import Record
from utils.records.study import Evidence
from utils.report.figures.canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Picture,
    label_line_ends,
    new_figure,
    save,
)
from utils.report.statistics import mean

PALETTE = (VERMILLION, BLUE, BLACK, GREEN, ORANGE, PURPLE, SKY)
SEEDS = "small dots: each seed; large ones: means, with their 95 % intervals (Student's t)"


def distinct_colours(labels: Iterable[str], evidence: Evidence) -> dict[str, str]:
    """Label -> the colour of its network, or another where that is taken already."""
    labels = list(labels)
    own = [evidence.colours[label] for label in labels]
    free = iter([each for each in PALETTE if each not in own])
    return {
        label: paint if paint not in own[:place] else next(free, GREY)
        for place, (label, paint) in enumerate(zip(labels, own, strict=True))
    }


def percent(records: Iterable[Record], split: str) -> list[float]:
    """The accuracies on a split after the last epoch, by seed."""
    return [100 * getattr(record.final, f"{split}_accuracy") for record in records]


def draw_accuracies(evidence: Evidence, folder: Path) -> list[Picture]:
    """A line for each row of the table: its test accuracies, and hollow its train accuracy."""
    if not evidence.runs:
        return []
    labels = list(evidence.runs)
    figure, axes = new_figure(1, 1, 0.36 * len(labels) + 1.3, f"Accuracy, {evidence.dataset}")
    ax = axes[0, 0]
    for place, (label, records) in enumerate(evidence.runs.items()):
        test, train = percent(records, "test"), np.mean(percent(records, "train"))
        found = mean(test)
        ax.plot(test, [place] * len(test), "o", color=evidence.colours[label], ms=3, alpha=0.5)
        ax.errorbar(
            found.value,
            place,
            xerr=found.half if test[1:] else None,
            fmt="o",
            markersize=7,
            capsize=3,
            color=evidence.colours[label],
        )
        ax.plot(train, place, "o", color=GREY, fillstyle="none", markersize=7)
    ax.plot([], [], "o", color=BLACK, markersize=7, label="test")
    ax.plot([], [], "o", color=GREY, fillstyle="none", markersize=7, label="train")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel("accuracy after the last epoch, %")
    caption = f"Accuracy after the last epoch, {evidence.dataset}; {SEEDS}; hollow: train accuracy."
    return [Picture(save(figure, folder / "accuracies.png"), caption)]


def draw_along(evidence: Evidence, folder: Path) -> list[Picture]:
    """Test and train accuracy along the experiment's axis, a line for each series of rows."""
    rows = [row for row in evidence.experiment.rows if row.at and row.label in evidence.runs]
    if not rows:
        return []
    series: dict[str, list] = {}
    for row in rows:
        series.setdefault(row.at[0], []).append(row)
    first = {name: mine[0].label for name, mine in series.items()}
    colours = distinct_colours(first.values(), evidence)
    title = f"Accuracy by {evidence.experiment.axis}, {evidence.dataset}"
    figure, axes = new_figure(1, 2, 4.2, title, share_y=True)
    for ax, split in zip(axes.flat, ("test", "train"), strict=True):
        ends = []
        for name, mine in series.items():
            paint = colours[first[name]]
            values = {row.at[1]: percent(evidence.runs[row.label], split) for row in mine}
            heights = plot_means(values, ax, paint)
            ends.append((name, max(values), heights[-1], paint))
        _places_axis(ax, [row.at[1] for row in rows], evidence.experiment.axis)
        ax.set_title(split)
    axes[0, 0].set_ylabel("accuracy after the last epoch, %")
    label_line_ends(axes[0, 1], ends)
    caption = (
        f"Accuracy after the last epoch on test images (left) and on train images (right), "
        f"{evidence.dataset}, by {evidence.experiment.axis}; {SEEDS}."
    )
    return [Picture(save(figure, folder / "along.png"), caption)]


def plot_means(values: dict[float, list[float]], ax: Axes, paint: str) -> list[float]:
    """A line through the mean at each place, with its interval and a dot for each seed.

    Returns the means.
    """
    found = [mean(each) for each in values.values()]
    for place, each in values.items():
        ax.plot([place] * len(each), each, "o", color=paint, markersize=3, alpha=0.5)
    means = [each.value for each in found]
    halves = [0 if np.isnan(each.half) else each.half for each in found]
    ax.errorbar(list(values), means, yerr=halves, fmt="o-", markersize=6, capsize=3, color=paint)
    return means


def _places_axis(ax: Axes, places: Iterable[float], label: str) -> None:
    """A logarithmic axis with a tick at each place."""
    places = sorted(set(places))
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.set_xticks(places, [f"{place:,g}" for place in places])
    ax.margins(x=0.08)
    ax.set_xlabel(label)


def draw_shift(evidence: Evidence, folder: Path) -> list[Picture]:
    """Test accuracy on images moved by some pixels, a line for each network."""
    moved = {
        label: 100
        * np.array([each for record in records if (each := record.shifted_test_accuracy)])
        for label, records in evidence.runs.items()
    }  # label -> [seeds, pixels]
    moved = {label: values for label, values in moved.items() if len(values)}
    if not moved:
        return []
    figure, axes = new_figure(1, 1, 4.2, f"Moved test images, {evidence.dataset}")
    ax, ends = axes[0, 0], []
    for label, paint in distinct_colours(moved, evidence).items():
        pixels = range(moved[label].shape[1])
        heights = plot_means(dict(zip(pixels, moved[label].T.tolist(), strict=True)), ax, paint)
        ends.append((label, pixels[-1], heights[-1], paint))
    ax.set(xlabel="images moved by, pixels", ylabel="test accuracy, %")
    label_line_ends(ax, ends)
    caption = (
        f"Test accuracy when the test images are moved by so many pixels, {evidence.dataset}: a "
        "quarter of them in each direction, what comes in from outside being the image reflected; "
        f"{SEEDS}."
    )
    return [Picture(save(figure, folder / "shift.png"), caption)]


def draw_gradient_depth(evidence: Evidence, folder: Path) -> list[Picture]:
    """Gradient norm by layer in the first step and the last epoch, a line for each row."""
    known = {
        label: records[0]
        for label, records in evidence.runs.items()
        if records[0].epochs[0].gradient_norm_first
    }
    if not known:
        return []
    series = {row.label: row.at[0] for row in evidence.experiment.rows if row.label in known}
    colours = dict(zip(dict.fromkeys(series.values()), PALETTE, strict=False))
    figure, axes = new_figure(1, 2, 4.4, f"Gradients by layer, {evidence.dataset}", share_y=True)
    untrained = {label: each.epochs[0].gradient_norm_first for label, each in known.items()}
    trained = {label: each.epochs[-1].gradient_norm for label, each in known.items()}
    for ax, norms, title in zip(
        axes.flat,
        (untrained, trained),
        ("first step", "last epoch, mean over its steps"),
        strict=True,
    ):
        for label, by_layer in norms.items():
            values = np.array(list(by_layer.values()), dtype=float)
            values[values <= 0] = np.nan  # has no place on a logarithmic axis
            style = {"color": colours[series[label]], "marker": "o", "markersize": 2.5}
            ax.plot(np.arange(1, len(values) + 1), values, lw=1.2, **style)
        ax.set_yscale("log")
        ax.set(xlabel="layer, from the input", title=title)
    for name, paint in colours.items():
        axes[0, 0].plot([], [], color=paint, label=name)
    axes[0, 0].legend(fontsize=9)
    axes[0, 0].set_ylabel("gradient norm of the weight")
    seed = next(iter(known.values())).seed
    caption = (
        f"Norm of the gradient at each layer's weight, {evidence.dataset}, seed {seed}: in the "
        "first step (left) and in the last epoch (right). Lines of one colour are networks of "
        "different depth; each ends at its last layer."
    )
    return [Picture(save(figure, folder / "gradient_depth.png"), caption)]
