"""Time to the report's accuracy: how long this study and the usual loop train until they have it.

    declared schedules --train, shortest first--> records        --+
    the usual loop     --train, epoch by epoch--> usual/*.json   --+--> epochs x seconds --> ratio
    an epoch of both, in turn, on an idle machine --> seconds/   --+

Ours is the shortest schedule of 1 to 10 epochs whose accuracy on 5,000 validation images is above
the report's test accuracy; each is a training of its own, since the learning rate ends at zero with
it. The usual loop's rate is constant: one training, until its first epoch that is above it.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.setting import BUSY, others_running
from benchmarks.step_actions import our_loop, whole_cycles
from benchmarks.time_to_accuracy_report import (
    figure,
    file_of,
    passes,
    read_lines,
    summary,
    table,
    target_of,
)
from benchmarks.usual_loop import (
    LEARNING_RATE,
    PREFETCHED,
    UsualLoop,
    UsualProcess,
    usual_batch_size,
)
from experiments import STUDY
from utils.cli import Options, parse
from utils.data.batches import augmented_views, steps_per_epoch
from utils.data.dataset import Dataset, hold_out
from utils.errors import SomeFailed, UserError, exit_code, in_one_line
from utils.experiment import Experiment, Row, Run, declared_runs
from utils.machine import environment
from utils.measuring.timing import Effort, Staged, in_turn
from utils.plan import compute_of, recipe_of
from utils.records.files import MISSHAPEN, read_json, write_json
from utils.records.runs import differences, find_record, find_records
from utils.records.schema import SCHEMA
from utils.report.markdown import picture_markdown
from utils.runner import DatasetLoader, lock, logs, run_script
from utils.training.checkpoint import seed_everything
from utils.training.loop import evaluate

log = logging.getLogger(__name__)

MOST_EPOCHS = 10
EFFORT, BATCHES = Effort(rounds=5), 24  # of a timed segment
QUICK_EFFORT, QUICK_BATCHES = Effort(rounds=2), 4


def of_length(epochs: int) -> tuple[Experiment, ...]:
    """Every network that has an accuracy in the report, with a schedule of so many epochs."""
    return tuple(
        replace(
            experiment,
            rows=tuple(
                replace(row, recipe={"epochs": epochs}, part="train minus validation")
                for row in experiment.rows
            ),
            seeds=experiment.seeds[:1],
            timed=False,
        )
        for experiment in STUDY
        if experiment.reported_table
    )


def every_schedule() -> tuple[Experiment, ...]:
    """All lengths of every experiment in one: a label has a row for each."""
    lengths = [of_length(epochs) for epochs in range(1, MOST_EPOCHS + 1)]
    return tuple(
        replace(same[0], rows=tuple(row for each in same for row in each.rows))
        for same in zip(*lengths, strict=True)
    )


def selected(options: Options, epochs: int) -> list[tuple[Experiment, Row, Run]]:
    """What the command is about, with a schedule of so many epochs."""
    names = [experiment.name for experiment in options.experiments]
    found = []
    for experiment in of_length(epochs):
        compute = compute_of(options)
        recipe = recipe_of(experiment, options)
        runs = declared_runs(experiment, options.labels, None, recipe, compute)
        rows = {row.label: row for row in experiment.rows}
        if experiment.name in names:
            found += [(experiment, rows[label], run) for (label, _), run in runs.items()]
    return found


def run_command(options: Options) -> None:
    """Trains and times what is missing, then shows the table."""
    if not options.precision:  # that of what is on record: an epoch's seconds depend on it
        found = [
            each for every in every_schedule() for each in find_records(every, options.results)
        ]
        options = replace(options, precision=found[0].record.precision if found else None)
    most = 2 if options.quick else MOST_EPOCHS
    failed: list[str] = []
    for epochs in range(1, most + 1) if options.train else ():
        try:
            train_schedules(options, epochs)
        except SomeFailed as error:
            failed.append(str(error))
    if options.train or options.measure:
        load = DatasetLoader(options, torch.device(compute_of(options).device))
        for experiment, row, run in selected(options, most):
            dataset = hold_out(load(run.dataset))
            target = target_of(experiment, row.label, options.quick)
            train_usual(run, dataset, target, most, options)
            time_epochs(run, dataset, options)
    lines = read_lines(every_schedule(), options.results, options.quick)
    print(table(lines) if lines else "no network is trained to its end yet")
    if failed:
        raise SomeFailed("; ".join(failed))


def train_schedules(options: Options, epochs: int) -> None:
    """Trains the schedules of this length of all networks that no shorter one has sufficed."""
    left: dict[str, list[Row]] = {}
    for experiment, row, run in selected(options, epochs):
        target = target_of(experiment, row.label, options.quick)
        shorter = [replace(row, recipe={"epochs": each}) for each in range(1, epochs)]
        shorter_runs = [
            each.run(run.dataset, run.recipe, run.seed, run.compute) for each in shorter
        ]
        records = [find_record(each, options.results) for each in shorter_runs]
        if not any(
            record and passes(record.final.validation_accuracy, target) for record in records
        ):
            left.setdefault(experiment.name, []).append(row)
    experiments = tuple(
        replace(each, rows=tuple(left[each.name]))
        for each in of_length(epochs)
        if each.name in left
    )
    asked = replace(options, experiments=experiments, study=experiments, labels=None, measure=False)
    run_script(asked, render=lambda _: None)


def facts(run: Run, dataset: Dataset) -> dict[str, Any]:
    """What a record of the usual loop depends on."""
    return {
        "schema": SCHEMA,
        "network": run.network,
        "dataset": run.dataset,
        "seed": run.seed,
        "recipe": {
            "optimizer": "adam",
            "learning_rate": LEARNING_RATE,
            "batch_size": usual_batch_size(run.recipe),
            "crop_padding": run.recipe.crop_padding,
            "flip": run.recipe.flip,
        },
        "device": run.compute.kind,
        "fingerprint": dataset.fingerprint,
        "train_images": len(dataset.x_train),
    }


def read_checked(path: Path, expected: dict[str, Any]) -> dict[str, Any] | None:
    """A record, or None where there is none.

    Raises: UserError where it was made with something else.
    """
    if not path.exists():
        return None
    record = read_json(path)
    if text := differences(expected, record):
        raise UserError(f"{path}: now with {text}; delete it to have it made again")
    return record


def train_usual(run: Run, data: Dataset, target: float, most: int, options: Options) -> None:
    """One training until an epoch passes; what is on record with a lower target begins anew."""
    path = options.results / "usual" / file_of(run.dataset, run.name)
    expected = facts(run, data)
    record = read_checked(path, expected)

    def goes_on(tried: Sequence[dict[str, Any]]) -> bool:
        return len(tried) < most and all(e["validation_accuracy"] <= target for e in tried)

    try:
        if record and not goes_on(record["tried"]):
            return
    except MISSHAPEN as error:
        raise UserError(
            f"{path}: cannot be read ({in_one_line(error)}); delete it to have it made again"
        ) from error
    seed_everything(run.seed)
    loop, tried = UsualLoop(run, data), []
    while goes_on(tried):
        loop.train_epoch()
        _, validation, _ = evaluate(loop.network, data.x_validation, data.y_validation, data)
        _, test, _ = evaluate(loop.network, data.x_test, data.y_test, data)
        tried.append(
            {"epochs": len(tried) + 1, "validation_accuracy": validation, "test_accuracy": test}
        )
        log.info("usual loop, %s %s: %s", run.dataset, run.network, tried[-1])
    here = environment(loop.device).model_dump()
    write_json(path, {**expected, "tried": tried, "environments": [here]})


def time_epochs(run: Run, data: Dataset, options: Options) -> None:
    """Times an epoch of both loops, where that was not done yet or is asked for again.

    From segments of both in turn; training alone: neither evaluation nor the start of the workers
    counts. "views" is what ours takes before its first epoch.
    """
    path = options.results / "seconds" / file_of(run.dataset, run.name)
    expected = {**facts(run, data), "precision": run.compute.precision}
    if not options.measure and read_checked(path, expected):
        return
    if (others := others_running()) >= BUSY:
        log.warning("%.1f threads of other programs are running: the seconds are in doubt", others)
    effort, most = (QUICK_EFFORT, QUICK_BATCHES) if options.quick else (EFFORT, BATCHES)
    steps = steps_per_epoch(len(data.x_train), run.recipe)
    batches = whole_cycles(run, min(most, steps - PREFETCHED))
    seed_everything(run.seed)
    views = augmented_views(data.x_train, run.recipe)
    with UsualProcess() as usual:
        usual.take(run, data)
        seconds = in_turn(
            {
                "ours": our_loop(run, data, views, batches),
                "usual": Staged(lambda: usual.running(batches * run.recipe.batch_size)),
                "views": lambda: augmented_views(data.x_train, run.recipe),
            },
            effort,
        )
    scaled = {side: (seconds[side] * steps / batches).tolist() for side in ("ours", "usual")}
    record = {
        **expected,
        **scaled,
        "views": seconds["views"].tolist(),
        "segment_batches": batches,
        "others_running": others,
        "environment": environment(torch.device(run.compute.device)).model_dump(),
    }
    write_json(path, record)
    log.info("%s %s timed", run.dataset, run.network)


def markdown(results: Path, plots: Path) -> str:
    """What came out, the figure, drawn anew in ``plots``, the table, and how they came about."""
    lines = read_lines(every_schedule(), results / "benchmarks")
    if not lines:
        return ""
    shown = picture_markdown(figure(lines, plots), plots).replace("](plots/", "](../plots/")
    return "\n\n".join([summary(lines), shown, table(lines)])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""

    def command() -> None:
        options = parse(of_length(1), __doc__, argv, folder="benchmarks")
        if options.fresh or options.seeds:
            raise UserError(
                f"--fresh, --seeds: one seed, kept; to train it again, delete {options.results}"
            )
        with logs(options.results / "time_to_accuracy.log"), lock(options.results):
            run_command(options)

    return exit_code(command, "the same command goes on, what is finished is on record")


if __name__ == "__main__":
    sys.exit(main())
