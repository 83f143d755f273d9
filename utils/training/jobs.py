"""Several runs at once, each in a process of its own; what one of them raises stops no other.

    runs --longest first--> processes --Events, log lines--> the one that began them

A process is spawned, not forked: it inherits neither threads nor memory. The images are written
to a file once, which all processes map into their memory. Whatever is stopped while it works
leaves its last whole checkpoint, since files get their names when they are whole.
"""

import logging
import logging.handlers
import multiprocessing
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from utils import signals
from utils.errors import UserError
from utils.experiment import Run
from utils.machine import keep_freed_memory
from utils.training.progress import Event, Tell

Work = Callable[[Run, Tell], None]  # trains a run and writes all that is kept of it
Failures = dict[str, BaseException]  # title of a run -> what stopped it

POLL_SECONDS = 0.1
MOST_MESSAGES = 100  # taken in before it is asked whether a run has ended
TOLD_SHARE = 0.002  # of a run, in which a process keeps its steps to itself

log = logging.getLogger(__name__)


class ProcessDiedError(Exception):
    """A process that ended without a word, twice with the same run."""


def one_after_another(runs: Sequence[Run], work: Work, tell: Tell) -> Failures:
    """All runs in this process; a failed one is told and left behind."""
    failures: Failures = {}
    for run in runs:
        try:
            work(run, tell)
        except Exception as error:
            failures[run.title] = error
            tell_failure(run, error, tell)
    return failures


def side_by_side(runs: Sequence[Run], work: Work, jobs: int, tell: Tell) -> Failures:
    """``jobs`` runs at a time; ``work`` can be pickled.

    Where a process dies, memory being short perhaps, those that were running are begun again once,
    each by itself: then it is known whose process it is that dies.
    """
    failures: Failures = {}
    left, suspected = list(runs), []
    while left:
        left, died = _pool(left, work, jobs, tell, failures)
        suspected += died
    for run in suspected:
        _, died = _pool([run], work, 1, tell, failures)
        if died:
            failures[run.title] = ProcessDiedError("its process died, twice")
            tell_failure(run, failures[run.title], tell)
    return failures


def tell_failure(run: Run, error: BaseException, tell: Tell) -> None:
    """A line on the terminal, which shows no traceback; the log file has it too."""
    if isinstance(error, UserError):
        log.error("%s failed: %s", run.title, error)
    else:
        log.error("%s failed: %s: %s", run.title, type(error).__name__, error, exc_info=error)
    tell(Event(run, failed=True))


def _pool(
    runs: Sequence[Run], work: Work, jobs: int, tell: Tell, failures: Failures
) -> tuple[list[Run], list[Run]]:
    """Works until all is done or a process dies; returns what was not begun, and what was.

    A process that dies before it has said a word was at one of the first runs.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    executor = ProcessPoolExecutor(jobs, context, _prepare, (messages,))
    begun: set[str] = set()
    broken: list[Run] = []
    try:
        with signals.spawning():
            pending: dict[Future, Run] = {executor.submit(_work, work, run): run for run in runs}
        while pending:
            _listen(messages, begun, tell)
            for future in [future for future in pending if future.done()]:
                run, error = pending.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    broken.append(run)
                elif error:
                    failures[run.title] = error
                    tell_failure(run, error, tell)
        _listen(messages, begun, tell)
    finally:  # Ctrl-C too: nobody waits for what is in the middle of an epoch
        for process in multiprocessing.active_children():
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)
    broken.sort(key=runs.index)
    died = [run for run in broken if run.title in begun] or broken[:jobs]
    return [run for run in broken if run not in died], died


def _listen(messages: Any, begun: set[str], tell: Tell) -> None:  # noqa: ANN401 (a private type)
    """Passes on what the processes have said, until they are silent for a moment."""
    for _ in range(MOST_MESSAGES):
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        else:
            begun.add(message.run.title)
            tell(message)


# what follows runs in the processes

_messages: Any = None


def _prepare(messages: Any) -> None:  # noqa: ANN401 (as above)
    global _messages
    _messages = messages
    signals.in_child()
    keep_freed_memory()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(logging.handlers.QueueHandler(messages))


def _work(work: Work, run: Run) -> None:
    work(run, _Teller())


class _Teller:
    """Puts events into the queue, steps not one by one: thousands a second would wait there."""

    def __init__(self) -> None:
        self.share = 0.0

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        self.share += 0 if event.resumed else event.share
        if event.resumed or event.epoch or event.finished or self.share > TOLD_SHARE:
            share = event.share if event.resumed else self.share
            _messages.put(Event(event.run, share, event.resumed, event.epoch, event.finished))
            self.share = 0.0
