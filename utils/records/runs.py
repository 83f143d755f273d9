"""Runs on disk: where each stands, what makes it the run that it is, what may share a table.

    results/runs/<dataset>/<name>-seed<seed>.json          the record of a run
    results/runs/<dataset>/<name>-seed<seed>.npz           its arrays: what a figure needs
    results/runs/<dataset>/<name>-seed<seed>.safetensors   its weights, where they were asked for
    results/speed/<dataset>/<name>.json                    its network's speed, measured apart

The name is the network's, with what was varied of it, see ``utils.experiment.Row``.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.experiment import Experiment, Recipe, Row, Run
from utils.records.files import cannot_read, is_there, read_record
from utils.records.schema import Computes, Record

ROUNDING = 1e-4  # of the largest logit: more than any machine's, less than another activation's

FILLED = 2  # logits with weights of a formula; those with what a version of torch draws follow

# of a run's files
WEIGHTS, CHECKPOINT, DAMAGED = ".safetensors", ".checkpoint.pt", ".checkpoint.damaged"
SUFFIXES = (".json", ".npz", WEIGHTS, CHECKPOINT, DAMAGED)
RUN = re.compile("(.+)-seed(0|[1-9][0-9]*)")  # what they are called


@dataclass(frozen=True)
class Found:
    """A record on disk that belongs to a row."""

    path: Path
    row: Row
    record: Record

    @property
    def arrays(self) -> Path:
        """Where its arrays stand."""
        return self.path.with_suffix(".npz")


def run_path(results: Path, run: Run) -> Path:
    """Where the record of a run stands, or will."""
    return results / "runs" / run.dataset / f"{run.name}-seed{run.seed}.json"


def speed_path(results: Path, run: Run) -> Path:
    """Where the speed of the run's network stands; any seed is as fast."""
    return results / "speed" / run.dataset / f"{run.name}.json"


def find_record(run: Run, results: Path, also: Path | None = None) -> Record | None:
    """The run's record, whatever machine and precision it has; None where there is none.

    ``also`` is where the study's own records are: a run whose row fixes its precision is the
    study's, under the name without it, where that has this very run in this precision.
    """
    path = run_path(results, run)
    if is_there(path):
        return read_record(path, Record)
    if also is None:
        return None
    path = run_path(also, replace(run, name=run.name.removesuffix(f"-{run.compute.precision}")))
    record = read_record(path, Record) if is_there(path) else None
    is_run = record and {**identity(record), "device": ""} == {**identity(run), "device": ""}
    return record if is_run else None


def find_records(experiment: Experiment, results: Path) -> list[Found]:
    """The records of all rows and seeds on disk, by row and then by seed.

    Raises: UserError for one that is not as it should be.
    """
    found = []
    for row in experiment.rows:
        for path in find_files(row, str(experiment.dataset), results, ".json"):
            each = Found(path, row, read_record(path, Record))
            check_name(each, str(experiment.dataset))
            # a condensed record, which has no epochs, has none either
            if each.record.epochs and not each.record.diverged and not is_there(each.arrays):
                raise UserError(
                    f"{each.arrays}: missing beside the record; restore it, or delete the .json of "
                    "the same name and run the script again"
                )
            found.append(each)
    return found


def find_files(row: Row, dataset: str, results: Path, suffix: str) -> list[Path]:
    """The files of a row's runs with this suffix, by seed.

    Raises: UserError for a folder that may not be listed: what is in it counts.
    """
    own, folder = row.run_name, results / "runs" / dataset
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        is_there(folder)  # or it raises
        return []
    except OSError as error:
        raise UserError(cannot_read(folder, error.strerror)) from error
    begins = f"{own}-seed"
    paths = (folder / each for each in names if each.startswith(begins) and each.endswith(suffix))
    named = ((path, RUN.fullmatch(path.name.removesuffix(suffix))) for path in paths)
    return sorted((path for path, name in named if name and name[1] == own), key=seed_of)


def strangers(experiments: Iterable[Experiment], results: Path) -> list[Path]:
    """The records below ``runs`` that are called as no run of these experiments."""
    runs = results / "runs"
    rows = {runs / str(each.dataset) / row.run_name for each in experiments for row in each.rows}
    return sorted(
        path
        for path in runs.rglob("*.json")
        if not ((name := RUN.fullmatch(path.stem)) and path.with_name(name[1]) in rows)
    )


