"""The scripts from end to end, as a user types them: quick output in a folder of its own."""

import csv
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

import homework_cnn_architecture_analysis as task2
import homework_cnn_vs_fc_comparison as task1
import homework_custom_layers_experiments as task3
import models
from utils import REPOSITORY, runner
from utils.data.dataset import load_quick_dataset
from utils.experiment import Experiment, declared_runs
from utils.report.figures.registry import FIGURES

SCRIPTS = {
    "homework_cnn_vs_fc_comparison": task1,
    "homework_cnn_architecture_analysis": task2,
    "homework_custom_layers_experiments": task3,
}
EXPERIMENTS = [each for module in SCRIPTS.values() for each in module.EXPERIMENTS]


def command(script: str, *flags: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / f"{script}.py"), *flags]


def run(script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, *flags), capture_output=True, text=True, cwd="/", timeout=600
    )


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Path below the folder -> hash of the file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
    }


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of all three scripts after one epoch; the README and the results untouched."""
    folder = tmp_path_factory.mktemp("quick")
    before = contents(REPOSITORY / "results", "*.csv"), (REPOSITORY / "README.md").read_bytes()
    for script in SCRIPTS:
        done = run(script, "--quick", "--epochs", "1", "--out-dir", str(folder))
        assert done.returncode == 0, done.stderr
    assert before == (
        contents(REPOSITORY / "results", "*.csv"),
        (REPOSITORY / "README.md").read_bytes(),
    )
    return folder


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_quick_renders_every_table_and_figure(experiment: Experiment, quick: Path) -> None:
    folder = quick / "results" / "quick" / experiment.name
    expected = {"table.csv": [case.name for case in experiment.cases]} if experiment.cases else {}
    if experiment.models:
        expected["training.csv" if experiment.cases else "table.csv"] = list(experiment.models)
    for file, names in expected.items():
        header, *rows = csv.reader((folder / file).open(encoding="utf-8"))
        assert header[0] in ("model", "layer", "block")
        assert header[1] == ("parameters" if header[0] == "model" else "output_shape")
        assert [row[0] for row in rows] == names
        assert (folder / file).with_suffix(".md").exists()
    drawn = {path.name for path in (quick / "plots" / "quick" / experiment.name).glob("*.png")}
    for figure in experiment.figures:
        assert any(name.startswith(figure) for name in drawn), figure
    if "curves" in experiment.figures:
        assert {f"curves_{model}.png" for model in experiment.models} <= drawn


def test_what_stands_for_cifar_is_called_a_synthetic_stand_in(quick: Path) -> None:
    for experiment in EXPERIMENTS:
        if experiment.dataset == "cifar10":
            folder = quick / "results" / "quick" / experiment.name
            name = "training.md" if experiment.cases else "table.md"
            assert "synthetic stand-in" in (folder / name).read_text()


def test_the_same_command_again_trains_nothing_and_changes_nothing(quick: Path) -> None:
    results = quick / "results" / "quick"
    before = contents(results, "*.json") | contents(results, "*.csv")
    flags = ("--quick", "--epochs", "1", "--out-dir", str(quick))
    done = run("homework_cnn_vs_fc_comparison", *flags)
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stderr
    assert contents(results, "*.json") | contents(results, "*.csv") == before


def test_tables_and_figures_come_from_the_records_alone(quick: Path) -> None:
    tables = contents(quick / "results", "*.csv")
    figures = contents(quick / "plots", "*.png")
    written = [path for name in ("table.*", "training.*") for path in quick.rglob(name)]
    for path in [*written, *quick.rglob("*.png")]:
        path.unlink()
    for script in SCRIPTS:
        flags = ("--quick", "--no-train", "--out-dir", str(quick), "--data-dir", "/nowhere")
        done = run(script, *flags)
        assert done.returncode == 0, done.stderr
    assert contents(quick / "results", "*.csv") == tables
    assert contents(quick / "plots", "*.png") == figures


def test_a_killed_run_ends_with_the_record_of_a_whole_one(tmp_path: Path) -> None:
    script = "homework_cnn_architecture_analysis"
    flags = ("--quick", "--experiments", "kernel_size", "--models", "CNN3x3", "--threads", "1")
    record = Path("results", "quick", "kernel_size", "runs", "CNN3x3-seed0.json")

    whole = run(script, *flags, "--out-dir", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr

    broken = tmp_path / "broken"
    checkpoint = (broken / record).with_suffix(".checkpoint.pt")
    process = subprocess.Popen(
        command(script, *flags, "--out-dir", str(broken)), stderr=subprocess.DEVNULL
    )
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists(), "the run was over before it could be killed"
    assert not (broken / record).exists()

    again = run(script, *flags, "--out-dir", str(broken))
    assert again.returncode == 0, again.stderr
    assert "continuing after epoch" in again.stderr
    found, expected = (json.loads((tmp_path / n / record).read_text()) for n in ("broken", "whole"))
    assert found.pop("timings").keys() == expected.pop("timings").keys()
    assert found == expected
    assert not checkpoint.exists()


def test_fresh_trains_again_in_another_precision(tmp_path: Path) -> None:
    script = "homework_cnn_architecture_analysis"
    flags = ("--quick", "--epochs", "1", "--out-dir", str(tmp_path), "--threads", "1")
    flags = (*flags, "--experiments", "kernel_size", "--models", "CNN7x7")
    folder = tmp_path / "results" / "quick" / "kernel_size"
    for more in ((), ("--fresh", "--precision", "bfloat16", "--weights")):
        done = run(script, *flags, *more)
        assert done.returncode == 0, done.stderr
    record = json.loads((folder / "runs" / "CNN7x7-seed0.json").read_text())
    assert record["precision"] == "bfloat16"
    assert (folder / "runs" / "CNN7x7-seed0.safetensors").exists()
    assert json.loads((folder / "speed.json").read_text())["precision"] == "bfloat16"


@pytest.mark.parametrize(
    "flags",
    [
        ("--quick", "--fresh", "--models", "CNN7x7", "--epochs", "1", "--precision", "bfloat16"),
        ("--quick", "--fresh", "--models", "CNN7x7"),  # two epochs, beside rows of one
        ("--quick", "--measure", "--precision", "bfloat16"),
    ],
)
def test_a_refused_command_loses_nothing(
    flags: tuple[str, ...], quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = quick / "results" / "quick" / "kernel_size"
    before = contents(folder, "*.*")
    flags = (*flags, "--experiments", "kernel_size", "--out-dir", str(quick))
    assert runner.main(task2.EXPERIMENTS, "", flags) == 2
    assert "all rows of a table share these" in capsys.readouterr().err
    assert contents(folder, "*.*") == before


def test_fresh_without_its_dataset_loses_nothing(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(quick / "results" / "quick", tmp_path / "results")
    before = contents(tmp_path, "*.json")
    (tmp_path / "cifar10.npz").write_bytes(b"not an archive")
    flags = ["--fresh", "--out-dir", str(tmp_path), "--data-dir", str(tmp_path)]
    assert runner.main(task2.EXPERIMENTS, "", flags) == 2
    assert "not an npz file" in capsys.readouterr().err
    assert contents(tmp_path, "*.json") == before


def test_a_second_command_is_kept_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results" / "quick" / "depth"
    folder.mkdir(parents=True)
    flags = ["--quick", "--experiments", "depth", "--out-dir", str(tmp_path)]
    with filelock.FileLock(folder / ".lock"):
        assert runner.main(task2.EXPERIMENTS, "", flags) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}: another command is writing there; wait for it, or give another "
        "--out-dir\n"
    )


def test_rows_of_one_table_share_their_precision(
    quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--quick", "--epochs", "1", "--out-dir", str(quick), "--experiments", "depth"]
    assert runner.main(task2.EXPERIMENTS, "", [*flags, "--precision", "bfloat16"]) == 2
    path = quick / "results" / "quick" / "depth" / "runs" / "DeepCNN-seed0.json"
    assert capsys.readouterr().err == (
        f"error: {path}: made with precision float32 (now bfloat16); all rows of a table share "
        "these: use the same flags, --fresh for all models of the experiment, or another "
        "--out-dir\n"
    )


def test_another_number_of_epochs_is_refused_beside_the_records(
    quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--quick", "--epochs", "2", "--out-dir", str(quick), "--experiments", "depth"]
    assert runner.main(task2.EXPERIMENTS, "", flags) == 2
    assert "made with recipe epochs 1 (now 2)" in capsys.readouterr().err


def test_a_missing_dataset_is_reported_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist.npz").write_bytes(b"not an archive")
    flags = ["--out-dir", str(tmp_path), "--data-dir", str(tmp_path / "data")]
    assert runner.main(task1.EXPERIMENTS[:1], "", flags) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(
        f"error: {tmp_path / 'data' / 'mnist.npz'}: not an npz"
    )


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "train_runs", interrupted)
    assert runner.main(task1.EXPERIMENTS, "", ["--quick", "--out-dir", str(tmp_path)]) == 130
    assert "the same command goes on after the last finished epoch" in capsys.readouterr().err


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_every_declared_run_can_be_built_and_sees_its_dataset(experiment: Experiment) -> None:
    assert set(experiment.figures) <= set(FIGURES)
    assert experiment.conclusions
    for declared in declared_runs(experiment):
        network = models.build(declared.model, **declared.overrides).eval()
        data = load_quick_dataset(declared.dataset)
        assert network(data.x_test[:2].float()).shape == (2, len(data.classes))
        assert declared.recipe.epochs <= 10
    for case in experiment.cases:
        assert case.build()


def test_every_network_of_the_report_is_in_an_experiment() -> None:
    declared = {model for experiment in EXPERIMENTS for model in experiment.models}
    assert declared == set(models.MODELS)


def test_experiments_have_the_names_that_others_rely_on() -> None:
    assert [experiment.name for experiment in EXPERIMENTS] == [
        "mnist_comparison",
        "cifar_comparison",
        "kernel_size",
        "kernel_size_matched",
        "depth",
        "custom_layers",
        "residual_blocks",
    ]
