"""A declaration and nothing else: rows of any kind are trained, recorded, measured and rendered."""

import csv
import errno
import json
import logging
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch

from tests.fake_records import (
    ENVIRONMENT,
    make_arrays,
    make_data,
    make_diverged,
    make_experiment,
    make_record,
    make_speed,
    write_runs,
)
from tests.fakes import TINY_CIFAR10, error_of, full_disk, make_tiny, measure_once
from utils import machine, one_run, runner
from utils.cli import parse
from utils.data.dataset import Dataset
from utils.experiment import Compute, Row, Run
from utils.logs import logs
from utils.measuring import speed
from utils.measuring.sizes import sizes
from utils.plan import check_recipe
from utils.recipes import quick
from utils.records.checks import right_of
from utils.records.files import read_record, write_record
from utils.records.runs import find_records, run_path
from utils.records.schema import Speed

ROWS = (
    Row("CNN7x7"),
    Row("no smoothing", network="CNN7x7", recipe={"label_smoothing": 0.0, "epochs": 2}),
    Row("held out", network="CNN7x7", part="train minus validation"),
)
RECIPE = replace(quick(make_experiment().recipe), label_smoothing=0.1)
EXPERIMENTS = (
    make_experiment(ROWS, recipe=RECIPE, figures=("curves",)),
    make_experiment([Row("elsewhere", "CNN7x7")], name="depth", recipe=RECIPE),
)
FLAGS = ["--quick", "--epochs", "1", "--threads", "1", "--out-dir"]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Those that the command of ``trained`` trained."""
    return []


@pytest.fixture(scope="module")
def trained(runs: list[Run], cifar10: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a command that trained and measured all of it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train = one_run.train
        monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
        measure_once(monkeypatch)
        monkeypatch.setattr(
            one_run, "train", lambda run, *rest: runs.append(run) or train(run, *rest)
        )
        assert runner.main(EXPERIMENTS, "", [*FLAGS, str(folder)]) == 0
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A folder like the trained one, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


@pytest.mark.parametrize("is_fresh", [True, False])
def test_records_are_forgotten_when_there_is_a_worker_and_only_if_asked_to(
    is_fresh: bool, copied: Path, runs: list[Run]
) -> None:
    flags = [*FLAGS, str(copied), *(["--fresh"] if is_fresh else [])]
    options = parse(EXPERIMENTS, "", flags)
    paths = [run_path(options.results, run) for run in runs]

    class Workers:
        def train(self, *arguments: object) -> dict:
            *_, before = arguments
            assert all(path.exists() for path in paths)
            before()
            return {}

    costs = {run.title: 1.0 for run in runs}
    data = make_tiny(TINY_CIFAR10)
    assert runner.train_runs(runs, costs, options, lambda _: data, Workers()) == {}
    assert [path.exists() for path in paths] == [not is_fresh] * 3


def test_a_run_that_stands_in_several_rows_is_trained_once(trained: Path, runs: list[Run]) -> None:
    assert Counter(run.name for run in runs) == {
        "CNN7x7": 1,
        "CNN7x7-label_smoothing=0.0-epochs=2": 1,
        "CNN7x7-train_minus_validation": 1,
    }


def test_every_row_finds_its_record(trained: Path) -> None:
    results = trained / "results" / "quick"
    found = {each.row.label: each for each in find_records(EXPERIMENTS[0], results)}
    assert list(found) == [row.label for row in ROWS]
    (elsewhere,) = find_records(EXPERIMENTS[1], results)
    assert found["CNN7x7"].path == elsewhere.path
    plain, varied, held_out = (
        found[label].record for label in ("CNN7x7", "no smoothing", "held out")
    )
    assert (len(plain.epochs), plain.recipe.label_smoothing) == (1, 0.1)
    assert (len(varied.epochs), varied.recipe.label_smoothing) == (2, 0.0)
    assert (plain.data.train_images, plain.data.validation_images) == (64, 0)
    assert (held_out.data.train_images, held_out.data.validation_images) == (58, 6)
    assert held_out.final.validation_accuracy is not None
    for each in found.values():
        right = right_of(each.path.with_suffix(".npz"), each.record.data.test_images)
        assert right.mean() == each.record.final.test_accuracy
    assert len(list((results / "runs").rglob("*.json"))) == 3
    assert len(list((results / "runs").rglob("*-seed*.npz"))) == 3


def test_every_row_stands_in_the_table_under_its_label(trained: Path) -> None:
    tables = [trained / "results" / "quick" / each.name / "table.csv" for each in EXPERIMENTS]
    rows, (elsewhere,) = (list(csv.DictReader(each.open(encoding="utf-8"))) for each in tables)
    assert [row["model"] for row in rows] == [row.label for row in ROWS]
    assert {**rows[0], "model": ""} == {**elsewhere, "model": ""}
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert (trained / "plots" / "quick" / "kernel_size" / "curves.png").exists()


def test_the_same_command_again_trains_nothing(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(one_run, "train", None)  # it would raise
    monkeypatch.setattr(speed, "measure_speed", None)
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(trained), "--weights"]) == 0
    text = "recorded without weights, --fresh trains anew: cifar10 CNN7x7 seed 0"
    assert text in capsys.readouterr().err


def test_a_further_seed_counts_in_every_table_that_it_stands_in(
    copied: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    flags = [*FLAGS, str(copied), "--experiments", "depth", "--seeds", "1"]
    assert runner.main(EXPERIMENTS, "", flags) == 0
    table = copied / "results" / "quick" / "kernel_size" / "table.csv"
    rows = {row["model"]: row["seeds"] for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert rows == {row.label: "2" if row.run_name == "CNN7x7" else "1" for row in ROWS}


def test_a_run_that_would_join_another_table_is_refused_before_a_step(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = copied / "results" / "quick"
    (results / "runs" / "cifar10" / "CNN7x7-seed0.json").unlink()
    flags = ["--quick", "--threads", "1", "--out-dir", str(copied), "--experiments", "depth"]
    assert runner.main(EXPERIMENTS, "", flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        "made with epochs 1 (not 2); a run of this command joins its table, kernel_size: use the "
        "same flags, or another --out-dir"
    )


def test_tables_that_share_a_network_are_measured_together(
    copied: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    measure_once(monkeypatch)
    flags = ["--experiments", "depth", "--measure", "--threads", "2", "--out-dir", str(copied)]
    assert runner.main(EXPERIMENTS, "", ["--quick", "--epochs", "1", *flags]) == 0
    speeds = (copied / "results" / "quick" / "speed" / "cifar10").glob("*.json")
    assert [read_record(each, Speed).environment.threads for each in speeds] == [2, 2, 2]


def edited(path: Path) -> None:
    """As of a network that had one parameter more."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "parameters": content["parameters"] + 1}))


