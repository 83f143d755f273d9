"""Declarations: which runs a row stands for, what their files are called, in which order."""

from dataclasses import replace

import numpy as np
import pytest

from tests.fake_records import RECIPE, make_experiment
from tests.fakes import error_of
from utils.claim import Claim
from utils.experiment import Compute, Experiment, LayerCase, Row, declared_runs


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
    of_arrays = [rows[0], Row("CNN5x5", seeds=np.arange(1, 3)), rows[2]]
    same = declared_runs(make_experiment(of_arrays, seeds=np.arange(2)))
    assert same == declared_runs(experiment)
    assert {type(run.seed) for run in same.values()} == {int}
    some = declared_runs(experiment, labels=("CNN5x5", "CNN3x3"), seeds=(1, 0))
    assert list(some) == [("CNN3x3", 1), ("CNN5x5", 1), ("CNN3x3", 0), ("CNN5x5", 0)]


def test_all_rows_are_trained_with_the_recipe_and_the_compute_that_are_given() -> None:
    recipe, compute = replace(RECIPE, epochs=1), Compute(precision="bfloat16")
    runs = declared_runs(make_experiment(), recipe=recipe, compute=compute).values()
    assert {(run.recipe, run.compute) for run in runs} == {(recipe, compute)}
    assert {run.recipe for run in declared_runs(make_experiment()).values()} == {RECIPE}


@pytest.mark.parametrize(
    "name",
    [
        *("CNN3x3", "Swish, trained β", "¼ of the images", "3×3, без сдвига", "44 layers, plain"),
        *("without Muon's decay", "a – b", "±5 %", "a=b", "x" * 60, "ы" * 60),
        *("हिन्दी", "\u0438\u0306", "é", "e\u0301"),
    ],
)
def test_names_have_letters_of_any_script_and_spaces(name: str) -> None:
    assert Row(name).run_name == name
    assert make_experiment([], name=name).name == name


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("a/b", "has '/'"),
        ("a\\b", r"has '\\'"),
        ("a|b", "has '|'"),
        ("a\nb", r"has '\n'"),
        ("a\u2028b", r"has '\u2028'"),
        ("a\0", r"has '\x00'"),
        ("<b>", "has '<'"),
        ("$x$", "has '$'"),
        ("[x]", "has '['"),
        ("\ud800", r"has '\ud800'"),
        ("x" * 200, "is too long"),
        ("𓀀" * 51, "is too long"),
        ("", "has no letter"),
        ("..", "has no letter"),
        ("  ", "has no letter"),
    ],
)
def test_other_names_are_refused_where_they_are_declared(name: str, wrong: str) -> None:
    allowed = (
        "; allowed are letters and digits of any script, spaces and , . + - – _ = × ± ° % & ( ) ', "
        "60 of them (200 bytes) at most"
    )
    assert error_of(lambda: Row(name)) == f"row {name!r}: its name {wrong}{allowed}"
    text = error_of(lambda: make_experiment([], name=name))
    assert text == f"experiment or case {name!r}: its name {wrong}{allowed}"
    if name:
        assert wrong in error_of(lambda: Row("fine", network=name))


def test_a_record_s_name_is_no_label_and_may_be_longer() -> None:
    assert Row("fine", network="x" * 61).run_name == "x" * 61
    assert "its name is too long" in error_of(lambda: Row("x" * 61))


def test_what_a_row_varies_must_make_a_name_too() -> None:
    text = error_of(lambda: Row("A", "CNN7x7", overrides={"path": "a/b"}))
    assert text.startswith("the record 'CNN7x7-path=a/b': its name has '/'; allowed are")
    text = error_of(lambda: Row("A", "CNN7x7", overrides={"path": "a" * 120}))
    assert text.endswith("; vary fewer fields in a row, or give an experiment a recipe of its own")


def test_a_row_has_images_and_fields_of_the_recipe() -> None:
    text = error_of(lambda: Row("CNN3x3", images=0))
    assert text == "row CNN3x3: images=0: must be 1 or more"
    text = error_of(lambda: Row("CNN3x3", recipe={"lr": 1}))
    assert text == "row CNN3x3: a recipe has no lr"
    for wrong in ([("epochs", 2)], None, RECIPE, {3: 4}):
        text = error_of(lambda wrong=wrong: Row("CNN3x3", recipe=wrong))
        assert text == "row CNN3x3: recipe is no mapping, as in {'epochs': 2}"
    assert error_of(lambda: Row("a", object)) == "row 'a': network is no text"
    text = error_of(lambda: Row("CNN3x3", overrides={"momentum": 1}, recipe={"momentum": 0.8}))
    assert text == "row CNN3x3: momentum of both network and recipe"


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"rows": Row("CNN3x3")}, "rows is no tuple, each a Row"),
        ({"rows": ("CNN3x3",)}, "rows is no tuple, each a Row"),
        ({"claims": Claim("a", "A.", "А.", "ours")}, "claims is no tuple, each a Claim"),
        ({"cases": LayerCase("ReLU", list, (1,))}, "cases is no tuple, each a LayerCase"),
        ({"held": "epochs"}, "held is no tuple, each a text"),
        ({"varied": None}, "varied is no tuple, each a text"),
        ({"figures": "curves"}, "figures is no tuple, each a text"),
    ],
)
def test_the_comma_that_a_tuple_of_one_lacks_is_told(changes: dict, field: str) -> None:
    made = {"rows": (Row("CNN3x3"),), "varied": ("kernel size",), "held": (), "not_tuned": ()}
    text = error_of(lambda: Experiment("mine", "Why?", **made | changes))
    assert text == f"experiment mine: {field}; one by itself has a comma behind it: (a,)"
    text = error_of(lambda: make_experiment(recipe={"epochs": 1}))
    assert text == "experiment kernel_size: recipe is no Recipe"
    text = error_of(lambda: make_experiment(subject=None))
    assert text == "experiment kernel_size: subject is no text"
    text = error_of(lambda: make_experiment(timed="no"))
    assert text == "experiment kernel_size: timed is neither True nor False"


@pytest.mark.parametrize("name", ["claims.csv", ".lock", "homework.log", "runs"])
def test_an_experiment_has_no_name_that_something_else_in_results_has(name: str) -> None:
    text = error_of(lambda: make_experiment(name=name))
    assert text.startswith(f"experiment {name}: so is something else in results/ called")
