"""What a script does with its experiments: train what is missing, measure, render.

    declared runs --train--> records --render--> tables, figures, README

Everything the user can get wrong is checked before the first training step; whatever is
finished is on disk at once, and the same command goes on where an earlier one stopped.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import torch

import models
from utils import REPOSITORY
from utils.claim import Answer
from utils.cli import Options, parse
from utils.data.dataset import SHIPPED_FINGERPRINTS, Dataset, Load, load_dataset, load_quick_dataset
from utils.data.mapped import mapped
from utils.errors import SomeFailed, UserError, exit_code, few, traceback_in
from utils.experiment import Experiment, Row, Run
from utils.logs import logs
from utils.machine import (
    allowed_threads,
    keep_freed_memory,
    limit_threads,
    warn_if_crowded,
    warn_if_slower,
)
from utils.measurements import check_speeds, measure_layers, measure_networks
from utils.measuring.evaluation import check_weights, record_beside
from utils.measuring.layers import check_layers
from utils.measuring.prediction import predict, statistics_of
from utils.measuring.sizes import check_sizes, sizes
from utils.measuring.trial import try_out
from utils.one_run import keep_one, run_one, train_one, where
from utils.plan import check_images, compute_of, forget, runs_to_train
from utils.records.checks import read_speed
from utils.records.environment import machine_name
from utils.records.files import LEFT, read_record, sweep, write_text
from utils.records.runs import WEIGHTS, Found, find_files, find_records, run_path, strangers
from utils.records.schema import Record
from utils.records.study import gather
from utils.report.claim_text import claims_csv
from utils.report.declared import check_declared
from utils.report.makespan import makespan_text
from utils.report.mcnemar import mcnemar_rows
from utils.report.methods import methods_blocks
from utils.report.original import original_text
from utils.report.overview import render_overview
from utils.report.pages import render_pages
from utils.report.render import is_outdated, render_experiment, stale_tables, text_blocks
from utils.report.rows import speed_columns, to_csv
from utils.settings import check_defaults
from utils.training.checkpoint import drop_finished
from utils.training.jobs import check_processes, one_after_another, side_by_side
from utils.training.progress import Progress

if TYPE_CHECKING:
    from utils.training.cluster import Cluster

log = logging.getLogger(__name__)


def main(
    experiments: Sequence[Experiment],
    description: str,
    argv: Sequence[str] | None = None,
    study: Sequence[Experiment] = (),
    answers: Sequence[Answer] = (),
    render: Callable[[Options], None] | None = None,
    folder: str = "",
) -> int:
    """Runs a script; returns its exit code.

    That is 0, 1 where a run failed, 2 for a mistake of the user's, 130 for Ctrl-C, 143 for SIGTERM.
    ``study`` are the experiments of all scripts, and ``answers`` what they answer. ``render`` makes
    tables and figures of the records, and ``folder`` is where below results/ and plots/ all of it
    stands: both for what is not the study itself.
    """
    render = render or partial(render_study, answers)

    def command() -> None:
        options = parse(experiments, description, argv, folder, study)
        alone = contextlib.nullcontext() if options.only_reads else lock(options.results)
        log_file = options.results / f"{Path(sys.argv[0]).stem}.log"
        with logs(log_file), alone, traceback_in(log_file):
            run_script(options, render, answers)

    return exit_code(command, how_to_go_on(sys.argv if argv is None else argv))


def how_to_go_on(argv: Sequence[str]) -> str:
    """What is said of a command that was interrupted."""
    if "--measure" in argv:
        return "the same command measures anew"
    again = "the same command without --fresh" if "--fresh" in argv else "the same command"
    return f"{again} goes on after the last finished epoch"


def run_script(
    options: Options, render: Callable[[Options], None], answers: Sequence[Answer] = ()
) -> None:
    """Checks, trains, measures and renders; or compares weights with their records.

    Raises: SomeFailed at the end where a run or a measurement did.
    """
    keep_freed_memory()
    limit_threads()
    check_defaults()
    if not options.folder:  # what is not the study has tables of its own
        check_declared(options.study, models.MODELS, answers)
    if options.evaluate:
        return evaluate_weights(options)
    if options.predict:
        return predict_pictures(options)
    tidy_up(options)
    if warning := warn_if_crowded(options.threads * options.jobs):
        log.warning(warning)
    runs: Sequence[Run] = ()
    failed: list[str] = []
    if options.train or options.measure:
        runs, failed = train_and_measure(options)
    else:
        every = [find_records(experiment, options.results) for experiment in options.experiments]
        check_sizes([found for each in every for found in each])
        check_speeds(options)
    render(options)
    name_diverged(runs, options.results)
    if failed:
        raise SomeFailed("; ".join(failed))


def train_and_measure(options: Options) -> tuple[Sequence[Run], list[str]]:
    """Trains the runs that have no record, and measures the networks and layers that have none.

    Returns these runs, and in words what failed of them and of the measurements.
    """
    compute = compute_of(options)
    device = torch.device(compute.device)
    load = DatasetLoader(options, device)
    runs = runs_to_train(options, compute)
    with connected(options, runs) as cluster:
        check_images(options, runs, load)
        of_epoch: dict[str, float] = {}
        for tried, run in {tried_as(run): run for run in runs}.items():
            try_out(run, load(run.dataset), options.weights)
            of_epoch[tried] = cost(run, load(run.dataset))
        costs = {run.title: run.recipe.epochs * of_epoch[tried_as(run)] for run in runs}
        # all that the user can get wrong has been looked at: from here on files are changed
        for precision in dict.fromkeys(run.compute.precision for run in runs if not cluster):
            if warning := warn_if_slower(device, precision):
                log.warning(warning)
        failures = train_runs(runs, costs, options, load, cluster)
    # with as many threads as the runs had together
    together = min(options.threads * options.jobs, allowed_threads())
    compute = replace(compute, threads=together)
    torch.set_num_threads(compute.threads)
    unmeasured: list[str] = []
    for experiment in options.experiments:
        unmeasured += measure_layers(experiment, options, device)
    unmeasured += measure_networks(options, compute, load)
    texts = [f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures)}"] * bool(failures)
    texts += [f"cannot be measured: {', '.join(unmeasured)}"] * bool(unmeasured)
    return runs, texts


def tidy_up(options: Options) -> None:
    """Deletes what commands that were killed have left."""
    pages = [REPOSITORY / "docs"] if options.is_study else []
    for folder in (options.results, options.plots, *pages):
        sweep(folder, options.results)
    for remnant in REPOSITORY.glob("README*.tmp") if options.is_study else ():
        if LEFT.fullmatch(remnant.name):
            remnant.unlink(missing_ok=True)
    drop_finished(options.results / "runs")


def evaluate_weights(options: Options) -> None:
    """Compares the weights on record with their records, each run once; prints a line for each.

    Raises: SomeFailed where one is not what its record says, or where a network of the report has
    a record and none; UserError where there is nothing at all.
    """
    compute = compute_of(options)
    load = DatasetLoader(options, torch.device(compute.device))
    torch.set_num_threads(compute.threads)
    failed: list[str] = []
    missing = []
    is_empty = True
    for experiment, row in rows_once(options):
        found = check_weights(experiment, row, options.results, load, compute, print)
        failed += found or []
        trained = find_files(row, str(experiment.dataset), options.results, ".json")
        is_empty &= found is None and not trained
        if found is None and trained and not experiment.control:
            missing.append(row.label)
            print(f"{row.label}: no weights; {price(trained[0], row, options.results)}")
    if is_empty:
        raise UserError(f"--evaluate: no weights and no records below {options.results}")
    if failed or missing:
        texts = ["not shown to be what the records say: " + ", ".join(failed)] * bool(failed)
        texts += ["there are no weights of " + ", ".join(missing)] * bool(missing)
        raise SomeFailed("; ".join(texts))


def rows_once(options: Options) -> list[tuple[Experiment, Row]]:
    """The command's rows; a run under several labels under its first."""
    rows: dict[tuple[str, str], tuple[Experiment, Row]] = {}
    for experiment in options.experiments:
        for row in experiment.rows:
            if options.labels is None or row.label in options.labels:
                rows.setdefault((str(experiment.dataset), row.run_name), (experiment, row))
    return list(rows.values())


