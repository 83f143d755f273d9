"""The first screen: the forest of comparisons, and the answers' table, in both languages."""

from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean

import pytest

from experiments.custom_layers import CUSTOM_LAYERS
from models import MODELS
from tests.fake_records import (
    NETWORKS,
    make_diverged,
    make_experiment,
    make_record,
    make_seeds,
    write_runs,
)
from tests.fakes import leave_pixels_out
from utils import REPOSITORY
from utils.claim import Answer, Claim, Shown
from utils.records.study import gather
from utils.report.figures.forest import SHAPES
from utils.report.languages import localised, word_of
from utils.report.overview import also_differing, render_overview
from utils.report.short import short_tables
from utils.report.verdicts import LITTLE, NO_DIFFERENCE, OPEN, REFUTED, SUPPORTED

CLAIM = Claim(
    "2.1-5x5", "CNN3x3 is better.", "CNN3x3 лучше.", "ours", pairs=(("CNN3x3", "CNN5x5"),)
)
ANSWER = Answer(
    "Which?", "Какая?", "CNN3x3", "CNN3x3 и", "kernel_size.md", (Shown("2.1-5x5", "a", "б", "s"),)
)
EXPERIMENT = make_experiment(["CNN3x3", "CNN5x5"], claims=(CLAIM,), asks="gap")


@pytest.fixture(autouse=True)
def _no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_pixels_out(monkeypatch)


def render(folder: Path) -> dict[str, str]:
    return render_overview([gather(EXPERIMENT, folder, NETWORKS)], [ANSWER], folder / "plots")


@pytest.fixture
def blocks(tmp_path: Path) -> dict[str, str]:
    accuracies = {"CNN3x3": (0.80, 0.81, 0.82, 0.81, 0.81), "CNN5x5": (0.7, 0.71, 0.7, 0.72, 0.7)}
    records = [record for each in accuracies.items() for record in make_seeds(*each)]
    write_runs(tmp_path, EXPERIMENT, records)
    return render(tmp_path)


def test_an_answer_stands_with_its_difference_and_verdict(blocks: dict[str, str]) -> None:
    line = blocks["overview.answers"].splitlines()[-1]
    assert line.startswith("| Which? | CNN3x3 | a: +10.4 [9.2, 11.6] | supported | [kernel_")
    russian = blocks["overview.answers.ru"].splitlines()[-1]
    assert russian.startswith("| Какая? | CNN3x3 и | б: +10,4 [9,2; 11,6] | подтверждено | ")


def test_what_else_differs_stands_beside_the_verdict() -> None:
    confounds = "5.35 times the parameters; 5 to 3 layers with weights; receptive field 16 to 10"
    assert also_differing(confounds, "en") == "; parameters, layers, receptive field differ too"
    assert also_differing(confounds, "ru") == "; различаются и параметры, слои, рецептивное поле"
    more = f"{confounds}; max-pooling in CNN3x3 alone"
    assert also_differing(more, "en").endswith("layers, receptive field, other parts differ too")
    assert also_differing("dropout in CNN5x5 alone", "en") == "; other parts differ too"
    assert also_differing("none", "en") == ""


def test_an_equality_that_holds_is_no_win(tmp_path: Path) -> None:
    equal = replace(CLAIM, kind="equal", margin=20)
    experiment = replace(EXPERIMENT, claims=(equal,))
    write_runs(tmp_path, experiment, [make_record(n, s) for n in experiment.labels for s in (0, 1)])
    found = render_overview([gather(experiment, tmp_path, NETWORKS)], [ANSWER], tmp_path / "plots")
    assert "| as good | [kernel_size]" in found["overview.answers"]
    assert "![Of 1 comparisons: as good 1]" in found["overview.figure"]


def test_a_difference_below_what_matters_is_drawn(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, claims=(replace(CLAIM, margin=40),))
    accuracies = {"CNN3x3": (0.80, 0.81, 0.82, 0.81, 0.81), "CNN5x5": (0.7, 0.71, 0.7, 0.72, 0.7)}
    records = [record for each in accuracies.items() for record in make_seeds(*each)]
    write_runs(tmp_path, experiment, records)
    found = render_overview([gather(experiment, tmp_path, NETWORKS)], [ANSWER], tmp_path / "plots")
    assert "| supported, by less than matters | [kernel_size]" in found["overview.answers"]
    assert "![Of 1 comparisons: supported, by less than matters 1]" in found["overview.figure"]


