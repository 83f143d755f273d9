"""Figures of how training went: curves, confusion, gap, stability."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.records.schema import TRAIN_PART
from utils.records.study import Evidence, by_epoch, loss_spread
from utils.report.figures.canvas import (
    GREY,
    Picture,
    extremes,
    in_lines,
    label_line_ends,
    legend_below,
    looks,
    new_figure,
    save,
    title,
)
from utils.report.figures.images import plot_confusion
from utils.report.figures.plotting import log_y_axis, plot_models_by_epoch, plot_recall
from utils.report.provenance import Runs, seed_ranges
from utils.report.rows import accuracy_columns

PANELS = {  # key of an epoch -> what the axis says, factor
    "loss": ("cross-entropy", 1),
    "accuracy": ("accuracy, %", 100),
}


def band(runs: Runs) -> str:
    """The part of a caption that says what a line and its band are."""
    seeds = [{record.seed for record in records} for records in runs.values()]
    every = set.union(*seeds)
    if len(every) == 1:
        return f"one seed ({seed_ranges(every)})"
    of = "" if all(each == every for each in seeds) else "those that each has of "
    return (
        f"lines: means over {of}seeds {seed_ranges(every)}; bands: ± one sample standard deviation"
    )


def train_part(evidence: Evidence) -> str:
    """The images on which the train accuracy and loss of every epoch are taken."""
    return f"the first {min(TRAIN_PART, evidence.records[0].data.train_images):,} train images"


def draw_curves(evidence: Evidence, folder: Path) -> list[Picture]:
    """Loss and accuracy by epoch of all networks, on train and on test images."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(2, 2, 6.4, title(evidence, "learning curves"), "row")
    shown = looks(evidence.runs, evidence)
    for row, (kind, (label, factor)) in zip(axes, PANELS.items(), strict=True):
        for ax, split in zip(row, ("train", "test"), strict=True):
            values = {
                model: factor * by_epoch(records, f"{split}_{kind}")
                for model, records in evidence.runs.items()
            }
            plot_models_by_epoch(values, shown, ax)
        row[0].set_ylabel(label)
    axes[0, 0].set_title(train_part(evidence))
    axes[0, 1].set_title("all test images")
    legend_below(figure, shown)
    caption = (
        f"Learning curves, {evidence.dataset}: loss and accuracy after each epoch on "
        f"{train_part(evidence)} (left) and on all test images (right); {band(evidence.runs)}."
    )
    return [Picture(save(figure, folder / "curves.png"), caption, accuracy_finding(evidence))]


def accuracy_finding(evidence: Evidence) -> str:
    """Which networks have the highest and the lowest test accuracy after the last epoch."""
    means = {
        label: 100 * accuracy_columns(records)["test_accuracy"]
        for label, records in evidence.runs.items()
    }
    return extremes(means, "Test accuracy after the last epoch")


def draw_confusion(evidence: Evidence, folder: Path) -> list[Picture]:
    """A confusion matrix per model, and how well each class is recognised."""
    if not evidence.runs:
        return []
    classes = evidence.records[0].data.classes
    matrices = {
        model: sum(np.array(record.final.confusion_matrix) for record in records)
        for model, records in evidence.runs.items()
    }
    rows = (len(matrices) + 2) // 2
    figure, axes = new_figure(rows, 2, 4.3 * rows, title(evidence, "what is taken for what"))
    for ax, (model, matrix) in zip(axes.flat, matrices.items(), strict=False):
        plot_confusion(matrix, classes, ax)
        ax.set(
            title=in_lines(model, ax),
            ylabel="true class",
            xlabel="predicted class, % of the true class",
        )
    recall = {model: recognised(matrix) for model, matrix in matrices.items()}
    overall = axes.flat[len(matrices)]
    shown = looks(matrices, evidence, lines=False)
    plot_recall(recall, shown, classes, overall)
    overall.set_title("recognised, by class")
    legend_below(figure, shown)
    for unused in axes.flat[len(matrices) + 1 :]:
        unused.remove()
    caption = (
        f"Confusion matrices on the test images after the last epoch, {evidence.dataset}, all "
        "seeds together: per cent of each true class, empty where they round to 0; and the share "
        "of each class that each network recognises."
    )
    finding = "; ".join(mix_up(model, matrix, classes) for model, matrix in matrices.items())
    return [Picture(save(figure, folder / "confusion.png"), caption, finding)]


