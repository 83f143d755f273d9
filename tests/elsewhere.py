"""What tests have other processes do; apart from them, so that these have little to import."""

import os
import signal
import time
from pathlib import Path

import torch

from utils.experiment import Run
from utils.training.progress import Event, Tell


def process_and_threads() -> tuple[int, int]:
    """Which process this is, and how many threads torch has in it."""
    return os.getpid(), torch.get_num_threads()


def dies(run: Run, tell: Tell, folder: Path) -> None:
    """Its process is killed with seed 0, and with seed 1 the first time; each try is noted."""
    note(run, folder)
    tell(Event(run, resumed=True))
    while not (folder / "1").exists():  # a process that dies takes those that begin with it
        time.sleep(0.05)
    time.sleep(0.5)  # until that has been heard
    die(run, folder)
    tell(Event(run, finished=True))


def note(run: Run, folder: Path) -> None:
    """Notes a try."""
    with (folder / f"{run.seed}").open("a") as file:
        file.write("x")


def die(run: Run, folder: Path) -> None:
    """The end of this process, where it is to be."""
    if run.seed == 0 or (run.seed == 1 and (folder / "1").read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)


def dies_at_once(run: Run, tell: Tell) -> None:
    """Its process is gone before it has said a word."""
    os._exit(1)