def test_the_caption_names_what_is_left_out_since_runs_diverged(tmp_path: Path) -> None:
    lost = replace(CLAIM, id="lost", pairs=(("CNN5x5", "CNN7x7"),))
    experiment = make_experiment(["CNN3x3", "CNN5x5", "CNN7x7"], claims=(CLAIM, lost))
    records = [make_record(name, seed) for name in ("CNN3x3", "CNN5x5") for seed in (0, 1)]
    write_runs(tmp_path, experiment, [*records, make_diverged("CNN7x7", 0)])
    answer = replace(ANSWER, shown=(*ANSWER.shown, replace(ANSWER.shown[0], claim="lost")))
    every = [gather(experiment, tmp_path, NETWORKS)]
    found = render_overview(every, [answer], tmp_path / "plots")
    assert found["overview.figure"].endswith(" Left out, since runs diverged: a.*")
    assert found["overview.figure.ru"].endswith(": б.*")


def test_every_verdict_of_a_comparison_has_a_marker() -> None:
    assert {LITTLE, NO_DIFFERENCE, OPEN, REFUTED, SUPPORTED} < {*SHAPES}


def test_both_figures_are_drawn(blocks: dict[str, str], tmp_path: Path) -> None:
    assert "](plots/overview.png)" in blocks["overview.figure"]
    assert "](plots/overview.ru.png)" in blocks["overview.figure.ru"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "overview.png",
        "overview.ru.png",
    ]


def test_an_answer_without_records_is_left_out(tmp_path: Path) -> None:
    assert not any(render(tmp_path).values())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "russian"),
    [
        ("60,362", "60\N{NO-BREAK SPACE}362"),
        ("3,805,450", "3\N{NO-BREAK SPACE}805\N{NO-BREAK SPACE}450"),
        ("80.87 ± 0.14", "80,87 ± 0,14"),
        ("CNN3x3", "CNN3x3"),
    ],
)
def test_numbers_are_written_as_the_language_has_them(text: str, russian: str) -> None:
    assert localised(text, "en") == text
    assert localised(text, "ru") == russian


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("open: about 14 seeds", "open"),
        ("supported", "supported"),
        ("supported, by less than matters", "supported, by less than matters"),
        ("refuted by CNN5x5", "refuted"),
    ],
)
def test_a_verdict_has_its_word(verdict: str, word: str) -> None:
    assert word_of(verdict) == word


def test_the_short_table_has_what_the_question_asks(tmp_path: Path) -> None:
    write_runs(tmp_path, EXPERIMENT, [make_record("CNN3x3"), make_record("CNN5x5")])
    tables = short_tables(gather(EXPERIMENT, tmp_path, NETWORKS))
    english, russian = (
        tables[name].splitlines() for name in ("kernel_size.short", "kernel_size.short.ru")
    )
    assert english[0] == (
        "| Network | Parameters | MFLOPs | Test accuracy, % | Train minus test, points |"
    )
    assert russian[0].startswith("| Сеть | Параметры | ")
    assert english[2].endswith("| 75.00 | 5.00 |")
    assert russian[2].endswith("| 75,00 | 5,00 |")


def test_layers_stand_beside_their_analogues() -> None:
    evidence = gather(CUSTOM_LAYERS, REPOSITORY / "results", MODELS)
    lines = short_tables(evidence)["custom_layers.short"].splitlines()
    assert lines[0].startswith("| Layer | Analogue | Parameters | Forward, times ")
    swish, relu = (
        next(case for case in evidence.cases.cases if case.name == name)
        for name in ("Swish", "ReLU")
    )
    passes = zip(swish.forward_seconds_100, relu.forward_seconds_100, strict=True)
    ratio = geometric_mean([own.median / other.median for own, other in passes])
    (line,) = (line for line in lines if line.startswith("| Swish | ReLU | "))
    assert f" | {ratio:.2f} | " in line
