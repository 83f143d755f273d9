"""Several runs at once, each in a process of its own; what one of them raises stops no other.

    runs --longest first--> processes --Events, log lines--> the one that began them

A process is spawned, not forked: it inherits neither threads nor memory. The images are written
to a file once, which all processes map into their memory. Whatever is stopped while it works
leaves its last whole checkpoint, since files get their names when they are whole.
"""

import logging
import logging.handlers
import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from utils import signals
from utils.errors import UserError, in_one_line
from utils.experiment import Run
from utils.machine import keep_freed_memory, limit_threads
from utils.training.progress import Event, Tell

Work = Callable[[Run, Tell], None]  # trains a run and writes all that is kept of it
Keep = Callable[[Run, Any], None]  # writes what came of a run, where its process does not
Failures = dict[str, BaseException]  # title of a run -> what stopped it

START_SECONDS = 120  # of processes that import nothing
POLL_SECONDS = 0.1
MOST_MESSAGES = 100  # taken in before it is asked whether a run has ended
TOLD_SHARE = 0.002  # of a run, in which a process keeps its steps to itself

log = logging.getLogger(__name__)


class ProcessDiedError(Exception):
    """A process that ended without a word, twice with the same run."""

    def __init__(self) -> None:
        super().__init__("its process died, twice")


def one_after_another(runs: Sequence[Run], work: Work, tell: Tell) -> Failures:
    """All runs in this process; a failed one is told and left behind."""
    failures: Failures = {}
    for run in runs:
        try:
            work(run, tell)
        except Exception as error:
            fail(run, error, tell, failures)
    return failures


def check_processes(jobs: int) -> None:
    """So many processes can be begun and joined here. Raises: UserError where they cannot."""
    try:
        context = multiprocessing.get_context("spawn")
        context.Queue()
        with signals.pool(jobs, context, signals.in_child) as executor:
            with signals.spawning():
                begun = [executor.submit(os.getpid) for _ in range(jobs)]
            for each in begun:  # a pool whose own threads cannot start is silent
                each.result(timeout=START_SECONDS)
            executor.shutdown()  # what it had is free for those that work
    except (OSError, RuntimeError) as error:
        raise UserError(no_processes(jobs, error)) from error


def no_processes(jobs: int, error: BaseException) -> str:
    """What the system says, and what it takes."""
    return (
        f"--jobs: {jobs} processes cannot be begun and joined here ({in_one_line(error)}); on "
        "Linux that takes /dev/shm, and as many processes and threads as `ulimit -u` allows; use "
        "--jobs 1"
    )


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
            fail(run, ProcessDiedError(), tell, failures)
    return failures


def fail(run: Run, error: BaseException, tell: Tell, failures: Failures) -> None:
    """Notes a failure, with a line on the terminal; the log file has its traceback too."""
    failures[run.title] = error
    if isinstance(error, UserError):
        log.error("%s failed: %s", run.title, error)
    else:
        log.error("%s failed: %s", run.title, in_one_line(error), exc_info=error)
    tell(Event(run, failed=True))


def take_out(
    pending: dict[Future, Run],
    deaths: tuple[type[BaseException], ...],
    tell: Tell,
    failures: Failures,
    keep: Keep = lambda run, result: None,
) -> list[Run]:
    """Takes out the runs that have ended and keeps what came of them; a failed one is told.

    Returns those whose process has died, which is what ``deaths`` say.
    """
    died = []
    for future in [future for future in pending if future.done()]:
        run = pending.pop(future)
        try:
            keep(run, future.result())
        except deaths:
            died.append(run)
        except Exception as error:
            fail(run, error, tell, failures)
    return died


def _pool(
    runs: Sequence[Run], work: Work, jobs: int, tell: Tell, failures: Failures
) -> tuple[list[Run], list[Run]]:
    """Works until all is done or a process dies; returns what was not begun, and what was.

    A process that dies before it has said a word was at one of the first runs.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    begun: set[str] = set()
    broken: list[Run] = []
    with signals.pool(jobs, context, _prepare, (messages,)) as executor:
        try:
            with signals.spawning():
                pending: dict[Future, Run] = {
                    executor.submit(_work, work, run): run for run in runs
                }
        except (OSError, RuntimeError) as error:
            raise UserError(no_processes(jobs, error)) from error
        while pending:
            _listen(messages, begun, tell)
            broken += take_out(pending, (BrokenProcessPool,), tell, failures)
        executor.shutdown(wait=False)
        # they end once all that they have said is heard
        while multiprocessing.active_children() or not messages.empty():
            _listen(messages, begun, tell)
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
        if isinstance(message, Event):
            begun.add(message.run.title)
        hear(message, tell)


def hear(message: Event | logging.LogRecord, tell: Tell) -> None:
    """Passes on what another process has said."""
    if isinstance(message, logging.LogRecord):
        logging.getLogger(message.name).handle(message)
    else:
        tell(message)


# what follows runs in the processes

_messages: Any = None


def _prepare(messages: Any) -> None:  # noqa: ANN401 (as above)
    global _messages
    _messages = messages
    signals.in_child()
    keep_freed_memory()
    limit_threads()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(logging.handlers.QueueHandler(messages))


def _work(work: Work, run: Run) -> None:
    work(run, Teller(_messages.put))


class Teller:
    """Puts events where another process hears them, steps not one by one: there are thousands."""

    def __init__(self, put: Callable[[Event], object]) -> None:
        self.put, self.share = put, 0.0

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        self.share += 0 if event.resumed else event.share
        if event.resumed or event.epoch or event.finished or self.share > TOLD_SHARE:
            self.put(event if event.resumed else replace(event, share=self.share))
            self.share = 0.0
