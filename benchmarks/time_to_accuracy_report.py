"""Time to the report's accuracy, from the records alone: table and figure.

Time = epochs until the validation accuracy passes, times the seconds of an epoch. Where the usual
loop never passes, all its epochs count and the ratio is a lower bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from utils.errors import UserError
from utils.experiment import Experiment
from utils.measuring.timing import ratio
from utils.records.environment import machine_name
from utils.records.files import MISSHAPEN, read_json
from utils.records.runs import find_records
from utils.records.schema import Environment, Quartiles
from utils.report.figures.canvas import BLUE, GREY, ORANGE, Picture, new_figure, save
from utils.report.markdown import Column, markdown_table, percent_cell
from utils.report.rows import reported_results
from utils.report.wording import listed

QUICK_TARGET = 0.2  # twice what guessing gets: two epochs on few images pass it, or nearly so
SIDES = {"ours": ("this study", BLUE, "o"), "usual": ("the usual loop", ORANGE, "s")}


@dataclass(frozen=True)
class Side:
    """What passed, or else the longest that was tried."""

    epochs: int
    validation_accuracy: float | None  # None: it diverged
    test_accuracy: float | None
    passed: bool
    seconds: np.ndarray  # of all its epochs and what precedes them, [rounds]

    @property
    def total(self) -> float:
        """Median seconds."""
        return float(np.median(self.seconds))


@dataclass(frozen=True)
class Line:
    """A network with both sides trained and timed."""

    label: str  # as in "FCNet, MNIST"
    target: float
    ours: Side
    usual: Side
    trained_on: Sequence[Environment]
    usual_on: Sequence[Environment]
    timed_on: Environment
    ratio: Quartiles  # usual / ours, round by round


def file_of(dataset: str, run_name: str) -> str:
    """Of the usual loop and of the seconds: a network's, whatever the length of the schedule."""
    return f"{dataset}/{run_name.split('-epochs=')[0]}.json"


def target_of(experiment: Experiment, label: str, quick: bool) -> float:
    """The report's test accuracy of a row; for a quick run that is out of reach."""
    line = reported_results(experiment.reported_table)[label]
    return QUICK_TARGET if quick else float(line["test_accuracy"])


def read_line(schedules: Experiment, label: str, results: Path, quick: bool) -> Line | None:
    """A network's line, from what its ``schedules`` and the usual loop have on record.

    None where a part is missing.
    """
    rows = tuple(row for row in schedules.rows if row.label == label)
    target = target_of(schedules, label, quick)
    records = [each.record for each in find_records(replace(schedules, rows=rows), results)]
    name = file_of(schedules.dataset, rows[0].run_name)
    paths = [results / folder / name for folder in ("usual", "seconds")]
    if not (records and all(path.exists() for path in paths)):
        return None
    usual, timed = map(read_json, paths)
    tried = [
        {"epochs": each.recipe.epochs} | each.final.model_dump(include=ACCURACIES)
        for each in sorted(records, key=lambda record: record.recipe.epochs)
    ]
    try:
        seconds = {side: np.array(timed[side], float) for side in SIDES}
        before = median(timed["views"])  # once, whatever the number of epochs
        if {each.shape for each in seconds.values()} != {(len(timed["views"]),)}:
            raise ValueError("ours, usual and views are of other rounds")
        ours = side_of(tried, target, seconds["ours"], before)
        theirs = side_of(usual["tried"], target, seconds["usual"])
        return Line(
            label=f"{label}, {records[0].data.description}",
            target=target,
            ours=ours,
            usual=theirs,
            trained_on=tuple(record.environment for record in records),
            usual_on=tuple(Environment(**each) for each in usual["environments"]),
            timed_on=Environment(**timed["environment"]),
            ratio=ratio(theirs.seconds, ours.seconds),
        )
    except MISSHAPEN as error:
        raise UserError(
            f"{' or '.join(map(str, paths))}: cannot be rendered ({type(error).__name__}: "
            f"{error}); delete both and run the command again"
        ) from error


ACCURACIES = {"validation_accuracy", "test_accuracy"}


def passes(accuracy: float | None, target: float) -> bool:
    """Whether it is above the target; what diverged has none and is not."""
    return accuracy is not None and accuracy > target


def side_of(
    tried: Sequence[Mapping[str, Any]], target: float, epoch_seconds: np.ndarray, before: float = 0
) -> Side:
    """The first of what was tried that passes the target, else the last.

    Raises: ValueError for a time that cannot be one.
    """
    passing = [entry for entry in tried if passes(entry["validation_accuracy"], target)]
    entry = (passing or tried[-1:])[0]
    if type(entry["epochs"]) is not int or entry["epochs"] < 1:
        raise ValueError(f"epochs: {entry['epochs']}")
    every = np.array([before, *epoch_seconds])  # [1 + rounds]
    if not (np.isfinite(every).all() and before >= 0 and (epoch_seconds > 0).all()):
        raise ValueError("seconds are not above 0, or not finite")
    return Side(**entry, passed=bool(passing), seconds=before + entry["epochs"] * epoch_seconds)


