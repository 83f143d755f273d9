"""What a command still has to do: which runs have no record, and whether they fit those that do.

A run is done once it has a record, whatever machine and precision that is from. Nothing is changed
here but by ``forget``, which is called once everything else is in order.
"""

import contextlib
import json
import logging
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

import models
from utils.cli import Options
from utils.data.dataset import Dataset, held_out
from utils.errors import UserError, few
from utils.experiment import Compute, Experiment, Recipe, Run, declared_runs
from utils.machine import automatic_device
from utils.measuring.probes import seen
from utils.measuring.receptive_field import field_sizes
from utils.measuring.sizes import check_sizes
from utils.recipes import quick
from utils.records.checks import facts_of_network
from utils.records.environment import machine
from utils.records.files import first_fault, is_there
from utils.records.runs import (
    CHECKPOINT,
    SUFFIXES,
    WEIGHTS,
    Found,
    anew,
    check_together,
    differences,
    find_files,
    find_record,
    find_records,
    identity,
    run_path,
    seed_of,
    speed_path,
    trained_anew,
)
from utils.records.schema import Declared, Record
from utils.training.checkpoint import DamagedError, find_checkpoint
from utils.training.loop import weight_layers

log = logging.getLogger(__name__)


def compute_of(options: Options) -> Compute:
    """Device and precision as asked for, else the defaults."""
    return Compute(
        device=str(options.device or automatic_device()),
        precision=options.precision or "float32",
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
    seeds = options.seeds or ((0,) if options.quick else None)
    return declared_runs(experiment, options.labels, seeds, recipe, compute)


def runs_to_train(options: Options, compute: Compute) -> list[Run]:
    """The runs without a record, or all of them with ``--fresh``; none with ``--measure``.

    A run that stands in several tables comes once.
    Raises: UserError where a record that stays is of another recipe, network or images: the rows
    of one table share them.
    """
    missing: dict[Path, Run] = {}
    at_hand: dict[str, Record] = {}
    kept: list[Found] = []
    bare: list[str] = []
    selected = {each.name: selected_runs(each, options, compute) for each in options.experiments}
    replaced = {
        run_path(options.results, run)
        for runs in selected.values()
        for run in runs.values()
        if options.fresh
    }
    for experiment in options.experiments:
        runs = selected[experiment.name]
        found = find_records(experiment, options.results)
        staying = [each for each in found if each.path not in replaced]
        same = f"use the same flags, {anew(found)}, or another --out-dir"
        remedy = f"all rows of a table share these: {same}"
        check_together(staying, remedy, recipe_of(experiment, options))
        kept += staying
        for run in runs.values():
            path = run_path(options.results, run)
            record = find_record(run, options.results, options.also)
            if path in replaced or record is None:
                missing[path] = run
                continue
            if options.weights and not (record.diverged or is_there(path.with_suffix(WEIGHTS))):
                bare.append(run.title)
            if (record.precision, record.device) != (run.compute.precision, run.compute.kind):
                at_hand[run.title] = record
    check_sizes(kept + (joined_by(missing, options) if options.train else []))
    if options.train:
        check_layers(missing.values(), kept)
    if bare:
        log.info("recorded without weights, --fresh trains anew: %s", few(bare))
    if at_hand and (options.device or options.precision or options.seeds):
        log.info(counting(at_hand))
    return list(missing.values()) if options.train else []


def check_layers(missing: Iterable[Run], kept: Iterable[Found]) -> None:
    """What the seeds of a row have on record is of layers of the same names and receptive fields.

    Raises: UserError naming a record that another seed of its row could not stand beside.
    """
    rows = {(run.dataset, run.name): run for run in missing}
    now: dict[str, dict[str, Any]] = {}  # by row
    for each in kept:
        run = rows.get((each.record.dataset, each.row.run_name))
        if not (run and each.record.epochs):
            continue
        if run.name not in now:
            with torch.random.fork_rng(devices=[]):
                now[run.name] = facts_of_layers(run)
        if text := differences(facts_of_network(each.record), now[run.name]):
            seeds = [other for other in kept if other.row.run_name == run.name]
            raise UserError(
                f"{each.path}: {text}, by the network as it is now; give models/ back what it had, "
                f"or {trained_anew(seeds)}"
            )


def facts_of_layers(run: Run) -> dict[str, Any]:
    """Those of ``facts_of_network`` that the untrained network has."""
    network = models.build(run.network, **run.overrides).eval()
    fields = seen("receptive fields and feature maps", run.network, lambda: field_sizes(network))
    return {"gradient_norm of": ", ".join(weight_layers(network)), "receptive_field": fields}


def joined_by(missing: Mapping[Path, Run], options: Options) -> list[Found]:
    """The records beside which these runs will stand in tables that were not asked for.

    Raises: UserError where they cannot.
    """
    asked, beside = {experiment.name for experiment in options.experiments}, []
    for experiment in standing_in(missing.values(), options.study):
        if experiment.name not in asked:
            found = find_records(experiment, options.results)
            staying = [each for each in found if each.path not in missing]
            why = f"a run of this command joins its table, {experiment.name}"
            remedy = f"{why}: use the same flags, or another --out-dir"
            check_together(staying, remedy, recipe_of(experiment, options))
            beside += staying
    return beside


def standing_in(runs: Iterable[Run], experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments in whose tables these runs stand, whatever their seeds."""
    names = {(run.dataset, run.name) for run in runs}
    return [
        experiment
        for experiment in experiments
        if any((experiment.dataset, row.run_name) in names for row in experiment.rows)
    ]


def check_recipe(run: Run, dataset: Dataset, is_quick: bool) -> None:
    """The run's record can say what it is, and its images are enough; but for ``--quick``.

    Raises: UserError naming the run.
    """
    try:
        Declared.model_validate_json(json.dumps(identity(run), allow_nan=False))
    except ValidationError as error:
        raise UserError(f"{run.title}: {first_fault(error)}; mend it in experiments/") from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{run.title}: cannot be recorded ({error}); recipe and overrides hold finite numbers, "
            "words and lists of them"
        ) from error
    images, *_, side = dataset.x_train.shape
    images -= held_out(dataset) if run.part != "train" else 0
    recipe = run.recipe
    in_range = {
        "warmup": 0 <= recipe.warmup < 1,
        "label_smoothing": 0 <= recipe.label_smoothing <= 1,
        "crop_padding": 0 <= recipe.crop_padding < side,
    }
    for name, is_so in in_range.items():
        if not is_so:
            raise UserError(f"{run.title}: {name}={getattr(recipe, name)} is out of range")
    if run.images and run.images > images and not is_quick:
        raise UserError(f"{run.title}: images={run.images}, and {run.part} has {images}")


def check_images(options: Options, missing: Sequence[Run], load: Callable[[str], Dataset]) -> None:
    """What is trained now is of the images of what is there: records that stay, and checkpoints.

    Raises: UserError naming the first that is not, or a checkpoint that these runs do not go on
    from (``training.checkpoint.find_checkpoint``).
    """
    for run in missing:
        check_recipe(run, load(run.dataset), options.quick)
    for run in [] if options.fresh else missing:
        wanted = identity(run) | {"fingerprint": load(run.dataset).fingerprint}
        if options.scheduler:
            del wanted["device"]  # each worker has its own
        record = run_path(options.results, run)
        path = record.with_suffix(CHECKPOINT)
        with contextlib.suppress(DamagedError):  # it is set aside when the run is begun
            kept = find_checkpoint(path, wanted)
            if kept and kept.get("weights") and not options.weights:
                raise UserError(
                    f"{path}: an unfinished run whose weights are to be kept; it goes on with "
                    "--weights; --fresh trains it anew"
                )
        weights = record.with_suffix(WEIGHTS)
        if is_there(weights) and not options.weights:
            raise UserError(
                f"{weights}: its record is gone, and the run trained anew would delete it; bring "
                f"{record.name} back, keep the new weights with --weights, or move it away"
            )
    paths = {run_path(options.results, run) for run in missing}
    for experiment in standing_in(missing, options.study):
        data = load(str(experiment.dataset))
        every = find_records(experiment, options.results)
        for each in every:
            found = each.record.data.fingerprint
            if each.path not in paths and found != data.fingerprint:
                raise UserError(
                    f"{each.path}: made with other images (fingerprint {found[:12]}) than those "
                    f"of {data.description} here ({data.fingerprint[:12]}); name their "
                    f"--data-dir, another --out-dir, or {anew(every)}"
                )
        check_unfinished(experiment, options, paths, data.fingerprint)


def check_unfinished(
    experiment: Experiment, options: Options, paths: Collection[Path], fingerprint: str
) -> None:
    """The unfinished runs of a table can stand beside what this command adds, at ``paths``.

    Raises: UserError naming one that cannot, as ``find_checkpoint`` does.
    """
    recipe = recipe_of(experiment, options)
    for row in experiment.rows:
        for path in find_files(row, str(experiment.dataset), options.results, CHECKPOINT):
            run = row.run(str(experiment.dataset), recipe, seed_of(path), Compute())
            if run_path(options.results, run) not in paths:
                wanted = identity(run) | {"fingerprint": fingerprint}
                del wanted["device"], wanted["precision"]  # each row may have its own
                try:
                    find_checkpoint(path, wanted)
                except DamagedError:  # it is set aside when the run is begun
                    continue
                except UserError as error:
                    which = f"--experiments {experiment.name} --models {shlex.quote(row.label)}"
                    raise UserError(f"{error} with {which} --seeds {run.seed}") from error


def counting(at_hand: Mapping[str, Record]) -> str:
    """That records from another device or precision than asked for count, and whose they are."""
    names = [
        f"{title} ({record.precision}, {machine(record.environment)})"
        for title, record in at_hand.items()
    ]
    return f"the record at hand counts, --fresh trains anew: {', '.join(names)}"


def forget(runs: Sequence[Run], results: Path) -> None:
    """Deletes the records, arrays, weights, checkpoints and speeds of these runs.

    Raises: UserError, before the first, where a folder lies in a file's place.
    """
    paths = [speed_path(results, run) for run in runs]
    paths += [run_path(results, run).with_suffix(suffix) for run in runs for suffix in SUFFIXES]
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"{path}: a folder where a file belongs; move it away")
    for path in paths:
        path.unlink(missing_ok=True)
