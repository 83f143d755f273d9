"""What a command still has to do: which runs have no record, and whether they fit those that do.

Nothing is changed here but by ``forget``, which is called once everything else is in order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from utils.cli import Options, automatic_device
from utils.errors import UserError
from utils.experiment import Experiment, Recipe, Run, declared_runs
from utils.recipes import quick
from utils.records.files import IDENTITY, identity, read_json, read_runs, run_path
from utils.training.loop import Compute, run_identity


def settle_compute(options: Options) -> Compute:
    """Device and precision as asked for, else those of the records at hand, else the defaults."""
    kept: dict[str, Any] = {}
    for experiment in () if options.fresh else options.experiments:
        kept = kept or next(iter(read_runs(options.results, experiment.name)), {})
    device = torch.device(kept["device"]) if kept else automatic_device()
    return Compute(options.device or device, options.precision or kept.get("precision", "float32"))


def recipe_of(experiment: Experiment, options: Options) -> Recipe | None:
    """The declared recipe, or what the flags make of it."""
    recipe = experiment.recipe
    if recipe and options.quick:
        recipe = quick(recipe)
    if recipe and options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    return recipe


def selected_runs(experiment: Experiment, options: Options) -> list[Run]:
    """The runs of an experiment that this command is about."""
    recipe = recipe_of(experiment, options)
    return declared_runs(experiment, options.models, options.seeds, recipe)


def runs_to_train(options: Options, compute: Compute) -> list[Run]:
    """The runs without a record, or all of them with ``--fresh``; none with ``--measure``.

    Raises: UserError where a record that stays is of another recipe, precision or device: the
    rows of one table share them.
    """
    missing = []
    for experiment in options.experiments:
        runs = selected_runs(experiment, options)
        again = runs if options.fresh else []
        check_records(experiment, runs, again, options.results, compute)
        missing += [
            run for run in runs if run in again or not record_path(run, options.results).exists()
        ]
    return missing if options.train else []


def record_path(run: Run, results: Path) -> Path:
    """Where the run's record stands, or will."""
    return run_path(results, run.experiment, run.model, run.seed)


def check_records(
    experiment: Experiment,
    runs: Sequence[Run],
    again: Sequence[Run],
    results: Path,
    compute: Compute,
) -> None:
    """Every record must be what its run would give, and share the table's conditions.

    Not looked at are the records of the runs that are trained ``again``.
    """
    expected = {record_path(run, results): run_identity(run, compute) for run in runs}
    replaced = {record_path(run, results) for run in again}
    for path in sorted((results / experiment.name / "runs").glob("*.json")):
        if path in replaced:
            continue
        found = identity(read_json(path, IDENTITY))
        wanted = expected.get(path, found | shared_conditions(runs, compute))
        differing = [key for key in found if found[key] != wanted[key]]
        if differing:
            was = ", ".join(f"{key} {short(found[key], wanted[key])}" for key in differing)
            raise UserError(
                f"{path}: made with {was}; all rows of a table share these: use the same flags, "
                "--fresh for all models of the experiment, or another --out-dir"
            )


def shared_conditions(runs: Sequence[Run], compute: Compute) -> dict[str, Any]:
    """What all rows of a table have in common."""
    if not runs:
        return {}
    whole = run_identity(runs[0], compute)
    return {key: whole[key] for key in ("dataset", "recipe", "precision", "device")}


def short(found: object, wanted: object) -> str:
    """``found (now wanted)``; of a recipe, only the entries that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        return ", ".join(f"{key} {short(found.get(key), wanted.get(key))}" for key in keys)
    return f"{found} (now {wanted})"


def forget(runs: Sequence[Run], results: Path) -> None:
    """Deletes the records, arrays, weights and checkpoints of these runs."""
    for run in runs:
        path = record_path(run, results)
        for suffix in (".json", ".npz", ".safetensors", ".checkpoint.pt"):
            path.with_suffix(suffix).unlink(missing_ok=True)
