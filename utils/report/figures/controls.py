"""Figures of the control experiments: accuracies row by row, along an axis, and on moved images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from utils.experiment import Row
from utils.records.study import Evidence
from utils.report.figures.canvas import (
    BLACK,
    Look,
    Picture,
    extremes,
    label_line_ends,
    looks,
    new_figure,
    save,
    title,
)
from utils.report.measures import values_of
from utils.report.provenance import moved_seeds
from utils.report.statistics import mean

INTERVALS = "means over seeds with their 95 % intervals (Student's t)"


def draw_accuracies(evidence: Evidence, folder: Path) -> list[Picture]:
    """A line for each row of the table: its test accuracies, and hollow its train accuracy."""
    if not evidence.runs:
        return []
    known = {*evidence.runs, *evidence.diverged}
    labels = [label for label in evidence.experiment.labels if label in known]
    heading = title(evidence, "accuracy")
    figure, axes = new_figure(1, 1, 0.36 * len(labels) + 1.3, heading)
    ax = axes[0, 0]
    for place, label in enumerate(labels):
        if label not in evidence.runs:
            ax.text(0.5, place, "diverged", transform=ax.get_yaxis_transform(), ha="center")
            continue
        (look,) = looks([label], evidence).values()
        alone = {**look, "linestyle": "none", "markersize": 7}
        test = values_of(label, "test_accuracy", evidence)
        train = np.mean(values_of(label, "train_accuracy", evidence))
        found = mean(test)
        half = found.half if test[1:] else None
        ax.errorbar(found.value, place, xerr=half, capsize=3, **alone)
        ax.plot(test, [place + 0.3] * len(test), **{**alone, "markersize": 3}, alpha=0.5)
        ax.plot(train, place, **{**alone, "fillstyle": "none"})
    ax.plot([], [], "o", color=BLACK, markersize=7, label="test")
    ax.plot([], [], "o", color=BLACK, fillstyle="none", markersize=7, label="train")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel("accuracy after the last epoch, %")
    caption = (
        f"Accuracy after the last epoch, {evidence.dataset}: {INTERVALS}; small: each seed; "
        "hollow: train accuracy."
    )
    means = {label: np.mean(values_of(label, "test_accuracy", evidence)) for label in evidence.runs}
    finding = extremes(means, "Test accuracy")
    return [Picture(save(figure, folder / "accuracies.png"), caption, finding)]


def draw_along(evidence: Evidence, folder: Path) -> list[Picture]:
    """Test and train accuracy along the experiment's axis, a line for each series of rows."""
    rows = [row for row in evidence.experiment.rows if row.at and row.label in evidence.runs]
    if not rows:
        return []
    series: dict[str, list[Row]] = {}
    for row in rows:
        series.setdefault(row.at[0], []).append(row)
    styles = looks([mine[0].label for mine in series.values()], evidence).values()
    for mine in series.values():
        mine.sort(key=lambda row: row.at[1])
    figure, axes = new_figure(1, 2, 4.2, title(evidence, "accuracy"), share_y=True)
    for ax, split in zip(axes.flat, ("test", "train"), strict=True):
        ends = []
        for (name, mine), look in zip(series.items(), styles, strict=True):
            places = [row.at[1] for row in mine]
            values = [values_of(row.label, f"{split}_accuracy", evidence) for row in mine]
            heights = plot_means(places, values, ax, look)
            ends.append((name, places[-1], heights[-1], look["color"]))
        _places_axis(ax, [row.at[1] for row in rows], evidence.experiment.axis)
        ax.set_title(split)
    axes[0, 0].set_ylabel("accuracy after the last epoch, %")
    label_line_ends(axes[0, 1], ends)
    caption = (
        f"Accuracy after the last epoch on test images (left) and on train images (right), "
        f"{evidence.dataset}, by {evidence.experiment.axis}: {INTERVALS}."
    )
    last = max(row.at[1] for row in rows)
    means = {
        row.at[0]: np.mean(values_of(row.label, "test_accuracy", evidence))
        for row in rows
        if row.at[1] == last
    }
    finding = extremes(means, f"Test accuracy at the right end, {last:,g}")
    return [Picture(save(figure, folder / "along.png"), caption, finding)]


def plot_means(
    places: Sequence[float], values: Sequence[Sequence[float]], ax: Axes, look: Look
) -> list[float]:
    """A line through the mean at each place, with its interval. Returns the means."""
    found = [mean(each) for each in values]
    means = [each.value for each in found]
    halves = [0 if np.isnan(each.half) else each.half for each in found]
    ax.errorbar(places, means, yerr=halves, **{**look, "markersize": 6}, capsize=3)
    return means


def _places_axis(ax: Axes, places: Iterable[float], label: str) -> None:
    """An axis with a tick at each place, logarithmic where all of them are above zero."""
    places = sorted(set(places))
    ax.set_xscale("log" if places[0] > 0 else "linear")
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
    figure, axes = new_figure(1, 1, 4.2, title(evidence, "test accuracy"))
    ax, ends = axes[0, 0], []
    for label, look in looks(moved, evidence).items():
        pixels = range(moved[label].shape[1])
        heights = plot_means(pixels, moved[label].T.tolist(), ax, look)
        ends.append((label, pixels[-1], heights[-1], look["color"]))
    ax.set(xlabel="images moved by, pixels", ylabel="test accuracy, %")
    label_line_ends(ax, ends)
    caption = (
        f"Test accuracy when the test images are moved by so many pixels, {evidence.dataset}: a "
        "quarter of them in each direction, what comes in from outside being the image reflected; "
        f"{INTERVALS}. {moved_seeds(evidence.runs)}"
    )
    lost = {label: values[:, 0].mean() - values[:, -1].mean() for label, values in moved.items()}
    finding = extremes(lost, f"Accuracy lost by a move of {pixels[-1]} pixels", " points")
    return [Picture(save(figure, folder / "shift.png"), caption, finding)]
