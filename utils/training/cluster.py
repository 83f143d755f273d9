"""Runs on the workers of a Dask scheduler, on any number of machines; this process writes all.

    runs --longest first--> free workers --Events, log lines, what came of a run--> files, here

A worker that is free is given the longest run that is left, and no second one: Dask would hand
out all of them at once, and count a worker's death against every run that waits there. What is
sent here from a worker is pickled, and so is what is sent there: who reaches the scheduler's port
can run code on all of these machines (docs/cluster.md).
"""

import asyncio
import contextlib
import io
import logging
import logging.handlers
import os
import queue
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import loads
from typing import Any, Self

from distributed import Client, KilledWorker, Scheduler, Security
from distributed.client import ClosedClientError
from distributed.comm import connect

from utils.data.dataset import Dataset
from utils.data.mapped import save_mapped
from utils.errors import UserError, in_one_line
from utils.experiment import Run
from utils.records.runs import run_path
from utils.training.checkpoint import CHECKPOINT
from utils.training.jobs import (
    POLL_SECONDS,
    Failures,
    Keep,
    ProcessDiedError,
    fail,
    hear,
    take_out,
)
from utils.training.progress import Event, Tell
from utils.training.worker import VERSION, Work, introduce, lacking, take, train_here

CONNECT_SECONDS = 3
TRIES = 2  # of a run whose worker dies

log = logging.getLogger(__name__)


def is_same(version: str) -> bool:
    """Whether it is the version here; equal sources may have been committed twice."""
    return version.partition(" (")[0] == VERSION.partition(" (")[0]


@dataclass(frozen=True)
class Place:
    """What workers need to know of the command."""

    results: Path
    device: str  # as --device has it, on each worker
    data_dir: Path | None  # where a worker looks for the images first; None: nowhere


def differing(version: str) -> str:
    """That something has another version, or what it raises when it is asked."""
    return (
        f"it has {version}, and here is {VERSION}; start it in an up-to-date clone of the "
        "repository, as docs/cluster.md says"
    )


