"""Any command line of the three scripts: an exit code that is known, a line, never a traceback.

Nothing is trained, measured or drawn: what training comes to is one more thing that is drawn.
"""

import contextlib
import errno
import io
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import event, example, given
from hypothesis import strategies as st

from experiments import STUDY, TASK_1, TASK_2, TASK_3
from experiments.answers import ANSWERS
from tests.fake_records import make_data, make_record, write_runs
from tests.fakes import TINY, make_tiny
from utils import plan, runner
from utils.data import dataset
from utils.errors import UNFORESEEN, UserError
from utils.experiment import Experiment, Recipe
from utils.recipes import quick

TASKS = (TASK_1, TASK_2, TASK_3)
TINIES = {name: make_tiny(replace(each, train_images=12)) for name, each in TINY.items()}
STRANGE = ("", "-", "--", "x", "σ", "\udcff", "\0", "a b", "../..", "%s", "{}", "*", "-1", "'")
NUMBERS = (*"012", "10", "11", "256", "1024", "2**3", "1e3", "4294967296", *STRANGE)
PLACES = ("new", "new/deep", "data", "~", "~/x", "", "file", "file/below", "~nobody-of-this-name")
SANE = 4  # of a flag's values, the first so many
VALUES = {
    "--experiments": (*(task[0].name for task in TASKS), TASK_2[-1].name, *STRANGE),
    "--models": (*(row.label for task in TASKS for row in task[0].rows[:2]), *STRANGE),
    "--seeds": NUMBERS,
    "--epochs": NUMBERS,
    "--threads": NUMBERS[1:],
    "--jobs": NUMBERS[1:],
    "--device": ("auto", "cpu", "auto", "cpu", "cpu:3", "cuda:99", "meta", *STRANGE),
    "--precision": ("float32", "bfloat16", "float32", "bfloat16", "float16", *STRANGE),
    "--scheduler": ("tcp://", "tcp://x", "http://127.0.0.1:1", "file", "data", *STRANGE),
    "--predict": ("picture.png", "data", "file", *STRANGE),
    "--data-dir": ("data", *PLACES, *STRANGE),
    "--out-dir": PLACES,
}
SWITCHES = ("--quick", "--fresh", "--measure", "--no-train", "--evaluate", "--weights")
OTHERS = ("--help", "--quic", "--sedes", "--quick=1", "--out-dir", *STRANGE)
ENDS = {
    "well": None,
    "some failed": ValueError("a run"),
    "a mistake": UserError("a mistake"),
    "a full disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file"),
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
}

switch = st.sampled_from(SWITCHES).map(lambda flag: [flag])
sane, valued = (
    st.sampled_from(list(VALUES)).flatmap(
        lambda flag, most=most: st.lists(
            st.sampled_from(VALUES[flag][:most]), min_size=most == SANE, max_size=2, unique=True
        ).map(lambda found: [flag, *found])
    )
    for most in (SANE, None)
)
strange = st.sampled_from(OTHERS).map(lambda word: [word])
quick_ones = st.just(["--quick"])
# half of them have a chance to get through
lines = st.lists(st.one_of(quick_ones, switch, sane), max_size=4) | st.lists(
    st.one_of(switch, sane, valued, strange), max_size=6
)


@contextlib.contextmanager
def ending(end: object) -> Iterator[None]:
    """Training comes to this."""

    def train_runs(runs: Sequence, *_: object) -> dict[str, BaseException]:
        if isinstance(end, signal.Signals):
            signal.raise_signal(end)
        if isinstance(end, UserError | OSError):
            raise end
        return {run.title: end for run in runs[:1] if end}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "train_runs", train_runs)
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_done() -> Iterator[None]:
    def no_network(*_: object) -> None:
        raise UserError("there is no network")

    def load(name: str, data_dir: Path) -> dataset.Dataset:
        return TINIES[name] if data_dir.name == "data" else load_dataset(name, data_dir)

    load_dataset = runner.load_dataset
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "set_num_threads", lambda number: None)  # there may be 1,024
        patched.setattr(dataset, "download", no_network)
        patched.setattr(runner, "load_dataset", load)
        patched.setattr(runner, "load_quick_dataset", TINIES.get)
        patched.setattr(runner, "cost", lambda *_: 1.0)
        for module in (plan, runner):  # the records are made up
            patched.setattr(module, "check_sizes", lambda *_: None)
        for name in ("try_out", "warn_if_slower", "measure_layers", "measure_networks"):
            patched.setattr(runner, name, lambda *_: ())
        for name in ("render_experiment", "render_overview"):
            patched.setattr(runner, name, lambda *_: {})
        # what pytest's own handlers catch goes to another process, which takes text alone
        patched.setattr(logging.getLogger(), "handlers", [])
        # a shell's background job, as the tests may be, ignores SIGINT
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)


def write_record_of(
    experiment: Experiment, results: Path, changed: Callable[[Recipe], Recipe]
) -> None:
    """The record of the experiment's first row, on the images that there are here."""
    for row in experiment.rows[:1]:
        recipe, images = changed(experiment.recipe), TINIES[experiment.dataset]
        data = make_data(fingerprint=images.fingerprint, train_images=12, test_images=10)
        changes = {"dataset": experiment.dataset, "recipe": recipe, "data": data}
        write_runs(results, experiment, [make_record(row.label, test_accuracy=0.8, **changes)])


def result(task: Sequence[Experiment], argv: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and stderr of a command in a folder with records, a file and a dataset."""
    (folder / "file").write_text("in the way")
    (folder / "data").mkdir()
    write_record_of(task[0], folder / "results", lambda recipe: recipe)
    write_record_of(task[0], folder / "results" / "quick", quick)
    stderr = io.StringIO()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(folder))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
            try:
                code = runner.main(task, "", argv, STUDY, ANSWERS)
            except SystemExit as end:  # of --help
                code = end.code
    return code, stderr.getvalue()


@given(task=st.sampled_from(range(3)), line=lines, end=st.sampled_from(list(ENDS)))
@example(task=1, line=[["--quick"], ["--models", "CNN5x5"]], end="well")
@example(task=1, line=[["--quick"], ["--models", "CNN5x5"]], end="some failed")
@example(task=1, line=[["--data-dir", "data"]], end="a full disk")
@example(task=2, line=[["--quick"], ["--fresh"]], end="SIGINT")
@example(task=0, line=[["--quick"]], end="SIGTERM")
def test_any_command_line_ends_with_a_code_and_a_line(
    task: int, line: list[list[str]], end: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, ending(ENDS[end]):
        argv = ["--out-dir", folder, *(word for words in line for word in words)]
        code, told = result(TASKS[task], argv, Path(folder))
    event(f"exit code {code}")
    assert code in (0, 1, 2, 130, 143)
    assert "Traceback" not in told and UNFORESEEN not in told
    lines = told.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == (code in (1, 2)), told
    assert sum(line.startswith("interrupted; ") for line in lines) == (code > 2), told
