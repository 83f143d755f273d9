"""What a script does with its experiments: train what is missing, measure, render.

    declared runs --train--> records --render--> tables, figures, README

Everything the user can get wrong is checked before the first training step; whatever is
finished is on disk at once, and the same command goes on where an earlier one stopped.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import filelock
import torch
from torch import fx
from tqdm.contrib.logging import logging_redirect_tqdm

import models
from utils import REPOSITORY
from utils.cli import Options, parse, warn_if_slower
from utils.data.batches import steps_per_epoch
from utils.data.dataset import SHIPPED_FINGERPRINTS, Dataset, load_dataset, load_quick_dataset
from utils.errors import UserError, exit_code
from utils.experiment import Experiment, Run, declared_runs
from utils.machine import keep_freed_memory
from utils.measuring.flops import forward_flops
from utils.measuring.layers import study_layers
from utils.measuring.probes import probe
from utils.measuring.receptive_field import trace
from utils.measuring.speed import Entry, measure_speed
from utils.plan import forget, recipe_of, record_path, runs_to_train, settle_compute
from utils.records.files import read_json, speed_path, write_arrays, write_json
from utils.report.render import render_experiment, render_overview, render_readme
from utils.training.checkpoint import save_weights
from utils.training.loop import Compute, build_network, train
from utils.training.progress import Progress

log = logging.getLogger(__name__)


def main(
    experiments: Sequence[Experiment], description: str, argv: Sequence[str] | None = None
) -> int:
    """Runs a script; returns its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""

    def command() -> None:
        options = parse(experiments, description, argv)
        with logs(options.results / f"{Path(sys.argv[0]).stem}.log"), locks(options):
            run_script(options)

    return exit_code(command, "the same command goes on after the last finished epoch")


def run_script(options: Options) -> None:
    """Checks, trains, measures and renders."""
    keep_freed_memory()
    if options.train or options.measure:
        compute = settle_compute(options)
        load = DatasetLoader(options, compute.device)
        runs = runs_to_train(options, compute)
        costs = [cost(run, load(run.dataset)) for run in runs]
        # all that the user can get wrong has been looked at: from here on files are changed
        if warning := warn_if_slower(compute.device, compute.precision):
            log.warning(warning)
        if options.fresh:
            forget(runs, options.results)
        train_runs(runs, costs, options, compute, load)
        for experiment in options.experiments:
            measure_layers(experiment, options, compute)
        measure_models(options, compute, load)
    render(options)


