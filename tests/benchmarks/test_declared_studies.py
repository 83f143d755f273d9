"""The studies that the benchmarks declare: their runs, and what is read out of the records."""

import csv
import json
import math
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import precision, recipes, time_to_accuracy
from benchmarks.time_to_accuracy_report import QUICK_TARGET, read_lines, side_of
from experiments import STUDY
from tests.fake_records import make_seeds
from tests.fakes import error_of, read_once
from utils import REPOSITORY
from utils.experiment import declared_runs
from utils.measuring.timing import Effort
from utils.records.runs import find_record, find_records, identity, run_path

RESULTS = REPOSITORY / "results"
EVERY = (*precision.EXPERIMENTS, *recipes.EXPERIMENTS, *time_to_accuracy.every_schedule())


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)


def test_runs_that_differ_have_files_that_differ() -> None:
    """Studies share a folder: a file name that two runs share would mix them up."""
    found: dict[Path, dict] = {}
    for experiment in EVERY:
        for run in declared_runs(experiment).values():
            path = run_path(RESULTS, run)
            assert found.setdefault(path, identity(run)) == identity(run), path


def test_none_of_them_is_missing_from_the_study_itself() -> None:
    studied = {run_path(RESULTS, run) for each in STUDY for run in declared_runs(each).values()}
    assert not studied & {
        run_path(RESULTS, run) for each in EVERY for run in declared_runs(each).values()
    }


def test_every_committed_record_belongs_to_a_declared_run() -> None:
    own = RESULTS / "benchmarks"
    declared = {each.path for experiment in EVERY for each in find_records(experiment, own)}
    assert declared == set(own.rglob("runs/**/*.json"))


def test_a_study_in_two_precisions_takes_the_studys_records() -> None:
    run = declared_runs(precision.EXPERIMENTS[2])["CNN3x3, bfloat16", 0]
    assert not run_path(RESULTS / "benchmarks", run).exists()
    studied = json.loads((RESULTS / "runs" / "cifar10" / "CNN3x3-seed0.json").read_text())
    found = find_record(run, RESULTS / "benchmarks", RESULTS)
    assert found.final.test_accuracy == studied["final"]["test_accuracy"]


def test_machines_and_precisions_are_compared_run_by_run() -> None:
    found = precision.comparisons(precision.read_records(RESULTS))
    devices, one_processor, processors = found
    runs = RESULTS / "benchmarks" / "runs" / "cifar10"
    on_cpu, on_gpu = (
        json.loads(path.read_text())["final"]["test_accuracy"]
        for path in (
            runs / "CNN7x7-bfloat16-seed2.json",
            RESULTS / "runs" / "cifar10" / "CNN7x7-seed2.json",
        )
    )
    (pair,) = (
        difference
        for (first, _), difference in zip(devices.pairs, devices.differences, strict=True)
        if (first.network, first.seed) == ("CNN7x7", 2)
    )
    assert pair == pytest.approx(100 * (on_gpu - on_cpu))
    assert {id(first) for first, _ in one_processor.pairs} < {
        id(first) for first, _ in processors.pairs
    }
    values = np.array(processors.differences)
    half = 2.0739 * values.std(ddof=1) / np.sqrt(len(values))  # of Student's t, 22 degrees
    assert len(values) == 23
    assert processors.interval == pytest.approx((values.mean() - half, values.mean() + half), 1e-3)


def test_two_seeds_are_compared_where_they_were_trained_alike() -> None:
    trained = partial(make_seeds, "CNN3x3")
    assert (
        precision.seed_difference([*trained([0.5]), *trained([0.7], precision="float32")]) is None
    )
    records = [*trained([0.50, 0.52]), *trained([0.70, 0.71, 0.72], precision="float32")]
    assert precision.seed_difference(records) == pytest.approx(np.sqrt(2 * (2 + 2) / 3))


def test_without_records_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert precision.markdown(tmp_path) == ""
    assert time_to_accuracy.markdown(tmp_path, tmp_path) == ""


