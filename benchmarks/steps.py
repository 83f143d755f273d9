"""A training step: against the usual loop, the bare step and a matrix product, all in turn.

    for each network, round by round:
        usual loop, our loop, bare step, optimisers, matrix product, checkpoint --> seconds

What is timed stands in ``step_actions``. One set of segments serves all three comparisons, so that
a round has them all within seconds. The record holds seconds; the ratios are taken on rendering.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from benchmarks.setting import Record, Setting, between
from benchmarks.step_actions import (
    BareStep,
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
from utils.measuring.sizes import step_flops
from utils.measuring.timing import Action, Effort, Staged, in_turn, quartiles, ratio, repeated
from utils.recipes import quick
from utils.records.schema import Quartiles
from utils.report.markdown import Column, markdown_table
from utils.report.wording import listed
from utils.training.checkpoint import save_checkpoint, seed_everything
from utils.training.loop import build_network

NAME = "steps"
TITLE = "Why an epoch is faster"

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
    """Seconds of all segments of one network in turn, ``[rounds]`` each."""
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
    return {"seconds": {name: values.tolist() for name, values in seconds.items()}}


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
        "overhead": quartiles((loop + once) / bare - 1),
        "optimizer": ratio(optimizer, bare),
        "of_product": ratio(flops_per_second, 2 * product_size**3 / seconds["product"]),
    }
    if f"orthogonal {precision}" in seconds:
        always = row["batches"] * seconds[f"orthogonal {precision}"]
        found["always_orthogonal"] = ratio(seconds["usual"], loop - optimizer + always)
    return found


def markdown(record: Record) -> str:
    """A table, what it says and how it was measured; for each precision."""
    size = record["product_size"]
    parts = []
    for precision in record["precisions"]:
        rows = [row | ratios(row, precision, size) for row in record["rows"]]
        parts += [summary(rows, precision), markdown_table(rows, COLUMNS)]
    return "\n\n".join([*parts, caption(record)])


def column(heading: str, quantity: str, decimals: int = 0, scale: float = 1.0) -> Column:
    """A median; with its quartiles where it has two decimals."""

    def text(row: Record) -> str:
        found = row[quantity]
        if decimals == 2:
            return between(found, decimals, scale)
        return f"{scale * found.median:,.{decimals}f}"

    return heading, text


COLUMNS: list[Column] = [
    ("Network", itemgetter("label")),
    ("Dataset", itemgetter("dataset")),
    column("Usual, images/s", "usual_images_per_second"),
    column("Ours, images/s", "images_per_second"),
    column("Times the usual", "times_usual", 2),
    column("Over the bare step, %", "overhead", 1, 100),
    column("Optimiser, %", "optimizer", 0, 100),
    column("Of a matrix product, %", "of_product", 0, 100),
]


def summary(rows: Sequence[Record], precision: str) -> str:
    """The mean, the ends of the range, what makes them, and what Muon would cost as it was made."""
    times = [row["times_usual"].median for row in rows]
    least, most = (
        f"{times[number]:.2f} times with {rows[number]['label']} on {rows[number]['dataset']}"
        for number in (np.argmin(times), np.argmax(times))
    )
    text = (
        "All images of a split are one tensor here, a batch is cut from it in one piece, and "
        f"convolutions have their channels last. In {precision} that trains on "
        f"{geometric_mean(times):.2f} times as many images per second as the usual loop (geometric "
        f"mean): {most}, {least}. A small network waits for its images, which the usual loop cuts, "
        "mirrors and converts one by one; a large one spends its time in convolutions, which both "
        "loops have."
    )
    dear = [
        f"{row['always_orthogonal'].median:.2f} times the usual with {row['label']}"
        for row in rows
        if "always_orthogonal" in row
    ]
    if dear:
        text += (
            " Muon's price grows with the weight matrices, not with the images: had each step made "
            f"its update of a large one orthogonal by itself, it would be {listed(dear)}. Here one "
            "such update serves eight steps."
        )
    return text


def caption(record: Record) -> str:
    """What the columns are and how they were measured."""
    batch, size = max(row["batch_size"] for row in record["rows"]), record["product_size"]
    said = record["left_out"]
    left_out = f" bfloat16 is left out; the scripts say of it here: “{said}”." if said else ""
    return (
        "*Over the bare step*: what our loop takes beside forward, loss, backward and optimiser on "
        "one batch that lies ready, which is to make batches, norms of gradients and checkpoints. "
        "*Optimiser*: its part of the bare step. *Of a matrix product*: FLOP/s of the bare step "
        f"over those of a float32 product of two {size:,} × {size:,} matrices; what is missing "
        "goes to batch-norm, pooling and ReLU, which do little with each number that they read, "
        f"and to narrow layers. Medians of {record['rounds']} rounds, in brackets the quartiles; "
        f"our batches have {batch} images, the usual loop has a process of its own.{left_out}"
    )