def read_lines(schedules: Sequence[Experiment], results: Path, quick: bool = False) -> list[Line]:
    """All networks that are trained and timed, in the order of the study."""
    labels = [(each, label) for each in schedules for label in dict.fromkeys(each.labels)]
    lines = [read_line(each, label, results, quick) for each, label in labels]
    return [line for line in lines if line]


def bound(line: Line) -> str:
    """The sign before a number that is a lower bound."""
    return "" if line.usual.passed else "≥ "


def ratio_text(line: Line) -> str:
    """As in "12.3×", or "≥ 12.3×" for a lower bound."""
    return f"{bound(line)}{line.ratio.median:.1f}×"


COLUMNS: list[Column] = [
    ("Network", lambda line: line.label),
    ("Report, %", lambda line: percent_cell(line.target)),
    ("Our epochs", lambda line: str(line.ours.epochs)),
    ("Usual epochs", lambda line: f"{bound(line)}{line.usual.epochs}"),
    (
        "Usual time / ours",
        lambda line: f"{ratio_text(line)} ({line.ratio.q1:.1f}–{line.ratio.q3:.1f})",
    ),
]


def summary(lines: Sequence[Line]) -> str:
    """How many times as long the usual loop takes, and how much of it is epochs."""
    mean = geometric_mean([line.ratio.median for line in lines])
    epochs = geometric_mean([line.usual.epochs / line.ours.epochs for line in lines])
    return (
        "Until a network has the report's accuracy, the loop that most people write (a torchvision "
        "dataset through a `DataLoader`, image by image, and plain Adam) takes "
        f"**{mean:.1f} times as long** as this study: {epochs:.1f} times as many epochs, each "
        f"{mean / epochs:.1f} times as long (geometric means of {len(lines)} networks). Fewer "
        "epochs are the doing of the [recipe](recipes.md), faster ones that of the loop."
    )


def table(lines: Sequence[Line]) -> str:
    """The table and how it came about."""
    caption = (
        "Our epochs: the shortest schedule, trained from scratch, whose accuracy on validation "
        "images held out from the train split is above the report's test accuracy; theirs: the "
        "first that is above it, at a constant rate (≥: none was). Usual are two workers, batches "
        "of 128, float32, channels first, and here our recipe's crop and mirror image. The test "
        "split decided nothing. Evaluations, the start of the workers and the shorter schedules "
        "that did not pass do not count as time. One seed each; seconds are from segments of both "
        "loops in turn, in brackets the quartiles over the rounds. Ours was trained on "
        f"{machines([e for line in lines for e in line.trained_on])}, the usual loop on "
        f"{machines([e for line in lines for e in line.usual_on])}; timed on "
        f"{machines([line.timed_on for line in lines])}."
    )
    return f"{markdown_table(lines, COLUMNS)}\n\n{caption}"


def machines(environments: Sequence[Environment]) -> str:
    """All that are different, in words."""
    return listed(list(dict.fromkeys(map(machine_name, environments))))


def figure(lines: Sequence[Line], plots: Path) -> Picture:
    """``plots/benchmarks/time_to_accuracy.png``."""
    title = "Seconds of training until the report's accuracy is passed"
    canvas, axes = new_figure(1, 1, 1.3 + 0.33 * len(lines), title)
    plot_times(lines, axes[0, 0])
    order = sorted(lines, key=lambda line: line.ratio.median)
    first, last = (f"{line.ratio.median:.1f} ({line.label})" for line in (order[0], order[-1]))
    finding = (
        f"The usual loop takes from {first} to {last} times as long to pass the report's accuracy"
    )
    caption = (
        "Seconds of training (logarithmic axis) until the validation accuracy is above the "
        "report's test accuracy, which stands in brackets; beside each pair how many times as long "
        "the usual loop takes; ≥ and an arrow: it was not there after its last epoch."
    )
    return Picture(save(canvas, plots / "benchmarks" / "time_to_accuracy.png"), caption, finding)


def plot_times(lines: Sequence[Line], ax: Axes) -> None:
    """A line per network from our seconds to the usual loop's (log); an arrow: longer than that."""
    for position, line in enumerate(lines):
        ends = [line.ours.total, line.usual.total]
        ax.plot(ends, [position] * 2, color=GREY, linewidth=1, zorder=1)
        for (_, paint, marker), side in zip(SIDES.values(), (line.ours, line.usual), strict=True):
            ax.plot(side.total, position, marker if side.passed else ">", color=paint, markersize=7)
        beside = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        ax.annotate(ratio_text(line), (max(ends), position), **beside)
    every = [side.total for line in lines for side in (line.ours, line.usual)]
    ax.set_xscale("log")
    room = 1.5 * (max(every) / min(every)) ** 0.15  # for what stands on the right of the last
    ax.set_xlim(min(every) / 1.5, max(every) * room)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(
        range(len(lines)), [f"{line.label} ({percent_cell(line.target)} %)" for line in lines]
    )
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xlabel("seconds of training")
    for name, paint, marker in SIDES.values():
        ax.plot([], [], color=paint, marker=marker, ls="none", markersize=7, label=name)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