def tried(*accuracies: float | None) -> list[dict[str, float | None]]:
    return [
        {"epochs": number, "validation_accuracy": value, "test_accuracy": 0.5}
        for number, value in enumerate(accuracies, 1)
    ]


def test_the_first_that_passes_counts_and_its_seconds_with_what_precedes() -> None:
    side = side_of(tried(0.6, 0.72, 0.8), 0.7, np.array([2.0, 3.0]), before=1.0)
    assert (side.epochs, side.validation_accuracy, side.passed) == (2, 0.72, True)
    assert side.seconds.tolist() == [5.0, 7.0]


def test_to_reach_the_target_is_not_to_pass_it() -> None:
    side = side_of(tried(0.6, 0.7), 0.7, np.array([2.0]))
    assert (side.epochs, side.passed) == (2, False)


def test_the_time_to_accuracy_stands_on_its_records() -> None:
    lines = read_lines(time_to_accuracy.every_schedule(), RESULTS / "benchmarks")
    assert len(lines) == 14
    line = next(line for line in lines if line.label == "CNN7x7, CIFAR-10")
    assert (line.ours.epochs, line.usual.epochs) == (2, 9)
    name = "cifar10/CNN7x7.json"
    seconds = json.loads((RESULTS / "benchmarks" / "seconds" / name).read_text())
    usual, ours = 9 * np.array(seconds["usual"]), 2 * np.array(seconds["ours"])
    expected = np.median(usual / (ours + np.median(seconds["views"])))
    assert line.ratio.median == pytest.approx(expected)
    never = next(line for line in lines if line.label == "CNNWithResidual, MNIST")
    assert not never.usual.passed


@pytest.mark.parametrize(
    "part, change",
    [
        ("usual", {"tried": []}),
        ("usual", {"tried": [{"epochs": 1}]}),
        ("usual", {"environments": [None]}),
        ("usual", {"tried": [{"epochs": -1, "validation_accuracy": 0.9, "test_accuracy": 0.9}]}),
        ("seconds", {"ours": "fast"}),
        ("seconds", {"ours": [1.0, None]}),
        ("seconds", {"ours": [1.0, 2.0]}),  # the usual loop has other rounds
        ("seconds", {"usual": []}),
        ("seconds", {"usual": [-30.0]}),
        ("seconds", {"usual": [30.0]}),
        ("seconds", {"ours": 3.0}),
        ("seconds", {"ours": [[1.0]] * 5}),
        ("seconds", {"ours": [1.0, 2.0, 3.0, 4.0, math.inf]}),
        ("seconds", {"views": []}),
        ("seconds", {"views": [math.inf] * 5}),
        ("seconds", {"environment": {"python": 3}}),
    ],
)
def test_a_misshapen_record_of_the_usual_loop_is_named(
    part: str, change: dict, tmp_path: Path
) -> None:
    (schedules,) = (
        each for each in time_to_accuracy.every_schedule() if "CNN7x7" in "".join(each.labels)
    )
    name = "cifar10/CNN7x7.json"
    for folder in ("usual", "seconds"):
        (tmp_path / folder / "cifar10").mkdir(parents=True)
        shutil.copy(RESULTS / "benchmarks" / folder / name, tmp_path / folder / name)
    (tmp_path / "runs").symlink_to(RESULTS / "benchmarks" / "runs")
    record = json.loads((tmp_path / part / name).read_text())
    (tmp_path / part / name).write_text(json.dumps(record | change))
    message = error_of(lambda: read_lines([schedules], tmp_path))
    assert message.startswith(f"{tmp_path / 'usual' / name} or {tmp_path / 'seconds' / name}: ")


def test_a_candidate_is_one_change_of_the_recipe_and_its_gain_is_told() -> None:
    experiment = recipes.EXPERIMENTS[0]
    found = recipes.accuracies(experiment, RESULTS / "benchmarks")
    chosen, without = (found[name]["CNN3x3"] for name in (recipes.CHOSEN, "without Muon"))
    gain = 100 * (np.mean(without) - np.mean(chosen))
    table = recipes.candidates_markdown(experiment, RESULTS / "benchmarks")
    assert f"| without Muon | {100 * np.mean(without):.2f} ({gain:+.2f}) |" in table
    assert f"| as chosen | {100 * np.mean(chosen):.2f} |" in table


