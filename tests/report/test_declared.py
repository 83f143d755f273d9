"""Declarations that no table or figure could be made of are told before anything is trained."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import models
from experiments import STUDY
from experiments.answers import ANSWERS
from tests.fake_records import NETWORKS, RECIPE, make_experiment
from tests.fakes import error_of
from utils import runner
from utils.claim import Answer, Claim, Shown
from utils.experiment import Experiment, LayerCase, Row
from utils.report.declared import check_declared

PAIR = ("CNN3x3", "CNN5x5")


def claim(**changes: Any) -> dict[str, tuple[Claim, ...]]:  # noqa: ANN401
    given = {"id": "a", "text": "A.", "text_ru": "А.", "source": "ours", "pairs": (PAIR,)}
    return {"claims": (Claim(**given | changes),)}


CASE = LayerCase("Swish", list, (1, 3, 8, 8))
CASES = (CASE, replace(CASE, name="ReLU"))


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"figures": ("curvs",)}, "unknown figure 'curvs'; known: accuracies, "),
        ({"columns": ("shfit",)}, "unknown column 'shfit'; known: gradient_ratio, "),
        ({"asks": "speed"}, "unknown short table 'speed'; known: cases, "),
        (
            {"asks": "receptive_field"},
            "asks='receptive_field' is of a column that columns=() lacks",
        ),
        ({"asks": "cases", "cases": CASES}, "asks='cases' sets cases beside their analogues, and"),
        ({"cases_are": "layers"}, "unknown kind of cases 'layers'; known: block, layer; mend"),
        ({"base": "CNN3X3"}, "unknown base 'CNN3X3'; known: CNN3x3, CNN5x5; mend"),
        ({"dataset": "fashion"}, "unknown dataset 'fashion'; known: cifar10, mnist; mend"),
        ({"recipe": None}, "has rows, and no dataset or no recipe"),
        ({"reported_table": "9"}, "the report has no table '9'"),
        ({"subject": "$x$"}, "'$x$' has a line break, | or $"),
        ({"question": "a | b?"}, "'a | b?' has a line break, | or $"),
        ({"rows": (Row("A", "CNN3x3"), Row("A", "CNN5x5"))}, "two rows or cases are called A"),
        ({"rows": (Row("CNN4x4"),)}, "unknown network 'CNN4x4'; known: BasicBlockNet, "),
        (
            {"rows": (Row("CNN3x3"), Row("B", "CNN3x3", precision="bfloat16"))},
            "rows differ in precision, so that no table can have their speed; timed=False",
        ),
        (
            {"cases": (replace(CASE, build=lambda: []),)},
            "case Swish: its build cannot be given to another process (",
        ),
        (
            {"cases": (replace(CASE, input_shape=(1, 0)),)},
            "case Swish: input_shape=(1, 0): give (b",
        ),
        ({"cases": (replace(CASE, input_shape=8),)}, "case Swish: input_shape=8: give (batch, …)"),
        ({"cases": (CASE, CASE)}, "two rows or cases are called Swish"),
        (
            {"rows": (Row("CNN3x3"), Row("base", "CNN3x3"))},
            "rows CNN3x3 and base are the same run, which would count twice",
        ),
        (
            {"rows": (Row("CNN3x3"), Row("a", "CNN3x3", recipe={"epochs": RECIPE.epochs}))},
            "rows CNN3x3 and a are the same run, which would count twice",
        ),
        (
            {"cases": (LayerCase("Swish", list, (1, 3), analogue_of="SiLU"),)},
            "unknown analogue 'SiLU'; known: Swish",
        ),
        (
            {"rows": (Row("CNN3x3", at=("all", "2")),)},
            "row CNN3x3: at.1: Input should be a valid n",
        ),
        ({"seeds": 3}, "row CNN3x3: seeds: Input should be a tuple; mend"),
        ({"seeds": ()}, "row CNN3x3: seeds=(): give one or more, from 0 to 4294967295; mend"),
        ({"seeds": (0, 2**32)}, "row CNN3x3: seeds=(0, 4294967296): give one or more, from 0 t"),
        ({"rows": (Row("CNN3x3", seeds=(-1,)),)}, "row CNN3x3: seeds=(-1,): give one or more, fr"),
        ({"figures": ("curves", "curves")}, "figure curves is named twice"),
        (
            {"rows": (Row("CNN3x3", at=("all", math.nan)),)},
            "row CNN3x3: at=('all', nan): its place is no finite number",
        ),
        (
            {"rows": (Row("CNN3x3", at=("x", 1)), Row("CNN5x5", at=("x", 1.0)))},
            "two rows stand at ('x', 1), of which a figure would show one",
        ),
        ({"rows": (Row("CNN3x3", at=("$x", 1)),)}, "row CNN3x3: '$x' has a line break, | or $"),
        (claim(kind="equal", margin=0), "claim a: margin 0: must be above 0 and finite"),
        (claim(margin=math.inf), "claim a: margin inf: must be above 0 and finite"),
        (claim(text="A\nB."), "claim a: its id or text has a line break, | or $; mend"),
        (
            claim(kind="time") | {"timed": False},
            "claim a: is of times, and the experiment has timed=False",
        ),
        (claim(metric="accuracy"), "claim a: metric: Input should be 'test_accuracy', 'train_acc"),
        (claim(margin="0.5"), "claim a: margin: Input should be a valid number; mend"),
        (claim(pairs=(PAIR * 2,)), "claim a: pairs.0: Tuple should have at most 2 items"),
        (claim(pairs=PAIR), "claim a: pairs.0: Input should be a tuple; mend"),
        (claim(pairs=[PAIR]), "claim a: its pairs and what it is about are tuples, and each pair"),
        (claim(pairs=([*PAIR],)), "claim a: its pairs and what it is about are tuples, and each"),
        (claim(about=["dropout"]), "claim a: its pairs and what it is about are tuples, and ea"),
        (claim(pairs=(PAIR, PAIR)), "claim a: compares 'CNN3x3' with 'CNN5x5' twice; mend"),
        (claim(pairs=(("CNN3x3",) * 2,)), "claim a: compares 'CNN3x3' with itself; mend"),
        (
            claim(kind="exact"),
            "claim a: kind 'exact' cannot be of test_accuracy, but of parameters, ",
        ),
        (
            claim(metric="parameters"),
            "claim a: kind 'greater' cannot be of parameters, but of test",
        ),
        (
            claim(kind="exact", metric="parameters", than=1.0),
            "claim a: has no margin of its number (than); mend",
        ),
        (
            {"cases": (CASE,), **claim(kind="time", pairs=(("CNN3x3", "Swish"),))},
            "claim a: compares rows with cases; mend",
        ),
        (
            {"cases": CASES, **claim(pairs=(("ReLU", "Swish"),))},
            "claim a: kind 'greater': of cases there are exact and time; mend",
        ),
        (
            {"cases": CASES, **claim(kind="exact", pairs=(("ReLU", "Swish"),))},
            "claim a: kind 'exact' cannot be of test_accuracy, but of parameters, mean_absolute_gr",
        ),
        (
            claim(kind="equal", metric="gradient_ratio"),
            "claim a: needs a margin, since gradient_ratio has none of its own; mend",
        ),
        (claim(pairs=()), "claim a: has too few pairs"),
        (claim(kind="lead"), "claim a: has too few pairs"),
        (claim(kind="constant", pairs=(("CNN3x3", ""),)), "claim a: has no number (than)"),
        (claim(pairs=(("CNN3x3", "CNN4x4"),)), "claim a: compares 'CNN4x4', which is no row"),
        (claim(pairs=(("CNN3x3", ""),)), "claim a: compares '', which is no row or case"),
        (
            {
                "rows": (Row("CNN3x3", recipe={"weight_decay": 0.0}),),
                "recipe": replace(RECIPE, muon_rate=0.02),
            },
            "row CNN3x3: varies weight_decay, and Muon trains the hidden weights: say its muon_d",
        ),
    ],
)
def test_what_is_declared_wrongly_is_told(changes: dict[str, Any], fault: str) -> None:
    message = error_of(lambda: check_declared([make_experiment(**changes)], NETWORKS))
    assert message.startswith(f"experiment kernel_size: {fault}")
    assert message.endswith("; mend it in experiments/")


def test_the_study_is_declared_rightly() -> None:
    check_declared(STUDY, models.MODELS, ANSWERS)


SHOWN = Shown("a", "3×3 against 5×5", "3×3 против 5×5", "supported")


@pytest.mark.parametrize(
    "shown, changes, fault",
    [
        ((), {}, "shows no comparison"),
        ((replace(SHOWN, claim="b"),), {}, "shows claim b, and no experiment has it"),
        ((replace(SHOWN, pair=1),), {}, "shows pair 1 of claim a, which has 1"),
        ((replace(SHOWN, pair="0"),), {}, "shown.0.pair: Input should be a valid integer"),
        ((replace(SHOWN, label="a | b"),), {}, "'a | b' has a line break, | or $"),
        ((SHOWN,), {"kind": "time"}, "shows claim a, of kind 'time' and of test_accuracy; its "),
        (
            (SHOWN,),
            {"metric": "gradient_ratio"},
            "shows claim a, of kind 'greater' and of gradient_ratio; its axis is for greater, eq",
        ),
    ],
)
def test_an_answer_that_shows_what_has_no_place_on_its_axis_is_told(
    shown: tuple[Shown, ...], changes: dict[str, Any], fault: str
) -> None:
    answer = Answer("Which?", "Какая?", "3×3", "3×3", "kernel_size.md", shown)
    experiment = make_experiment(**claim(**changes))
    message = error_of(lambda: check_declared([experiment], NETWORKS, [answer]))
    assert message.startswith(f"answer 'Which?': {fault}")
    assert message.endswith("; mend it in experiments/")


def test_two_experiments_of_one_name_are_told() -> None:
    message = error_of(lambda: check_declared([make_experiment()] * 2, NETWORKS))
    assert message.startswith("two experiments are called kernel_size; ")


def test_two_claims_of_one_name_are_told_in_two_experiments_too() -> None:
    one, other = make_experiment(**claim()), make_experiment(name="depth", **claim())
    message = error_of(lambda: check_declared([one, other], NETWORKS))
    assert message.startswith("two claims are called a, and one would stand for the other; ")


def test_two_runs_that_would_have_one_file_are_told() -> None:
    tall = [Row("A", "CNN3x3", {"widths": (1, 2)}), Row("B", "CNN3x3", {"widths": "1x2"})]
    message = error_of(lambda: check_declared([make_experiment(tall)], NETWORKS))
    assert message == (
        "B of kernel_size and A of kernel_size are two runs, and both have the files of "
        "CNN3x3-widths=1x2; call a network otherwise, or say in the row what differs"
    )
    longer = make_experiment(name="depth", recipe=replace(RECIPE, epochs=9))
    message = error_of(lambda: check_declared([make_experiment(), longer], NETWORKS))
    assert message.startswith("CNN3x3 of depth and CNN3x3 of kernel_size are two runs, and both ")


@pytest.mark.parametrize("style", [{"colour": "skyish"}, {"marker": "star"}])
def test_a_network_that_cannot_be_drawn_is_told(style: dict[str, str]) -> None:
    networks = {**NETWORKS, "CNN3x3": NETWORKS["CNN3x3"]._replace(**style)}
    message = error_of(lambda: check_declared([make_experiment()], networks))
    assert message.startswith("CNN3x3: matplotlib has no colour ")


def test_traits_are_a_tuple() -> None:
    networks = {**NETWORKS, "CNN3x3": NETWORKS["CNN3x3"]._replace(traits="convolutions")}
    message = error_of(lambda: check_declared([make_experiment()], networks))
    assert message.startswith("CNN3x3: traits are a tuple, as in ('convolutions',); ")


def test_nothing_is_done_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment: Experiment = make_experiment(figures=("curvs",))
    assert runner.main([experiment], "", ["--quick", "--out-dir", str(tmp_path)]) == 2
    assert "unknown figure 'curvs'" in capsys.readouterr().err


def test_an_answer_rests_on_claims_that_are_there() -> None:
    answer = Answer("Which?", "Какая?", "3×3", "3×3", "a.md", (SHOWN,), (("b", "supported"),))
    message = error_of(lambda: check_declared([make_experiment(**claim())], NETWORKS, [answer]))
    assert message.startswith("answer 'Which?': rests on claim b, and no experiment has it; ")
