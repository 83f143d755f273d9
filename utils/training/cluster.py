"""Runs on the workers of a Dask scheduler, on any number of machines; this process writes all.

    runs --longest first--> free workers --Events, log lines, what came of a run--> files, here

A worker that is free is given the longest run that is left, and no second one: Dask would hand
out all of them at once, and count a worker's death against every run that waits there. What is
sent here from a worker is pickled, and so is what is sent there: who reaches the scheduler's port
can run code on all of these machines (docs/cluster.md).
"""

import asyncio
import contextlib
import logging
import os
import queue
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pickle import loads
from typing import Any, Self

from distributed import Client, KilledWorker, Security
from distributed.comm import connect

from utils.data.dataset import Dataset
from utils.data.mapped import packed
from utils.errors import UserError, in_one_line
from utils.experiment import Run
from utils.records.runs import CHECKPOINT, run_path
from utils.training.jobs import POLL_SECONDS, Failures, Keep, ProcessDiedError, fail, hear, take_out
from utils.training.progress import Event, Tell
from utils.training.worker import VERSION, Work, introduce, lacking, prepare, take, train_here

CONNECT_SECONDS = 3
TRIES = 2  # of a run whose worker dies
DEATHS = (KilledWorker, CancelledError)

Messages = queue.SimpleQueue[Event | logging.LogRecord]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """What workers need to know of the command."""

    results: Path
    device: str  # as --device has it, on each worker
    data_dir: Path | None  # where a worker looks for the images first; None: nowhere


