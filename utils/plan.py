"""What a command still has to do: which runs have no record, and whether they fit those that do.

Nothing is changed here but by ``forget``, which is called once everything else is in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from utils.cli import Options
from utils.errors import UserError
from utils.experiment import Compute, Experiment, Recipe, Run, declared_runs
from utils.machine import automatic_device, check_device
from utils.recipes import quick
from utils.records.runs import (
    SUFFIXES,
    check_together,
    differences,
    find_record,
    find_records,
    identity,
    run_path,
    shared,
)

REMEDY = (
    "all rows of a table share these: use the same flags, --fresh for all models of the "
    "experiment, or another --out-dir"
)


def settle_compute(options: Options) -> Compute:
    """Device and precision as asked for, else those of the records at hand, else the defaults."""
    found = [
        each
        for experiment in options.experiments
        if not options.fresh
        for each in find_records(experiment, options.results)
    ]
    device = check_device(found[0].record.device) if found else automatic_device()
    free = [each.record.precision for each in found if not each.row.precision]
    return Compute(
        device=str(options.device or device),
        precision=options.precision or (free[0] if free else "float32"),
        threads=options.threads,
    )


def recipe_of(experiment: Experiment, options: Options) -> Recipe | None:
    """The declared recipe, or what the flags make of it."""
    recipe = experiment.recipe
    if recipe and options.quick:
        recipe = quick(recipe)
    if recipe and options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    return recipe


def selected_runs(
    experiment: Experiment, options: Options, compute: Compute
) -> dict[tuple[str, int], Run]:
    """``{(label, seed): run}``: what this command is about."""
    recipe = recipe_of(experiment, options)
    return declared_runs(experiment, options.labels, options.seeds, recipe, compute)


def runs_to_train(options: Options, compute: Compute) -> list[Run]:
    """The runs without a record, or all of them with ``--fresh``; none with ``--measure``.

    A run that stands in several tables comes once.
    Raises: UserError where a record that stays is of another recipe, precision or device: the
    rows of one table share them.
    """
    missing: dict[Path, Run] = {}
    for experiment in options.experiments:
        runs = selected_runs(experiment, options, compute)
        replaced = {run_path(options.results, run) for run in runs.values() if options.fresh}
        check_records(experiment, runs, replaced, options, compute)
        for run in runs.values():
            path = run_path(options.results, run)
            if path in replaced or find_record(run, options.results, options.also) is None:
                missing[path] = run
    return list(missing.values()) if options.train else []


def check_records(
    experiment: Experiment,
    runs: Mapping[tuple[str, int], Run],
    replaced: set[Path],
    options: Options,
    compute: Compute,
) -> None:
    """Every record must be what its row would give now, and share the table's conditions.

    Not looked at are those that are ``replaced``.
    """
    recipe = recipe_of(experiment, options)
    found = [
        each for each in find_records(experiment, options.results) if each.path not in replaced
    ]
    for each in found:
        run = each.row.run(experiment.dataset, recipe, each.record.seed, compute)
        if text := differences(identity(each.record), identity(run)):
            raise UserError(f"{each.path}: made with {text}; {REMEDY}")
    check_together({each.path: shared(each.record, each.row) for each in found}, REMEDY)


def forget(runs: Sequence[Run], results: Path) -> None:
    """Deletes the records, arrays, weights and checkpoints of these runs."""
    for run in runs:
        path = run_path(results, run)
        for suffix in SUFFIXES:
            path.with_suffix(suffix).unlink(missing_ok=True)