class Cluster:
    """A connection to a scheduler; what has been given to workers ends with it.

    Raises: UserError where nothing answers at the address, or something else than a scheduler of
    this version.
    """

    def __init__(self, address: str, place: Place) -> None:
        self.address, self.place = address, place
        self.accepted: dict[str, dict[str, Any]] = {}  # address -> device and threads
        self.refused: set[str] = set()
        self.is_waiting = False
        try:
            asyncio.run(_reach(address))  # a Client that reaches nothing is slow to go
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two of TLS
            raise UserError(
                f"--scheduler {address}: no Dask scheduler answers there "
                f"({str(error) or 'silence'}); start one, or correct the address"
            ) from error
        try:
            found = self.client.run_on_scheduler(_prepare)
        except Exception as error:
            found = in_one_line(error)
        if not is_same(found):
            self.client.close()
            raise UserError(f"--scheduler {address}: not this scheduler: {differing(found)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.client.close(timeout=1)

    def train(
        self,
        runs: Sequence[Run],
        work: Work,
        keep: Keep,
        images: Mapping[str, Dataset],
        tell: Tell,
    ) -> Failures:
        """All runs, in this order; ``keep`` is called here with what ``work`` returns there.

        A run whose worker dies is begun again once. Raises: UserError where the scheduler is lost.
        """
        messages: queue.SimpleQueue[Event | logging.LogRecord] = queue.SimpleQueue()
        left, failures, deaths = list(runs), {}, Counter()
        pending: dict[Future, Run] = {}
        given: dict[Future, str] = {}  # to which worker
        with self._opened() as (executor, marker):
            self.client.subscribe_topic(marker.name, lambda each: messages.put(loads(each[1])))
            while left or pending:
                for worker in self._free(images, given.values()) if left else ():
                    if left:
                        run = left.pop(0)
                        future = executor.submit(
                            train_here,
                            work,
                            replace(run, compute=replace(run.compute, **self.accepted[worker])),
                            images[run.dataset].fingerprint,
                            run_path(self.place.results, run).with_suffix(CHECKPOINT),
                            marker,
                            workers=[worker],
                        )
                        pending[future], given[future] = run, worker
                there = self.client.processing()
                for future, worker in given.items():
                    if worker not in there:  # nobody else may have it: unmet, without images
                        future.cancel()
                ended = {future: run for future, run in pending.items() if future.done()}
                _listen(messages, [run.title for run in pending.values()], tell)
                where = {run.title: given.pop(future) for future, run in ended.items()}
                pending = {future: run for future, run in pending.items() if future in given}
                for run in take_out(ended, (KilledWorker, CancelledError), tell, failures, keep):
                    self.accepted.pop(where[run.title], None)
                    deaths[run.title] += 1
                    if deaths[run.title] == TRIES:
                        fail(run, ProcessDiedError(), tell, failures)
                    else:
                        log.warning("%s: its worker died, it is begun again", run.title)
                        left.insert(0, run)
        return failures

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Executor, Path]]:
        """Dask's executor, and a file by which a worker knows that it sees the results folder too.

        What is not done by the end is cancelled. Raises: UserError where the scheduler is lost.
        """
        executor = self.client.get_executor(pure=False)
        marker = self.place.results / f"cluster-{uuid.uuid4()}.{os.getpid()}.tmp"
        marker.touch()
        try:
            yield executor, marker
        except OSError as error:
            raise UserError(
                f"--scheduler {self.address}: the scheduler is gone ({error}); what is finished is "
                "on disk: start it again, and the same command goes on"
            ) from error
        finally:
            marker.unlink(missing_ok=True)
            with contextlib.suppress(ClosedClientError):
                executor.shutdown(wait=False)

    def _free(self, images: Mapping[str, Dataset], given: Container[str]) -> list[str]:
        """The addresses of the workers that can be given a run; new ones are looked at first."""
        found = self.client.processing()
        # another may be started at the same address
        self.refused &= found.keys()
        self.accepted = {each: self.accepted[each] for each in self.accepted.keys() & found.keys()}
        if new := found.keys() - self.accepted.keys() - self.refused:
            self._meet(sorted(new), images)
        is_waiting = not self.accepted.keys() & found.keys()
        if is_waiting and not self.is_waiting:
            log.warning("no worker at %s yet; waiting for one", self.address)
        self.is_waiting = is_waiting
        return [
            address
            for address, tasks in found.items()
            if not tasks and address in self.accepted and address not in given
        ]

    def _meet(self, new: list[str], images: Mapping[str, Dataset]) -> None:
        """Accepts the workers of this version, once they have the images."""
        found = self._ask(introduce, self.place.device, workers=new)
        for address, each in list(found.items()):
            if not is_same(version := each.pop("version")):
                self._leave_out(address, differing(version))
                del found[address]
        wanted = {name: dataset.fingerprint for name, dataset in images.items()}
        without = self._ask(lacking, wanted, self.place.data_dir, workers=list(found))
        met = set(without)
        for name, dataset in images.items():
            if workers := [address for address, names in without.items() if name in names]:
                file = io.BytesIO()
                save_mapped(dataset, file)
                # Dask's scattered data would not do: of several copies it drops all but one
                taken = self._ask(take, dataset.fingerprint, file.getvalue(), workers=workers)
                met -= set(workers) - taken.keys()
        self.accepted |= {address: found[address] for address in met}

    def _ask(
        self, function: Callable[..., Any], *arguments: object, workers: list[str]
    ) -> dict[str, Any]:
        """Address -> what the function returns there; where it raises, the worker is left out."""
        if not workers:
            return {}
        answers = self.client.run(function, *arguments, workers=workers, on_error="return")
        for address, found in answers.items():
            if isinstance(found, UserError | OSError):
                self._leave_out(address, str(found))
            elif isinstance(found, Exception):
                self._leave_out(address, differing(in_one_line(found)))
        return {each: found for each, found in answers.items() if each not in self.refused}

    def _leave_out(self, address: str, reason: str) -> None:
        self.refused.add(address)
        log.warning("worker %s is left out: %s", address, reason)


async def _reach(address: str) -> None:
    async with asyncio.timeout(CONNECT_SECONDS + 1):  # after Dask's own, which says more
        certificates = Security().get_connection_args("client")
        await (await connect(address, timeout=CONNECT_SECONDS, **certificates)).close()


def _listen(
    messages: "queue.SimpleQueue[Event | logging.LogRecord]", titles: Container[str], tell: Tell
) -> None:
    """Passes on what has been said of runs that have not ended."""
    for _ in range(messages.qsize() or 1):
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if isinstance(message, logging.LogRecord) or message.run.title in titles:
            hear(message, tell)


# what follows runs in the scheduler


def _prepare(dask_scheduler: Scheduler) -> str:
    dask_scheduler.allowed_failures = 0  # a run whose worker dies comes back to the command
    return VERSION
