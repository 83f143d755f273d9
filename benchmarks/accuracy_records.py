"""Time to the report's accuracy: which networks, what passes, what is trained next, what is kept.

    results/benchmarks/accuracy/<experiment>--<model>--ours.json      every schedule that was tried
    results/benchmarks/accuracy/<experiment>--<model>--usual.json     every epoch of the usual loop
    results/benchmarks/accuracy/<experiment>--<model>--seconds.json   of an epoch of both

Nothing is trained here. Accuracies are fractions in [0, 1], times are seconds. Epochs and seconds
stand apart: a training comes out the same on a busy machine, a measurement does not.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.usual_loop import LEARNING_RATE, usual_batch_size
from utils.errors import UserError
from utils.experiment import Experiment, Recipe, Run, declared_runs
from utils.records.environment import machine_name
from utils.records.files import read_json
from utils.report.rows import REPORTED

MOST_EPOCHS = 10  # that either side may take
PARTS = ("ours", "usual", "seconds")  # the records of a row
COMPUTE = ("precision", "device")  # on which seconds depend
# what is in a record beside what is declared, by its part
CONDITIONS = (*COMPUTE, "data")
TRAINED = (*CONDITIONS, "tried", "environments")
TIMED = (
    *CONDITIONS,
    "ours",
    "usual",
    "views",
    "segment_batches",
    "others_running",
    "environment",
)
MADE = {"ours": TRAINED, "usual": TRAINED, "seconds": TIMED}

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A network as the study declares it, and the accuracy that it has to pass."""

    run: Run
    target: float  # the report's test accuracy

    def path(self, folder: Path, part: str) -> Path:
        """Where one of the ``PARTS`` stands."""
        return folder / f"{self.run.experiment}--{self.run.model}--{part}.json"


def declared_rows(experiments: Sequence[Experiment]) -> list[Row]:
    """Every network of the study that has an accuracy in the report, with its first seed."""
    with (REPORTED / "results.csv").open(encoding="utf-8", newline="") as lines:
        reported = {
            (line["table"], line["model"]): float(line["test_accuracy"])
            for line in csv.DictReader(lines)
        }
    return [
        Row(run, reported[experiment.reported_table, run.model])
        for experiment in experiments
        for run in declared_runs(experiment, seeds=experiment.seeds[:1])
        if (experiment.reported_table, run.model) in reported
    ]


def passing(tried: Sequence[Record], target: float) -> Record | None:
    """The first of what was tried whose validation accuracy is above the target."""
    return next((entry for entry in tried if entry["validation_accuracy"] > target), None)


def next_epochs(tried: Sequence[Record], target: float, most_epochs: int) -> int | None:
    """How many epochs come next: one more than were tried; None when one passed or none is left.

    Counting up finds the shortest schedule without the guess that a longer one is always better.
    """
    if passing(tried, target) or len(tried) >= most_epochs:
        return None
    return len(tried) + 1


def is_finished(record: Record | None) -> bool:
    """Whether all trainings of one side are on record."""
    return record is not None and (
        next_epochs(record["tried"], record["target"], record["most_epochs"]) is None
    )


def declared(row: Row, part: str, most_epochs: int) -> dict[str, Any]:
    """What a record of this row holds if it was made with what is declared today."""
    run = row.run
    facts = {
        "part": part,
        "experiment": run.experiment,
        "model": run.model,
        "dataset": run.dataset,
        "overrides": dict(run.overrides),
        "recipe": usual_recipe(run.recipe) if part == "usual" else asdict(run.recipe),
        "seed": run.seed,
        "target": row.target,
        "most_epochs": most_epochs,
    }
    if part == "seconds":
        facts["usual_recipe"] = usual_recipe(run.recipe)
    return json.loads(json.dumps(facts))  # as a record gives them back


def usual_recipe(recipe: Recipe) -> dict[str, Any]:
    """How the usual loop trains: the augmentation is the study's, and its rate never changes."""
    return {
        "optimizer": "adam",
        "learning_rate": LEARNING_RATE,
        "batch_size": usual_batch_size(recipe),
        "crop_padding": recipe.crop_padding,
        "flip": recipe.flip,
    }


def read_part(path: Path, expected: Mapping[str, Any]) -> Record | None:
    """A record, or None where there is none.

    Raises: UserError where it differs from ``expected``, naming what differs.
    """
    if not path.exists():
        return None
    record = read_json(path, MADE[expected["part"]])
    differing = [key for key in expected if record.get(key) != expected[key]]
    if differing:
        was = ", ".join(f"{key} {_short(record.get(key), expected[key])}" for key in differing)
        raise UserError(f"{path}: made with {was}; delete it to have it made again")
    try:
        check_contents(record)
    except (LookupError, TypeError, ValueError) as error:
        reason = f"{path}: damaged ({type(error).__name__}: {error}); delete it to have it made"
        raise UserError(f"{reason} again") from error
    return record


def check_contents(record: Record) -> None:
    """Raises: LookupError, TypeError or ValueError where a report could not be made of it."""
    if record["part"] != "seconds":
        for entry in record["tried"]:
            float(entry["epochs"] + entry["validation_accuracy"] + entry["test_accuracy"])
        for each in record["environments"]:
            machine_name(each)
        return
    machine_name(record["environment"])
    float(record["others_running"])
    rounds = np.array([record[each] for each in ("ours", "usual", "views")], float)
    if rounds.ndim != 2 or not rounds.size or not np.isfinite(rounds).all():
        raise ValueError("no seconds of each round")


def _short(found: object, wanted: object) -> str:
    """``found (now wanted)``; of a recipe, only the entries that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        return ", ".join(f"{key} {_short(found.get(key), wanted.get(key))}" for key in keys)
    return f"{found} (now {wanted})"


def read_all(
    rows: Sequence[Row],
    folder: Path,
    most_epochs: int = MOST_EPOCHS,
    parts: Sequence[str] = PARTS,
) -> list[dict[str, Record | None]]:
    """The records of every row; one that is not there is None.

    Raises: UserError for one that was made with something else than what is declared, or than
    the others of its row.
    """
    found = [
        {
            part: read_part(row.path(folder, part), declared(row, part, most_epochs))
            for part in parts
        }
        for row in rows
    ]
    for row, records in zip(rows, found, strict=True):
        check_together(row, records, folder)
    return found


def check_together(row: Row, records: Mapping[str, Record | None], folder: Path) -> None:
    """Raises: UserError where epochs of one kind would be multiplied by seconds of another."""
    ours = records.get("ours")
    for part, keys in {"seconds": (*COMPUTE, "data"), "usual": ("device", "data")}.items():
        other = records.get(part)
        for key in keys if ours and other else ():
            if other[key] != ours[key]:
                raise UserError(
                    f"{row.path(folder, part)}: made with another {key} than "
                    f"{row.path(folder, 'ours').name}; delete one of them"
                )


def check_compute(
    rows: Sequence[Row], records: Sequence[Mapping[str, Record | None]], precision: str, device: str
) -> None:
    """Raises: UserError where what is on record cannot be gone on with here."""
    here = dict(zip(COMPUTE, (precision, device), strict=True))
    for row, parts in zip(rows, records, strict=True):
        for part in ("ours", "seconds"):
            record = parts.get(part)
            differing = [key for key in COMPUTE if record and record[key] != here[key]]
            if differing:
                was = ", ".join(f"{key} {record[key]} (here {here[key]})" for key in differing)
                raise UserError(
                    f"{row.run.experiment}, {row.run.model}: {part} on record with {was}; go on "
                    "with that, or give an --out-dir of its own"
                )
