"""A training step: against the usual loop, the bare step and the processor, all in turn.

    for each network, round by round:
        usual loop, our loop, bare step, their parts, matrix products, checkpoint --> ratios

What is timed stands in ``step_actions``. What our loop and the bare step have in them is timed by
itself too: the optimiser, the making of batches, the gradient norms. One set of segments serves
all three comparisons, so that a round has them all within seconds.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import homework_cnn_architecture_analysis as task2
import homework_cnn_vs_fc_comparison as task1
import models
from benchmarks.step_actions import (
    OurLoop,
    bare_step,
    batch_making,
    cycle_of,
    matrix_product,
    optimizer_step,
    product_as_convolution,
    whole_cycles,
    with_gradients,
)
from benchmarks.steps_report import claims, line, markdown
from benchmarks.time_shares import time_shares
from benchmarks.timing import Action, Setting, Spread, Staged, as_records, in_turn, ratio, repeated
from benchmarks.usual_loop import PREFETCHED
from benchmarks.usual_process import UsualProcess
from utils.cli import warn_if_slower
from utils.data.batches import augmented_views, steps_per_epoch
from utils.data.dataset import Dataset
from utils.experiment import Run, declared_runs
from utils.measuring.flops import step_flops
from utils.measuring.speed import spread
from utils.recipes import quick
from utils.training.checkpoint import save_checkpoint, seed_everything
from utils.training.loop import Compute, gradient_norms
from utils.training.progress import Progress

__all__ = ["NAME", "TITLE", "markdown", "measure"]

NAME = "steps"
TITLE = "A training step"

SAME_NETWORK = {"ShallowCNN": "CNN3x3"}  # one network under two names: measured once
PRODUCT_SIZE, QUICK_PRODUCT_SIZE = 3072, 512

log = logging.getLogger(__name__)


def measure(setting: Setting) -> dict[str, Any]:
    """Every distinct network of the report's tables -> its ratios, and the claims about them."""
    precisions, warning = ["float32"], warn_if_slower(setting.device, "bfloat16")
    if warning:
        log.warning("bfloat16 left out: %s", warning)
    else:
        precisions.append("bfloat16")
    runs, rows = distinct_runs(setting.quick), []
    progress = Progress([1] * len(runs))
    with UsualProcess(setting.threads, setting.device) as usual:
        for run in runs:
            rows.append(measure_network(run, precisions, setting, usual, progress))
            log.info(line(rows[-1], precisions))
    progress.close()
    return {
        "precisions": precisions,
        "left_out": warning,  # why bfloat16 is not among them, if it is not
        "rounds": setting.effort.rounds,
        "product_size": product_size(setting),
        "rows": rows,
        "claims": as_records(claims(rows, precisions)),
    }


def distinct_runs(with_quick_recipe: bool = False) -> list[Run]:
    """The networks of the report's tables, each once, as the study declares them."""
    tables = [each for each in (*task1.EXPERIMENTS, *task2.EXPERIMENTS) if each.reported_table]
    return [
        run
        for table in tables
        for run in declared_runs(
            table,
            seeds=table.seeds[:1],
            recipe=quick(table.recipe) if with_quick_recipe else None,
        )
        if run.model not in SAME_NETWORK
    ]


def measure_network(
    run: Run, precisions: Sequence[str], setting: Setting, usual: UsualProcess, progress: Progress
) -> dict[str, Any]:
    """All segments of one network in turn -> its row."""
    dataset, row = setting.dataset(run.dataset), facts(run, setting)
    batches, rounds = row["batches"], setting.effort.rounds
    images = batches * row["batch_size"]
    progress.start(run, (1 + rounds) * batches * len(precisions), cost=1)
    seed_everything(run.seed)
    usual.take(run, dataset)
    computes = {precision: Compute(setting.device, precision) for precision in precisions}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        actions = {
            "usual": Staged(lambda: usual.running(images)),
            **segments(run, dataset, computes, batches, checkpoint, progress),
            "product": matrix_product(product_size(setting), setting.device),
            "convolution": product_as_convolution(product_size(setting), setting.device),
        }
        seconds = in_turn(actions, rounds)
    product_rates = 2 * product_size(setting) ** 3 / seconds["product"]
    row |= {
        "seconds": {name: values.tolist() for name, values in seconds.items()},
        "usual_images_per_second": spread(images / seconds["usual"]),
        "product_flops_per_second": spread(product_rates),
        "convolution_of_product": ratio(seconds["product"], seconds["convolution"]),
    }
    for precision, compute in computes.items():
        row[precision] = ratios(row, seconds, precision, product_rates)
        row[precision]["time_shares"] = time_shares(bare_step(run, dataset, compute, updates=False))
    return row