def predict_pictures(options: Options) -> None:
    """Prints what the networks whose weights are on record take the user's pictures for.

    Raises: UserError where there are no weights, or not the images that they were trained on, and
    at the end for pictures that cannot be read; SomeFailed at the end where a network cannot be
    asked.
    """
    networks: dict[str, list[Found]] = {}  # by the fingerprint of their images
    failed: list[str] = []
    for experiment, row in rows_once(options):
        dataset = str(experiment.dataset)
        files = find_files(row, dataset, options.results, WEIGHTS)
        for path in [each for each in files if each.with_suffix(".json").exists()][:1]:
            found = record_beside(path, row, dataset)
            try:
                check_sizes([found])
            except UserError as error:
                log.error("%s", error)
                failed.append(row.label)
                continue
            networks.setdefault(found.record.data.fingerprint, []).append(found)
    if not networks and not failed:
        raise UserError(
            f"--predict: no weights with their record below {options.results}; --weights keeps them"
        )
    data_dir = None if options.quick else options.data_dir
    statistics = {images: statistics_of(found[0], data_dir) for images, found in networks.items()}
    unread = []
    for picture in options.predict:
        try:
            for images, found in networks.items():
                failed += predict(picture, found, statistics[images], print)
        except UserError as error:  # the other pictures are shown all the same
            unread.append(str(error))
    if failed:
        asked = f"cannot be asked: {', '.join(dict.fromkeys(failed))}"
        raise SomeFailed("; ".join([*unread, asked]))
    if unread:
        raise UserError("; ".join(unread))


