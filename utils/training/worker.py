"""What runs in Dask's own processes: a worker says what it is, takes images in, trains runs.

    image bytes, run --> record, arrays and weights back; Events and log lines on the way

All of it is called by ``training.cluster``, over Dask's connections; ``--preload`` imports it
before there are any: torch takes seconds, in which Dask would answer nobody.
"""

import contextlib
import hashlib
import logging
import logging.handlers
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pickle import dumps
from types import SimpleNamespace
from typing import Any

import torch
from distributed import Scheduler, Worker, get_worker

from utils import REPOSITORY
from utils.data.dataset import Dataset, find_dataset
from utils.data.mapped import load_mapped
from utils.errors import UserError
from utils.experiment import Run
from utils.machine import allowed_threads, check_device, keep_freed_memory
from utils.records.runs import identity
from utils.settings import check_defaults
from utils.training.checkpoint import DamagedError, find_checkpoint
from utils.training.jobs import Teller
from utils.training.progress import Event, Tell

Work = Callable[[Run, Tell, Dataset, Path], Any]  # the path is the checkpoint's


def version_of(folder: Path) -> str:
    """What a record depends on: the sources that train, and torch. The commit is for the reader."""
    digest = hashlib.sha256()
    for path in sorted(
        each for name in ("models", "utils") for each in (folder / name).rglob("*.py")
    ):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    torch_version = ".".join(torch.__version__.split(".")[:2])
    found = f"sources {digest.hexdigest()[:12]}, torch {torch_version}"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout
        found += f" (commit {commit.strip()})"
    return found


VERSION = version_of(REPOSITORY)  # of what has been imported, whatever is pulled later

images_here: dict[str, Dataset] = {}  # by fingerprint
one_run = threading.Lock()  # at a time: random generators are the process's


class Cancelled(Exception):
    """The command that gave this run is gone."""


def prepare(dask_scheduler: Scheduler) -> str:
    """The scheduler's version; a run whose worker dies comes back to the command from now on."""
    dask_scheduler.allowed_failures = 0
    return VERSION


def introduce(device: str, dask_worker: Worker) -> dict[str, Any]:
    """The version, and what a run's ``Compute`` is here."""
    keep_freed_memory()
    check_defaults()
    found = str(check_device(device))
    threads = min(dask_worker.state.nthreads, allowed_threads())
    return {"version": VERSION, "device": found, "threads": threads}


def lacking(wanted: Mapping[str, str], data_dir: Path | None) -> list[str]:
    """The datasets that are not here, of these names and fingerprints."""
    for name, fingerprint in wanted.items():
        if fingerprint in images_here or not data_dir:
            continue
        with contextlib.suppress(UserError, OSError):
            dataset = find_dataset(name, REPOSITORY / data_dir)
            if dataset and dataset.fingerprint == fingerprint:
                images_here[fingerprint] = dataset
    return [name for name, fingerprint in wanted.items() if fingerprint not in images_here]


def take(fingerprint: str, content: bytes, dask_worker: Worker) -> None:
    """Keeps images that ``save_mapped`` wrote, in a file that is mapped into memory."""
    path = Path(dask_worker.local_directory) / f"{fingerprint}.pt"
    path.write_bytes(content)
    images_here[fingerprint] = load_mapped(path)


def train_here(marker: Path, work: Work, run: Run, fingerprint: str, path: Path) -> Any:  # noqa: ANN401
    """One run; its checkpoint is at ``path`` where the marker is seen, else it is this worker's."""
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    where = str(worker.name)
    if where == worker.address:
        where = f"{socket.gethostname()}:{worker.port}"

    def put(message: Event | logging.LogRecord) -> None:
        worker.log_event(marker.name, dumps(message))

    teller = Teller(lambda event: put(replace(event, where=where)))

    def tell(event: Event) -> None:
        if task.state != "executing":
            raise Cancelled
        teller(event)

    handler = logging.handlers.QueueHandler(SimpleNamespace(put_nowait=put))
    checkpoint = Path(worker.local_directory) / path.name
    if marker.exists() and goes_on(path, run, fingerprint):
        checkpoint = path
    ours = logging.getLogger("utils")
    with one_run:
        ours.setLevel(logging.INFO)
        ours.addHandler(handler)
        try:
            return work(run, tell, images_here[fingerprint].to(run.compute.device), checkpoint)
        finally:
            ours.removeHandler(handler)
            if checkpoint != path:
                checkpoint.unlink(missing_ok=True)


def goes_on(path: Path, run: Run, fingerprint: str) -> bool:
    """Whether a run may go on from what is at ``path``, and leave its own there.

    Not where that was begun on another kind of device.
    """
    try:
        find_checkpoint(path, identity(run) | {"fingerprint": fingerprint})
    except DamagedError:
        return True  # it is set aside
    except UserError:
        return False
    return True
