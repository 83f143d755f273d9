"""A training step: against the usual loop, the bare step and a matrix product, all in turn.

    for each network, round by round:
        usual loop, our loop, bare step, their parts, matrix product, checkpoint --> seconds

What is timed stands in ``step_actions``. One set of segments serves all three comparisons, so that
a round has them all within seconds. The record holds seconds; the ratios are taken on rendering.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.profiling import time_shares
from benchmarks.setting import Record, Setting, between
from benchmarks.step_actions import (
    BareStep,
    batch_making,
    cycle_of,
    matrix_product,
    optimizer_step,
    our_loop,
    whole_cycles,
)
from benchmarks.usual_loop import PREFETCHED, UsualProcess
from experiments import STUDY
from utils.data.batches import augmented_views, steps_per_epoch
from utils.data.dataset import Dataset
from utils.experiment import Precision, Run, declared_runs
from utils.machine import warn_if_slower
from utils.measuring.probes import step_flops
from utils.measuring.timing import (
    Action,
    Effort,
    Staged,
    geometric_mean,
    in_turn,
    quartiles,
    ratio,
    repeated,
)
from utils.recipes import quick
from utils.records.schema import Quartiles
from utils.report.markdown import Column, count, digits, markdown_table
from utils.training.checkpoint import save_checkpoint, seed_everything
from utils.training.loop import build_network, gradient_norms

NAME = "steps"
TITLE = "A training step"

PRODUCT_SIZE, QUICK_PRODUCT_SIZE = 3072, 512  # the side of the square matrices
# A segment has at most and at least so many batches, and between them as many as cost these FLOPs.
SEGMENT, QUICK_SEGMENT = (50, 6, 1.2e11), (4, 2, 5e9)

log = logging.getLogger(__name__)


def measure(setting: Setting) -> dict[str, Any]:
    """One row per distinct network of the report's tables: facts, and seconds of each segment.

    ``--quick`` has the first three alone.
    """
    warning = warn_if_slower(setting.device, "bfloat16")
    if warning:
        log.warning("bfloat16 left out: %s", warning)
    precisions: list[Precision] = ["float32"] if warning else ["float32", "bfloat16"]
    rows, size = [], QUICK_PRODUCT_SIZE if setting.quick else PRODUCT_SIZE
    with UsualProcess() as usual:
        for label, run in distinct_runs(setting)[: 3 if setting.quick else None]:
            runs = {each: replace(run, compute=setting.compute(each)) for each in precisions}
            row = {"label": label, **facts(run, setting)}
            rows.append(row | measure_network(runs, row["batches"], size, setting, usual))
            found = ratios(rows[-1], "float32", size)["times_usual"]
            log.info("%s: %s times the usual loop in float32", label, between(found))
    return {
        "precisions": precisions,
        "left_out": warning,  # why bfloat16 is not among them, if it is not
        "rounds": setting.rounds,
        "product_size": size,
        "rows": rows,
    }


def distinct_runs(setting: Setting) -> list[tuple[str, Run]]:
    """The networks of the report's tables, each once with its label, as the study declares them.

    What stands in two tables has both labels, as in "CNN3x3 = ShallowCNN".
    """
    runs: dict[tuple[str, str], tuple[str, Run]] = {}
    for table in STUDY:
        if table.reported_table and table.rows:
            recipe = quick(table.recipe) if setting.quick else table.recipe
            found = declared_runs(table, None, table.seeds[:1], recipe, setting.compute())
            for (label, _), run in found.items():
                key = run.dataset, run.name
                runs[key] = (f"{runs[key][0]} = {label}" if key in runs else label, run)
    return list(runs.values())


def facts(run: Run, setting: Setting) -> dict[str, Any]:
    """What a row says about its network before anything is measured."""
    dataset, size = setting.dataset(run.dataset), run.recipe.batch_size
    images = len(dataset.x_train)
    flops = step_flops(build_network(run), dataset.x_train.shape[1:])
    most, least, segment_flops = QUICK_SEGMENT if setting.quick else SEGMENT
    affordable = max(least, round(segment_flops / (size * flops)))
    whole = images // size - PREFETCHED  # what an epoch of the usual loop has for a segment
    return {
        "dataset": dataset.description,
        "step_flops_per_image": flops,
        "batch_size": size,
        "batches": whole_cycles(run, min(most, affordable, whole)),
        "batches_per_epoch": steps_per_epoch(images, run.recipe),
        "epochs": run.recipe.epochs,
    }


def measure_network(
    runs: Mapping[Precision, Run],
    batches: int,
    product_size: int,
    setting: Setting,
    usual: UsualProcess,
) -> dict[str, Any]:
    """Seconds of all segments of one network in turn, ``[rounds]`` each, and the time's shares."""
    run = runs["float32"]
    dataset, images = setting.dataset(run.dataset), batches * run.recipe.batch_size
    seed_everything(run.seed)
    usual.take(run, dataset)
    with tempfile.TemporaryDirectory() as folder:
        actions: dict[str, Action | Staged] = {
            "usual": Staged(lambda: usual.running(images)),
            **segments(runs, dataset, batches, Path(folder) / "checkpoint.pt"),
            "product": matrix_product(product_size, setting.device),
        }
        seconds = in_turn(actions, Effort(setting.rounds))
    shares = {}
    for precision, each in runs.items():
        step = BareStep(each, dataset)
        step.optimizers = []
        shares[precision] = time_shares(step)
    return {"seconds": {k: v.tolist() for k, v in seconds.items()}, "time_shares": shares}


