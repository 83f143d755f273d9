"""The study on disk: all records of one experiment, read once for its tables and figures.

    results/runs, results/speed, results/<experiment>/cases.*  ->  Evidence

Nothing here trains or loads a dataset. Which records exist decides what is rendered: runs give
the training table, ``cases.json`` the table of layers or blocks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.experiment import Experiment, Styled
from utils.records.checks import (
    Arrays,
    check_arrays,
    check_cases,
    check_complete,
    check_pictures,
    check_seeds,
    check_speed,
    read_speed,
)
from utils.records.files import is_there, read_arrays, read_record
from utils.records.runs import Found, anew, check_together, find_records
from utils.records.schema import Cases, Record, Speed

FACTOR = 100  # between the first and the last layer's gradient: beyond it gradients are extreme


@dataclass(frozen=True, eq=False)  # == on arrays is no single truth
class Evidence:
    """The records of one experiment by the labels of its rows, in the experiment's own order."""

    experiment: Experiment
    runs: Mapping[str, Sequence[Record]]  # label -> its records, by seed
    diverged: Mapping[str, Sequence[Record]]  # label -> those of runs that came to no result
    inside: Mapping[str, Record]  # label -> the first of them whose network was looked into
    arrays: Mapping[str, Arrays]  # label -> the arrays beside that record
    correct: Mapping[str, Mapping[int, Path]]  # label -> seed -> where ``right_of`` is to be read
    speed: Mapping[str, Speed]  # label -> its network's, of an experiment that is about it
    styles: Mapping[str, Styled]  # label -> how its network is drawn
    cases: Cases | None = None
    case_arrays: Arrays | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to render yet."""
        return not (self.runs or self.cases)

    @property
    def records(self) -> list[Record]:
        """The records of all rows and seeds."""
        return [record for records in self.runs.values() for record in records]

    @property
    def dataset(self) -> str:
        """What titles and captions call the data; a stand-in is always called one."""
        data = self.records[0].data
        is_unnamed = data.synthetic and "synthetic stand-in" not in data.description
        return f"{'synthetic stand-in: ' if is_unnamed else ''}{data.description}"


def gather(experiment: Experiment, results: Path, networks: Mapping[str, Styled]) -> Evidence:
    """Reads the records of an experiment below ``results``; ``networks`` is ``models.MODELS``.

    Raises: UserError for an unreadable record, and where records cannot share a table.
    """
    every = find_records(experiment, results)
    again = f"run the script again with {anew(every)}, or with an --out-dir of its own"
    check_together(every, f"one table must share it: {again}")
    for each in every:
        check_complete(each)
    found: dict[str, list[Found]] = {}
    gone: dict[str, list[Record]] = {}
    for each in every:
        if each.record.diverged:
            gone.setdefault(each.row.label, []).append(each.record)
        else:
            check_arrays(each)
            found.setdefault(each.row.label, []).append(each)
    for mine in found.values():
        check_seeds(mine)
    inside = {label: looked_into(mine) for label, mine in found.items()}
    folder, speeds = results / experiment.name, results / "speed" / str(experiment.dataset)
    evidence = Evidence(
        experiment=experiment,
        runs={label: [each.record for each in mine] for label, mine in found.items()},
        diverged=gone,
        inside={label: each.record for label, each in inside.items()},
        arrays={label: read_arrays(each.arrays) for label, each in inside.items()},
        correct={
            label: {each.record.seed: each.arrays for each in mine} for label, mine in found.items()
        },
        speed={
            row.label: read_speed(path)
            for row in (experiment.rows if experiment.timed else ())
            if is_there(path := speeds / f"{row.run_name}.json")
        },
        styles={row.label: networks[row.network] for row in experiment.rows},
        cases=read_record(path, Cases) if is_there(path := folder / "cases.json") else None,
        case_arrays=read_arrays(path) if is_there(path := folder / "cases.npz") else None,
    )
    check_speed(evidence.speed, folder)
    check_cases(evidence.cases, evidence.case_arrays, experiment, folder)
    for label, each in inside.items():
        check_pictures(each, evidence.arrays[label])
    return evidence


def looked_into(found: Sequence[Found]) -> Found:
    """The first seed whose record has what probing adds, else the first of all.

    A record from elsewhere may lack the probe image, receptive fields and arrays for figures.
    """
    return next((each for each in found if each.record.probe), found[0])


def first_known(records: Sequence[Record], name: str) -> Any:  # noqa: ANN401 (of any field)
    """A fact of the network, whatever its seed, from the first record that has it; else None."""
    return next((value for each in records if (value := getattr(each, name)) is not None), None)


def by_epoch(records: Sequence[Record], key: str) -> np.ndarray:
    """A number of every epoch, ``[seeds, epochs]``; where the record has none (null), NaN."""
    values = [[getattr(epoch, key) for epoch in record.epochs] for record in records]
    return np.array(values, dtype=float)


def norms_by_layer(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Layer -> gradient norm by epoch ``[epochs]``, the mean over seeds; in the record's order."""
    norms = {
        layer: [[epoch.gradient_norm[layer] for epoch in record.epochs] for record in records]
        for layer in records[0].epochs[0].gradient_norm
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


def loss_spread(records: Sequence[Record]) -> np.ndarray:
    """Inter-quartile range of the batch losses within each epoch, ``[seeds, epochs]``."""
    quartiles = by_epoch(records, "batch_loss_quartiles")  # [seeds, epochs, 3]
    return quartiles[..., 2] - quartiles[..., 0]
