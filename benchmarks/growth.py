"""How the cost of training grows with the images, the batch, the network and the threads.

    CNN3x3 with one thing varied --round by round, in turn--> seconds and peak memory --> slopes

A slope is that of a straight line through the points on logarithmic axes: with 1 twice as much
costs twice as much, with 0 nothing more.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.profiling import peak_memory
from benchmarks.setting import Record, Setting, between
from benchmarks.step_actions import BareStep
from utils.data.batches import augmented_views, training_batches
from utils.experiment import Run
from utils.machine import processors
from utils.measuring.timing import Action, Effort, in_turn, quartiles, ratio
from utils.recipes import CIFAR10_RECIPE
from utils.records.schema import Quartiles
from utils.report.figures.canvas import BLUE, GREY, VERMILLION, label_line_ends, new_figure, save
from utils.report.markdown import Column, count, digits, markdown_table
from utils.training.loop import initial_state, train_step

NAME = "growth"
TITLE = "How cost grows"

NETWORK, WIDTHS = "CNN3x3", (32, 64)  # channels behind its two convolutions
IMAGES, BATCH_SIZES, WIDTH_FACTORS = (0.2, 0.4, 0.8), (32, 64, 128, 256, 512), (0.5, 1.0, 2.0, 4.0)
SECONDS, QUICK_SECONDS = 0.5, 0.02  # of one turn with a step; an epoch is timed once

Actions = dict[float, Action]  # the varied thing's value -> what is timed


class Sweep(NamedTuple):
    """One thing that is varied, everything else being equal."""

    varied: str
    label: str  # of the figure's axis
    timed: str  # what the seconds are for
    expected: int  # the slope that proportional growth would have


SWEEPS = (
    Sweep("images", "train images", "epoch", 1),
    Sweep("batch", "batch size", "step", 1),
    Sweep("width", "width of both convolutions", "step", 1),
    Sweep("threads", "threads", "step", -1),
)


def measure(setting: Setting) -> dict[str, Any]:
    """One row per value of each sweep; "growth" is relative to its first, round by round."""
    makers, rows = {"images": epochs, "batch": batches, "width": widths, "threads": threads}, []
    turn = QUICK_SECONDS if setting.quick else SECONDS
    for sweep in SWEEPS:
        actions = makers[sweep.varied](setting)
        seconds = in_turn(actions, Effort(setting.rounds, 0 if sweep.timed == "epoch" else turn))
        first = next(iter(seconds.values()))
        rows += [
            {
                "varied": sweep.varied,
                "value": value,
                "seconds": quartiles(each).model_dump(),
                "growth": ratio(each, first).model_dump(),
                "bytes": peak_memory(actions[value], setting.device),
            }
            for value, each in seconds.items()
        ]
    conditions = {"network": NETWORK, "batch_size": CIFAR10_RECIPE.batch_size}
    return {**conditions, "rounds": setting.rounds, "rows": rows}


def training_run(setting: Setting, widths: Sequence[int] = WIDTHS, **changes: object) -> Run:
    """The network by the study's recipe, but for what is varied: its widths or the recipe."""
    recipe, compute = replace(CIFAR10_RECIPE, **changes), setting.compute()
    return Run(NETWORK, "cifar10", recipe, 0, {"widths": widths}, name=NETWORK, compute=compute)


def epochs(setting: Setting) -> Actions:
    """An epoch over a part of the train images."""
    images = len(setting.dataset("cifar10").x_train)
    return {int(part * images): epoch(int(part * images), setting) for part in IMAGES}


def epoch(images: int, setting: Setting) -> Action:
    """Makes the padded views of so many train images, then a step for each batch."""
    whole, run = setting.dataset("cifar10"), training_run(setting)
    dataset = replace(whole, x_train=whole.x_train[:images], y_train=whole.y_train[:images])
    state, recipe = initial_state(run, dataset), run.recipe
    network, smoothing = state.network.train(), recipe.label_smoothing

    def train() -> None:
        views = augmented_views(dataset.x_train, recipe)
        for batch, labels in training_batches(dataset, views, recipe, state.generator):
            train_step(network, batch, labels, state.optimizers, run.compute, smoothing)

    return train


def batches(setting: Setting) -> Actions:
    """A training step at each batch size."""
    sizes, data = BATCH_SIZES[: 3 if setting.quick else None], setting.dataset("cifar10")
    return {size: BareStep(training_run(setting, batch_size=size), data) for size in sizes}


def widths(setting: Setting) -> Actions:
    """A training step with both convolutions narrower and wider."""
    factors, data = WIDTH_FACTORS[: 3 if setting.quick else None], setting.dataset("cifar10")
    scaled = {factor: [int(factor * width) for width in WIDTHS] for factor in factors}
    return {factor: BareStep(training_run(setting, each), data) for factor, each in scaled.items()}


def threads(setting: Setting) -> Actions:
    """A training step on 1, 2, 4 … threads, as far as the machine has processors."""
    step = BareStep(training_run(setting), setting.dataset("cifar10"))

    def on(number: int) -> Action:
        def run() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(number)
            try:
                step()
            finally:
                torch.set_num_threads(before)

        return run

    return {2**doubling: on(2**doubling) for doubling in range(processors().bit_length())}


