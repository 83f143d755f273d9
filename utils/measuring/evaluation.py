"""Weights on record: what they take each test image for, computed again, beside the record.

<run>.safetensors --load--> network --evaluate in float32--> classes --+--> equal or not
<run>.json, .npz  --------------------------------------> recorded  --+
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from utils.data.dataset import Dataset, dataset_of
from utils.errors import UserError, last_line
from utils.experiment import Compute, Experiment, Row, Run
from utils.records.files import read_arrays, read_record
from utils.records.runs import WEIGHTS, Found, check_name, find_files
from utils.records.schema import Record
from utils.training.checkpoint import seed_everything, shapes
from utils.training.loop import build_network, evaluate

# images: float32 everywhere, but another processor rounds differently
TOLERATED, FEWER, OF = 10, 3, 10_000  # taken for another class; by which the number right differs


@dataclass(frozen=True)
class Comparison:
    """A test accuracy on record, and what the weights give."""

    recorded: float
    recomputed: float
    apart: int  # test images that are taken for another class
    images: int

    @property
    def is_equal(self) -> bool:
        """Whether that is no more than rounding does."""
        fewer = round(abs(self.recorded - self.recomputed) * self.images)  # or more are right
        return self.apart * OF <= TOLERATED * self.images and fewer * OF <= FEWER * self.images

    def __str__(self) -> str:
        """Both numbers, and what follows."""
        numbers = f"recorded {self.recorded:.2%}, recomputed {self.recomputed:.2%}"
        word = "equal" if self.is_equal else "NOT EQUAL"
        otherwise = f", {self.apart} of {self.images} images taken for another class"
        return f"{numbers}: {word}{otherwise if self.apart else ''}"


def check_weights(
    experiment: Experiment,
    row: Row,
    results: Path,
    load: Callable[[str], Dataset],
    compute: Compute,
    tell: Callable[[str], object],
) -> list[str] | None:
    """Evaluates all weights of a row's runs and tells of each; returns those that fail, by name.

    None where there are no weights. Raises: UserError where their images cannot be had.
    """
    dataset = str(experiment.dataset)
    files = find_files(row, dataset, results, WEIGHTS)
    if not files:
        return None
    data = load(dataset)
    failed: list[str] = []
    for path in files:
        try:
            found = record_beside(path, row, dataset)
            run = row.run(dataset, experiment.recipe, found.record.seed, compute)
            comparison = compare(found, run, data)
        except UserError as error:
            tell(f"{path.stem}: {error}")
            failed.append(path.stem)
        else:
            tell(f"{dataset} {path.stem}: {comparison}")
            failed += [] if comparison.is_equal else [path.stem]
    return failed


def record_beside(path: Path, row: Row, dataset: str) -> Found:
    """The record of the run whose weights these are.

    Raises: UserError where there is none, or another run's, or one that diverged.
    """
    record = path.with_suffix(".json")
    if not record.exists():
        raise UserError(f"{path}: no record beside it; restore that, or train it again")
    found = Found(record, row, read_record(record, Record))
    check_name(found, dataset)
    if found.record.diverged:
        raise UserError(f"{path}: of an earlier training, the one on record diverged; delete it")
    return found


def compare(found: Found, run: Run, dataset: Dataset) -> Comparison:
    """What a record says of the full test split, and what the weights beside it do.

    Raises: UserError for a file that cannot be read or is another network's, and for other images.
    """
    path, record = found.path.with_suffix(WEIGHTS), found.record
    if record.data.fingerprint != dataset.fingerprint:
        raise UserError(f"{found.path}: of other images than {dataset.description} here")
    if record.final.test_accuracy is None:
        raise UserError(
            f"{found.path}: final.test_accuracy: missing, there is none to compare with"
        )
    network = trained_network(run, path)
    dataset = dataset_of(run, dataset)
    before = read_arrays(found.arrays).get("test_predictions", np.empty(0))
    if before.shape != (len(dataset.y_test),):
        raise UserError(f"{found.arrays}: test_predictions: not one for each test image")
    _, accuracy, predictions = evaluate(network, dataset.x_test, dataset.y_test, dataset)
    apart = int((predictions.cpu().numpy() != before).sum())
    return Comparison(record.final.test_accuracy, accuracy, apart, len(before))


def trained_network(run: Run, path: Path) -> nn.Module:
    """The run's network with its weights. Raises: UserError as ``load_weights`` does."""
    seed_everything(run.seed)  # what a constructor draws may be in no state dict
    network = build_network(run)
    load_weights(path, network)
    return network


def load_weights(path: Path, network: nn.Module) -> None:
    """Reads what ``training.checkpoint.weights_of`` made.

    Raises: UserError for a file that cannot be read, or that is another network's.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("not a file")
        # load_file takes no path that is not UTF-8
        tensors = safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: not readable as safetensors ({error}); restore it, or train it again"
        ) from error
    found, wanted = shapes(tensors), shapes(network.state_dict())
    for name in wanted | found:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: of another network, {name} is {found.get(name, 'missing')} (not "
                f"{wanted.get(name, 'expected')}); restore it, or what models/ had, or train again "
                "with --fresh --weights"
            )
    try:
        network.load_state_dict(tensors)
    except Exception as error:  # whatever a network of one's own may raise
        raise UserError(
            f"{path}: the network does not take it ({last_line(error)}); mend the network in "
            "models/, or train again with --fresh --weights"
        ) from error
