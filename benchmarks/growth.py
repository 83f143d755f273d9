"""How the cost of training grows with the images, the batch, the network and the threads.

    CNN3x3 with one thing varied --round by round, in turn--> seconds and peak memory --> slopes

A slope is that of a straight line through the points on logarithmic axes: with 1 twice as much
costs twice as much, with 0 nothing more. Float32, as ``utils.training.loop`` trains it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.peak_memory import peak_memory
from benchmarks.step_actions import bare_step
from benchmarks.timing import Action, Setting, in_turn, ratio, repeated
from utils.data.batches import augmented_views, training_batches
from utils.data.dataset import Dataset
from utils.experiment import Run
from utils.measuring.speed import spread
from utils.recipes import CIFAR10_RECIPE
from utils.report.figures.canvas import BLUE, GREY, VERMILLION, label_line_ends, new_figure, save
from utils.report.markdown import Column, count, digits, markdown_table
from utils.training.loop import Compute, initial_state, train_step

NAME = "growth"
TITLE = "How cost grows"

MODEL = "CNN3x3"
WIDTHS = (32, 64)  # channels behind its two convolutions
IMAGES, QUICK_IMAGES = (10_000, 20_000, 40_000), (500, 1_000, 2_000)
BATCH_SIZES, QUICK_BATCH_SIZES = (32, 64, 128, 256, 512), (32, 64, 128)
WIDTH_FACTORS, QUICK_WIDTH_FACTORS = (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 2.0)
STEPS = {"batch": 10, "width": 10, "threads": 20}  # of a segment


@dataclass(frozen=True)
class Sweep:
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
    """One row per value of each sweep, and the slopes of each sweep."""
    makers = {"images": epochs, "batch": batches, "width": widths, "threads": threads}
    rows = [row for sweep in SWEEPS for row in sweep_rows(sweep, makers[sweep.varied], setting)]
    return {
        "model": MODEL,
        "quick": setting.quick,
        "batch_size": CIFAR10_RECIPE.batch_size,
        "rows": rows,
        "slopes": {sweep.varied: slopes(of_sweep(rows, sweep)) for sweep in SWEEPS},
        "claims": [],
    }


Actions = dict[float, Action]  # the varied thing's value -> what is timed


def sweep_rows(
    sweep: Sweep, make: Callable[[Setting], Actions], setting: Setting
) -> list[dict[str, Any]]:
    """All values of one sweep in turn; "growth" is relative to the first, round by round."""
    actions, rounds = make(setting), setting.effort.rounds
    steps = 1 if sweep.timed == "epoch" or setting.quick else STEPS[sweep.varied]
    timed = {str(value): repeated(action, steps) for value, action in actions.items()}
    seconds = list(in_turn(timed, rounds).values())
    memory = {value: peak_memory(action, setting.device) for value, action in actions.items()}
    return [
        {
            "varied": sweep.varied,
            "timed": sweep.timed,
            "value": value,
            "rounds": rounds,
            "seconds": spread(each / steps),
            "growth": ratio(each, seconds[0]),
            "bytes": memory[value],
        }
        for value, each in zip(actions, seconds, strict=True)
    ]


def epochs(setting: Setting) -> Actions:
    """An epoch over the first so many train images, and what is made of them before it."""
    dataset = setting.dataset("cifar10")
    return {
        images: epoch(replace(dataset, y_train=dataset.y_train[:images]), setting)
        for images in (QUICK_IMAGES if setting.quick else IMAGES)
    }


def epoch(dataset: Dataset, setting: Setting) -> Action:
    """As many train images as there are labels: their padded views, then a step for each batch."""
    compute = Compute(setting.device)
    state = initial_state(training_run(), dataset, compute)
    images = dataset.x_train[: len(dataset.y_train)]

    def train() -> None:
        views = augmented_views(images, CIFAR10_RECIPE)
        state.network.train()
        for batch, labels in training_batches(dataset, views, CIFAR10_RECIPE, state.generator):
            train_step(
                state.network,
                batch,
                labels,
                state.optimizers,
                compute,
                CIFAR10_RECIPE.label_smoothing,
            )

    return train


def batches(setting: Setting) -> Actions:
    """A training step at each batch size."""
    sizes = QUICK_BATCH_SIZES if setting.quick else BATCH_SIZES
    return {size: step(training_run(batch_size=size), setting) for size in sizes}


def widths(setting: Setting) -> Actions:
    """A training step with both convolutions narrower and wider."""
    factors = QUICK_WIDTH_FACTORS if setting.quick else WIDTH_FACTORS
    return {
        factor: step(training_run(widths=tuple(int(factor * width) for width in WIDTHS)), setting)
        for factor in factors
    }


def threads(setting: Setting) -> Actions:
    """A training step on 1, 2, 4 … threads, as far as the machine has processors."""
    action = step(training_run(), setting)

    def on(number: int) -> Action:
        def run() -> object:
            with thread_count(number):
                return action()

        return run

    doublings = range(processors().bit_length())
    return {2**doubling: on(2**doubling) for doubling in doublings}


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def thread_count(number: int) -> Iterator[None]:
    """So many of torch's threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_run(widths: tuple[int, ...] = WIDTHS, **changes: object) -> Run:
    """The network by the study's recipe, but for what is varied: its widths or the recipe."""
    recipe = replace(CIFAR10_RECIPE, **changes)
    return Run(NAME, MODEL, "cifar10", recipe, seed=0, overrides={"widths": widths})


def step(run: Run, setting: Setting) -> Action:
    """Forward, loss, backward and optimiser, again and again on a batch that lies ready."""
    return bare_step(run, setting.dataset("cifar10"), Compute(setting.device))


