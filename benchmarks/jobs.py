"""Several networks at once: eight cheap runs, two at a time, against one after another.

    the same runs --one after another, 2 threads | two at a time, 1 thread each--> seconds

Both are the study's own ways to train (``--jobs``), with all that it keeps of a run, into a folder
that is then forgotten.
"""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.setting import Record, Setting, between
from utils.data.dataset import Dataset, save_mapped
from utils.experiment import Compute, Run
from utils.machine import processors
from utils.measuring.timing import Effort, in_turn, quartiles, ratio
from utils.recipes import CIFAR10_RECIPE, MNIST_RECIPE, quick
from utils.report.markdown import markdown_table
from utils.runner import MappedLoader, run_one
from utils.training.jobs import one_after_another, side_by_side

NAME = "jobs"
TITLE = "Several networks at once"

JOBS, SEEDS = 2, (0, 1)
RECIPES = {"mnist": MNIST_RECIPE, "cifar10": CIFAR10_RECIPE}
NETWORKS = {"FCNet": "mnist", "SimpleCNN": "mnist", "CNN5x5": "cifar10", "CNN7x7": "cifar10"}
IMAGES = 10_000  # of the train split: what is compared takes minutes
ROUNDS, QUICK_ROUNDS = 3, 1

log = logging.getLogger(__name__)


def measure(setting: Setting) -> dict[str, Any] | None:
    """Seconds of both ways, ``[rounds]``; None where there are too few processors."""
    if processors() < JOBS:
        log.warning("left out: %d processors are needed", JOBS)
        return None
    threads, runs = torch.get_num_threads(), declared(setting.quick)
    with tempfile.TemporaryDirectory() as folder:
        for name in RECIPES:
            save_mapped(first(setting.dataset(name)), Path(folder) / f"{name}.pt")
        load = MappedLoader(Path(folder), "cpu")
        ways = {str(jobs): partial(train, runs, jobs, load) for jobs in (1, JOBS)}
        seconds = in_turn(ways, Effort(QUICK_ROUNDS if setting.quick else ROUNDS))
    torch.set_num_threads(threads)  # training has its own number
    return {
        "runs": [run.title for run in runs],
        "train_images": IMAGES,
        "seconds": {jobs: values.tolist() for jobs, values in seconds.items()},  # by --jobs
    }


def first(dataset: Dataset) -> Dataset:
    """The dataset with its first ``IMAGES`` train images alone."""
    return replace(dataset, x_train=dataset.x_train[:IMAGES], y_train=dataset.y_train[:IMAGES])


def declared(is_quick: bool) -> list[Run]:
    """Each network with each seed, for one epoch."""
    recipes = {name: quick(each) if is_quick else each for name, each in RECIPES.items()}
    recipes = {name: replace(each, epochs=1) for name, each in recipes.items()}
    return [
        Run(network, dataset, recipes[dataset], seed, name=network)
        for seed in SEEDS
        for network, dataset in NETWORKS.items()
    ]


def train(runs: Sequence[Run], jobs: int, load: MappedLoader) -> None:
    """Trains all runs, ``jobs`` at a time, on ``JOBS`` threads together.

    Raises: RuntimeError where one of them fails.
    """
    runs = [replace(run, compute=Compute(threads=JOBS // jobs)) for run in runs]
    with tempfile.TemporaryDirectory() as folder:
        work = partial(run_one, results=Path(folder), weights=False, load=load)
        if jobs == 1:
            failures = one_after_another(runs, work, _silent)
        else:
            failures = side_by_side(runs, work, jobs, _silent)
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures)}")


def _silent(event: object) -> None:
    pass


def markdown(record: Record) -> str:
    """One row, what it says and how it was measured."""
    after, beside = (np.array(record["seconds"][str(jobs)]) for jobs in (1, JOBS))
    cells = {
        "Runs": str(len(record["runs"])),
        "--jobs 1 --threads 2, s": between(quartiles(after), 1),
        "--jobs 2 --threads 1, s": between(quartiles(beside), 1),
        "second / first": between(ratio(beside, after)),
    }
    table = markdown_table([cells], [(name, lambda row, name=name: row[name]) for name in cells])
    return (
        f"{table}\n\nWhat two networks at once save by keeping both cores busy is in it, and what "
        "the start of their processes costs, which is seconds however long a run is: these are "
        "short. "
        f"Wall-clock seconds on the CPU for one epoch on {record['train_images']:,} images, with "
        f"its evaluations and record, of each: {', '.join(record['runs'])}. Both ways had their "
        f"turn in {len(after)} rounds: medians, in brackets the quartiles."
    )
