"""Several networks at once: eight cheap runs, one after another, with --jobs, and on a cluster.

    the same runs --one after another | two processes | two workers of Dask--> seconds

All are the study's own ways to train, with all that it keeps of a run, into a folder that is then
forgotten.
"""

import contextlib
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.setting import Record, Setting, between
from utils.data.dataset import Dataset
from utils.data.mapped import MappedLoader, save_mapped
from utils.experiment import Compute, Run
from utils.machine import allowed_threads, processors
from utils.measuring.timing import Effort, in_turn, quartiles, ratio
from utils.one_run import keep_one, run_one, train_one
from utils.recipes import CIFAR10_RECIPE, MNIST_RECIPE, quick
from utils.report.markdown import markdown_table
from utils.training.jobs import Failures, one_after_another, side_by_side

NAME = "jobs"
TITLE = "Several networks at once"

JOBS, SEEDS = 2, (0, 1)
RECIPES = {"mnist": MNIST_RECIPE, "cifar10": CIFAR10_RECIPE}
NETWORKS = {"FCNet": "mnist", "SimpleCNN": "mnist", "CNN5x5": "cifar10", "CNN7x7": "cifar10"}
IMAGES = 5_000  # of the train split: what is compared takes minutes
ROUNDS, QUICK_ROUNDS = 3, 1
ALONE, BESIDE, CLUSTER = "--threads 2", "--jobs 2 --threads 1", "--scheduler, 2 workers of 1 thread"

log = logging.getLogger(__name__)


def measure(setting: Setting) -> dict[str, Any] | None:
    """Seconds of all ways, ``[rounds]``; None where there are too few processors, or no Dask."""
    if (
        min(processors(), allowed_threads()) < JOBS
        or importlib.util.find_spec("distributed") is None
    ):
        log.warning("left out: %d processors, as many threads and Dask are needed", JOBS)
        return None
    threads, runs = torch.get_num_threads(), declared(setting.quick)
    images = {name: first(setting.dataset(name)) for name in RECIPES}
    with tempfile.TemporaryDirectory() as folder, workers() as address:
        for name, each in images.items():
            save_mapped(each, Path(folder) / f"{name}.pt")
        load = MappedLoader(Path(folder), "cpu")
        ways = {
            ALONE: partial(train, runs, JOBS, partial(here, load)),
            BESIDE: partial(train, runs, 1, partial(beside, load)),
            CLUSTER: partial(train, runs, 1, partial(there, address, images)),
        }
        seconds = in_turn(ways, Effort(QUICK_ROUNDS if setting.quick else ROUNDS))
    torch.set_num_threads(threads)  # training has its own number
    return {
        "runs": [run.title for run in runs],
        "train_images": max(len(each.x_train) for each in images.values()),
        "seconds": {way: values.tolist() for way, values in seconds.items()},
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


@contextlib.contextmanager
def workers() -> Iterator[str]:
    """A scheduler and two workers of Dask, started as docs/cluster.md has it; their address."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster.json"
        place = ["--scheduler-file", str(file), "--preload", "utils.training.worker"]
        commands = (
            ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *place],
            ["worker", "--nworkers", str(JOBS), "--nthreads", "1", "--memory-limit", "0", *place],
        )
        started = [
            subprocess.Popen([sys.executable, "-m", "dask", *each], stderr=subprocess.DEVNULL)
            for each in commands
        ]
        try:
            while not file.exists():
                if any(each.poll() is not None for each in started):
                    raise RuntimeError("Dask's scheduler or workers have ended at once")
                time.sleep(0.1)
            yield json.loads(file.read_text())["address"]
        finally:
            for each in reversed(started):
                each.terminate()
                each.wait()


def train(
    runs: Sequence[Run], threads: int, way: Callable[[Sequence[Run], Path], Failures]
) -> None:
    """Trains all runs in a way.

    Raises: RuntimeError where one of them fails.
    """
    runs = [replace(run, compute=Compute(threads=threads)) for run in runs]
    with tempfile.TemporaryDirectory() as folder:
        failures = way(runs, Path(folder))
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures)}")


def here(load: MappedLoader, runs: Sequence[Run], results: Path) -> Failures:
    """One after another."""
    return one_after_another(
        runs, partial(run_one, results=results, weights=False, load=load), silent
    )


def beside(load: MappedLoader, runs: Sequence[Run], results: Path) -> Failures:
    """Two at a time, in processes that are started for it."""
    work = partial(run_one, results=results, weights=False, load=load)
    return side_by_side(runs, work, JOBS, silent)


def there(address: str, images: dict[str, Dataset], runs: Sequence[Run], results: Path) -> Failures:
    """On workers that are there already, and after the first round have the images."""
    from utils.training.cluster import Cluster, Place

    with Cluster(address, Place(results, "cpu", None)) as cluster:
        keep = partial(keep_one, results=results, tell=silent)
        return cluster.train(runs, partial(train_one, weights=False), keep, images, silent)


def silent(event: object) -> None:
    """Listens to a run and makes nothing of it."""


def markdown(record: Record) -> str:
    """A row for each way, what they say and how they were measured."""
    seconds = {way: np.array(record["seconds"][way]) for way in (ALONE, BESIDE, CLUSTER)}
    rows = [
        {
            "way": f"`{way}`",
            "seconds": between(quartiles(values), 1),
            "ratio": between(ratio(values, seconds[ALONE])),
        }
        for way, values in seconds.items()
    ]
    table = markdown_table(
        rows,
        [
            ("", lambda row: row["way"]),
            (f"{len(record['runs'])} runs, s", lambda row: row["seconds"]),
            ("Times the first", lambda row: row["ratio"]),
        ],
    )
    rounds = len(seconds[ALONE])
    overhead = between(ratio(seconds[CLUSTER], seconds[BESIDE]))
    return (
        f"{table}\n\nThe start of two processes is in the second row, seconds however long a run "
        "is. The [cluster's](cluster.md) workers had been started before and had the images; it "
        f"takes {overhead} times as long as `--jobs`. "
        f"Wall-clock seconds on the CPU for one epoch on {record['train_images']:,} images, with "
        f"its evaluations and record, of each of {', '.join(NETWORKS)} with {len(SEEDS)} seeds. "
        f"Medians of {rounds} round{'s' * (rounds > 1)} in turn, in brackets the quartiles."
    )