def seed_of(path: Path) -> int:
    """The seed in the name of a run's file."""
    return int(RUN.match(path.name)[2])


def check_name(found: Found, dataset: str) -> None:
    """A record is of the run that its file's name says.

    Raises: UserError naming the file and what is another run's.
    """
    row, record = found.row, found.record
    expected = {
        "network": row.network,
        "overrides": as_json(row.overrides),
        "dataset": dataset,
        "part": row.part,
        "images": row.images,
        "permuted": row.permuted,
        "seed": seed_of(found.path),
        **row.recipe,
        **({"precision": row.precision} if row.precision else {}),
    }
    if text := differences({**identity(record), **asdict(record.recipe)}, expected):
        raise UserError(f"{found.path}: the record of another run, {text}; delete it")


def identity(run: Run | Record) -> dict[str, Any]:
    """What makes a run the run that it is, down to the last bit, as JSON gives it back.

    What else a record depends on (images, versions, threads) stands in it, and is not the user's
    to repeat.
    """
    compute = run.compute if isinstance(run, Run) else run
    return {
        "network": run.network,
        "overrides": as_json(run.overrides),
        "dataset": run.dataset,
        "part": run.part,
        "images": run.images,
        "permuted": run.permuted,
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "precision": compute.precision,
        "device": compute.device.split(":")[0],
    }


def as_json(overrides: Mapping[str, object]) -> dict[str, Any]:
    """Overrides as JSON gives them back; NumPy's numbers are as good as Python's.

    Raises: TypeError and ValueError for what JSON has no word for.
    """
    return json.loads(json.dumps(dict(overrides), default=np.generic.item, allow_nan=False))


def check_together(found: Sequence[Found], remedy: str, recipe: Recipe | None = None) -> None:
    """The one rule of what may share a table: recipe, but for what a row varies of it, and images.

    With ``recipe`` it is that one. Device and precision are free: tables say what they were.
    Raises: UserError naming the first file that differs from those before it, and in what.
    """
    seen: dict[str, Any] = asdict(recipe) if recipe else {}
    for each in found:
        data = each.record.data
        conditions = asdict(each.record.recipe) | {
            "images": data.fingerprint,
            "classes": data.classes,
            "description": data.description,
            "synthetic": data.synthetic,
            "train_images": data.train_images + data.validation_images,
            "test_images": data.test_images,
        }
        held = {key: value for key, value in conditions.items() if key not in each.row.recipe}
        if text := differences(held, seen):
            raise UserError(f"{each.path}: made with {text}; {remedy}")
        seen = held | seen


def anew(found: Sequence[Found]) -> str:
    """The flags with which none of an experiment's records stays."""
    seeds = sorted({each.record.seed for each in found})
    return f"--fresh --seeds {' '.join(map(str, seeds))} for all models of the experiment"


def trained_anew(found: Sequence[Found]) -> str:
    """The flags that train these records anew, as the end of a line.

    Of rows with other seeds than the first's, the next command tells.
    """
    seeds: dict[str, set[int]] = {}
    for each in found:
        seeds.setdefault(each.row.label, set()).add(each.record.seed)
    first = next(iter(seeds.values()))
    labels = shlex.join(label for label, theirs in seeds.items() if theirs == first)
    return f"--fresh --models {labels} --seeds {' '.join(map(str, sorted(first)))} trains anew"


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """As in "epochs 1 (not 3)", of the entries that both have; empty where they agree."""
    return ", ".join(
        f"{key} {value} (not {wanted[key]})"
        for key, value in found.items()
        if key in wanted and value != wanted[key]
    )


def changes(found: Computes | None, now: Computes | None) -> str:
    """As in "dropout 0.3 (not dropout 0.5)", rounding aside; empty where one is not known."""
    if not (found and now):
        return ""
    rates, rates_now = (", ".join(each.dropout) or "no dropout" for each in (found, now))
    same_torch = found.torch == now.torch
    told = {
        "other logits for the same weights": any(
            abs(one - other) > ROUNDING * max(map(abs, these))
            for number, (those, these) in enumerate(zip(found.logits, now.logits, strict=False))
            if same_torch or number < FILLED
            for one, other in zip(those, these, strict=False)
        ),
        f"{rates} (not {rates_now})": rates != rates_now,
        "initial weights of another size": same_torch
        and abs(found.initial - now.initial) > ROUNDING,
    }
    return ", ".join(text for text, is_so in told.items() if is_so)
