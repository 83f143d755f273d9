"""Figures of how training went and what it cost: curves, cost, confusion, gap, stability.

Each function takes the evidence of an experiment and the folder of its plots, writes PNG files
and returns them with their captions; without the records that it needs it returns none.
"""

from pathlib import Path

import numpy as np

from utils.records.schema import Speed, over_passes
from utils.records.study import Evidence, accuracies, by_epoch, loss_spread
from utils.report.figures.canvas import GREY, Picture, label_line_ends, new_figure, save
from utils.report.figures.images import plot_confusion
from utils.report.figures.plotting import (
    Point,
    epoch_axis,
    plot_cost,
    plot_epochs,
    plot_models_by_epoch,
    plot_recall,
)
from utils.report.provenance import Runs, seed_ranges

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


def draw_curves(evidence: Evidence, folder: Path) -> list[Picture]:
    """All models in one figure, then one figure per model."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(2, 2, 6.4, f"Learning curves, {evidence.dataset}", "row")
    for row, (kind, (label, factor)) in zip(axes, PANELS.items(), strict=True):
        for ax, split in zip(row, ("train", "test"), strict=True):
            values = {
                model: factor * by_epoch(records, f"{split}_{kind}")
                for model, records in evidence.runs.items()
            }
            plot_models_by_epoch(values, evidence.colours, ax, label_ends=False)
            ax.set_title(split)
        row[0].set_ylabel(label)
    _label_models(evidence, axes)
    caption = (
        f"Learning curves of all models, {evidence.dataset}: loss and accuracy on train images "
        f"(in eval mode, not augmented) and test images after each epoch; {band(evidence.runs)}."
        f"{smoothing_note(evidence)}"
    )
    pictures = [Picture(save(figure, folder / "curves.png"), caption)]
    return pictures + [_draw_model_curves(evidence, folder, model) for model in evidence.runs]


def smoothing_note(evidence: Evidence) -> str:
    """What label smoothing does to a loss, where the networks were trained with it."""
    share = evidence.records[0].recipe.label_smoothing
    if not share:
        return ""
    return (
        f" Training spreads {share:.0%} of each target over all classes (label smoothing), so a "
        "network does not grow sure of itself, and its cross-entropy stays above zero."
    )


def _label_models(evidence: Evidence, axes: np.ndarray) -> None:
    """Names beside the line ends of the right-hand panels; the colours hold for the left ones."""
    for ax, (kind, (_, factor)) in zip(axes[:, -1], PANELS.items(), strict=True):
        ends = []
        for model, records in evidence.runs.items():
            mean = factor * by_epoch(records, f"test_{kind}").mean(0)
            ends.append((model, len(mean), mean[-1], evidence.colours[model]))
        label_line_ends(ax, ends)


def _draw_model_curves(evidence: Evidence, folder: Path, model: str) -> Picture:
    records = evidence.runs[model]
    figure, axes = new_figure(1, 2, 3.6, f"{model}, {evidence.dataset}")
    smoothed = records[0].recipe.label_smoothing > 0
    for ax, (kind, (label, factor)) in zip(axes.flat, PANELS.items(), strict=True):
        for split, paint, style in (("train", GREY, "--"), ("test", evidence.colours[model], "-")):
            values = factor * by_epoch(records, f"{split}_{kind}")
            plot_epochs(values, ax, paint, style, split)
        if kind == "loss":
            running = by_epoch(records, "running_loss")
            name = f"train batches, while training{', smoothed targets' if smoothed else ''}"
            plot_epochs(running, ax, GREY, ":", name)
        epoch_axis(ax, values.shape[1])
        ax.set_ylabel(label)
        ax.legend(fontsize=9)
    caption = (
        f"Loss and accuracy of {model} by epoch, {evidence.dataset}; {band({model: records})}."
        f"{' While training, the loss is that of smoothed targets.' if smoothed else ''}"
    )
    return Picture(save(figure, folder / f"curves_{model}.png"), caption)


def draw_cost(evidence: Evidence, folder: Path) -> list[Picture]:
    """Test accuracy against parameters, and against latency where it was measured."""
    if not evidence.runs:
        return []
    timed = [model for model in evidence.runs if model in evidence.speed]
    figure, axes = new_figure(
        1, 2 if timed else 1, 4.2, f"Accuracy and its cost, {evidence.dataset}", share_y=True
    )
    sizes = [
        _cost_point(model, evidence, records[0].parameters)
        for model, records in evidence.runs.items()
    ]
    plot_cost(sizes, axes[0, 0], "trainable parameters")
    axes[0, 0].set_ylabel("test accuracy, %")
    caption = f"Test accuracy after the last epoch against parameters, {evidence.dataset}"
    if timed:
        latency = [
            _cost_point(model, evidence, *_milliseconds(evidence.speed[model])) for model in timed
        ]
        plot_cost(latency, axes[0, 1], "latency of one image, ms")
        caption += (
            " (left), and against the latency of one image (right; bars: inter-quartile range)"
        )
    if evidence.seeds[1:]:
        caption += "; strokes: means over seeds, dots: each seed"
    return [Picture(save(figure, folder / "cost.png"), f"{caption}.")]


def _cost_point(
    model: str, evidence: Evidence, x: float, x_range: tuple[float, float] | None = None
) -> Point:
    each = accuracies(evidence, model)
    return Point(model, x, float(np.mean(each)), evidence.colours[model], x_range, each)


def _milliseconds(speed: Speed) -> tuple[float, tuple[float, float]]:
    latency = over_passes(speed.latency_seconds)
    return 1e3 * latency.median, (1e3 * latency.q1, 1e3 * latency.q3)


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
    figure, axes = new_figure(rows, 2, 4.3 * rows, f"Confusion, {evidence.dataset}")
    for ax, (model, matrix) in zip(axes.flat, matrices.items(), strict=False):
        plot_confusion(matrix, classes, ax)
        ax.set_title(model, color=evidence.colours[model])
        ax.set(ylabel="true class")
        ax.set_xlabel("predicted class, % of the true class")
    recall = {
        model: matrix.diagonal() / np.maximum(matrix.sum(1), 1)
        for model, matrix in matrices.items()
    }
    overall = axes.flat[len(matrices)]
    plot_recall(recall, evidence.colours, classes, overall)
    overall.set_title("recognised, by class (colours as in the titles)")
    for unused in axes.flat[len(matrices) + 1 :]:
        unused.remove()
    caption = (
        f"Confusion matrices on the test images after the last epoch, {evidence.dataset}: per cent "
        "of each true class, shares below 0.5 % left empty; and the share of each class that "
        "each model recognises."
    )
    return [Picture(save(figure, folder / "confusion.png"), caption)]


def draw_generalization_gap(evidence: Evidence, folder: Path) -> list[Picture]:
    """Train minus test accuracy by epoch."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(1, 1, 4, f"Overfitting, {evidence.dataset}")
    ax = axes[0, 0]
    ax.axhline(0, color=GREY, lw=1)
    gaps = {
        model: 100 * (by_epoch(records, "train_accuracy") - by_epoch(records, "test_accuracy"))
        for model, records in evidence.runs.items()
    }
    ax.set_ylabel("train minus test accuracy,\npercentage points")
    plot_models_by_epoch(gaps, evidence.colours, ax)
    caption = (
        f"Overfitting, {evidence.dataset}: accuracy on train images (in eval mode, not augmented) "
        f"minus accuracy on test images after each epoch; {band(evidence.runs)}."
    )
    return [Picture(save(figure, folder / "overfitting.png"), caption)]


def draw_stability(evidence: Evidence, folder: Path) -> list[Picture]:
    """How far the losses of one epoch's batches scatter, and the largest gradient norm."""
    if not evidence.runs:
        return []
    figure, axes = new_figure(1, 2, 3.8, f"Stability of training, {evidence.dataset}")
    spread = {model: loss_spread(records) for model, records in evidence.runs.items()}
    largest = {
        model: by_epoch(records, "gradient_norm_largest")
        for model, records in evidence.runs.items()
    }
    axes[0, 0].set_ylabel("inter-quartile range of the batch losses")
    axes[0, 1].set_ylabel("largest gradient norm of a step")
    plot_models_by_epoch(spread, evidence.colours, axes[0, 0])
    plot_models_by_epoch(largest, evidence.colours, axes[0, 1])
    caption = (
        f"Stability of training, {evidence.dataset}: inter-quartile range of the batch losses "
        f"within each epoch (left), and the largest norm of the whole gradient within it (right); "
        f"{band(evidence.runs)}."
    )
    return [Picture(save(figure, folder / "stability.png"), caption)]
