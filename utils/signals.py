"""Ctrl-C and SIGTERM: a command ends within two seconds, with a line, and leaves no process behind.

    a script imports      --> the line, and the end
    a command runs        --> Interrupted is raised, so that whatever is half done is tidied up
    a process of a pool   --> nothing: it ends when the one that began it ends it, or is gone

The exit codes are a shell's: 128 and the number of the signal.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import connection, parent_process
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.5  # seconds in which a command may tidy up

Handler = Callable[[int, FrameType | None], object]


class Interrupted(KeyboardInterrupt):
    """One of the signals; ``args[0]`` is the exit code."""


def end_at_once(advice: str) -> None:
    """From now on a signal ends the process; ``advice`` is what the line says of going on."""
    _handle(partial(_end, advice))


@contextlib.contextmanager
def raised(advice: str) -> Iterator[None]:
    """Within, a signal raises ``Interrupted``.

    A second one ends the process at once, and so does what is not tidied up in time: an operation
    of torch may take longer, and Python handles no signal before it is over.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        end_at_once(advice)
        raise Interrupted(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    over = threading.Event()
    with _watched(over, advice):
        _handle(handle)
        try:
            yield
        finally:
            over.set()
            for number, handler in before.items():
                is_ours = isinstance(handler, partial) and handler.func is _end
                signal.signal(number, partial(_end, advice) if is_ours else handler)


@contextlib.contextmanager
def _watched(over: threading.Event, advice: str) -> Iterator[None]:
    """Within, a thread of its own hears of a signal when it comes, and ends what is late."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_end_late, args=(heard, over, advice), daemon=True)
    try:
        with contextlib.suppress(RuntimeError):  # the system begins no more of them
            watcher.start()
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        if not watcher.ident:
            heard.close()


def _handle(handler: Handler) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def _end(advice: str, number: int, frame: FrameType | None = None) -> None:
    if sys.stderr is not None:  # closed, its number may be another file's
        with contextlib.suppress(OSError):
            os.write(2, f"interrupted; {advice}\n".encode())  # print may be what was interrupted
    os._exit(128 + number)


def _end_late(heard: socket.socket, over: threading.Event, advice: str) -> None:
    with heard:
        while numbers := heard.recv(1):
            if numbers[0] in SIGNALS and not over.wait(PATIENCE):
                _end(advice, numbers[0])


@contextlib.contextmanager
def spawning() -> Iterator[None]:
    """Processes that are begun within take no signal until ``in_child`` has been called there.

    A terminal sends Ctrl-C to them too, and until then they import, which takes seconds.
    """
    has_masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    if has_masks:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what is begun inherits it
    try:
        yield
    finally:
        if has_masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextlib.contextmanager
def pool(processes: int, *how: Any, **more: Any) -> Iterator[ProcessPoolExecutor]:  # noqa: ANN401
    """A pool, made as ``ProcessPoolExecutor`` is, whose processes are gone at the end.

    After Ctrl-C too: nobody waits for what they are in the middle of.
    """
    executor = ProcessPoolExecutor(processes, *how, **more)
    try:
        yield executor
    finally:
        for process in multiprocessing.active_children():
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)


def in_child() -> None:
    """What a process of a pool does first: Ctrl-C is not for it, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
