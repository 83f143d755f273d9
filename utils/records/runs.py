"""Runs on disk: where each stands, what makes it the run that it is, what may share a table.

    results/runs/<dataset>/<name>-seed<seed>.json          the record of a run
    results/runs/<dataset>/<name>-seed<seed>.npz           its arrays: what a figure needs
    results/runs/<dataset>/<name>-seed<seed>.safetensors   its weights, where they were asked for
    results/speed/<dataset>/<name>.json                    its network's speed, measured apart

The name is the network's, with what was varied of it, see ``utils.experiment.Row``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.experiment import Experiment, Row, Run
from utils.records.files import read_record
from utils.records.schema import Record

SUFFIXES = (".json", ".npz", ".safetensors", ".checkpoint.pt")  # of a run's files


@dataclass(frozen=True)
class Found:
    """A record on disk that belongs to a row."""

    path: Path
    row: Row
    record: Record


def run_path(results: Path, run: Run) -> Path:
    """Where the record of a run stands, or will."""
    return results / "runs" / run.dataset / f"{run.name}-seed{run.seed}.json"


def speed_path(results: Path, run: Run) -> Path:
    """Where the speed of the run's network stands; any seed is as fast."""
    return results / "speed" / run.dataset / f"{run.name}.json"


def find_record(run: Run, results: Path, also: Path | None = None) -> Record | None:
    """The run's record; None where there is none.

    ``also`` is where the study's own records are: a run whose row fixes its precision is the
    study's, under the name without it, where that has this very run.
    """
    path = run_path(results, run)
    if path.exists():
        return read_record(path, Record)
    if also is None:
        return None
    path = run_path(also, replace(run, name=run.name.removesuffix(f"-{run.compute.precision}")))
    record = read_record(path, Record) if path.exists() else None
    return record if record and identity(record) == identity(run) else None


def find_records(experiment: Experiment, results: Path) -> list[Found]:
    """The records of all rows and seeds on disk, by row and then by seed.

    Raises: UserError for one that is not as it should be.
    """
    found = []
    for row in experiment.rows:
        name = re.compile(rf"{re.escape(row.run_name)}-seed\d+")
        paths = (results / "runs" / str(experiment.dataset)).glob("*.json")
        mine = [path for path in paths if name.fullmatch(path.stem)]
        records = [Found(path, row, read_record(path, Record)) for path in mine]
        for each in records:
            check_name(each, str(experiment.dataset))
        found += sorted(records, key=lambda each: each.record.seed)
    return found


def check_name(found: Found, dataset: str) -> None:
    """A record is of the run that its file's name says.

    Raises: UserError naming the file and what is another run's.
    """
    row, record = found.row, found.record
    expected = {
        "network": row.network or row.label,
        "overrides": json.loads(json.dumps(dict(row.overrides))),
        "dataset": dataset,
        "part": row.part,
        "images": row.images,
        "permuted": row.permuted,
        "seed": int(found.path.stem.rpartition("-seed")[2]),
        "recipe": dict(row.recipe),
        **({"precision": row.precision} if row.precision else {}),
    }
    recorded = identity(record)
    recorded["recipe"] = {key: recorded["recipe"][key] for key in row.recipe}
    if text := differences({key: recorded[key] for key in expected}, expected):
        raise UserError(f"{found.path}: the record of another run, {text}; delete it")


def identity(run: Run | Record) -> dict[str, Any]:
    """What makes a run the run that it is, as JSON gives it back.

    What else a record depends on (images, versions, threads) stands in it, and is not the user's
    to repeat.
    """
    compute = run.compute if isinstance(run, Run) else run
    return {
        "network": run.network,
        "overrides": json.loads(json.dumps(dict(run.overrides))),
        "dataset": run.dataset,
        "part": run.part,
        "images": run.images,
        "permuted": run.permuted,
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "precision": compute.precision,
        "device": compute.device.split(":")[0],
    }


def shared(run: Run | Record, row: Row) -> dict[str, Any]:
    """What a row's run has in common with those of all other rows of its table.

    That is its recipe, but for what the row varies of it, its device and, where the row does not
    fix one, its precision; of a record the images too.
    """
    conditions = identity(run)
    recipe = {key: value for key, value in conditions["recipe"].items() if key not in row.recipe}
    return {
        "recipe": recipe,
        **({} if row.precision else {"precision": conditions["precision"]}),
        "device": conditions["device"],
        **({"images": run.data.fingerprint} if isinstance(run, Record) else {}),
    }


def check_together(conditions: Mapping[Path, Mapping[str, Any]], remedy: str) -> None:
    """The one rule of what may share a table: ``shared`` conditions agree wherever both have them.

    Raises: UserError naming the first file that differs from those before it, and in what.
    """
    seen: dict[str, Any] = {}
    for path, each in conditions.items():
        if text := differences(each, seen):
            raise UserError(f"{path}: made with {text}; {remedy}")
        seen = merged(seen, each)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """All entries of both, the recipe's one by one."""
    recipe = {**first.get("recipe", {}), **second.get("recipe", {})}
    return {**first, **second, **({"recipe": recipe} if recipe else {})}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """As in "precision float32 (not bfloat16)"; of entries that both have, the recipe's one by one.

    Empty where they agree.
    """
    texts = []
    for key, value in found.items():
        other = wanted.get(key, value)
        if isinstance(value, dict) and isinstance(other, dict) and key == "recipe":
            text = differences(value, other)
            texts += [f"{key} {text}"] if text else []
        elif value != other:
            texts.append(f"{key} {value} (not {other})")
    return ", ".join(texts)
