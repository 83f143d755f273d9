"""What the recipes reach on the test split, beside the goals that were set before the search.

    the study's records, those of benchmarks.precision --> one row per network --> docs/recipes.md

Nothing was chosen by these numbers: recipes are chosen on images held out from the train split.
``results/recipe_search/ordinary.json`` has what the study's networks reached before the search, by
the recipes that it started from: copied from the records of the commit that is named in it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.accuracy_records import declared_rows
from benchmarks.precision import EXPERIMENTS, planned_runs, record_of
from utils.experiment import Run
from utils.records.files import read_json, run_path
from utils.report.markdown import Column, markdown_table, percent
from utils.report.wording import listed

# per cent, for the last of ten epochs; meant to be out of reach of an ordinary recipe
GOALS = {
    ("mnist_comparison", "FCNet"): 99.1,
    ("mnist_comparison", "SimpleCNN"): 99.65,
    ("mnist_comparison", "CNNWithResidual"): 99.75,
    ("cifar_comparison", "DeepFCNet"): 65,
    ("cifar_comparison", "CNNWithResidual"): 91,
    ("cifar_comparison", "CNNWithResidualReg"): 91,
    ("kernel_size", "CNN3x3"): 81,  # ShallowCNN is the same network
    ("kernel_size", "CNN5x5"): 78,
    ("kernel_size", "CNN7x7"): 73,
    ("kernel_size", "CNN1x1+3x3"): 81,
    ("depth", "MediumCNN"): 88,
    ("depth", "DeepCNN"): 88,
    ("depth", "ResNetLikeCNN"): 90,
}

Record = Mapping[str, Any]


def goal_rows(results: Path) -> list[dict[str, Any]]:
    """One row per network that has a goal and a record: accuracies in [0, 1]."""
    path = results / "recipe_search" / "ordinary.json"
    before = read_json(path, ("runs",))["runs"] if path.exists() else []
    ordinary = {(run["experiment"], run["model"]): run["test_accuracy"] for run in before}
    precision, rows = study_precision(results), []
    for row in declared_rows(EXPERIMENTS):
        key = name_of(row.run)
        accuracies = accuracies_of(row.run, precision, results)
        if key in GOALS and accuracies:
            rows.append(
                {
                    "model": row.run.model,
                    "dataset": row.run.dataset,
                    "precision": precision,
                    "accuracies": accuracies,
                    "goal": GOALS[key] / 100,
                    "ordinary": ordinary.get(key),
                    "reported": row.target,
                }
            )
    return rows


def name_of(run: Run) -> tuple[str, str]:
    """Experiment and model."""
    return run.experiment, run.model


def study_precision(results: Path) -> str:
    """That of the study's records; float32, the default of a new study, where there is none."""
    runs = [row.run for row in declared_rows(EXPERIMENTS)]
    paths = [run_path(results, run.experiment, run.model, run.seed) for run in runs]
    first = next((path for path in paths if path.exists()), None)
    return read_json(first, ("precision",))["precision"] if first else "float32"


def accuracies_of(run: Run, precision: str, results: Path) -> list[float]:
    """On the test split, of every seed that is on record in this precision."""
    seeds = [each for each in planned_runs() if name_of(each) == name_of(run)] or [run]
    records = [record_of(each, precision, results) for each in seeds]
    return [record["final"]["test_accuracy"] for record in records if record]


def verdict(row: Record) -> str:
    """By how many points the goal was passed or missed."""
    return f"{100 * (mean(row['accuracies']) - row['goal']):+.2f}"


DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
COLUMNS: list[Column] = [
    ("Network", lambda row: row["model"]),
    ("Dataset", lambda row: DATASETS[row["dataset"]]),
    (
        "Test accuracy, %",
        lambda row: percent(
            mean(row["accuracies"]),
            stdev(row["accuracies"]) if len(row["accuracies"]) > 1 else None,
        ),
    ),
    ("Seeds", lambda row: str(len(row["accuracies"]))),
    ("Goal, %", lambda row: percent(row["goal"])),
    ("Goal passed by, points", verdict),
    ("Ordinary recipe, %", lambda row: percent(row["ordinary"])),
    ("Report, %", lambda row: percent(row["reported"])),
]


def goals_markdown(rows: Sequence[Record]) -> str:
    """The table and which goals were not reached."""
    missed = [
        f"{row['model']} on {DATASETS[row['dataset']]} ({verdict(row)})"
        for row in rows
        if mean(row["accuracies"]) < row["goal"]
    ]
    reached = len(rows) - len(missed)
    sentence = f"{reached} of {len(rows)} goals are reached"
    return "\n\n".join(
        [
            markdown_table(rows, COLUMNS),
            f"{sentence}. Not reached: {listed(missed)}." if missed else f"{sentence}.",
            f"Last epoch, {rows[0]['precision']}, mean ± standard deviation where there are "
            "several seeds. The ordinary recipe is the one from which the search started, seed 0.",
        ]
    )