def facts(run: Run, setting: Setting) -> dict[str, Any]:
    """What a row says about its network before anything is measured."""
    dataset, size = setting.dataset(run.dataset), run.recipe.batch_size
    network, images = models.build(run.model, **run.overrides), len(dataset.x_train)
    flops = step_flops(network, dataset.x_train.shape[1:])
    whole = images // size - PREFETCHED  # what an epoch of the usual loop has for a segment
    return {
        "model": run.model,
        "also": [name for name, same in SAME_NETWORK.items() if same == run.model],
        "dataset": dataset.description,
        "convolutional": any(isinstance(module, nn.Conv2d) for module in network.modules()),
        "step_flops_per_image": flops,
        "batch_size": size,
        "batches": whole_cycles(run, min(setting.effort.batches_of(size * flops), whole)),
        "batches_per_epoch": steps_per_epoch(images, run.recipe),
        "epochs": run.recipe.epochs,
    }


def ratios(
    row: Mapping[str, Any],
    seconds: Mapping[str, np.ndarray],
    precision: str,
    product_rates: np.ndarray,
) -> dict[str, Spread]:
    """What is compared, of one network in one precision, from the seconds in each round.

    ``product_rates`` are the matrix product's FLOP/s, ``[rounds]``. A checkpoint is written once
    per epoch, and the padded and mirrored images are made once per training: a segment's share of
    both is added to our loop where the overhead is meant.
    """
    loop, bare = seconds[f"loop {precision}"], seconds[f"bare {precision}"]
    optimizer = seconds[f"optimizer {precision}"]
    epochs = row["batches"] / row["batches_per_epoch"]  # in a segment
    once = seconds["checkpoint"] * epochs + seconds["views"] * epochs / row["epochs"]
    images = row["batches"] * row["batch_size"]
    found = {
        "images_per_second": spread(images / loop),
        "times_usual": ratio(seconds["usual"], loop),
        "without_optimizer": ratio(seconds["usual"], loop - optimizer),
        "overhead": spread((loop + once) / bare - 1),
        "optimizer": ratio(optimizer, bare),
        "batches": ratio(seconds["batches"], bare),
        "norms": ratio(seconds["norms"], bare),
        "of_product": ratio(images * row["step_flops_per_image"] / bare, product_rates),
    }
    if f"orthogonal {precision}" in seconds:  # an optimiser's step with an orthogonal update
        always = row["batches"] * seconds[f"orthogonal {precision}"]
        found["orthogonal_in_every_step"] = ratio(seconds["usual"], loop - optimizer + always)
    return found


def segments(
    run: Run,
    dataset: Dataset,
    computes: Mapping[str, Compute],
    batches: int,
    checkpoint: Path,
    progress: Progress,
) -> dict[str, Action]:
    """Our loops and steps that are timed in turn; ``checkpoint`` is where one is written."""
    views = augmented_views(dataset.x_train, run.recipe)
    loops = {
        precision: OurLoop(run, dataset, views, compute, batches, progress)
        for precision, compute in computes.items()
    }
    steps = {precision: bare_step(run, dataset, compute) for precision, compute in computes.items()}
    stepped = with_gradients(run, dataset, computes["float32"])
    optimizers = {
        precision: optimizer_step(run, dataset, compute) for precision, compute in computes.items()
    }
    orthogonal = {
        f"orthogonal {precision}": optimizer_step(run, dataset, compute, always_orthogonal=True)
        for precision, compute in computes.items()
        if cycle_of(run) > 1  # else every step has it
    }
    return {
        **{f"loop {precision}": loop for precision, loop in loops.items()},
        **{f"bare {precision}": repeated(step, batches) for precision, step in steps.items()},
        **{f"optimizer {each}": repeated(step, batches) for each, step in optimizers.items()},
        **orthogonal,
        "batches": batch_making(run, dataset, views, batches),
        "norms": repeated(lambda: gradient_norms(stepped.network), batches),
        "views": lambda: augmented_views(dataset.x_train, run.recipe),
        "checkpoint": lambda: save_checkpoint(checkpoint, loops["float32"].state),
    }


def product_size(setting: Setting) -> int:
    """The side of the square matrices that are multiplied."""
    return QUICK_PRODUCT_SIZE if setting.quick else PRODUCT_SIZE
