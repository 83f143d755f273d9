"""Records: one JSON file per training run, the only thing that tables and figures read.

    declared run --train--> record --render--> table, figure, README

A record answers whatever can be asked of a run: recipe, seed, dataset fingerprint, curves,
confusion matrix, versions, machine. Accuracies are fractions in [0, 1], times are seconds.
Arrays that a figure needs (predictions, filters, feature maps) stand in an ``.npz`` beside it.
Everything is written to a temporary name and renamed, so a reader never meets half a file.

    results/<experiment>/runs/<model>-seed<seed>.json    the record of a run
    results/<experiment>/runs/<model>-seed<seed>.npz     its arrays
    results/<experiment>/speed.json                      the speed of all models, measured apart
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError

SCHEMA = 1

# What the command line decides about a run. A record that agrees in all of it is the run's own;
# what else it depends on (images, versions, threads) stands in it, and is not the user's to repeat.
IDENTITY = ("experiment", "model", "overrides", "dataset", "recipe", "seed", "precision", "device")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path beside ``path``, then renames it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a record atomically; a NaN becomes null, which JSON has a word for."""
    write_text(path, json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n")


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed ``.npz`` atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # an open file keeps numpy from appending ".npz"
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a record and checks that it is whole, of this schema, and has these ``keys``.

    Raises: UserError naming the file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable record ({error}); delete it and run the script again"
        ) from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise UserError(
            f"{path}: record of schema {found}, this version reads {SCHEMA}; "
            "delete it and run the script again"
        )
    if lacking := [key for key in keys if key not in record]:
        raise UserError(
            f"{path}: a record without {', '.join(lacking)}; delete it and run the script again"
        )
    return record


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays beside a record.

    Raises: UserError naming the file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not a readable array file ({error}); delete it and the .json of the same "
            "name and run the script again"
        ) from error


def run_path(results: Path, experiment: str, model: str, seed: int) -> Path:
    """Where the record of a run stands; its arrays have the suffix ``.npz``."""
    return results / experiment / "runs" / f"{model}-seed{seed}.json"


def speed_path(results: Path, experiment: str) -> Path:
    """Where the speed of an experiment's models stands."""
    return results / experiment / "speed.json"


def read_runs(results: Path, experiment: str) -> list[dict[str, Any]]:
    """All records of an experiment, by seed and then by file name."""
    paths = sorted((results / experiment / "runs").glob("*.json"))
    records = [read_json(path, IDENTITY) for path in paths]
    return sorted(records, key=lambda record: record["seed"])


def identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the run of this record the run that it is."""
    return {key: record[key] for key in IDENTITY}