def recognised(matrix: np.ndarray) -> np.ndarray:
    """The share of each class that is taken for it; NaN where there are no images of it."""
    images = matrix.sum(1)
    return np.where(images > 0, matrix.diagonal() / np.maximum(images, 1), np.nan)


def mix_up(model: str, matrix: np.ndarray, classes: Sequence[str]) -> str:
    """The most frequent confusion, as in "DeepFCNet takes 20 % of class cat for dog"."""
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    true, predicted = np.unravel_index(share.argmax(), share.shape)
    return f"{model} takes {share.max():.0f} % of class {classes[true]} for {classes[predicted]}"


def draw_generalization_gap(evidence: Evidence, folder: Path) -> list[Picture]:
    """Train minus test accuracy by epoch, and at the end that of the table."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(1, 1, 4, title(evidence, "train minus test accuracy"))
    ax, ends, last = axes[0, 0], [], {}
    ax.axhline(0, color=GREY, lw=1)
    shown = looks(evidence.runs, evidence)
    gaps = {
        model: 100 * (by_epoch(records, "train_accuracy") - by_epoch(records, "test_accuracy"))
        for model, records in evidence.runs.items()
    }
    ax.set_ylabel("gap, points")
    plot_models_by_epoch(gaps, shown, ax)
    for model, records in evidence.runs.items():
        epochs, gap = gaps[model].shape[1], 100 * accuracy_columns(records)["generalization_gap"]
        last[model] = gap
        ax.plot(epochs, gap, **{**shown[model], "markersize": 10})
        ends.append((f"{model}  {gap:z.1f}", epochs, gap, shown[model]["color"]))
    label_line_ends(ax, ends)
    caption = (
        f"Train accuracy minus test accuracy, {evidence.dataset}: after each epoch on "
        f"{train_part(evidence)}; {band(evidence.runs)}. The large "
        "markers and the numbers are those of the table, on all train images."
    )
    finding = extremes(last, "Gap between train and test accuracy", " points")
    return [Picture(save(figure, folder / "overfitting.png"), caption, finding)]


def draw_stability(evidence: Evidence, folder: Path) -> list[Picture]:
    """How far the losses of one epoch's batches scatter, and the largest gradient norm."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(1, 2, 3.9, title(evidence, "how evenly training goes"))
    shown = looks(evidence.runs, evidence)
    spread = {model: loss_spread(records) for model, records in evidence.runs.items()}
    largest = {
        model: by_epoch(records, "gradient_norm_largest")
        for model, records in evidence.runs.items()
    }
    axes[0, 0].set_title("inter-quartile range of the batch losses")
    axes[0, 1].set_title("largest gradient norm of a step")
    plot_models_by_epoch(spread, shown, axes[0, 0])
    plot_models_by_epoch(largest, shown, axes[0, 1])
    log_y_axis(axes[0, 1])
    axes[0, 0].set_ylabel("cross-entropy")
    axes[0, 1].set_ylabel("gradient norm")
    later = np.concatenate([each[:, 1:].ravel() for each in spread.values()])
    if (later > 0).any():  # the first epoch's is far above
        axes[0, 0].set(xlim=(1.8, None), ylim=(0, 1.1 * np.nanmax(later)))
    legend_below(figure, shown)
    caption = (
        f"Within each epoch, {evidence.dataset}: the inter-quartile range of the batch losses, "
        "without the first epoch's, which is far above (left), and the largest norm of the whole "
        "gradient (right, logarithmic axis); "
        f"{band(evidence.runs)}."
    )
    at_the_end = {model: each[:, -1].mean() for model, each in spread.items()}
    finding = (
        "In the last epoch the batch losses scatter most with "
        f"{max(at_the_end, key=at_the_end.get)} and least with "
        f"{min(at_the_end, key=at_the_end.get)}"
    )
    return [Picture(save(figure, folder / "stability.png"), caption, finding)]