def of_sweep(rows: Sequence[Mapping[str, Any]], sweep: Sweep) -> list[Mapping[str, Any]]:
    """The rows of one sweep."""
    return [row for row in rows if row["varied"] == sweep.varied]


def slopes(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of time and of memory on logarithmic axes; None for a single point."""
    if len(rows) < 2:
        return {"time": None, "memory": None}
    values = np.log([row["value"] for row in rows])
    curves = {
        "time": [row["growth"]["median"] for row in rows],
        "memory": [row["bytes"] for row in rows],
    }
    return {name: float(np.polyfit(values, np.log(curve), 1)[0]) for name, curve in curves.items()}


def markdown(record: Mapping[str, Any]) -> str:
    """The table, its caption, and the figure of a full measurement."""
    figure = f"![{ALT}](../plots/benchmarks/{NAME}.png)"
    parts = [markdown_table(table_rows(record), COLUMNS), caption(record)]
    return "\n\n".join(parts if record["quick"] else [*parts, figure])


def table_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The record's rows; the first of each sweep carries its slopes and its name."""
    rows = []
    for sweep in SWEEPS:
        for number, row in enumerate(of_sweep(record["rows"], sweep)):
            first = number == 0
            found = record["slopes"][sweep.varied] if first else {"time": None, "memory": None}
            rows.append({**row, "name": f"{sweep.label}, {sweep.timed}" if first else "", **found})
    return rows


def slope_text(slope: float | None) -> str:
    """Two decimals, or nothing; without the sign of a zero."""
    return "" if slope is None else f"{round(slope, 2) + 0.0:.2f}"


COLUMNS: list[Column] = [
    ("Varied, timed", lambda row: row["name"]),
    ("Value", lambda row: value_text(row["varied"], row["value"])),
    ("Time, ms", lambda row: digits(1000 * row["seconds"]["median"])),
    (
        "against the first, ×",
        lambda row: "{median:.2f} ({q1:.2f}–{q3:.2f})".format(**row["growth"]),
    ),
    ("Slope", lambda row: slope_text(row["time"])),
    ("Peak memory, MB", lambda row: digits(row["bytes"] / 1e6)),
    ("Slope", lambda row: slope_text(row["memory"])),
]


def value_text(varied: str, value: float) -> str:
    """A value as the table and the figure write it."""
    return f"×{value:g}" if varied == "width" else count(value)


def caption(record: Mapping[str, Any]) -> str:
    """How it was measured."""
    return (
        f"{record['model']} in float32 at batch size {record['batch_size']} but for what is "
        "varied. All values of one thing had their turn in the same rounds: medians over "
        f"{record['rows'][0]['rounds']}, in brackets the quartiles. A step is "
        "forward, loss, backward and optimiser on a batch that lies ready; an epoch makes its "
        "batches too. Peak memory is on top of the images, the weights and the optimiser's state; "
        "with many images it is that of padding and mirroring them all before the first step, and "
        "no longer that of a step. Slope: that of a line through the points on logarithmic axes, 1 "
        "where twice as much costs twice as much."
    )


ALT = (
    "Time and peak memory of training against the number of images, the batch size, the width of "
    "the network and the threads, on logarithmic axes with their slopes"
)


def draw(record: Mapping[str, Any], plots: Path) -> Path:
    """``plots/benchmarks/growth.png``: a panel per sweep, all relative to its first value."""
    figure, axes = new_figure(
        2, 2, height=6.2, title=f"How the cost of training {record['model']} grows"
    )
    for sweep, ax in zip(SWEEPS, axes.flat, strict=True):
        draw_sweep(sweep, of_sweep(record["rows"], sweep), record["slopes"][sweep.varied], ax)
    return save(figure, plots / "benchmarks" / f"{NAME}.png")


def draw_sweep(
    sweep: Sweep,
    rows: Sequence[Mapping[str, Any]],
    slopes: Mapping[str, float | None],
    ax: Axes,
) -> None:
    """Time with its quartiles and memory, log-log, beside a dashed line of proportional cost."""
    values = np.array([row["value"] for row in rows], dtype=float)
    time = np.array([row["growth"]["median"] for row in rows])
    quartiles = np.array([[row["growth"][side] for row in rows] for side in ("q1", "q3")])
    memory = np.array([row["bytes"] for row in rows]) / rows[0]["bytes"]
    proportional = (values / values[0]) ** sweep.expected

    ax.set(xscale="log", yscale="log", xlabel=sweep.label, ylabel="against the first, ×")
    ax.plot(values, proportional, "--", color=GREY, linewidth=1)
    ax.errorbar(values, time, np.abs(quartiles - time), fmt="o-", color=BLUE, capsize=2)
    ax.plot(values, memory, "s-", color=VERMILLION)
    ax.set_xlim(values[0] / 1.1, values[-1] * 1.1)
    lowest, highest = (f(np.concatenate([time, memory, proportional])) for f in (np.min, np.max))
    ax.set_ylim(lowest / 1.3, highest * 1.3)
    exponents = range(int(np.floor(np.log2(lowest))), int(np.ceil(np.log2(highest))) + 1)
    ticks = ((ax.xaxis, values), (ax.yaxis, [2.0**exponent for exponent in exponents]))
    for axis, places in ticks:
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: value_text(sweep.varied, x)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ends = [
        (f"{sweep.timed} time, slope {slope_text(slopes['time'])}", values[-1], time[-1], BLUE),
        (f"memory, slope {slope_text(slopes['memory'])}", values[-1], memory[-1], VERMILLION),
        ("proportional", values[-1], proportional[-1], GREY),
    ]
    label_line_ends(ax, ends)
