"""What every section is given to measure with, and what all of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import torch

from utils.data.dataset import Dataset
from utils.experiment import Compute, Precision
from utils.records.schema import Quartiles

BUSY = 0.5  # threads of other programs that want a processor: a measurement beside them is in doubt

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a section is given."""

    quick: bool
    rounds: int  # that count, of every measurement
    device: torch.device
    dataset: Callable[[str], Dataset]  # "mnist" or "cifar10", on the device; loaded once

    def compute(self, precision: Precision = "float32") -> Compute:
        """On this device with torch's threads."""
        return Compute(str(self.device), precision, torch.get_num_threads())


def between(found: Quartiles, decimals: int = 2, scale: float = 1.0) -> str:
    """``median (first quartile–third)``, times ``scale``."""
    median, q1, q3 = (f"{scale * x:,.{decimals}f}" for x in (found.median, found.q1, found.q3))
    return f"{median} ({q1}–{q3})"


def others_running(samples: int = 20) -> float:
    """Threads of other programs that are running or want to, the mean over a second.

    Unlike the load average it forgets at once what this command itself did before. Linux alone
    tells; elsewhere 0.
    """
    file = Path("/proc/loadavg")
    if not file.exists():
        return 0.0
    running = []
    for _ in range(samples):
        sleep(1 / samples)
        running.append(int(file.read_text().split()[3].split("/")[0]) - 1)  # all but this one
    return sum(running) / samples
