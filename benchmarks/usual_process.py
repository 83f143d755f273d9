"""The usual loop in a process of its own, as people run it.

    this process --"so many batches"--> another one: the usual loop, its DataLoader's workers

For two reasons. How memory is kept (``utils.machine``) is decided for a whole process, and the
usual loop does without that. And a DataLoader forks its process: afterwards the first write to
every page of memory costs extra, which whatever is timed next in the same process would pay for.
"""

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any

import torch

from benchmarks.usual_loop import UsualLoop
from utils.data.dataset import Dataset
from utils.experiment import Run
from utils.training.checkpoint import seed_everything


class UsualProcess:
    """Trains with the usual loop elsewhere, one network after the other; to be used in ``with``."""

    def __init__(self, threads: int, device: torch.device) -> None:
        self.device = device
        self.executor = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),  # a fork would inherit our memory
            initializer=_prepare,
            initargs=(threads, multiprocessing.get_start_method()),
        )

    def __enter__(self) -> "UsualProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.executor.shutdown()

    def take(self, run: Run, dataset: Dataset) -> None:
        """Makes the loop for this network; the one before it is forgotten."""
        # as bytes: tensors would be moved into shared memory, of which a container has little
        self._call(_take, run, pickle.dumps(dataset.to("cpu")), self.device)

    @contextlib.contextmanager
    def running(self, images: int) -> Iterator[Callable[[], float]]:
        """As ``UsualLoop.running``."""
        self._call(_enter, images)
        try:
            yield lambda: self._call(_train)
        finally:
            self._call(_leave)

    def _call(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        return self.executor.submit(function, *arguments).result()


class _Here:
    """What stays from one call to the next in the other process, where the rest is called."""

    loop: UsualLoop
    segment = contextlib.ExitStack()
    train: Callable[[], float]


def _prepare(threads: int, start_method: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the work
    torch.set_num_threads(threads)
    # a spawned process would spawn the DataLoader's workers too, which takes seconds
    multiprocessing.set_start_method(start_method, force=True)


def _take(run: Run, dataset: bytes, device: torch.device) -> None:
    seed_everything(run.seed)
    _Here.loop = UsualLoop(run, pickle.loads(dataset), device)


def _enter(images: int) -> None:
    _Here.train = _Here.segment.enter_context(_Here.loop.running(images))


def _train() -> float:
    return _Here.train()


def _leave() -> None:
    _Here.segment.close()
