"""The scripts from end to end, as a user starts them: quick output in a folder of its own."""

import ast
import csv
import hashlib
import os
import pickle
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import models
from experiments import STUDY, TASK_1, TASK_2, TASK_3
from tests.fakes import leave_pixels_out, measure_once
from utils import REPOSITORY, errors, runner
from utils.data.dataset import TENSORS, Dataset, load_quick_dataset
from utils.experiment import Experiment, declared_runs
from utils.records.files import read_record
from utils.records.schema import Record, Speed
from utils.report.figures import canvas

SCRIPTS = (
    "homework_cnn_vs_fc_comparison",
    "homework_cnn_architecture_analysis",
    "homework_custom_layers_experiments",
)
CONTROLS = ("locality_mnist", "shift_mnist")  # of the first script; --quick leaves them out
TRIED = [each for each in STUDY if not each.control or each.name in CONTROLS]
TASK2 = SCRIPTS[1]


def run(script: str, *flags: str, render: bool = True, code: int = 0) -> None:
    """Starts the script in this process: importing torch once more takes as long as a training.

    It has few images and measures once.
    """

    def few(name: str) -> Dataset:
        data = load_quick_dataset(name)
        return replace(data, **{each: getattr(data, each)[:8] for each in TENSORS})

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *flags, "--threads", "1"])
        monkeypatch.setattr(canvas, "DPI", 20)
        monkeypatch.setattr(errors, "end_at_once", lambda advice: None)  # of the tests, that is
        monkeypatch.setattr(runner, "load_quick_dataset", few)
        measure_once(monkeypatch, images=8)
        if not render:
            monkeypatch.setattr(runner, "render_study", lambda *_: None)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / f"{script}.py"), run_name="__main__")
    assert end.value.code == code


def contents(folder: Path, *patterns: str) -> dict[str, str]:
    """Path below the folder -> hash of the file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.rglob(pattern))
    }


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of all three scripts after one epoch; the README and the results untouched."""
    folder = tmp_path_factory.mktemp("quick")
    before = contents(REPOSITORY / "results", "*.csv", "*.md"), contents(REPOSITORY, "README.md")
    flags = ["--quick", "--epochs", "1", "--out-dir", str(folder)]
    with pytest.MonkeyPatch.context() as patched:
        leave_pixels_out(patched)
        for script in SCRIPTS:
            run(script, *flags)
        run(SCRIPTS[0], *flags, "--experiments", *CONTROLS)
    after = contents(REPOSITORY / "results", "*.csv", "*.md"), contents(REPOSITORY, "README.md")
    assert before == after
    return folder


@pytest.mark.parametrize("experiment", TRIED, ids=lambda each: each.name)
def test_quick_renders_every_table_and_figure(experiment: Experiment, quick: Path) -> None:
    folder = quick / "results" / "quick" / experiment.name
    expected = {"table.csv": [case.name for case in experiment.cases]} if experiment.cases else {}
    if experiment.rows:
        expected["training.csv" if experiment.cases else "table.csv"] = list(experiment.labels)
    for file, names in expected.items():
        _, *rows = csv.reader((folder / file).open(encoding="utf-8"))
        assert [row[0] for row in rows] == names
        assert (folder / file).with_suffix(".md").exists()
    drawn = {path.name for path in (quick / "plots" / "quick" / experiment.name).glob("*.png")}
    assert drawn == {f"{figure}.png" for figure in experiment.figures}


def test_what_stands_for_cifar_is_called_a_synthetic_stand_in(quick: Path) -> None:
    for experiment in TRIED:
        if experiment.dataset == "cifar10":
            name = "training.md" if experiment.cases else "table.md"
            table = quick / "results" / "quick" / experiment.name / name
            assert "synthetic stand-in" in table.read_text(encoding="utf-8")


