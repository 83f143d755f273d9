"""The images in files that several processes map into their memory: it is there once."""

import contextlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.data.dataset import Dataset, Load
from utils.errors import UserError
from utils.experiment import Run


def packed(dataset: Dataset) -> bytes:
    """A dataset as ``load_mapped`` finds it in a file."""
    content = io.BytesIO()
    torch.save(vars(dataset.to("cpu")), content)
    return content.getvalue()


def save_mapped(dataset: Dataset, path: Path) -> None:
    """Writes a dataset for ``load_mapped``."""
    path.write_bytes(packed(dataset))  # of a full disk torch.save says something else


def load_mapped(path: Path) -> Dataset:
    """A dataset whose images stay in the file: all processes that load it share their memory."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # no name that torch can map: a copy of its own for each process
        return Dataset(**torch.load(io.BytesIO(path.read_bytes()), weights_only=True))
    return Dataset(**torch.load(path, mmap=True, weights_only=True))


@dataclass(frozen=True)
class MappedLoader:
    """Loads what ``save_mapped`` wrote, without a copy of its own; can be given to a process."""

    folder: Path
    device: str

    def __call__(self, name: str) -> Dataset:
        """The dataset of this name."""
        return load_mapped(self.folder / f"{name}.pt").to(self.device)


@contextlib.contextmanager
def mapped(load: Load, runs: Iterable[Run], results: Path) -> Iterator[MappedLoader]:
    """The datasets of these runs in files, for other processes, as long as the context lasts.

    What a killed command left of them below ``results`` the next one sweeps.
    Raises: UserError where there is no room for them.
    """
    datasets = {run.dataset: run.compute.device for run in runs}
    folder = results / f"images.{os.getpid()}.tmp"
    try:
        try:
            folder.mkdir(exist_ok=True)
            for name in datasets:
                save_mapped(load(name), folder / f"{name}.pt")
        except OSError as error:
            raise UserError(
                f"{folder}: the images cannot be written there ({error.strerror}); make room, what "
                "was saved before is kept"
            ) from error
        yield MappedLoader(folder, next(iter(datasets.values())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