def with_diverged(folder: Path, *names: str) -> Path:
    """The benchmarks' records in a folder of their own, where the named ones have diverged."""
    shutil.copytree(RESULTS / "benchmarks", folder / "benchmarks")
    (folder / "runs").symlink_to(RESULTS / "runs")
    for name in names:
        diverge(folder / "benchmarks" / "runs" / "cifar10" / f"{name}.json")
    return folder


def diverge(path: Path) -> None:
    """Makes of a record that of a run that has diverged."""
    record = json.loads(path.read_text())
    record["diverged"] = {"epoch": 1, "step": 3, "learning_rate": 1e20}
    record["final"], record["epochs"] = dict.fromkeys(record["final"]), []
    if record["timings"]:
        record["timings"]["epoch_seconds"] = []
    path.write_text(json.dumps(record))
    path.with_suffix(".npz").unlink(missing_ok=True)


def test_a_candidate_that_diverged_is_told_and_enters_no_mean(tmp_path: Path) -> None:
    without = "muon_rate=0.0-learning_rate=0.05-train_minus_validation-bfloat16"
    names = [f"{each}-{without}-seed" for each in ("CNN3x3", "CNN7x7", "CNN7x7")]
    names = [f"{name}{seed}" for name, seed in zip(names, (0, 0, 1), strict=True)]
    folder = with_diverged(tmp_path, *names)
    table = recipes.candidates_markdown(recipes.EXPERIMENTS[0], folder / "benchmarks")
    (line,) = (line for line in table.splitlines() if line.startswith("| without Muon |"))
    first, second = line.split(" | ")[1:3]
    assert re.fullmatch(r"\d\d\.\d\d \([+-]\d\.\d\d, 1 of 2 diverged\)", first)
    assert second == "2 of 2 diverged"
    assert "nan" not in recipes.deviations_markdown(recipes.EXPERIMENTS[0], folder / "benchmarks")


def test_without_a_second_seed_no_deviation_is_told_and_without_records_no_block(
    tmp_path: Path,
) -> None:
    for path in with_diverged(tmp_path).rglob("*-seed1.json"):
        path.unlink()
    assert recipes.deviations_markdown(recipes.EXPERIMENTS[0], tmp_path / "benchmarks") == ""
    assert recipes.blocks(tmp_path).keys() == {"reached", "cifar10", "mnist"}
    shutil.rmtree(tmp_path / "benchmarks" / "runs" / "mnist")
    assert recipes.blocks(tmp_path).keys() == {"reached", "cifar10"}


@pytest.mark.parametrize(
    "before, after, reason",
    [(",", ";", "KeyError: 'dataset'"), ("mnist,", ",", "ValueError: incomplete: ")],
)
def test_the_search_as_a_spreadsheet_leaves_it(
    before: str, after: str, reason: str, tmp_path: Path
) -> None:
    text = (RESULTS / "benchmarks" / "recipe_search.csv").read_text()
    path = tmp_path / "recipe_search.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert len(recipes.read_search(path)) == text.count("\n") - 1
    path.write_text(text.replace(before, after))
    message = error_of(lambda: recipes.read_search(path))
    assert message.startswith(f"{path}: not the table of the search ({reason}")


def test_what_diverged_has_no_pair_and_has_not_passed(tmp_path: Path) -> None:
    folder = with_diverged(
        tmp_path, "CNN3x3-float32-seed0", "CNN3x3-epochs=1-train_minus_validation-seed0"
    )
    assert len(precision.read_records(folder)) == len(precision.read_records(RESULTS)) - 1
    assert "nan" not in precision.markdown(folder)
    schedules = time_to_accuracy.every_schedule()
    (line,) = (
        each for each in read_lines(schedules, folder / "benchmarks") if "CNN3x3, C" in each.label
    )
    assert line.ours.passed
    assert not side_of(tried(None), 0.7, np.array([2.0])).passed