def test_tables_and_figures_come_from_the_records_alone(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_pixels_out(monkeypatch)
    names = [each.name for each in TASK_2]
    before = contents(quick, "*.csv", "*.md", "*.png")
    for name in names:
        for path in [*quick.rglob(f"{name}/*.csv"), *quick.rglob(f"{name}/*.png")]:
            path.unlink()
    run(TASK2, "--quick", "--no-train", "--out-dir", str(quick), "--data-dir", "/nowhere")
    after = contents(quick, "*.csv", "*.md", "*.png")
    # the overview is of all scripts, and each draws it anew
    assert after == before


def test_fresh_trains_again_in_another_precision_and_keeps_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--quick", "--epochs", "1", "--out-dir", str(tmp_path)]
    flags += ["--experiments", "kernel_size", "--models", "CNN7x7"]
    run(TASK2, *flags, render=False)
    run(TASK2, *flags, "--fresh", "--precision", "bfloat16", "--weights", render=False)
    results = tmp_path / "results" / "quick"
    path = results / "runs" / "cifar10" / "CNN7x7-seed0.json"
    assert read_record(path, Record).precision == "bfloat16"
    assert path.with_suffix(".safetensors").exists()
    measured = read_record(results / "speed" / "cifar10" / "CNN7x7.json", Speed)
    assert measured.precision == "bfloat16"
    run(TASK2, "--quick", "--out-dir", str(tmp_path), "--evaluate")
    assert "cifar10 CNN7x7-seed0: recorded " in capsys.readouterr().out

    path.with_suffix(".npz").rename(aside := tmp_path / "aside")
    run(TASK2, "--quick", "--out-dir", str(tmp_path), "--evaluate", code=1)
    told = capsys.readouterr()
    assert f"CNN7x7-seed0: {path.with_suffix('.npz')}: " in told.out
    assert told.err.endswith("not shown to be what the records say: CNN7x7-seed0\n")
    aside.rename(path.with_suffix(".npz"))

    path.with_suffix(".safetensors").unlink()
    run(TASK2, "--quick", "--out-dir", str(tmp_path), "--evaluate", code=1)
    told = capsys.readouterr()
    assert "CNN7x7: no weights; --models 'CNN7x7' --seeds N --weights trains and" in told.out
    assert "there are no weights of CNN7x7" in told.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [f"{TASK2}.py", "verify_tables.py", "-m benchmarks.precision"])
def test_a_signal_during_the_imports_is_a_line(command: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
        # a shell's background job, as the tests may be, ignores SIGINT, and its children do too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    next(line for line in process.stderr if "torch." in line)  # one of its parts has been read
    start = time.monotonic()
    process.send_signal(number)
    *_, last = process.stderr
    assert process.wait(10) == 128 + number
    assert time.monotonic() - start < 2
    assert re.fullmatch("interrupted; nothing was changed yet\n", last)


def test_a_name_that_cannot_be_one_is_a_line(tmp_path: Path) -> None:
    script = tmp_path / f"{TASK2}.py"
    shutil.copy(REPOSITORY / script.name, script)
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "experiments.py").write_text(
        "from utils.experiment import Row\nSTUDY = TASK_2 = [Row('a/b')]\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: row 'a/b': its name has '/'; allowed are letters")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
def test_clean_leaves_nothing_half_done(tmp_path: Path) -> None:
    names = ("a-seed0.json", "a-seed0.npz", "table.md", "notes.txt")
    for name in (*names, "a-seed1.checkpoint.pt", "a-seed2.checkpoint.damaged", "b.json.7.tmp"):
        for folder in ("results/runs", "plots", "docs"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
    (tmp_path / "README.md.7.tmp").touch()
    (tmp_path / "results" / "images.7.tmp").mkdir()
    (tmp_path / "results" / "images.7.tmp" / "mnist.pt").touch()
    makefile = REPOSITORY / "Makefile"
    subprocess.run(["make", "-s", "-C", tmp_path, "-f", makefile, "clean"], check=True)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(names)


@pytest.mark.parametrize("experiment", STUDY, ids=lambda each: each.name)
def test_every_declared_run_can_be_built_and_sees_its_dataset(experiment: Experiment) -> None:
    assert experiment.claims
    assert pickle.loads(pickle.dumps(experiment)).name  # for the processes that measure
    runs = declared_runs(experiment, seeds=(0,)).values()  # a row's seeds build the same
    data = load_quick_dataset(experiment.dataset) if runs else None
    for declared in runs:
        network = models.build(declared.network, **declared.overrides).eval()
        assert network(data.x_test[:2].float()).shape == (2, len(data.classes))
        assert declared.recipe.epochs <= 40
    for case in experiment.cases:
        assert case.build()


@pytest.mark.parametrize("script, task", [*zip(SCRIPTS, (TASK_1, TASK_2, TASK_3), strict=True)])
def test_a_script_s_help_names_every_experiment(script: str, task: Sequence[Experiment]) -> None:
    words = ast.get_docstring(ast.parse((REPOSITORY / f"{script}.py").read_text())).split()
    for each in task:
        assert {each.name, f"{each.name.rpartition('_')[0]}_*"} & set(words), each.name


def test_every_network_is_in_an_experiment() -> None:
    declared = {row.network for each in STUDY for row in each.rows}
    assert declared == set(models.MODELS)


@pytest.mark.parametrize("closing", ["", pytest.param("2>&-", marks=pytest.mark.soak)])
def test_a_script_runs_wherever_it_is_started_and_whatever_the_terminal_takes(
    closing: str, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"a 'b\" \xff")
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "ascii:strict"}
    environment |= {"LC_ALL": "C", "HOME": str(tmp_path), "PYTHONUTF8": "0"}
    flags = ["--quick", "--no-train", "--threads", "1", "--out-dir", f"~/{folder.name}"]
    (script := tmp_path / "link.py").symlink_to(REPOSITORY / f"{TASK2}.py")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closing}', "", sys.executable, script, *flags],
        cwd="/",
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert (b"depth: no records below " in done.stderr) == (closing == "")
    assert (folder / "results" / "quick" / "claims.csv").stat().st_size