def segments(
    runs: Mapping[Precision, Run], dataset: Dataset, batches: int, checkpoint: Path
) -> dict[str, Action]:
    """What is timed of a network's run in each precision; ``checkpoint`` is where one is written.

    "orthogonal …" is one step of the optimisers, with the work that the study's do in some.
    """
    actions: dict[str, Action] = {}
    first = runs["float32"]
    views, stepped = augmented_views(dataset.x_train, first.recipe), BareStep(first, dataset)
    stepped()
    for precision, run in runs.items():
        optimize = optimizer_step(BareStep(run, dataset))
        actions |= {
            f"loop {precision}": our_loop(run, dataset, views, batches),
            f"bare {precision}": repeated(BareStep(run, dataset), batches),
            f"optimizer {precision}": repeated(optimize, batches),
        }
        if cycle_of(run) > 1:
            actions[f"orthogonal {precision}"] = optimizer_step(BareStep(run, dataset), True)
    return actions | {
        "batches": batch_making(first, dataset, views, batches),
        "norms": repeated(lambda: gradient_norms(stepped.network), batches),
        "views": lambda: augmented_views(dataset.x_train, first.recipe),
        "checkpoint": lambda: save_checkpoint(checkpoint, stepped.state),
    }


def ratios(row: Record, precision: str, product_size: int) -> dict[str, Quartiles]:
    """What is compared, of one network in one precision, from the seconds in each round.

    A checkpoint is written once per epoch, and the padded and mirrored images are made once per
    training: a segment's share of both is added to our loop where the overhead is meant.
    """
    seconds = {name: np.array(values) for name, values in row["seconds"].items()}
    kinds = ("loop", "bare", "optimizer")
    loop, bare, optimizer = (seconds[f"{kind} {precision}"] for kind in kinds)
    images, epochs = row["batches"] * row["batch_size"], row["batches"] / row["batches_per_epoch"]
    once = seconds["checkpoint"] * epochs + seconds["views"] * epochs / row["epochs"]
    flops_per_second = images * row["step_flops_per_image"] / bare
    found = {
        "usual_images_per_second": quartiles(images / seconds["usual"]),
        "images_per_second": quartiles(images / loop),
        "times_usual": ratio(seconds["usual"], loop),
        "without_optimizer": ratio(seconds["usual"], loop - optimizer),
        "overhead": quartiles((loop + once) / bare - 1),
        "optimizer": ratio(optimizer, bare),
        "batches": ratio(seconds["batches"], bare),
        "norms": ratio(seconds["norms"], bare),
        "of_product": ratio(flops_per_second, 2 * product_size**3 / seconds["product"]),
    }
    if f"orthogonal {precision}" in seconds:
        always = row["batches"] * seconds[f"orthogonal {precision}"]
        found["always_orthogonal"] = ratio(seconds["usual"], loop - optimizer + always)
    return found


Quantities = Mapping[str, tuple[str, int, int]]  # heading -> what of ``ratios``, decimals, scale

USUAL: Quantities = {
    "Ours, images/s": ("images_per_second", 0, 1),
    "Times the usual": ("times_usual", 2, 1),
    "Without the optimiser": ("without_optimizer", 2, 1),
    "With every update orthogonal": ("always_orthogonal", 2, 1),
}
OVERHEAD: Quantities = {
    "Overhead, %": ("overhead", 1, 100),
    "Batches, %": ("batches", 1, 100),
    "Gradient norms, %": ("norms", 1, 100),
    "Optimiser, %": ("optimizer", 0, 100),
}
PRODUCT: Quantities = {"Of the product, %": ("of_product", 1, 100)}