def test_a_seed_of_the_study_that_diverged_is_not_in_what_the_recipes_reach(
    tmp_path: Path,
) -> None:
    for folder, names in (("benchmarks", "recipe_search.csv"), ("runs/cifar10", "CNN7x7-seed*")):
        (tmp_path / folder).mkdir(parents=True)
        for path in (RESULTS / folder).glob(names):
            shutil.copy(path, tmp_path / folder)
    diverge(tmp_path / "runs" / "cifar10" / "CNN7x7-seed3.json")
    (line,) = recipes.blocks(tmp_path)["reached"].splitlines()[2:]
    assert re.fullmatch(r"\| CNN7x7 \| CIFAR-10 \| 69\.84 \| 73\.\d\d ± 0\.\d\d \|", line)
    assert line not in recipes.blocks(RESULTS)["reached"]


def test_a_network_under_two_names_has_one_row_of_what_the_recipes_reach() -> None:
    table = recipes.blocks(RESULTS)["reached"]
    assert "| CNN3x3 = ShallowCNN | CIFAR-10 | 78.33 |" in table
    assert table.count("ShallowCNN") == 1


def test_the_ordinary_recipe_stands_below_the_candidates() -> None:
    with (RESULTS / "benchmarks" / "recipe_search.csv").open(newline="") as lines:
        tried = [line for line in csv.DictReader(lines) if line["dataset"] == "mnist"]
    values = [
        float(line["validation_accuracy"])
        for line in tried
        if line["recipe"] == "the start" and line["network"] == "FCNet"
    ]
    assert len(values) == 3
    table = recipes.candidates_markdown(recipes.EXPERIMENTS[1], RESULTS / "benchmarks", tried)
    assert f"| the ordinary recipe | {100 * np.mean(values):.2f} (" in table


def test_the_deviation_is_that_of_the_candidates_two_seeds() -> None:
    experiment, folder = recipes.EXPERIMENTS[1], RESULTS / "benchmarks"
    (networks,) = recipes.accuracies(experiment, folder).values()
    a, b = networks["FCNet"]
    expected = 100 * abs(a - b) / np.sqrt(2)
    assert f"{expected:.2f} on FCNet" in recipes.deviations_markdown(experiment, folder)


def test_a_schedule_is_trained_only_while_no_shorter_one_has_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_to_accuracy, "QUICK_EFFORT", Effort(rounds=1))
    flags = ["--quick", "--models", "FCNet", "--threads", "1", "--out-dir", str(tmp_path)]
    assert time_to_accuracy.main(flags) == 0
    folder = tmp_path / "results" / "quick" / "benchmarks"
    schedules = sorted(path.name for path in folder.rglob("runs/mnist/*.json"))
    assert schedules == ["FCNet-epochs=1-train_minus_validation-seed0.json"]  # digits: at once
    usual = json.loads((folder / "usual" / "mnist" / "FCNet.json").read_text())
    assert usual["tried"][-1]["validation_accuracy"] > QUICK_TARGET
    assert "| FCNet, MNIST sample |" in capsys.readouterr().out
    assert [path.name for path in folder.rglob("seconds/mnist/*.json")] == ["FCNet.json"]
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    assert time_to_accuracy.main([*flags, "--no-train"]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before
    asked: list[str] = []
    monkeypatch.setattr(time_to_accuracy, "time_epochs", lambda run, *_: asked.append(run.network))
    assert time_to_accuracy.main(flags) == 0  # trains nothing again
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before
    assert asked == ["FCNet"]
    path = folder / "usual" / "mnist" / "FCNet.json"
    path.write_text(json.dumps(usual | {"tried": [None]}))
    assert time_to_accuracy.main(flags) == 2
    assert f"error: {path}: cannot be read" in capsys.readouterr().err
