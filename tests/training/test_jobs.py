"""Runs at once: as good as one after another, whatever becomes of one of them."""

import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import _ExecutorManagerThread
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from experiments import TASK_1
from tests.elsewhere import dies, dies_at_once
from tests.fake_records import make_experiment
from tests.training.runs import RUN, assert_same_files, nothing
from utils import REPOSITORY, runner
from utils.data.dataset import Dataset
from utils.experiment import Compute, Row, Run
from utils.one_run import run_one
from utils.recipes import quick
from utils.records.runs import run_path
from utils.training.jobs import Teller, one_after_another, side_by_side
from utils.training.progress import Event, Tell

RUNS = [replace(RUN, seed=seed) for seed in range(3)]


def test_what_a_process_tells_adds_up_to_the_whole_run(cifar10: Dataset, tmp_path: Path) -> None:
    events: list[Event] = []
    run_one(RUN, Teller(events.append), tmp_path, False, lambda _: cifar10)
    assert [event.epoch.epoch for event in events if event.epoch] == [1, 2, 3]
    assert sum(event.share for event in events) == pytest.approx(1)
    assert (events[0].resumed, events[-1].finished) == (True, True)


def no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(method: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(multiprocessing, "get_context", refuse)


def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as the system allows are there already: the pool's own is one too many."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_ExecutorManagerThread, "start", refuse)


@pytest.mark.parametrize("limit", [no_context, no_thread])
def test_where_processes_cannot_be_joined_nothing_is_forgotten(
    limit: Callable[[pytest.MonkeyPatch], None],
    cifar10: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    limit(monkeypatch)
    kept = tmp_path / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.npz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    flags = ["--quick", "--fresh", "--jobs", "2", "--threads", "1", "--out-dir", str(tmp_path)]
    assert runner.main([make_experiment(["CNN7x7", "DeepFCNet"], timed=False)], "", flags) == 2
    assert "processes cannot be begun and joined here (" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("; use --jobs 1")
    assert kept.read_bytes() == b"kept"


def fails(run: Run, tell: Tell) -> None:
    if run.seed == 1:
        raise ValueError("no such luck\nat all")
    tell(Event(run, finished=True))


def test_a_run_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    failures = one_after_another(RUNS, fails, events.append)
    assert {title: str(error) for title, error in failures.items()} == {
        RUNS[1].title: "no such luck\nat all"
    }
    assert [(each.run.seed, each.failed) for each in events] == [(0, False), (1, True), (2, False)]
    assert f"{RUNS[1].title} failed: ValueError: no such luck" in caplog.messages


def test_a_command_of_which_a_run_fails_finishes_the_others_as_one_after_another_does(
    cifar10: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "load_quick_dataset", lambda _: cifar10)
    rows = [Row("CNN7x7"), Row("fewer", "CNN7x7", {"widths": (4, 4)}), Row("DeepFCNet")]
    experiment = make_experiment(rows, timed=False)
    runs = tmp_path / "results" / "quick" / "runs" / "cifar10"
    (runs / "CNN7x7-seed0.npz").mkdir(parents=True)  # in the way of its arrays
    flags = ["--quick", "--epochs", "1", "--threads", "1", "--device", "cpu"]
    assert runner.main([experiment], "", [*flags, "--jobs", "2", "--out-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1] == "error: 1 of 3 runs failed: cifar10 CNN7x7 seed 0"
    where = f"{runs / 'CNN7x7-seed0.npz'}: cannot be written (Is a directory); what was saved"
    assert any(line.startswith(f"cifar10 CNN7x7 seed 0 failed: {where}") for line in error)
    assert (runs / "CNN7x7-seed0.checkpoint.pt").exists()
    names = {path.name for path in runs.glob("*.json")}
    assert names == {"CNN7x7-widths=4x4-seed0.json", "DeepFCNet-seed0.json"}
    for row in rows[1:]:
        recipe = replace(quick(experiment.recipe), epochs=1)
        run = row.run("cifar10", recipe, 0, Compute(threads=1))
        run_one(run, nothing, tmp_path / "b", False, lambda _: cifar10)
        assert_same_files(run_path(runs.parents[1], run), run_path(tmp_path / "b", run))


def test_a_run_whose_process_is_killed_is_tried_once_more_and_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    failures = side_by_side(RUNS, partial(dies, folder=tmp_path), 2, events.append)
    assert {title: str(error) for title, error in failures.items()} == {
        RUNS[0].title: "its process died, twice"
    }
    assert (tmp_path / "0").read_text() == "xx"
    assert sorted(event.run.seed for event in events if event.finished) == [1, 2]
    assert f"{RUNS[0].title} failed: ProcessDiedError: its process died, twice" in caplog.messages


def test_a_process_that_dies_without_a_word_is_not_tried_for_ever() -> None:
    assert list(side_by_side(RUNS[:1], dies_at_once, 2, nothing)) == [RUNS[0].title]


def lines_of(process: subprocess.Popen[str], seconds: float) -> Iterator[str]:
    """What it writes to stderr, line by line."""
    end = time.monotonic() + seconds
    for line in process.stderr:
        yield line
        assert time.monotonic() < end, "it takes too long"


def living() -> dict[int, int]:
    """Process -> the one that began it, of all that run here."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


FLAGS = ["--quick", "--threads", "1", "--experiments", "mnist_comparison"]
FLAGS += ["--models", "FCNet", "SimpleCNN", "--out-dir"]


def started(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """The script, as a shell starts it: in a group of processes, which has a terminal's Ctrl-C."""
    script = [sys.executable, str(REPOSITORY / "homework_cnn_vs_fc_comparison.py")]
    return subprocess.Popen(
        [*script, *FLAGS, str(folder), *flags],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job, as the tests may be, ignores SIGINT, and its children do too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def children_of(process: subprocess.Popen[str]) -> set[int]:
    return {child for child, parent in living().items() if parent == process.pid}


def assert_ends(process: subprocess.Popen[str], number: signal.Signals, children: set[int]) -> None:
    """Within two seconds, in one line that says how to go on, and nothing is left running."""
    start = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    error = process.stderr.read()
    assert process.wait(10) == 128 + number
    assert time.monotonic() - start < 2
    assert error.splitlines()[-1].startswith("interrupted; the same command goes on after")
    assert "Traceback" not in error
    while children & living().keys() and time.monotonic() - start < 4:
        time.sleep(0.05)
    assert not children & living().keys()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed on Linux")
def test_a_signal_ends_all_processes_at_once_and_the_same_command_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(tmp_path, "--jobs", "2")
    next(line for line in lines_of(process, 120) if "epoch 1/2" in line)
    children = children_of(process)
    assert len(children) >= 2
    assert_ends(process, signal.SIGTERM, children)
    runs = tmp_path / "results" / "quick" / "runs" / "mnist"
    assert list(runs.glob("*.checkpoint.pt"))
    assert len(list(runs.glob("*.json"))) < 2

    monkeypatch.setattr(runner, "measure_networks", lambda *_: [])
    monkeypatch.setattr(runner, "render_study", lambda *_: None)
    with caplog.at_level(logging.INFO):
        assert runner.main(TASK_1, "", [*FLAGS, str(tmp_path)]) == 0
    assert "continuing after epoch" in caplog.text
    names = {path.name for path in runs.glob("*.json")}
    assert names == {"FCNet-seed0.json", "SimpleCNN-seed0.json"}
    assert not list(runs.glob("*.checkpoint.pt"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed on Linux")
def test_ctrl_c_while_the_processes_start_is_a_line_too(tmp_path: Path) -> None:
    process = started(tmp_path, "--jobs", "2")
    end = time.monotonic() + 60
    while len(children := children_of(process)) < 3 and time.monotonic() < end:
        time.sleep(0.05)  # two of them import for seconds; the third is multiprocessing's own
    assert_ends(process, signal.SIGINT, children)
