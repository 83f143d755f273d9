"""What a run's process may die of; apart from the tests, so that it has little to import."""

import os
import signal
import time
from pathlib import Path

from utils.experiment import Run
from utils.training.progress import Event, Tell


def dies(run: Run, tell: Tell, folder: Path) -> None:
    """Its process is killed with seed 0, and with seed 1 the first time; each try is noted."""
    tries = folder / f"{run.seed}"
    with tries.open("a") as file:
        file.write("x")
    tell(Event(run))
    time.sleep(0.5)  # until that has been heard
    if run.seed == 0 or (run.seed == 1 and tries.read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    tell(Event(run, finished=True))


def dies_at_once(run: Run, tell: Tell) -> None:
    """Its process is gone before it has said a word."""
    os._exit(1)
