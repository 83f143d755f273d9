"""Does bfloat16 change what the study finds? The same runs in both precisions, over seeds.

    declared runs x precisions x seeds --train--> records --> differences beside the spread of seeds

Networks that train in minutes have three seeds, two dear ones a single seed. What is on record,
here or in the study itself, is not trained again; several processes may share the work, each with
other ``--models``. In bfloat16 a training step computes its convolutions and matrix products,
forward and backward (autocast), and Muon's; parameters, loss and evaluation are float32 in either
case.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import homework_cnn_architecture_analysis as task2
import homework_cnn_vs_fc_comparison as task1
from benchmarks.accuracy_report import distinct, machines
from benchmarks.accuracy_training import Bar
from benchmarks.command_line import check_before_training, parse_training
from utils import REPOSITORY
from utils.data.batches import steps_per_epoch
from utils.data.dataset import load_dataset
from utils.errors import UserError, exit_code
from utils.experiment import Run, declared_runs
from utils.machine import keep_freed_memory
from utils.records.files import IDENTITY, SCHEMA, identity, read_json, run_path, write_json
from utils.report.markdown import Column, markdown_table, percent
from utils.report.wording import listed
from utils.training.loop import Compute, run_identity, train

NAME = "precision"
TITLE = "Does bfloat16 change what the study finds?"

EXPERIMENTS = (*task1.EXPERIMENTS, *task2.EXPERIMENTS)
PRECISIONS = ("float32", "bfloat16")
SEEDS = (0, 1, 2)
CHEAP = (
    "FCNet",
    "SimpleCNN",
    "DeepFCNet",
    "CNN3x3",
    "CNN5x5",
    "CNN7x7",
    "CNN1x1+3x3",
)  # under four minutes each on two cores in float32
DEAR = (("cifar_comparison", "CNNWithResidual"), ("depth", "DeepCNN"))  # with batch-norm, without
RESULTS = REPOSITORY / "results"
KEPT = ("final", "environment", "continued_in", "timings")  # of a training's record

Record = Mapping[str, Any]


def planned_runs() -> list[Run]:
    """Every run, for either precision: the cheap networks with all seeds, the dear ones with one.

    A network that is in several tables under one recipe is taken once.
    """
    every = [run for each in EXPERIMENTS for run in declared_runs(each, seeds=SEEDS)]
    cheap = {(run.model, run.seed): run for run in reversed(every) if run.model in CHEAP}
    dear = [run for run in every if (run.experiment, run.model) in DEAR and run.seed == SEEDS[0]]
    return [*reversed(cheap.values()), *dear]


def record_of(run: Run, precision: str, results: Path = RESULTS) -> Record | None:
    """The run's record in this precision, from the study where that has it, else from here.

    Raises: UserError where a record here was made with another recipe.
    """
    wanted = run_identity(run, Compute(torch.device("cpu"), precision))
    studied = run_path(results, run.experiment, run.model, run.seed)
    if studied.exists():
        record = read_json(studied, (*IDENTITY, "final"))
        if identity(record) == wanted:
            return record
    path = own_path(run, precision, results)
    if not path.exists():
        return None
    record = read_json(path, (*IDENTITY, "final"))
    if identity(record) != wanted:
        raise UserError(f"{path}: of another recipe than is declared; delete it and train again")
    return record


def own_path(run: Run, precision: str, results: Path) -> Path:
    """Where a record stands that the study does not have."""
    name = f"{run.experiment}--{run.model}-seed{run.seed}-{precision}.json"
    return results / "benchmarks" / NAME / name


def missing(models: Sequence[str] | None, results: Path = RESULTS) -> Iterator[tuple[Run, str]]:
    """What is still to be trained; all seeds of a network together."""
    for run in planned_runs():
        if models is not None and run.model not in models:
            continue
        for precision in PRECISIONS:
            if record_of(run, precision, results) is None:
                yield run, precision


def train_missing(data_dir: Path, models: Sequence[str] | None, results: Path = RESULTS) -> None:
    """Trains what has no record; an interrupted training goes on after its last epoch."""
    loaded: dict[str, Any] = {}
    todo = list(missing(models, results))
    for precision in dict.fromkeys(precision for _, precision in todo):
        check_before_training(results / "benchmarks" / NAME, precision)
    for run, precision in todo:
        if run.dataset not in loaded:
            loaded[run.dataset] = load_dataset(run.dataset, data_dir)
        data, path = loaded[run.dataset], own_path(run, precision, results)
        steps = run.recipe.epochs * steps_per_epoch(len(data.x_train), run.recipe)
        progress = Bar([steps])
        progress.start(run, steps, steps)
        checkpoint = path.with_suffix(".checkpoint.pt")
        record, *_ = train(run, data, Compute(torch.device("cpu"), precision), checkpoint, progress)
        progress.close()
        facts = identity(record) | {"schema": record["schema"], "data": record["data"]}
        write_json(path, facts | {key: record[key] for key in KEPT})
        checkpoint.unlink(missing_ok=True)
        print(f"{path.stem}: test {record['final']['test_accuracy']:.2%}", flush=True)


def summarise(results: Path = RESULTS) -> dict[str, Any] | None:
    """One row per network whose runs are all there; None where there is none."""
    runs = planned_runs()
    rows, environments = [], []
    for key in dict.fromkeys((run.experiment, run.model) for run in runs):
        seeds = [run for run in runs if (run.experiment, run.model) == key]
        records = {name: [record_of(run, name, results) for run in seeds] for name in PRECISIONS}
        if all(record for each in records.values() for record in each):
            rows.append(summarise_row(key, records))
            environments += [record["environment"] for each in records.values() for record in each]
    if not rows:
        return None
    return {
        "quick": False,
        "declared": len({(run.experiment, run.model) for run in runs}),
        "rows": rows,
        "claims": [],
        "environment": environments[0],
        "trained_on": distinct(environments),
    }


def summarise_row(key: tuple[str, str], records: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """Test accuracies of one network in both precisions, and their difference seed by seed."""
    accuracy = {
        precision: [record["final"]["test_accuracy"] for record in each]
        for precision, each in records.items()
    }
    pairs = zip(accuracy["bfloat16"], accuracy["float32"], strict=True)
    differences = [narrow - wide for narrow, wide in pairs]
    several = len(differences) > 1
    return {
        "experiment": key[0],
        "model": key[1],
        "seeds": len(differences),
        "accuracy": accuracy,
        "differences": differences,
        "difference": mean(differences),
        # over the seeds, of both precisions together
        "spread": mean(stdev(each) ** 2 for each in accuracy.values()) ** 0.5 if several else None,
    }


def column(precision: str) -> Column:
    """Mean and deviation of one precision."""

    def text(row: Record) -> str:
        values = row["accuracy"][precision]
        return percent(mean(values), stdev(values) if len(values) > 1 else None)

    return f"{precision}, %", text


COLUMNS: list[Column] = [
    ("Model", lambda row: row["model"]),
    ("Seeds", lambda row: str(row["seeds"])),
    *map(column, PRECISIONS),
    ("Difference, points", lambda row: f"{100 * row['difference']:+.2f}"),
    (
        "within the spread of seeds",
        lambda row: "" if row["spread"] is None else ("yes" if is_within(row) else "no"),
    ),
]


def is_within(row: Record) -> bool:
    """Whether the precisions differ by no more than one standard deviation over the seeds."""
    return abs(row["difference"]) <= row["spread"]


def places(rows: Sequence[Record]) -> str:
    """Which pairs of networks of one table change places; nothing where there is no pair."""
    pairs = [
        (first, second)
        for first, second in combinations(rows, 2)
        if first["experiment"] == second["experiment"]
    ]
    changed = []
    for first, second in pairs:
        gaps = [gap(first, second, precision) for precision in PRECISIONS]
        if min(gaps) < 0 < max(gaps):
            points = " and ".join(f"{100 * each:+.2f}" for each in gaps)
            changed.append(f"{first['model']} and {second['model']} ({points} points)")
    if not pairs:
        return ""
    if changed:
        return f" Of {len(pairs)} pairs of networks of one table these change places: " + (
            f"{listed(changed)}."
        )
    return f" Of {len(pairs)} pairs of networks of one table none changes places."


def gap(first: Record, second: Record, precision: str) -> float:
    """The first network's mean accuracy over the seeds, less the second's."""
    return mean(first["accuracy"][precision]) - mean(second["accuracy"][precision])


def verdict(rows: Sequence[Record]) -> str:
    """Two or three sentences with the numbers."""
    judged = [row for row in rows if row["spread"] is not None]
    within = [row for row in judged if is_within(row)]
    every = [difference for row in rows for difference in row["differences"]]
    pairs = f"The mean difference of all {len(every)} pairs is {100 * mean(every):+.2f} points"
    if len(every) > 1:
        pairs += f" with a standard error of {100 * stdev(every) / len(every) ** 0.5:.2f}"
    largest = max(rows, key=lambda row: abs(row["difference"]))
    return (
        f"In {len(within)} of {len(judged)} networks with several seeds the precisions differ by "
        "at most one standard deviation over the seeds (bfloat16 less float32, test accuracy). "
        f"{pairs}; the largest of a network "
        f"is {100 * largest['difference']:+.2f} ({largest['model']}).{places(rows)}"
    )


def markdown(record: Record) -> str:
    """The table, what it says, and how to read it."""
    missing = record["declared"] - len(record["rows"])
    return "\n\n".join(
        [
            markdown_table(record["rows"], COLUMNS),
            verdict(record["rows"]),
            "Test accuracy after the last epoch, mean ± standard deviation over seeds; difference: "
            "bfloat16 less float32, each seed with itself, the mean. What the study has on record "
            f"is taken from there. Trained on {machines(record['trained_on'])}."
            + (f" Not trained yet: {missing} of {record['declared']} networks." if missing else ""),
        ]
    )


def readme(record: Record, plots: Path) -> dict[str, str]:
    """The README's block: what the table says; nothing is drawn in ``plots``."""
    return {NAME: verdict(record["rows"])}


def run_command(argv: Sequence[str] | None) -> None:
    """Trains what is missing and writes the summary."""
    names = list(dict.fromkeys(run.model for run in planned_runs()))
    options = parse_training(NAME, __doc__, names, argv)
    keep_freed_memory()
    if not options.no_train:
        train_missing(options.data_dir, options.models)
    record = summarise()
    if record is None:
        print("no network is trained in both precisions yet: nothing to summarise")
        return
    write_json(RESULTS / "benchmarks" / f"{NAME}.json", {"schema": SCHEMA, **record})
    print(markdown(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    return exit_code(lambda: run_command(argv), "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