def markdown(record: Record) -> str:
    """Three tables, each with what it says and how it was measured."""
    precisions, size = record["precisions"], record["product_size"]
    rows = [row | {each: ratios(row, each, size) for each in precisions} for row in record["rows"]]
    names: list[Column] = [("Model", itemgetter("label")), ("Dataset", itemgetter("dataset"))]
    usual = column("Usual, images/s", "float32", "usual_images_per_second", 0)
    batches = ("Batches in a segment", lambda row: count(row["batches"]))
    flops = ("MFLOPs per image", lambda row: digits(row["step_flops_per_image"] / 1e6))
    shares = [each for precision in precisions for each in share_columns(precision)]
    parts = [
        "### Against the usual loop",
        markdown_table(rows, [*names, usual, *columns(USUAL, precisions)]),
        *(usual_summary(rows, each) for each in precisions),
        usual_caption(record),
        "### Against the bare step",
        markdown_table(rows, [*names, *columns(OVERHEAD, precisions), batches]),
        OVERHEAD_CAPTION,
        "### Against a matrix product",
        markdown_table(rows, [*names, flops, *columns(PRODUCT, precisions), *shares]),
        product_caption(record),
    ]
    return "\n\n".join(parts)


def columns(quantities: Quantities, precisions: Sequence[str]) -> list[Column]:
    """Those of one table, for each precision."""
    several = len(precisions) > 1
    return [
        column(f"{precision}: {heading}" if several else heading, precision, *quantity)
        for precision in precisions
        for heading, quantity in quantities.items()
    ]


def column(
    heading: str, precision: str, quantity: str, decimals: int, scale: float = 1.0
) -> Column:
    """A median, with its quartiles where it has decimals; empty in rows that do not have it."""

    def text(row: Record) -> str:
        found = row[precision].get(quantity)
        if found is None:
            return ""
        return between(found, decimals, scale) if decimals else count(scale * found.median)

    return heading, text


def share_columns(precision: str) -> list[Column]:
    """What the time of forward and backward goes to."""

    def arithmetic(row: Record) -> str:
        return f"{100 * row['time_shares'][precision]['arithmetic']:.0f}"

    def largest(row: Record) -> str:
        return "{} {:.0%}".format(*next(iter(row["time_shares"][precision]["others"].items())))

    return [("Arithmetic, % of time", arithmetic), ("Largest other operation", largest)]


def usual_summary(rows: Sequence[Record], precision: str) -> str:
    """The mean, the ends of the range, and what makes them."""
    times = [row[precision]["times_usual"].median for row in rows]
    least, most = (
        f"{times[number]:.2f} times with {rows[number]['label']} on {rows[number]['dataset']}"
        for number in (np.argmin(times), np.argmax(times))
    )
    return (
        f"In {precision} ours trains on {geometric_mean(times):.2f} times as many images per "
        f"second, the geometric mean over the networks: {most}, {least}. A small network waits for "
        "its images: the usual loop cuts, mirrors and converts them one by one, ours a whole batch "
        "with a few operations on tensors in memory. A large one spends its time in convolutions, "
        "which both loops have."
    )


def usual_caption(record: Record) -> str:
    """How the first table was measured, and what all three have in common."""
    size = max(row["batch_size"] for row in record["rows"])
    left_out = f" bfloat16 is left out: {record['left_out']}." if record["left_out"] else ""
    return (
        f"Medians over {record['rounds']} rounds, in brackets the quartiles, at batch size {size}; "
        "in a round each loop trains on a segment of as many images. The usual loop: torchvision's "
        "dataset, ToTensor and Normalize with crop and mirror image as in our recipe, a DataLoader "
        "with 2 workers, as busy as in the middle of an epoch, float32 with the channels first, "
        "Adam, the loss read in every step, batches of at most the usual 128, in a process of its "
        "own with memory handled as it comes. Ours: the study's own loop with its optimisers and "
        "gradient norms, which keeps the memory that it frees (`utils/machine.py`). Without the "
        "optimiser: had its steps cost nothing. With every update orthogonal: had each step made "
        f"its own for the large layers (`utils/training/optimizers.py`).{left_out}"
    )


OVERHEAD_CAPTION = """\
What our loop takes on top of forward, loss, backward and optimiser on one batch that lies ready, in
% of that step: the dearer the network, the less it weighs. It is the making of batches and the
gradient norms, which the next columns have by themselves, the schedule, and a segment's share of a
checkpoint and of the padded and mirrored images; below zero is chance. Optimiser: its part of the
bare step."""


def product_caption(record: Record) -> str:
    """How the third table was measured."""
    size, seconds = record["product_size"], np.array(record["rows"][0]["seconds"]["product"])
    return (
        f"FLOP/s of the bare step, as a share of a float32 product of two {size:,} × {size:,} "
        "matrices on the same threads in the same rounds "
        f"({quartiles(2 * size**3 / seconds).median / 1e9:,.0f} GFLOP/s in the first row's). What "
        "is missing goes to batch-norm, pooling and ReLU, which do little with each number that "
        "they read, and to layers too narrow to keep the processor busy. Convolutions have another "
        "library than matrices and may be above 100 %. FLOPs are those of the convolutions and "
        "matrix products of forward and backward; arithmetic: their share of its time, by torch's "
        "profiler."
    )
