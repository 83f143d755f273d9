"""Declarations: which runs a row stands for, what their files are called, in which order."""

from dataclasses import replace

import pytest

from tests.fake_records import RECIPE, make_experiment
from utils.experiment import Compute, Row, declared_runs


@pytest.mark.parametrize(
    "row, name",
    [
        (Row("CNN3x3"), "CNN3x3"),
        (Row("ShallowCNN", network="CNN3x3"), "CNN3x3"),
        (Row("A", "CNN7x7", overrides={"widths": (8, 16)}), "CNN7x7-widths=8x16"),
        (Row("A", "CNN7x7", recipe={"epochs": 2, "flip": False}), "CNN7x7-epochs=2-flip=False"),
        (Row("A", "CNN7x7", part="train minus validation"), "CNN7x7-train_minus_validation"),
        (Row("A", "CNN7x7", precision="float32"), "CNN7x7-float32"),
        (Row("A", "CNN7x7", images=10, permuted=True), "CNN7x7-images=10-permuted"),
        (
            Row("A", "B", {"n": 3}, {"epochs": 2}, "train minus validation", "bfloat16"),
            "B-n=3-epochs=2-train_minus_validation-bfloat16",
        ),
    ],
)
def test_a_run_is_named_by_its_network_and_what_was_varied_of_it(row: Row, name: str) -> None:
    assert row.run_name == name
    assert row.run("cifar10", RECIPE, 5, Compute()).title == f"cifar10 {name} seed 5"


def test_a_run_is_what_the_rows_share_but_for_what_its_row_varies() -> None:
    row = Row("few", "CNN3x3", {"a": 1}, {"epochs": 1}, "train minus validation", "bfloat16")
    run = row.run("mnist", RECIPE, 7, Compute("cuda:1", "float32", 4))
    assert (run.network, run.dataset, run.seed, run.overrides) == ("CNN3x3", "mnist", 7, {"a": 1})
    assert run.recipe == replace(RECIPE, epochs=1)
    assert run.part == "train minus validation"
    assert run.compute == Compute("cuda:1", "bfloat16", 4)
    row = Row("A", "CNN3x3", images=10, permuted=True)
    run = row.run("mnist", RECIPE, 7, Compute())
    assert (run.images, run.permuted) == (10, True)
    plain = Row("CNN3x3").run("mnist", RECIPE, 7, Compute("cpu", "float32", 2))
    assert (plain.recipe, plain.part, plain.compute) == (RECIPE, "train", Compute(threads=2))


def test_runs_keep_the_declared_order_seed_by_seed() -> None:
    rows = ["CNN3x3", Row("CNN5x5", seeds=(1, 2)), "CNN7x7"]
    experiment = make_experiment(rows, seeds=(0, 1))
    assert list(declared_runs(experiment)) == [
        ("CNN3x3", 0), ("CNN7x7", 0), ("CNN3x3", 1), ("CNN5x5", 1), ("CNN7x7", 1), ("CNN5x5", 2),
    ]  # fmt: skip
    some = declared_runs(experiment, labels=("CNN5x5", "CNN3x3"), seeds=(1, 0))
    assert list(some) == [("CNN3x3", 1), ("CNN5x5", 1), ("CNN3x3", 0), ("CNN5x5", 0)]


def test_all_rows_are_trained_with_the_recipe_and_the_compute_that_are_given() -> None:
    recipe, compute = replace(RECIPE, epochs=1), Compute(precision="bfloat16")
    runs = declared_runs(make_experiment(), recipe=recipe, compute=compute).values()
    assert {(run.recipe, run.compute) for run in runs} == {(recipe, compute)}
    assert {run.recipe for run in declared_runs(make_experiment()).values()} == {RECIPE}
