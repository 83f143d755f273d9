"""Precision: which runs are compared, where their records come from, what the table says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import bench, precision, recipe_search
from benchmarks.precision import (
    PRECISIONS,
    markdown,
    missing,
    own_path,
    planned_runs,
    record_of,
    summarise,
)
from utils.errors import UserError
from utils.experiment import Run
from utils.records.files import SCHEMA, run_path, write_json
from utils.training.loop import Compute, run_identity

MACHINE = {"processor": "Abacus", "device": "cpu", "threads": 1, "torch": "2", "python": "3"}
RUN = next(run for run in planned_runs() if run.model == "CNN7x7")


def write(path: Path, run: Run, used: str, accuracy: float) -> None:
    facts = run_identity(run, Compute(torch.device("cpu"), used))
    final = {"test_accuracy": accuracy}
    write_json(path, {"schema": SCHEMA, **facts, "final": final, "environment": MACHINE})


def test_cheap_networks_have_three_seeds_and_dear_ones_a_single_one() -> None:
    seeds: dict[str, list[int]] = {}
    for run in planned_runs():
        seeds.setdefault(run.model, []).append(run.seed)
    dear = {model for _, model in precision.DEAR}
    assert set(seeds) == {*precision.CHEAP, *dear}
    assert all(seeds[model] == [0, 1, 2] for model in precision.CHEAP)
    assert all(seeds[model] == [0] for model in dear)


def test_the_studys_own_record_is_taken_where_it_is_of_this_precision(tmp_path: Path) -> None:
    studied = run_path(tmp_path, RUN.experiment, RUN.model, RUN.seed)
    write(studied, RUN, "bfloat16", 0.7)
    assert record_of(RUN, "bfloat16", tmp_path)["final"]["test_accuracy"] == 0.7
    assert record_of(RUN, "float32", tmp_path) is None
    assert (RUN, "bfloat16") not in list(missing(["CNN7x7"], tmp_path))
    assert (RUN, "float32") in list(missing(["CNN7x7"], tmp_path))


def test_a_record_of_another_recipe_is_refused(tmp_path: Path) -> None:
    other = replace(RUN, recipe=replace(RUN.recipe, batch_size=7))
    path = own_path(RUN, "float32", tmp_path)
    write(path, other, "float32", 0.7)
    with pytest.raises(UserError, match="of another recipe than is declared; delete it"):
        record_of(RUN, "float32", tmp_path)


def test_a_single_pair_has_no_standard_error_and_what_is_missing_is_said(tmp_path: Path) -> None:
    run = next(run for run in planned_runs() if run.model == "DeepCNN")
    for used, accuracy in zip(PRECISIONS, (0.87, 0.875), strict=True):
        write(own_path(run, used, tmp_path), run, used, accuracy)
    text = markdown(summarise(tmp_path))
    assert "In 0 of 0 networks with several seeds" in text
    assert "The mean difference of all 1 pairs is +0.50 points; the largest of a network" in text
    assert "change" not in text  # there is no pair
    assert "Trained on Abacus (1 thread). Not trained yet: 8 of 9 networks." in text


def test_networks_that_change_places_are_named(tmp_path: Path) -> None:
    accuracies = {
        "CNN7x7": (0.7, 0.72),
        "CNN5x5": (0.71, 0.71),
        "CNN3x3": (0.8, 0.81),
        "DeepFCNet": (0.71, 0.6),  # of another table
    }
    for run in planned_runs():
        for used, accuracy in zip(PRECISIONS, accuracies.get(run.model, ()), strict=False):
            write(own_path(run, used, tmp_path), run, used, accuracy)
    text = markdown(summarise(tmp_path))
    assert "Of 3 pairs of networks of one table these change places: " in text
    assert "change places: CNN5x5 and CNN7x7 (+1.00 and -1.00 points)." in text


@pytest.mark.parametrize("command", [precision.main, recipe_search.main])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "CNN3×3"], "--models: unknown model 'CNN3×3'; did you mean 'CNN3x3'?"),
        (["--threads", "0"], "--threads 0: must be between 1 and"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate; see --help"),
    ],
)
def test_a_bad_flag_costs_one_line(
    command: Callable[[list[str]], int],
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_the_table_pairs_the_seeds_and_says_what_is_within_their_spread(tmp_path: Path) -> None:
    runs = [run for run in planned_runs() if run.model == "CNN7x7"]
    assert summarise(tmp_path) is None
    for run, step in zip(runs, (0.0, 0.01, 0.02), strict=True):
        for used, shift in zip(PRECISIONS, (0.0, 0.005), strict=True):
            write(own_path(run, used, tmp_path), run, used, 0.7 + step + shift)
    record = summarise(tmp_path)
    (row,) = record["rows"]
    assert row["difference"] == pytest.approx(0.005)
    assert row["spread"] == pytest.approx(0.01)
    assert bench.machine(record).startswith("Abacus (1 thread)")
    text = markdown(record)
    assert "| CNN7x7 | 3 | 71.00 ± 1.00 | 71.50 ± 1.00 | +0.50 | yes |" in text
    assert "In 1 of 1 networks with several seeds the precisions differ by at most one" in text
    assert "all 3 pairs is +0.50 points with a standard error of 0.00" in text