@contextlib.contextmanager
def logs(path: Path) -> Iterator[None]:
    """Messages go to stderr, above the progress bar, and with their time into a file."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    terminal, file = logging.StreamHandler(), logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in (terminal, file):
        root.addHandler(handler)
    try:
        with logging_redirect_tqdm():
            yield
    finally:
        for handler in (terminal, file):
            root.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def locks(options: Options) -> Iterator[None]:
    """Keeps a second command out of the folders of these experiments.

    Raises: UserError naming the folder that is taken.
    """
    with contextlib.ExitStack() as stack:
        for experiment in options.experiments:
            folder = options.results / experiment.name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(filelock.FileLock(folder / ".lock", timeout=0))
            except filelock.Timeout as error:
                raise UserError(
                    f"{folder}: another command is writing there; wait for it, or give another "
                    "--out-dir"
                ) from error
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
                log.warning(
                    "%s: not the images that the shipped results were measured on "
                    "(fingerprint %s…, theirs %s…)",
                    data.description,
                    data.fingerprint[:12],
                    SHIPPED_FINGERPRINTS[name][:12],
                )
            self.loaded[name] = data.to(self.device)
        return self.loaded[name]


def cost(run: Run, dataset: Dataset) -> float:
    """Roughly how long a run takes, in no unit: for the remaining time that the bar shows.

    A training step costs about three forward passes; the constant stands for what every image
    costs in any network (batch making, optimiser, bookkeeping).
    Raises: UserError for a network that could be trained but not looked into afterwards.
    """
    network = models.build(run.model, **run.overrides)
    try:
        trace(network)
    except fx.proxy.TraceError as error:
        raise UserError(
            f"{run.model}: torch.fx cannot trace its forward ({error}); decide on the arguments of "
            "the constructor there, not on the values or shapes of tensors"
        ) from error
    flops = forward_flops(network, dataset.x_train.shape[1:])
    return run.recipe.epochs * len(dataset.x_train) * (3 * flops + 5e6)


def train_runs(
    runs: Sequence[Run],
    costs: Sequence[float],
    options: Options,
    compute: Compute,
    load: DatasetLoader,
) -> None:
    """Trains each run and writes its record, its arrays and, where asked for, its weights."""
    progress = Progress(costs)
    for run, run_cost in zip(runs, costs, strict=True):
        dataset, path = load(run.dataset), record_path(run, options.results)
        steps = run.recipe.epochs * steps_per_epoch(len(dataset.x_train), run.recipe)
        progress.start(run, steps, run_cost)
        checkpoint = path.with_suffix(".checkpoint.pt")
        record, predictions, network = train(run, dataset, compute, checkpoint, progress)
        facts, arrays = probe(network, dataset)
        arrays["test_predictions"] = predictions.byte().cpu().numpy()
        # before the record, which says "finished"
        write_arrays(path.with_suffix(".npz"), arrays)
        if options.weights:
            save_weights(path.with_suffix(".safetensors"), network)
        write_json(path, record | facts)
        checkpoint.unlink(missing_ok=True)
    progress.close()


def measure_layers(experiment: Experiment, options: Options, compute: Compute) -> None:
    """Measures the layers or blocks that the experiment holds, untrained."""
    path = options.results / experiment.name / f"{experiment.cases_are}.json"
    if not experiment.cases or (path.exists() and not options.measure):
        return
    log.info("%s: measuring %d %s", experiment.name, len(experiment.cases), experiment.cases_are)
    record, arrays = study_layers(experiment, compute.device, options.quick)
    if arrays:
        write_arrays(path.with_suffix(".npz"), arrays)
    write_json(path, record)


def measure_models(options: Options, compute: Compute, load: DatasetLoader) -> None:
    """Measures the models of all experiments in one pass, where that was not done yet."""
    entries = []
    for experiment in options.experiments:
        if experiment.models and (
            options.measure or options.fresh or stale(experiment, options, compute)
        ):
            as_trained = replace(experiment, recipe=recipe_of(experiment, options))
            networks = {
                run.model: build_network(run, compute.device) for run in declared_runs(experiment)
            }
            entries.append(Entry(as_trained, networks, load(experiment.dataset)))
    if entries:
        count = sum(len(entry.networks) for entry in entries)
        log.info("measuring the speed of %d models", count)
        for name, record in measure_speed(entries, compute, quick=options.quick).items():
            write_json(speed_path(options.results, name), record)


def stale(experiment: Experiment, options: Options, compute: Compute) -> bool:
    """Whether the speed of some model is not on record for this precision and device."""
    path = speed_path(options.results, experiment.name)
    if not path.exists():
        return True
    kept = read_json(path)
    conditions = (kept["precision"], kept["device"])
    missing = set(experiment.models) - set(kept["models"])
    return bool(missing) or conditions != (compute.precision, compute.device.type)


def render(options: Options) -> None:
    """Tables and figures of these experiments, and the README where it is the study."""
    blocks: dict[str, str] = {}
    for experiment in options.experiments:
        rendered = render_experiment(experiment, options.results, options.plots)
        if not rendered:
            log.warning("%s: no records below %s yet", experiment.name, options.results)
        blocks |= rendered
    log.info("tables: %s, figures: %s", options.results, options.plots)
    with filelock.FileLock(options.results / ".lock"):
        blocks |= render_overview(options.results, options.plots)
        if options.is_study:
            render_readme(REPOSITORY / "README.md", blocks)