def test_the_speed_of_a_network_that_has_changed_since_is_measured_anew(
    copied: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied / "results" / "quick" / "speed" / "cifar10" / "CNN7x7.json"
    edited(path)
    flags = [*FLAGS, str(copied)]
    assert runner.main(EXPERIMENTS, "", [*flags, "--no-train"]) == 2
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    measure_once(monkeypatch)
    assert runner.main(EXPERIMENTS, "", flags) == 0
    assert runner.main(EXPERIMENTS, "", [*flags, "--no-train"]) == 0


def test_what_would_stand_beside_rows_of_a_changed_network_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = copied / "results" / "quick" / "runs" / "cifar10"
    (runs / "CNN7x7-seed0.json").unlink()  # which is trained anew
    edited(runs / "CNN7x7-label_smoothing=0.0-epochs=2-seed0.json")
    flags = [*FLAGS, str(copied), "--experiments", "depth"]
    assert runner.main(EXPERIMENTS, "", flags) == 2
    assert "epochs=2-seed0.json: parameters " in capsys.readouterr().err.splitlines()[-1]


def test_a_changed_network_is_trained_anew_whatever_else_it_is_called(
    copied: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(copied / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.json")
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    measure_once(monkeypatch)
    flags = [*FLAGS, str(copied), "--fresh", "--models", "CNN7x7"]
    assert runner.main(EXPERIMENTS, "", flags) == 0


def test_nothing_is_forgotten_where_a_folder_lies_in_a_file_s_place(
    copied: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = copied / "results" / "quick" / "runs" / "cifar10"
    before = sorted(path.name for path in runs.glob("*.json"))
    (folder := runs / f"{Path(before[-1]).stem}.safetensors").mkdir()
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(copied), "--fresh"]) == 2
    assert sorted(path.name for path in runs.glob("*.json")) == before
    folder.rmdir()


@pytest.mark.parametrize("flags", [["--no-train"], ["--epochs", "1"]])
def test_numbers_that_no_record_would_tell_are_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.autocast("cpu"):
        assert runner.main(EXPERIMENTS, "", ["--quick", "--out-dir", str(tmp_path), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: torch's autocast has been set to True before the command began")


def test_tables_whose_results_are_no_longer_on_record_are_named(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "results" / "quick" / "runs")
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(copied), "--no-train"]) == 0
    (line,) = (each for each in capsys.readouterr().err.splitlines() if "on record" in each)
    table = copied / "results" / "quick" / "kernel_size" / "table.csv"
    assert line.startswith(f"{table} and 3 more: of results that are no longer on record; ")


def test_records_that_are_called_as_no_row_are_named(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = copied / "results" / "quick" / "runs"
    record = runs / "cifar10" / "CNN7x7-seed0.json"
    names = ("cifar10/CNN7x7-seed1 (1).json", "cifar10/CNN7x8-seed1.json", "CNN7x7-seed1.json")
    for name in names:
        shutil.copy(record, runs / name)
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(copied), "--no-train"]) == 0
    (line,) = (each for each in capsys.readouterr().err.splitlines() if "left out" in each)
    first = runs / "CNN7x7-seed1.json"
    assert line == f"{first} and 2 more: called as no run of a declared row; left out"


def test_a_record_in_another_precision_than_asked_for_counts_and_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(one_run, "train", None)  # it would raise
    flags = [*FLAGS, str(trained), "--precision", "bfloat16"]
    assert runner.main(EXPERIMENTS[1:], "", flags) == 0
    (line,) = (each for each in capsys.readouterr().err.splitlines() if "counts" in each)
    assert line.startswith(
        "the record at hand counts, --fresh trains anew: cifar10 CNN7x7 seed 0 (float32, "
    )


@pytest.mark.parametrize("flags", [[], ["--fresh", "--models", "held out"], ["--measure"]])
def test_a_refused_command_loses_nothing(
    flags: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.read_bytes() for path in trained.rglob("*.*") if path.suffix != ".log"}
    flags = ["--quick", "--out-dir", str(trained), "--epochs", "2", *flags]
    assert runner.main(EXPERIMENTS[:1], "", flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "made with epochs 1 (not 2)" in error
    assert "share these: use the same flags, --fresh --seeds 0 for all models of the" in error
    for path, content in files.items():
        assert path.read_bytes() == content, path


def test_a_second_command_is_kept_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results" / "quick"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        assert runner.main(EXPERIMENTS, "", [*FLAGS, str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}: another command is writing there; wait for it, or give another "
        "--out-dir (--jobs trains several networks at once)\n"
    )


def test_a_lock_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "results" / "quick" / ".lock"
    lock.mkdir(parents=True)  # a pipe would do: whether it can be locked depends on filelock
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {lock}: cannot be locked (Is a directory)")


def test_what_nobody_foresaw_is_a_line_and_its_traceback_is_in_the_log(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "render_experiment", None)
    flags = ["--quick", "--no-train", "--out-dir", str(trained)]
    assert runner.main(EXPERIMENTS, "", flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = (trained / "results" / "quick").glob("*.log")
    assert line.startswith("error: TypeError: 'NoneType' object is not callable, in ")
    assert f"{runner.__file__}:" in line and f"{log} has the traceback" in line
    assert log.read_text().splitlines()[-1] == "TypeError: 'NoneType' object is not callable"


@pytest.mark.parametrize("flags", [["--evaluate"], ["--predict", "a.png"]])
def test_what_only_reads_writes_nothing(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(EXPERIMENTS, "", ["--quick", "--out-dir", str(tmp_path), *flags]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flags[0]}: no weights ")
    assert not list(tmp_path.iterdir())


def test_other_images_are_refused_for_the_study_and_told_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "load_dataset", lambda *_: make_tiny(TINY_CIFAR10))
    text = "tiny: not the images that the shipped results were measured on (fingerprint "
    elsewhere = parse(EXPERIMENTS, "", ["--out-dir", str(tmp_path)])
    runner.DatasetLoader(elsewhere, torch.device("cpu"))("cifar10")
    assert text in caplog.text
    load = runner.DatasetLoader(parse(EXPERIMENTS, "", []), torch.device("cpu"))
    message = error_of(lambda: load("cifar10"))
    assert message.startswith(text)
    assert message.endswith("; give an --out-dir of their own")


@pytest.mark.parametrize("flags", [[], ["--fresh"]])
def test_a_missing_dataset_is_reported_before_any_file_is_changed(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cifar10.npz").write_bytes(b"not an archive")
    record = tmp_path / "results" / "runs" / "cifar10" / "CNN7x7-seed0.npz"
    record.parent.mkdir(parents=True)
    record.write_bytes(b"kept")
    flags = [*flags, "--out-dir", str(tmp_path), "--data-dir", str(tmp_path)]
    assert runner.main(EXPERIMENTS, "", flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path / 'cifar10.npz'}: not an npz file")
    assert record.read_bytes() == b"kept"


def test_ctrl_c_says_how_to_go_on(
    few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "train_runs", interrupted)
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(tmp_path)]) == 130
    assert "the same command goes on after the last finished epoch" in capsys.readouterr().err
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(tmp_path), "--fresh"]) == 130
    assert "the same command without --fresh goes on after the" in capsys.readouterr().err
    assert runner.main(EXPERIMENTS, "", [*FLAGS, str(tmp_path), "--measure"]) == 130
    assert "the same command measures anew" in capsys.readouterr().err