def of_sweep(record: Record, sweep: Sweep) -> list[Record]:
    """The rows of one sweep."""
    return [row for row in record["rows"] if row["varied"] == sweep.varied]


def slopes(rows: Sequence[Record]) -> dict[str, str]:
    """Of "time" and "memory", with two decimals; empty for a single point."""
    values = np.log([row["value"] for row in rows])
    time = np.log([row["growth"]["median"] for row in rows])
    curves = {"time": time, "memory": np.log([row["bytes"] for row in rows])}
    if len(rows) < 2:
        return dict.fromkeys(curves, "")
    fitted = {name: np.polyfit(values, curve, 1)[0] for name, curve in curves.items()}
    return {name: f"{round(slope, 2) + 0.0:.2f}" for name, slope in fitted.items()}  # no "-0.00"


def value_text(varied: str, value: float) -> str:
    """A value as the table and the figure write it."""
    return f"×{value:g}" if varied == "width" else count(value)


COLUMNS: list[Column] = [
    ("Varied, timed", lambda row: row["name"]),
    ("Value", lambda row: value_text(row["varied"], row["value"])),
    ("Time, ms", lambda row: digits(1000 * row["seconds"]["median"])),
    ("against the first, ×", lambda row: between(Quartiles(**row["growth"]))),
    ("Slope", lambda row: row["time"]),
    ("Peak memory, MB", lambda row: digits(row["bytes"] / 1e6)),
    ("Slope", lambda row: row["memory"]),
]


def markdown(record: Record) -> str:
    """The table, its caption, and the figure of a full measurement."""
    rows = []
    for sweep in SWEEPS:  # the first row of each carries its name and slopes
        first, *others = of_sweep(record, sweep)
        name = {"name": f"{sweep.label}, {sweep.timed}"}
        rows.append({**first, **name, **slopes([first, *others])})
        rows += [{**row, "name": "", "time": "", "memory": ""} for row in others]
    figure = f"![{ALT}](../plots/benchmarks/{NAME}.png)"
    parts = [markdown_table(rows, COLUMNS), caption(record)]
    return "\n\n".join(parts if record["quick"] else [*parts, figure])


def caption(record: Record) -> str:
    """What it says, and how it was measured."""
    return (
        "Time grows in proportion to the images, and faster than the width, whose square a "
        "convolution between two wide layers costs; memory does not, there are as many activations "
        "as images times channels. Slope: of a line through the points on logarithmic axes, 1 "
        "where twice as much costs twice as much, -1 where it takes half the time. "
        f"{record['network']} in float32 at batch size {record['batch_size']} but for what is "
        f"varied; medians over {record['rounds']} rounds in turn, in brackets the quartiles. A "
        "step has a batch that lies ready, an epoch makes its own. Peak memory is on top of the "
        "images, the weights and the optimiser's state; of an epoch it is that of a step or of "
        "padding and mirroring all images, whichever is more."
    )


ALT = "Time and memory of training against images, batch size, width and threads, with their slopes"


def draw(record: Record, plots: Path) -> Path:
    """``plots/benchmarks/growth.png``: a panel per sweep, all relative to its first value."""
    title = f"How the cost of training {record['network']} grows"
    figure, axes = new_figure(2, 2, height=6.2, title=title)
    for sweep, ax in zip(SWEEPS, axes.flat, strict=True):
        draw_sweep(sweep, of_sweep(record, sweep), ax)
    return save(figure, plots / "benchmarks" / f"{NAME}.png")


def draw_sweep(sweep: Sweep, rows: Sequence[Record], ax: Axes) -> None:
    """Time with its quartiles and memory, log-log, beside a dashed line of proportional cost."""
    values = np.array([row["value"] for row in rows], dtype=float)
    q1, time, q3 = np.array([[row["growth"][x] for row in rows] for x in ("q1", "median", "q3")])
    memory = np.array([row["bytes"] for row in rows]) / rows[0]["bytes"]
    proportional = (values / values[0]) ** sweep.expected
    ax.set(xscale="log", yscale="log", xlabel=sweep.label, ylabel="against the first, ×")
    ax.plot(values, proportional, "--", color=GREY, linewidth=1)
    ax.errorbar(values, time, [time - q1, q3 - time], fmt="o-", color=BLUE, capsize=2)
    ax.plot(values, memory, "s-", color=VERMILLION)

    shown = np.concatenate([time, memory, proportional])
    ax.set_xlim(values[0] / 1.1, values[-1] * 1.1)
    ax.set_ylim(shown.min() / 1.3, shown.max() * 1.3)
    lowest, highest = np.floor(np.log2(shown.min())), np.ceil(np.log2(shown.max()))
    for axis, places in ((ax.xaxis, values), (ax.yaxis, 2.0 ** np.arange(lowest, highest + 1))):
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: value_text(sweep.varied, x)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    found = slopes(rows)
    ends = [
        (f"{sweep.timed} time, slope {found['time']}", values[-1], time[-1], BLUE),
        (f"memory, slope {found['memory']}", values[-1], memory[-1], VERMILLION),
        ("proportional", values[-1], proportional[-1], GREY),
    ]
    label_line_ends(ax, ends)
