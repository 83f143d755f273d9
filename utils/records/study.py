"""Evidence: all that stands on disk about one experiment, read once for its tables and figures.

    results/<experiment>/runs/*.json, *.npz, speed.json, layers.*, blocks.json  ->  Evidence

Nothing here trains or loads a dataset. Which records exist decides what is rendered: runs give
the training table, ``layers.json`` and ``blocks.json`` the tables of the layers and blocks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.experiment import Experiment
from utils.records.files import read_arrays, read_json, read_runs, run_path, speed_path

FACTOR = 100  # between the first and the last layer's gradient: beyond it gradients are extreme
EXTREMES = ("vanishing", "exploding")

Record = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)  # == on arrays is no single truth
class Evidence:
    """The records of one experiment; models stand in the experiment's own order."""

    experiment: Experiment
    runs: Mapping[str, Sequence[Record]]  # model -> its records, by seed
    arrays: Mapping[str, Arrays]  # model -> the arrays beside the record of its first seed
    speed: Record | None = None
    layers: Record | None = None
    layer_arrays: Arrays | None = None
    blocks: Record | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to render yet."""
        return not (self.runs or self.layers or self.blocks)

    @property
    def records(self) -> list[Record]:
        """The records of all models and seeds."""
        return [record for records in self.runs.values() for record in records]

    @property
    def dataset(self) -> str:
        """What titles and captions call the data; a stand-in is always called one."""
        return data_name(self.records[0])

    @property
    def seeds(self) -> list[int]:
        """The seeds of which at least one model has a record."""
        return sorted({record["seed"] for record in self.records})


def data_name(record: Record) -> str:
    """The description of a record's dataset; a stand-in is always called one."""
    data = record["data"]
    is_named = "synthetic stand-in" in data["description"]
    prefix = "synthetic stand-in: " if data["synthetic"] and not is_named else ""
    return prefix + data["description"]


def gather(experiment: Experiment, results: Path) -> Evidence:
    """Reads the records of an experiment below ``results``.

    Raises: UserError for an unreadable record, and where records cannot share a table.
    """
    folder = results / experiment.name
    by_model: dict[str, list[Record]] = {model: [] for model in experiment.models}
    for record in read_runs(results, experiment.name):
        if record["model"] in by_model:
            by_model[record["model"]].append(record)
    runs = {model: records for model, records in by_model.items() if records}
    arrays = {
        model: _read_if_there(
            run_path(results, experiment.name, model, records[0]["seed"]).with_suffix(".npz")
        )
        for model, records in runs.items()
    }
    evidence = Evidence(
        experiment=experiment,
        runs=runs,
        arrays={model: found or {} for model, found in arrays.items()},
        speed=_read_if_there(speed_path(results, experiment.name)),
        layers=_read_if_there(folder / "layers.json"),
        layer_arrays=_read_if_there(folder / "layers.npz"),
        blocks=_read_if_there(folder / "blocks.json"),
    )
    check_comparable(evidence, folder)
    return evidence


def _read_if_there(path: Path) -> Any:  # noqa: ANN401 (a record or arrays, by the suffix)
    if not path.exists():
        return None
    return read_arrays(path) if path.suffix == ".npz" else read_json(path)


def check_comparable(evidence: Evidence, folder: Path) -> None:
    """All rows of one table share precision, recipe and dataset.

    Raises: UserError that names the values found.
    """
    kinds = {
        "precision": [record["precision"] for record in evidence.records],
        "recipe": [record["recipe"] for record in evidence.records],
        "dataset": [record["data"]["fingerprint"] for record in evidence.records],
    }
    if evidence.speed and evidence.runs:
        kinds["precision"].append(evidence.speed["precision"])
    for kind, values in kinds.items():
        distinct = list(dict.fromkeys(map(str, values)))
        if len(distinct) > 1:
            raise UserError(
                f"{folder}: the records differ in {kind} ({' and '.join(distinct[:2])}), one table "
                "must share it; run the script again with --fresh, or with an --out-dir of its own"
            )


def family(record: Record) -> str:
    """A network's kind: "fully connected", "plain convolutional" or "residual"."""
    layers = record["epochs"][-1]["gradient_norm"]
    if not record["receptive_field"]:
        return "fully connected"
    if "Res" in record["model"] or any("block" in layer for layer in layers):
        return "residual"
    return "plain convolutional"


def by_epoch(records: Sequence[Record], key: str) -> np.ndarray:
    """A number of every epoch, ``[seeds, epochs]``; where the record has none (null), NaN."""
    values = [[entry[key] for entry in record["epochs"]] for record in records]
    return np.array(values, dtype=float)


def norms_by_layer(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Layer -> gradient norm by epoch ``[epochs]``, the mean over seeds; from input to output."""
    layers = records[0]["epochs"][0]["gradient_norm"]
    norms = {
        layer: [[entry["gradient_norm"][layer] for entry in record["epochs"]] for record in records]
        for layer in layers
    }
    return {layer: np.array(values, dtype=float).mean(0) for layer, values in norms.items()}


def gradient_ratios(records: Sequence[Record]) -> np.ndarray:
    """Mean gradient norm of the first layer over the last layer's, by epoch ``[epochs]``.

    Far below 1 gradients vanish on their way to the input, far above 1 they explode; NaN where
    either norm is no positive number.
    """
    norms = list(norms_by_layer(records).values())
    positive = (norms[0] > 0) & (norms[-1] > 0)
    return np.where(positive, norms[0] / np.where(positive, norms[-1], 1), math.nan)


def gradient_verdict(ratios: np.ndarray) -> str:
    """What ``gradient_ratios`` beyond ``FACTOR`` in any epoch are called."""
    if np.isnan(ratios).any():
        return "not defined: a norm is not a positive number"
    if ratios.min() < 1 / FACTOR:
        return "vanishing"
    return "exploding" if ratios.max() > FACTOR else "neither vanishing nor exploding"


def largest_drop(records: Sequence[Record]) -> float:
    """The most that the test accuracy, a fraction, fell from one epoch to the next; at least 0.

    A large one says that the shared learning rate is too high for the network.
    """
    accuracy = by_epoch(records, "test_accuracy")  # [seeds, epochs]
    return float(-np.diff(accuracy, axis=1).min(initial=0.0))


def loss_spread(records: Sequence[Record]) -> np.ndarray:
    """Inter-quartile range of the batch losses within each epoch, ``[seeds, epochs]``."""
    quartiles = by_epoch(records, "batch_loss_quartiles")  # [seeds, epochs, 3]
    return quartiles[..., 2] - quartiles[..., 0]