def price(path: Path, row: Row, results: Path) -> str:
    """How to get a row's weights, and how long that takes on the machine whose speed is on record.

    ``path`` is that of one of its records.
    """
    record = read_record(path, Record)
    how = f"--models '{row.label}' --seeds N --weights trains and keeps them"
    timed = results / "speed" / record.dataset / f"{row.run_name}.json"
    if not timed.exists():
        return how
    speed = read_speed(timed)
    minutes = speed_columns(record, speed)["training_seconds"] / 60
    return f"{how}, in {minutes:.0f} minutes on {machine_name(speed.environment)}"


@contextlib.contextmanager
def lock(results: Path) -> Iterator[None]:
    """Keeps a second command out of the folder.

    Raises: UserError naming it.
    """
    try:
        held = filelock.FileLock(results / ".lock", timeout=0, mode=0o666).acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"{results}: another command is writing there; wait for it, or give another --out-dir "
            "(--jobs trains several networks at once)"
        ) from error
    except OSError as error:
        raise UserError(
            f"{results / '.lock'}: cannot be locked ({error.strerror}); delete it if no other "
            "command is writing there, or give another --out-dir"
        ) from error
    with held:
        yield


class DatasetLoader:
    """Loads each dataset once, when it is first asked for, onto the training device."""

    def __init__(self, options: Options, device: torch.device) -> None:
        self.options, self.device = options, device
        self.loaded: dict[str, Dataset] = {}

    def __call__(self, name: str) -> Dataset:
        """The dataset ``"mnist"`` or ``"cifar10"``, or what ``--quick`` has in its place."""
        if name not in self.loaded:
            quick = self.options.quick
            data = load_quick_dataset(name) if quick else load_dataset(name, self.options.data_dir)
            if not quick and data.fingerprint != SHIPPED_FINGERPRINTS[name]:
                text = (
                    f"{data.description}: not the images that the shipped results were measured on "
                    f"(fingerprint {data.fingerprint[:12]}…, theirs "
                    f"{SHIPPED_FINGERPRINTS[name][:12]}…)"
                )
                if self.options.is_study:
                    raise UserError(f"{text}; give an --out-dir of their own")
                log.warning(text)
            self.loaded[name] = data.to(self.device)
        return self.loaded[name]


@contextlib.contextmanager
def connected(options: Options, runs: Sequence[Run]) -> "Iterator[Cluster | None]":
    """The cluster of ``--scheduler``; None where there is none, or nothing to train.

    Raises: UserError as ``Cluster`` does.
    """
    if not (options.scheduler and runs):
        yield None
        return
    from utils.training.cluster import Cluster, Place  # Dask need not be installed

    data_dir = options.data_dir.resolve()
    if data_dir.is_relative_to(REPOSITORY):  # each worker's own
        data_dir = data_dir.relative_to(REPOSITORY)
    place = Place(options.results, options.worker_device, None if options.quick else data_dir)
    with Cluster(options.scheduler, place) as cluster:
        yield cluster


