"""A small run, and ways to train it in a test."""

from pathlib import Path
from typing import Any

from utils.data.dataset import Dataset
from utils.experiment import Recipe, Run
from utils.records.files import read_arrays, read_record
from utils.records.schema import Record
from utils.training.loop import train
from utils.training.progress import Event, Tell

RECIPE = Recipe(
    epochs=3,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    batch_size=16,
    crop_padding=2,
    flip=True,
)
RUN = Run("CNN7x7", "cifar10", RECIPE, seed=0, name="CNN7x7")


class Killed(Exception):
    """Stands for Ctrl-C or a kill in the middle of an epoch."""


class StopAfter:
    """Stops a run after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def __call__(self, event: Event) -> None:
        if event.share and not event.resumed:
            self.left -= 1
            if self.left < 0:
                raise Killed


def nothing(event: Event) -> None:
    """Listens to a run and makes nothing of it."""


def assert_same_files(record: Path, other: Path) -> None:
    """Two records and the arrays beside them say the same, the time that they took apart."""
    first, second = (read_record(path, Record) for path in (record, other))
    assert first.model_copy(update={"timings": second.timings}) == second
    first, second = (read_arrays(path.with_suffix(".npz")) for path in (record, other))
    assert first.keys() == second.keys()
    assert all(array.tobytes() == second[name].tobytes() for name, array in first.items())


def train_in(folder: Path, run: Run, data: Dataset, tell: Tell = nothing) -> dict[str, Any]:
    """What a run's record and predictions are, without what its equal would differ in."""
    folder.mkdir(exist_ok=True)
    outcome = train(run, data, folder / "run.checkpoint.pt", tell)
    record = {key: value for key, value in outcome.record.items() if key != "timings"}
    return record | {"predictions": outcome.predictions.tolist()}
