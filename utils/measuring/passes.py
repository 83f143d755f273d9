"""Passes: the same measurement again, each time in a fresh process.

A network can be a third faster in one process than in the next, with hardly any spread over the
rounds within either: memory lies differently, the machine has other things to do. So what is said
about times rests on passes, and a claim is decided by their spread.
"""

import logging
import multiprocessing
import operator
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from utils import signals
from utils.errors import SomeFailed, in_one_line
from utils.machine import keep_freed_memory
from utils.records.schema import Case, Speed

log = logging.getLogger(__name__)

PER_PASS = {  # kind of record -> its fields that hold one value for each pass
    Speed: (
        "began",
        "latency_seconds",
        "throughput_images_per_second",
        "training_images_per_second",
    ),
    Case: ("forward_seconds_100", "forward_backward_seconds_100"),
}

Result = TypeVar("Result")
Timed = TypeVar("Timed", Speed, Case)


def in_passes(measure: Callable[[], Result], passes: int) -> list[Result]:
    """What each pass gave; a single one runs in this process. ``measure`` can be pickled.

    Raises: SomeFailed where a process died or none can be begun.
    """
    if passes == 1:
        return [measure()]
    context = multiprocessing.get_context("spawn")
    prepared = (torch.get_num_threads(),)
    # one task a process: each pass has a fresh one, and they follow one another
    with signals.pool(1, context, _prepare, prepared, max_tasks_per_child=1) as pool:
        try:
            with signals.spawning():
                results = pool.map(operator.call, [measure] * passes)
        except (OSError, RuntimeError) as error:
            raise SomeFailed(
                f"no process that measures can be begun ({in_one_line(error)}; `ulimit -u`?); "
                "what is finished is on disk, and --no-train renders it"
            ) from error
        found = []
        try:
            for result in results:
                found.append(result)
                log.info("measured %d of %d times", len(found), passes)
        except BrokenProcessPool as error:
            raise SomeFailed(
                "the process that measures died, of too little memory perhaps; what is finished "
                "is on disk, and --no-train renders it"
            ) from error
        return found


def _prepare(threads: int) -> None:
    signals.in_child()
    torch.set_num_threads(threads)
    keep_freed_memory()


def joined(passes: Sequence[Timed]) -> Timed:
    """The records of several passes as one: whatever there is of each pass, one after another."""
    lists = {
        name: tuple(value for each in passes for value in getattr(each, name))
        for name in PER_PASS[type(passes[0])]
    }
    return passes[0].model_copy(update=lists)
