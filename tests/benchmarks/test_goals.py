"""What the recipes reach: which records a row is made of, what the table says."""

from pathlib import Path

import pytest
import torch

from benchmarks.accuracy_records import declared_rows
from benchmarks.goals import GOALS, goal_rows, goals_markdown, name_of
from benchmarks.precision import EXPERIMENTS, own_path, planned_runs
from utils.experiment import Run
from utils.records.files import SCHEMA, run_path, write_json
from utils.training.loop import Compute, run_identity

SMALL = [run for run in planned_runs() if run.model == "CNN7x7"]
DEEP = next(row.run for row in declared_rows(EXPERIMENTS) if row.run.model == "ResNetLikeCNN")


def write(path: Path, run: Run, accuracy: float, precision: str = "bfloat16") -> None:
    facts = run_identity(run, Compute(torch.device("cpu"), precision))
    write_json(path, {"schema": SCHEMA, **facts, "final": {"test_accuracy": accuracy}})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    ordinary = [
        {"experiment": experiment, "model": model, "test_accuracy": 0.5}
        for experiment, model in GOALS
    ]
    write_json(tmp_path / "recipe_search" / "ordinary.json", {"schema": SCHEMA, "runs": ordinary})
    return tmp_path


def test_every_goal_is_that_of_a_declared_network_of_the_report() -> None:
    assert set(GOALS) < {name_of(row.run) for row in declared_rows(EXPERIMENTS)}


def test_a_row_is_the_study_and_the_other_seeds_of_the_same_recipe(results: Path) -> None:
    assert goal_rows(results) == []
    first, *others = SMALL
    write(run_path(results, first.experiment, first.model, first.seed), first, 0.72)
    write(run_path(results, DEEP.experiment, DEEP.model, DEEP.seed), DEEP, 0.91)
    for run, accuracy in zip(others, (0.74, 0.73), strict=True):
        write(own_path(run, "bfloat16", results), run, accuracy)
    small, deep = goal_rows(results)
    assert (small["accuracies"], small["goal"], small["reported"]) == (
        [0.72, 0.74, 0.73],
        0.73,
        0.6511,
    )
    assert deep["accuracies"] == [0.91]
    text = goals_markdown([small, deep])
    assert "| CNN7x7 | CIFAR-10 | 73.00 ± 1.00 | 3 | 73.00 | +0.00 | 50.00 | 65.11 |" in text
    assert "| ResNetLikeCNN | CIFAR-10 | 91.00 | 1 | 90.00 | +1.00 | 50.00 | 73.26 |" in text


def test_without_the_ordinary_recipes_records_their_column_is_left_out(results: Path) -> None:
    (results / "recipe_search" / "ordinary.json").unlink()
    write(run_path(results, DEEP.experiment, DEEP.model, DEEP.seed), DEEP, 0.91)
    text = goals_markdown(goal_rows(results))
    assert "| ResNetLikeCNN | CIFAR-10 | 91.00 | 1 | 90.00 | +1.00 | 73.26 |" in text


def test_what_was_not_reached_is_named(results: Path) -> None:
    write(run_path(results, DEEP.experiment, DEEP.model, DEEP.seed), DEEP, 0.895)
    text = goals_markdown(goal_rows(results))
    assert "0 of 1 goals are reached. Not reached: ResNetLikeCNN on CIFAR-10 (-0.50)." in text


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_goals_are_those_of_the_studys_precision(precision: str, results: Path) -> None:
    first, other, _ = SMALL
    write(run_path(results, first.experiment, first.model, first.seed), first, 0.72, precision)
    for number, each in enumerate(("float32", "bfloat16")):
        write(own_path(other, each, results), other, 0.1 * number, each)
    (row,) = goal_rows(results)
    assert row["accuracies"] == [0.72, 0.1 * (precision == "bfloat16")]
    assert f"Last epoch, {precision}, mean" in goals_markdown([row])