def tried_as(run: Run) -> str:
    """What a network is tried out with; not its seed, and not for how many epochs."""
    return str(replace(run, seed=0, recipe=replace(run.recipe, epochs=1), name=""))


def cost(run: Run, dataset: Dataset) -> float:
    """Roughly how long an epoch takes, in no unit: for the remaining time, and the order of many.

    A training step costs about three forward passes; the constant stands for what every image
    costs in any network (batch making, optimiser, bookkeeping).
    """
    found = sizes(run.network, run.overrides, dataset.x_train.shape[1:])
    return len(dataset.x_train) * (3 * found["forward_flops"] + 5e6)


def train_runs(
    runs: Sequence[Run],
    costs: Mapping[str, float],
    options: Options,
    load: Load,
    cluster: "Cluster | None" = None,
) -> Mapping[str, BaseException]:
    """Trains each run; returns what stopped those that failed, by their titles."""
    progress = Progress(costs)
    longest_first = sorted(runs, key=lambda run: -costs[run.title])
    in_processes = not cluster and options.jobs > 1 and len(runs) > 1
    images = mapped(load, runs, options.results) if in_processes else contextlib.nullcontext(load)
    try:
        with images as loader:
            if in_processes:
                check_processes(min(options.jobs, len(runs)))
            forget_them = partial(forget, runs if options.fresh else (), options.results)
            if cluster:
                sent = {name: load(name).to("cpu") for name in {run.dataset for run in runs}}
                train_there = partial(train_one, weights=options.weights)
                keep = partial(keep_one, results=options.results, tell=progress)
                return cluster.train(longest_first, train_there, keep, sent, progress, forget_them)
            forget_them()  # there is room for all that they need
            work = partial(run_one, results=options.results, weights=options.weights, load=loader)
            if in_processes:
                return side_by_side(longest_first, work, options.jobs, progress)
            return one_after_another(runs, work, progress)
    finally:
        progress.close()


def name_diverged(runs: Sequence[Run], results: Path) -> None:
    """The last line of a command: which of the runs trained now came to no result."""
    paths = {run.title: run_path(results, run) for run in runs}
    records = {title: read_record(path, Record) for title, path in paths.items() if path.exists()}
    found = [f"{title} ({where(r.diverged)})" for title, r in records.items() if r.diverged]
    if found:
        log.warning("diverged, and recorded so: %s", "; ".join(found))


def render_study(answers: Sequence[Answer], options: Options) -> None:
    """Tables and figures of the command's experiments, and the README where it is the study.

    Also those of the study's other experiments of which some were written before and have other
    records now: a run can stand in several.
    """
    results, plots = options.results, options.plots
    every = [gather(experiment, results, models.MODELS) for experiment in options.study]
    for evidence in every:
        check_layers(evidence.experiment, evidence.cases, results)
    if left_out := strangers(options.study, results):
        log.warning("%s: called as no run of a declared row; left out", few(left_out))
    if stale := [path for evidence in every for path in stale_tables(evidence, results)]:
        log.warning("%s: of results that are no longer on record; delete what is old", few(stale))
    asked = {experiment.name for experiment in options.experiments}
    blocks: dict[str, str] = {}
    for evidence in every:
        if evidence.experiment.name in asked or is_outdated(evidence, results):
            rendered = render_experiment(evidence, results, plots)
            if evidence.empty:
                none = f"no records below {results} yet"
                found = "all of its runs diverged" if evidence.diverged else none
                log.warning("%s: %s", evidence.experiment.name, found)
            blocks |= rendered
        elif options.is_study:  # a claim that was edited is decided on its page too
            blocks |= text_blocks(evidence)
    log.info("tables: %s, figures: %s", results, plots)
    blocks |= render_overview(every, answers, plots)
    write_text(results / "claims.csv", claims_csv(every))
    if options.is_study:
        tested = [row for evidence in every for row in mcnemar_rows(evidence)]
        write_text(results / "mcnemar.csv", to_csv(tested))
        blocks |= methods_blocks(every, tested)
        blocks["cluster.makespan"] = makespan_text(every)
        blocks["original.conclusions"] = original_text(every)
        render_pages(REPOSITORY, blocks)
