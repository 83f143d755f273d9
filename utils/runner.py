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
from tqdm.contrib.logging import logging_redirect_tqdm

import models
from utils.batches import steps_per_epoch
from utils.cli import REPOSITORY, Options, parse, warn_if_emulated
from utils.data import SHIPPED_FINGERPRINTS, Dataset, load_dataset, load_quick_dataset
from utils.errors import UserError
from utils.experiment import Experiment, Run, declared_runs
from utils.flops import forward_flops
from utils.layer_study import study_layers
from utils.measuring import measure_speed
from utils.probes import probe
from utils.progress import Progress
from utils.recipes import quick
from utils.records import (
    identity,
    read_json,
    read_runs,
    run_path,
    speed_path,
    write_arrays,
    write_json,
)
from utils.render import render_experiment, render_overview, render_readme
from utils.training import Compute, build_network, run_identity, train

log = logging.getLogger(__name__)


def main(
    experiments: Sequence[Experiment], description: str, argv: Sequence[str] | None = None
) -> int:
    """Runs a script; returns its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    try:
        options = parse(experiments, description, argv)
        with logs(options.results / f"{Path(sys.argv[0]).stem}.log"), locks(options):
            run_script(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; the same command goes on after the last finished epoch", file=sys.stderr
        )
        return 130
    return 0


def run_script(options: Options) -> None:
    """Checks, trains, measures and renders."""
    compute = Compute(options.device, settle_precision(options))
    if warning := warn_if_emulated(compute.device, compute.precision):
        log.warning(warning)
    missing = [] if not options.train else missing_runs(options, compute)
    load = DatasetLoader(options)
    for name in dict.fromkeys(run.dataset for run in missing):
        load(name)  # a missing or broken dataset is reported before hours of training
    train_runs(missing, options, compute, load)
    if options.train or options.measure:
        for experiment in options.experiments:
            measure(experiment, options, compute, load)
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

    def __init__(self, options: Options) -> None:
        self.options = options
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
            self.loaded[name] = data.to(self.options.device)
        return self.loaded[name]


def settle_precision(options: Options) -> str:
    """The precision asked for, else that of the records at hand, else float32."""
    if options.precision:
        return options.precision
    kept = [] if options.fresh else options.experiments
    for experiment in kept:
        for record in read_runs(options.results, experiment.name):
            return record["precision"]
    return "float32"


def selected_runs(experiment: Experiment, options: Options) -> list[Run]:
    """The runs of an experiment that this command is about."""
    recipe = experiment.recipe
    if recipe and options.quick:
        recipe = quick(recipe)
    if recipe and options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    return declared_runs(experiment, options.models, options.seeds, recipe)


def missing_runs(options: Options, compute: Compute) -> list[Run]:
    """The runs without a record, after a look at all records that are there.

    Raises: UserError where a record is of another recipe, precision or device: the rows of one
    table share them.
    """
    missing = []
    for experiment in options.experiments:
        runs = selected_runs(experiment, options)
        if options.fresh:
            forget(runs, options.results)
        check_records(experiment, runs, options, compute)
        missing += [run for run in runs if not path_of(run, options).exists()]
    return missing


def path_of(run: Run, options: Options) -> Path:
    """Where the run's record stands, or will."""
    return run_path(options.results, run.experiment, run.model, run.seed)


def check_records(
    experiment: Experiment, runs: Sequence[Run], options: Options, compute: Compute
) -> None:
    """Every record at hand must be what its run would give, and share the table's conditions."""
    expected = {path_of(run, options): run_identity(run, compute) for run in runs}
    for path in sorted((options.results / experiment.name / "runs").glob("*.json")):
        found = identity(read_json(path))
        wanted = expected.get(path, {key: found[key] for key in found} | shared(runs, compute))
        differing = [key for key in found if found[key] != wanted[key]]
        if differing:
            was = ", ".join(f"{key} {short(found[key], wanted[key])}" for key in differing)
            raise UserError(
                f"{path}: made with {was}; all rows of a table share these: use the same flags, "
                "--fresh to train again, or another --out-dir"
            )


def shared(runs: Sequence[Run], compute: Compute) -> dict[str, object]:
    """What all rows of a table have in common."""
    if not runs:
        return {}
    whole = run_identity(runs[0], compute)
    return {key: whole[key] for key in ("dataset", "recipe", "precision", "device")}


def short(found: object, wanted: object) -> str:
    """``found`` (not ``wanted``); of a recipe, only the entries that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        return ", ".join(f"{key} {short(found.get(key), wanted.get(key))}" for key in keys)
    return f"{found} (now {wanted})"


def forget(runs: Sequence[Run], results: Path) -> None:
    """Deletes the records, arrays and checkpoints of these runs."""
    for run in runs:
        path = run_path(results, run.experiment, run.model, run.seed)
        for suffix in (".json", ".npz", ".checkpoint.pt"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def cost(run: Run, dataset: Dataset) -> float:
    """Roughly how long a run takes, in no unit: for the remaining time that the bar shows.

    A training step costs about three forward passes; the constant stands for what every image
    costs in any network (batch making, optimiser, bookkeeping).
    """
    flops = forward_flops(models.build(run.model, **run.overrides), dataset.x_train.shape[1:])
    return run.recipe.epochs * len(dataset.x_train) * (3 * flops + 5e6)


def train_runs(
    runs: Sequence[Run], options: Options, compute: Compute, load: DatasetLoader
) -> None:
    """Trains each run and writes its record and arrays."""
    costs = [cost(run, load(run.dataset)) for run in runs]
    progress = Progress(costs)
    for run, run_cost in zip(runs, costs, strict=True):
        dataset, path = load(run.dataset), path_of(run, options)
        steps = run.recipe.epochs * steps_per_epoch(len(dataset.x_train), run.recipe)
        progress.start(run, steps, run_cost)
        checkpoint = path.with_suffix(".checkpoint.pt")
        record, predictions, network = train(run, dataset, compute, checkpoint, progress)
        facts, arrays = probe(network, dataset)
        arrays["test_predictions"] = predictions.byte().cpu().numpy()
        write_arrays(path.with_suffix(".npz"), arrays)  # before the record, which says "finished"
        write_json(path, record | facts)
        checkpoint.unlink(missing_ok=True)
    progress.close()


def measure(
    experiment: Experiment, options: Options, compute: Compute, load: DatasetLoader
) -> None:
    """Measures what was not measured yet, or everything with ``--measure``."""
    if experiment.cases:
        path = options.results / experiment.name / f"{experiment.cases_are}.json"
        if options.measure or not path.exists():
            log.info(
                "%s: measuring %d %s", experiment.name, len(experiment.cases), experiment.cases_are
            )
            record, arrays = study_layers(experiment, compute.device, options.quick)
            if arrays:
                write_arrays(path.with_suffix(".npz"), arrays)
            write_json(path, record)
    if not experiment.models:
        return
    path = speed_path(options.results, experiment.name)
    if not options.measure and path.exists():
        measured = read_json(path)
        if set(experiment.models) <= set(measured["models"]):
            return
    log.info("%s: measuring speed of %d models", experiment.name, len(experiment.models))
    runs = declared_runs(experiment)
    networks = {run.model: build_network(run, compute.device) for run in runs}
    dataset = load(experiment.dataset)
    write_json(path, measure_speed(experiment, networks, dataset, compute, quick=options.quick))


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