def is_same(version: str) -> bool:
    """Whether it is the version here; equal sources may have been committed twice."""
    return version.partition(" (")[0] == VERSION.partition(" (")[0]


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
        self.met: dict[str, Future] = {}  # address -> its device and threads; None: left out
        self.sending = asyncio.Lock()  # images are held in memory for one worker at a time
        self.is_waiting = False
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # ours are lines
        try:
            asyncio.run(_reach(address))  # a Client that reaches nothing is slow to go
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except Exception as error:  # what does not speak Dask's language can cause any
            reason = "" if isinstance(error, MemoryError) else str(error)
            raise UserError(
                f"--scheduler {address}: no Dask scheduler answers there "
                f"({reason or 'something else does, or nothing in time'}); start one, or correct "
                "the address"
            ) from error
        try:
            found = self.client.run_on_scheduler(prepare)
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
        before: Callable[[], object] = lambda: None,
    ) -> Failures:
        """All runs, in this order; ``keep`` is called here with what ``work`` returns there.

        ``before`` is called once a worker is there for the first. A run whose worker dies is begun
        again once. Raises: UserError where the scheduler is lost.
        """
        messages: Messages = queue.SimpleQueue()
        left, failures, deaths, begun = list(runs), {}, Counter(), False
        given: dict[str, tuple[Run, Future]] = {}  # by worker
        with self._opened(messages) as submit:
            while left or given:
                there = self.client.processing()
                free = self._free(there, images)
                for worker in [each for each in free if each not in given][: len(left)]:
                    if not begun:
                        before()
                        begun = True
                    run = left.pop(0)
                    fingerprint = images[run.dataset].fingerprint
                    given[worker] = run, self._begin(run, work, fingerprint, worker, submit)
                for worker, (_, future) in given.items():
                    if worker not in there:  # nobody else may have it: unmet, without images
                        future.cancel()
                ended = [worker for worker, (_, future) in given.items() if future.done()]
                _listen(messages, [run.title for run, _ in given.values()], tell)
                for worker in ended:
                    run, future = given.pop(worker)
                    if not take_out({future: run}, DEATHS, tell, failures, keep):
                        continue
                    self.met.pop(worker, None)
                    deaths[run.title] += 1
                    if deaths[run.title] == TRIES:
                        fail(run, ProcessDiedError(), tell, failures)
                    else:
                        log.warning("%s: its worker died, it is begun again", run.title)
                        left.insert(0, run)
        return failures

    def _begin(
        self, run: Run, work: Work, fingerprint: str, worker: str, submit: Callable[..., Future]
    ) -> Future:
        """Has a worker do a run, with its own device and threads."""
        its = replace(run, compute=replace(run.compute, **self.met[worker].result()))
        path = run_path(self.place.results, run).with_suffix(CHECKPOINT)
        return submit(work, its, fingerprint, path, workers=[worker])

    @contextlib.contextmanager
    def _opened(self, messages: Messages) -> Iterator[Callable[..., Future]]:
        """What begins a run on a worker.

        A file shows a worker whether it sees the results folder too, and names what it has to say.
        Raises: UserError where the scheduler is lost.
        """
        executor = self.client.get_executor(pure=False)  # not shut down: runs end with the client
        marker = self.place.results / f"cluster-{uuid.uuid4()}.{os.getpid()}.tmp"
        marker.touch()
        self.client.subscribe_topic(marker.name, lambda each: messages.put(loads(each[1])))
        try:
            yield partial(executor.submit, train_here, marker)
        except OSError as error:
            if error.errno:  # the system's, a full disk say; Dask's have none
                raise
            raise UserError(
                f"--scheduler {self.address}: the scheduler is gone "
                f"({str(error).rpartition(': ')[2]}); what is finished is on disk: start it and "
                "its workers again, and the same command goes on"
            ) from error
        finally:
            marker.unlink(missing_ok=True)
            for meeting in self.met.values():
                meeting.cancel()
            self.met.clear()
            if self.client.status == "running":
                self.client.unsubscribe_topic(marker.name)

    def _free(self, there: Mapping[str, Sequence[str]], images: Mapping[str, Dataset]) -> list[str]:
        """Which of the workers, and their tasks, can be given a run; new ones are met first."""
        for address in self.met.keys() - there.keys():  # another may be started there
            self.met.pop(address).cancel()
        for address in there.keys() - self.met.keys():
            meeting = self._meet(address, images)
            loop = self.client.loop.asyncio_loop
            self.met[address] = asyncio.run_coroutine_threadsafe(meeting, loop)
        known = {each: met.result() for each, met in self.met.items() if met.done()}
        is_waiting = len(known) == len(self.met) and not any(known.values())
        if is_waiting and not self.is_waiting:
            log.warning("no worker at %s yet; waiting for one", self.address)
        self.is_waiting = is_waiting
        return [address for address, compute in known.items() if compute and not there[address]]

    async def _meet(self, address: str, images: Mapping[str, Dataset]) -> dict[str, Any] | None:
        """Device and threads of a worker of this version, which then has the images, or None."""

        async def ask(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
            one = {"workers": [address], "asynchronous": True}
            return (await self.client.run(function, *arguments, **one))[address]

        try:
            found = await ask(introduce, self.place.device)
            if is_same(version := found.pop("version")):
                wanted = {name: dataset.fingerprint for name, dataset in images.items()}
                for name in await ask(lacking, wanted, self.place.data_dir):
                    async with self.sending:
                        # Dask's scattered data would not do: of several copies it drops all but one
                        await ask(take, wanted[name], packed(images[name]))
                return found
            reason = differing(version)
        except (UserError, OSError) as error:
            reason = str(error)
        except Exception as error:
            reason = differing(in_one_line(error))
        log.warning("worker %s is left out: %s", address, reason)
        return None


async def _reach(address: str) -> None:
    async with asyncio.timeout(CONNECT_SECONDS + 1):  # after Dask's own, which says more
        certificates = Security().get_connection_args("client")
        await (await connect(address, timeout=CONNECT_SECONDS, **certificates)).close()


def _listen(messages: Messages, titles: Container[str], tell: Tell) -> None:
    """Passes on what has been said of runs that have not ended."""
    for _ in range(messages.qsize() or 1):
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if isinstance(message, logging.LogRecord) or message.run.title in titles:
            hear(message, tell)
