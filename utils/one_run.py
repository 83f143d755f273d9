"""One run, from its images to its files: train, look into the network, keep what came of it.

A process of a pool and a worker of a cluster import this, and nothing of the report.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data.dataset import Dataset, Load, dataset_of
from utils.experiment import Run
from utils.measuring.probes import probe
from utils.measuring.shift import shifted_test_accuracy
from utils.measuring.sizes import sizes
from utils.records.files import write_arrays, write_bytes, write_record
from utils.records.runs import CHECKPOINT, WEIGHTS, run_path
from utils.records.schema import Diverged, Record
from utils.training.checkpoint import weights_of
from utils.training.loop import train
from utils.training.progress import Event, Tell

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """All that is kept of a run."""

    record: Record
    arrays: Mapping[str, np.ndarray] | None  # None where it diverged
    weights: bytes | None  # None where they were not asked for


def run_one(run: Run, tell: Tell, results: Path, weights: bool, load: Load) -> None:
    """Trains a run and writes all that is kept of it."""
    checkpoint = run_path(results, run).with_suffix(CHECKPOINT)
    keep_one(run, train_one(run, tell, load(run.dataset), checkpoint, weights), results, tell)


def train_one(run: Run, tell: Tell, dataset: Dataset, checkpoint: Path, weights: bool) -> Kept:
    """Trains a run and looks into its network; ``dataset`` is whole, and on the run's device."""
    dataset = dataset_of(run, dataset)
    found = sizes(run.network, run.overrides, dataset.x_test.shape[1:])
    outcome = train(run, dataset, checkpoint, tell, found["computes"], weights)
    if diverged := outcome.record["diverged"]:
        log.warning("%s diverged: %s", run.title, where(diverged))
        return Kept(Record(**outcome.record, **found), None, None)
    kept = weights_of(outcome.network) if weights else None
    moved = None  # of permuted images none is left to move
    if not run.permuted:
        moved = shifted_test_accuracy(outcome.network, dataset)
    facts, arrays = probe(outcome.network, dataset, run.network)  # last: see utils.measuring.trial
    arrays["test_predictions"] = outcome.predictions.byte().cpu().numpy()
    correct = outcome.predictions == dataset.y_test
    arrays["test_correct"] = np.packbits(correct.cpu().numpy())  # see records.study.right_of
    record = Record(**outcome.record, **found, **facts, shifted_test_accuracy=moved)
    return Kept(record, arrays, kept)


def keep_one(run: Run, kept: Kept, results: Path, tell: Tell) -> None:
    """Writes what is kept of a run, and says that it is finished."""
    path = run_path(results, run)
    # before the record, which says "finished"; what is not written now is of an earlier training
    for suffix, write, content in (
        (".npz", write_arrays, kept.arrays),
        (WEIGHTS, write_bytes, kept.weights),
    ):
        if content is None:
            path.with_suffix(suffix).unlink(missing_ok=True)
        else:
            write(path.with_suffix(suffix), content)
    write_record(path, kept.record)
    path.with_suffix(CHECKPOINT).unlink(missing_ok=True)
    tell(Event(run, finished=True))


def where(diverged: Diverged) -> str:
    """As in "epoch 1, step 17, learning rate 0.4"."""
    return (
        f"epoch {diverged.epoch}, step {diverged.step}, learning rate {diverged.learning_rate:.3g}"
    )
