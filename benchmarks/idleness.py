"""Whether the machine is idle enough for a measurement."""

from pathlib import Path
from time import sleep

BUSY = 0.5  # threads of other programs that want a processor: a measurement beside them is in doubt


def others_running(samples: int = 20) -> float:
    """Threads of other programs that are running or want to, the mean over a second.

    Unlike the load average it forgets at once what this command itself did before. 0 where the
    system is not Linux, which alone tells.
    """
    file = Path("/proc/loadavg")
    if not file.exists():
        return 0.0
    running = []
    for _ in range(samples):
        sleep(1 / samples)
        running.append(int(file.read_text().split()[3].split("/")[0]) - 1)  # all but this one
    return sum(running) / samples
