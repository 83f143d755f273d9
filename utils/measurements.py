"""What of a command's networks and layers has no time yet, and how it comes by one.

All that stand in one table are measured in the same passes, on one machine: ``measuring.speed`` and
``measuring.layers`` say how a single pass goes.
"""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from utils.claim import PASSES
from utils.cli import Options
from utils.data.dataset import Load
from utils.data.mapped import mapped
from utils.errors import SomeFailed, UserError, in_one_line
from utils.experiment import Compute, Experiment, Run, declared_runs
from utils.measuring import layers, speed
from utils.measuring.passes import in_passes, joined
from utils.measuring.sizes import other_than, shape_of, sizes
from utils.measuring.trial import failing
from utils.plan import compute_of, recipe_of
from utils.records.checks import MEASURE, read_speed
from utils.records.files import is_there, write_arrays, write_record
from utils.records.runs import speed_path

log = logging.getLogger(__name__)


def measure_layers(experiment: Experiment, options: Options, device: torch.device) -> list[str]:
    """Measures the layers or blocks that the experiment holds, untrained.

    Returns those that cannot be: then none is, as a table has them all.
    """
    path = options.results / experiment.name / "cases.json"
    if not experiment.cases or (is_there(path) and not options.measure):
        return []
    tries = {case.name: partial(layers.call_once, case, device) for case in experiment.cases}
    if failed := failing(tries):
        return failed
    passes = 1 if options.quick else PASSES
    what = f"{len(experiment.cases)} {experiment.cases_are}s{in_words(passes)}"
    log.info("%s: measuring %s", experiment.name, what)
    effort = layers.QUICK if options.quick else layers.FULL
    measure = partial(layers.study_layers, experiment, device, effort)
    found = in_passes(measure, passes)
    record, arrays = found[0]
    if arrays:
        write_arrays(path.with_suffix(".npz"), arrays)
    of_each = zip(*(each.cases for each, _ in found), strict=True)
    write_record(path, record.model_copy(update={"cases": tuple(map(joined, of_each))}))
    return []


def in_words(passes: int) -> str:
    """In how many passes, for the line that announces a measurement."""
    return f", {passes} times" * (passes > 1)


def timed_runs(experiment: Experiment, options: Options, compute: Compute) -> dict[Path, Run]:
    """A run of each network whose speed stands in the experiment's table, by the speed's file."""
    if not (experiment.rows and experiment.timed):
        return {}
    recipe = recipe_of(experiment, options)
    declared = declared_runs(experiment, recipe=recipe, compute=compute).values()
    return {speed_path(options.results, run): run for run in declared}


def check_speeds(options: Options) -> None:
    """The speeds on record are of the networks that ``models/`` has now.

    Raises: UserError naming the first that is not.
    """
    for experiment in options.experiments:
        for path, run in timed_runs(experiment, options, compute_of(options)).items():
            if text := change_since(path, run):
                raise UserError(f"{path}: {text}, by the network as it is now; {MEASURE}")


def change_since(path: Path, run: Run) -> str:
    """In what a network differs from the one whose speed is on record; empty where it does not."""
    if not is_there(path):
        return ""
    return other_than(read_speed(path), sizes(run.network, run.overrides, shape_of(run.dataset)))


def missing(runs: Mapping[Path, Run]) -> set[Path]:
    """The speeds that are not on record, or are of a network that was changed since."""
    return {path for path, run in runs.items() if not is_there(path) or change_since(path, run)}


def in_shared_tables(
    runs: Mapping[Path, Run], options: Options, compute: Compute
) -> dict[Path, Run]:
    """These, and those of the study's tables that share one of them and were measured before.

    The speeds of a table are of one machine.
    """
    together = dict(runs)
    tables = [timed_runs(experiment, options, compute) for experiment in options.study]
    for _ in tables:  # each may bring in another
        for each in tables:
            others = each.keys() - together.keys()
            if len(others) < len(each) and any(map(Path.exists, others)):
                together |= each
    return together


def measure_networks(options: Options, compute: Compute, load: Load) -> list[str]:
    """Measures all networks in the same passes, where that was not done yet for one of them.

    Returns those that cannot be measured.
    """
    runs: dict[Path, Run] = {}
    for experiment in options.experiments:
        runs |= timed_runs(experiment, options, compute)
    is_asked, lacking = options.measure or options.fresh, missing(runs)
    if not (is_asked or lacking):
        return []
    together = in_shared_tables(runs, options, compute)
    lacking |= missing({path: together[path] for path in together.keys() - runs.keys()})
    runs = together
    called = {path: f"{run.dataset} {run.name}" for path, run in runs.items()}
    calls = {
        called[path]: partial(speed.call_once, run, load(run.dataset)) for path, run in runs.items()
    }
    failed = failing(calls)
    runs = {path: run for path, run in runs.items() if called[path] not in failed}
    if runs and (is_asked or lacking & runs.keys()):
        passes = 1 if options.quick else PASSES
        log.info("measuring the speed of %d networks%s", len(runs), in_words(passes))
        named = {str(path): run for path, run in runs.items()}
        effort = speed.QUICK if options.quick else speed.FULL
        try:
            with mapped(load, runs.values(), options.results) as loader:
                measure = partial(speed.measure_speed, named, loader, effort)
                found = in_passes(measure, passes)
        except (UserError, SomeFailed, OSError):
            raise
        except Exception as error:  # what a network of one's own raises after its first step
            log.error("no speed is measured: %s", in_one_line(error))
            return [*failed, "the speed of networks"]
        for path in named:
            write_record(Path(path), joined([each[path] for each in found]))
    return failed