@pytest.fixture
def few(cifar10: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains on few images; nothing is measured, drawn or made a table of."""
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    monkeypatch.setattr(runner, "measure_networks", lambda *_: [])
    monkeypatch.setattr(runner, "render_study", lambda *_: None)


@pytest.fixture
def killed(few: None, tmp_path: Path) -> Path:
    """The checkpoint of a run in bfloat16 that was killed when all of it was trained."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(one_run, "write_arrays", lambda *_: signal.raise_signal(signal.SIGTERM))
        flags = [*FLAGS, str(tmp_path), "--precision", "bfloat16"]
        assert runner.main(EXPERIMENTS[1:], "", flags) == 143
    return tmp_path / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.checkpoint.pt"


@pytest.mark.parametrize(
    "flags, way_on",
    [
        ([], "--precision bfloat16; --fresh"),
        (["--epochs", "2"], "--precision bfloat16 and --epochs 1; --fresh"),
        (["--epochs", "2", "--precision", "bfloat16"], "--epochs 1; --fresh"),
    ],
)
def test_a_forgotten_flag_is_named_and_loses_nothing(
    flags: list[str],
    way_on: str,
    killed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = killed.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(one_run, "train", None)  # it would raise
        assert runner.main(EXPERIMENTS[1:], "", [*FLAGS, str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {killed}: an unfinished run with ")
    assert f"it goes on with {way_on}" in error
    assert killed.read_bytes() == kept
    assert runner.main(EXPERIMENTS[1:], "", [*FLAGS, str(tmp_path), *flags, "--fresh"]) == 0
    assert not killed.exists()


def test_what_will_stand_beside_an_unfinished_run_has_its_recipe(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, str(tmp_path), "--seeds", "1"]
    for fresh in ([], ["--fresh"]):
        assert runner.main(EXPERIMENTS[1:], "", [*flags, "--epochs", "2", *fresh]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"error: {killed}: an unfinished run with epochs 1 (not 2); ")
        which = f"with --experiments {EXPERIMENTS[1].name} --models elsewhere --seeds 0"
        assert error.endswith(f"--fresh trains it anew {which}")
    assert runner.main(EXPERIMENTS[1:], "", flags) == 0  # in another precision


def test_weights_that_were_asked_for_are_not_forgotten(
    few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, str(tmp_path)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(one_run, "write_arrays", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert runner.main(EXPERIMENTS[1:], "", [*flags, "--weights"]) == 143
    assert runner.main(EXPERIMENTS[1:], "", flags) == 2
    assert "whose weights are to be kept; it goes on with --weights" in capsys.readouterr().err
    assert runner.main(EXPERIMENTS[1:], "", [*flags, "--weights"]) == 0
    (weights,) = tmp_path.rglob("*.safetensors")
    kept = weights.read_bytes()

    weights.with_suffix(".json").unlink()
    assert runner.main(EXPERIMENTS[1:], "", flags) == 2
    assert f"error: {weights}: its record is gone" in capsys.readouterr().err
    assert weights.read_bytes() == kept
    assert runner.main(EXPERIMENTS[1:], "", [*flags, "--weights"]) == 0


def test_with_the_flags_it_was_begun_with_it_goes_on(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = [*FLAGS, str(tmp_path), "--precision", "bfloat16"]
    assert runner.main(EXPERIMENTS[1:], "", flags) == 0
    assert "continuing after epoch 1" in caplog.text


SIZES = sizes("CNN5x5", {}, (3, 32, 32))


@pytest.mark.parametrize("flags", [[], ["--no-train"], ["--measure"]])
def test_a_record_of_a_network_that_has_changed_since_is_refused(
    flags: list[str], few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make_experiment([Row("CNN7x7"), Row("CNN5x5")], recipe=RECIPE)
    fake = {**SIZES, "parameters": 34_539}
    record = make_record("CNN5x5", recipe=replace(RECIPE, epochs=1), **fake)
    (path,) = write_runs(tmp_path / "results" / "quick", experiment, [record])
    assert runner.main([experiment], "", [*FLAGS, str(tmp_path), *flags]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {path}: parameters 34539 (not 34538), by the network as it is now; "
        "--fresh --models CNN5x5 --seeds 0 trains anew, and so does another --out-dir"
    )


def test_that_all_runs_diverged_is_no_lack_of_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make_experiment(["CNN5x5"], recipe=RECIPE)
    record = make_diverged("CNN5x5", 0).model_copy(update=SIZES)
    write_runs(tmp_path / "results" / "quick", experiment, [record])
    assert runner.main([experiment], "", ["--quick", "--no-train", "--out-dir", str(tmp_path)]) == 0
    assert "kernel_size: all of its runs diverged\n" in capsys.readouterr().err


def test_what_diverged_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    experiment = make_experiment(["CNN5x5"])
    runs = [experiment.rows[0].run("cifar10", RECIPE, seed, Compute()) for seed in range(3)]
    write_runs(tmp_path, experiment, [make_record("CNN5x5", 0), make_diverged("CNN5x5", 1)])
    runner.name_diverged(runs, tmp_path)  # of the third, which failed, there is no record
    where = "epoch 1, step 17, learning rate 0.4"
    assert caplog.messages == [f"diverged, and recorded so: cifar10 CNN5x5 seed 1 ({where})"]


def test_other_images_than_those_of_the_records_are_refused_before_a_step(
    few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment([Row("CNN7x7"), Row("CNN5x5")], recipe=RECIPE)
    once = replace(RECIPE, epochs=1)
    records = [make_record("CNN5x5", seed, recipe=once, **SIZES) for seed in (0, 7)]
    write_runs(tmp_path / "results" / "quick", experiment, records)
    flags = [*FLAGS, str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(one_run, "train", None)  # it would raise
        assert runner.main([experiment], "", flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "CNN5x5-seed0.json: made with other images (fingerprint ffffffffffff) than" in error
    assert error.endswith("or --fresh --seeds 0 7 for all models of the experiment")
    assert runner.main([experiment], "", [*flags, "--fresh", "--seeds", "0", "7"]) == 0


def test_records_from_a_gpu_go_on_and_render_on_a_machine_without(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    measure_once(monkeypatch)
    experiment = make_experiment([Row("CNN7x7"), Row("CNN5x5")], recipe=RECIPE)
    gpu = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
    record = make_record(
        "CNN5x5",
        recipe=replace(RECIPE, epochs=1),
        device="cuda",
        environment=gpu,
        data=make_data(
            description="tiny", fingerprint=cifar10.fingerprint, train_images=64, test_images=32
        ),
        **SIZES,
    )
    results = tmp_path / "results" / "quick"
    (path,) = write_runs(results, experiment, [record], make_arrays({"features.0": (4, 8)}))
    write_record(
        results / "speed" / "cifar10" / "CNN5x5.json", make_speed(device="cuda", environment=gpu)
    )
    before = path.read_bytes()
    assert runner.main([experiment], "", [*FLAGS, str(tmp_path), "--device", "cpu"]) == 0
    assert path.read_bytes() == before
    found = {each.row.label: each.record for each in find_records(experiment, results)}
    assert (found["CNN5x5"].device, found["CNN7x7"].device) == ("cuda", "cpu")
    table = (results / "kernel_size" / "table.md").read_text(encoding="utf-8")
    assert "NVIDIA H100 80GB HBM3" in table


@pytest.mark.parametrize("suffix", [".checkpoint.pt", ".npz", ".safetensors", ".json"])
def test_a_file_that_cannot_be_written_is_a_line_and_the_same_command_goes_on(
    suffix: str,
    few: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(path: Path, target: Path) -> None:
        if target.name.endswith(suffix):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(path, target)

    replace_file = os.replace
    flags = [*FLAGS, str(tmp_path), "--weights"]
    path = tmp_path / "results" / "quick" / "runs" / "cifar10" / f"CNN7x7-seed0{suffix}"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        assert runner.main(EXPERIMENTS[1:], "", flags) == 1
    error = capsys.readouterr().err
    assert f"failed: {path}: cannot be written (No space left on device); what was saved" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.tmp"))
    assert runner.main(EXPERIMENTS[1:], "", flags) == 0
    goes_on = "continuing after epoch 1" in capsys.readouterr().err
    assert goes_on == path.exists() == (suffix != ".checkpoint.pt")


def test_what_an_earlier_training_left_beside_its_record_goes_with_it(tmp_path: Path) -> None:
    run = Run("CNN7x7", "cifar10", RECIPE, 0, name="CNN7x7")
    path = run_path(tmp_path, run)
    path.parent.mkdir(parents=True)
    for suffix in (".npz", ".safetensors"):
        path.with_suffix(suffix).touch()
    kept = one_run.Kept(make_diverged("CNN7x7", 0), None, None)
    one_run.keep_one(run, kept, tmp_path, [].append)
    assert list(path.parent.iterdir()) == [path]


def test_the_checkpoint_of_a_finished_run_is_gone_with_the_next_command(
    few: None, tmp_path: Path
) -> None:
    path = tmp_path / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.checkpoint.pt"
    assert runner.main(EXPERIMENTS[1:], "", [*FLAGS, str(tmp_path)]) == 0
    other = path.with_name("CNN5x5-seed0.checkpoint.pt")
    for each in (path, other):
        each.touch()  # as a kill leaves it between the record's last write and its own end
    assert runner.main(EXPERIMENTS[1:], "", [*FLAGS, str(tmp_path)]) == 0
    assert (path.exists(), other.exists()) == (False, True)
    path.touch()
    path.with_name("CNN7x7-seed0.json").write_text("{")  # then the checkpoint is all there is
    assert runner.main(EXPERIMENTS[1:], "", [*FLAGS, str(tmp_path)]) == 2
    assert path.exists()


@pytest.mark.parametrize(
    "recipe, few, wrong",
    [
        ({"warmup": 1.0}, {}, "warmup=1.0 is out of range"),
        (
            {"batch_size": 0},
            {},
            "recipe: less than one epoch, or than one image in a batch; mend it in experiments/",
        ),
        (
            {"optimizer": "adam"},
            {},
            "recipe.optimizer: Input should be 'adamw' or 'sgd'; mend it in experiments/",
        ),
        (
            {"learning_rate": -0.1},
            {},
            "recipe: a number that is negative or not finite; mend it in experiments/",
        ),
        (
            {"epochs": np.int64(1)},
            {},
            "cannot be recorded (Object of type int64 is not JSON serializable); recipe and "
            "overrides hold finite numbers, words and lists of them",
        ),
        ({"crop_padding": 32}, {}, "crop_padding=32 is out of range"),
        ({}, {"images": 65}, "images=65, and train has 64"),
        (
            {},
            {"images": 59, "part": "train minus validation"},
            "images=59, and train minus validation has 58",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_a_line_before_a_step(
    recipe: dict, few: dict, wrong: str, cifar10: Dataset
) -> None:
    run = Run("CNN7x7", "cifar10", replace(RECIPE, **recipe), 0, name="CNN7x7", **few)
    assert error_of(lambda: check_recipe(run, cifar10, False)) == f"{run.title}: {wrong}"


def test_no_room_for_the_images_of_other_processes_is_a_line_and_loses_nothing(
    tmp_path: Path,
) -> None:
    data = make_tiny(TINY_CIFAR10)
    runs = [Run("CNN7x7", "cifar10", RECIPE, seed, name="CNN7x7") for seed in (0, 1)]
    flags = [*FLAGS, str(tmp_path), "--fresh", "--jobs", "2"]
    options = parse(EXPERIMENTS, "", flags)
    costs = {run.title: 1.0 for run in runs}
    (record := run_path(options.results, runs[0])).parent.mkdir(parents=True)
    record.touch()
    with full_disk(fits=1000):
        message = error_of(lambda: runner.train_runs(runs, costs, options, lambda _: data))
    assert "the images cannot be written there (File too large); make room, what" in message
    assert [path for path in options.results.rglob("*") if path.is_file()] == [record]


def test_messages_go_to_the_log_file_with_their_time(trained: Path) -> None:
    (file,) = (trained / "results" / "quick").glob("*.log")
    assert "INFO cifar10 CNN7x7 seed 0 epoch 1/1: loss" in file.read_text()


@pytest.mark.parametrize(
    "path, reason",
    [("/dev/full", "[Errno 28] No space left"), ("/dev", "[Errno 21] Is a directory")],
)
def test_a_log_that_cannot_be_written_stops_nothing_and_is_told_once(
    path: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs(Path(path)):
        runner.log.info("first")
        runner.log.info("second")
    trouble, *others = sorted(capsys.readouterr().err.splitlines())
    assert trouble.startswith(f"{path}: cannot be written ({reason}")
    assert trouble.endswith("); going on without")
    assert others == ["first", "second"]


def test_a_log_takes_names_that_are_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # what pytest's own handlers catch goes to another process, which takes text alone
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with logs(tmp_path / "a.log"):
        runner.log.info("%s", tmp_path / os.fsdecode(b"\xff"))
    capsys.readouterr()
    assert "\\udcff" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_more_threads_than_processors_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "processors", lambda: 2)
    flags = ["--quick", "--no-train", "--out-dir", str(tmp_path), "--threads", "1024"]
    assert runner.main(EXPERIMENTS, "", flags) == 0
    assert "1024 threads on 2 processors: they wait for each other" in capsys.readouterr().err


# --- a disk that is full, files where folders belong and the reverse -----------------------------


def rendering_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which the command ends."""
    flags = ["--quick", "--no-train", "--out-dir", str(folder)]
    assert runner.main(EXPERIMENTS, "", flags) in (1, 2)
    (line,) = (each for each in capsys.readouterr().err.splitlines() if "error: " in each)
    return line


@pytest.mark.parametrize(
    "name",
    [
        "results/quick",
        "results/quick/.lock",
        "results/quick/kernel_size",
        "plots/quick/kernel_size",
        "results/quick/kernel_size/table.csv",
        "results/quick/claims.csv",
        "results/quick/runs/cifar10/CNN7x7-seed0.json",
        "results/quick/runs/cifar10/CNN7x7-seed0.npz",
        "results/quick/speed/cifar10/CNN7x7.json",
        "results/quick/kernel_size/cases.json",
        "plots/quick/kernel_size/curves.png",
    ],
)
def test_a_folder_in_place_of_a_file_or_the_reverse_is_one_line(
    name: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("in the way")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    assert str(path) in rendering_fails(copied, capsys)


@pytest.mark.parametrize("fits", [0, 3_000])  # bytes of a file: none fits, or the tables alone
def test_a_full_disk_is_one_line_and_loses_nothing(
    fits: int, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*.*") if path.suffix != ".log"}
    with full_disk(fits):
        line = rendering_fails(copied, capsys)
    assert "File too large" in line
    after = {path: path.read_bytes() for path in copied.rglob("*.*") if path.suffix != ".log"}
    assert after == before
