"""The command line: every bad value is one line that says what is allowed, before anything runs."""

import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.fake_records import make_experiment
from tests.fakes import error_of
from utils import REPOSITORY, runner
from utils.cli import build_parser, parse
from utils.experiment import Recipe, Row

RECIPE = Recipe(epochs=10, optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
EXPERIMENTS = (
    make_experiment(recipe=RECIPE),
    make_experiment([Row("ShallowCNN", "CNN3x3", seeds=(0, 3))], name="depth", recipe=RECIPE),
)
DEVICES = "must be auto, cpu, cuda, cuda:N or mps"


def refusal(flags: Sequence[str]) -> str:
    return error_of(lambda: parse(EXPERIMENTS, "", flags))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--epochs 0", "--epochs 0: must be between 1 and 10"),
        ("--epochs 11", "--epochs 11: must be between 1 and 10"),
        ("--epochs x", "argument --epochs: invalid int value: 'x'; see --help"),
        (
            "--epochs 1",
            "--epochs 1: differs from the declared recipe of kernel_size, depth, and such runs "
            "never enter the reported study; give an --out-dir of their own",
        ),
        ("--seeds -1", "--seeds -1: must be between 0 and 4294967295"),
        ("--threads 0", "--threads 0: must be between 1 and 1024"),
        ("--threads 99999999999", "--threads 99999999999: must be between 1 and 1024"),
        *(
            (f"--device {each}", f"--device '{each}': {DEVICES}")
            for each in ("cpu:3", "tpu", "meta")
        ),
        ("--scheduler tcp://a:1 --device gpu", f"--device 'gpu': {DEVICES}"),
        (
            "--experiments kernelsize",
            "--experiments: unknown experiment 'kernelsize'; did you mean 'kernel_size'? "
            "Known: kernel_size, depth",
        ),
        (
            "--models cnn3x3",
            "--models: unknown model 'cnn3x3'; did you mean 'CNN3x3'? "
            "Known: CNN3x3, CNN5x5, ShallowCNN",
        ),
        (
            "--experiments depth --models CNN3x3",
            "--models: unknown model 'CNN3x3'; known: ShallowCNN",
        ),
        ("--quic", "unrecognized arguments: --quic; see --help"),  # beginnings are not guessed
        (
            "--no-train --fresh",
            "--no-train renders from the records at hand: not with --fresh, --measure",
        ),
        (
            "--weights --no-train",
            "--weights keeps those of what is trained: not with --no-train, --measure",
        ),
        *(
            (
                f"--evaluate {flag}",
                "--evaluate is of all weights on record and trains nothing: not with --fresh, "
                "--measure, --no-train, --weights, --seeds, --epochs",
            )
            for flag in ("--weights", "--no-train", "--seeds 9")
        ),
        ("--jobs 0", "--jobs 0: must be between 1 and 256"),
        *(
            (
                f"--scheduler tcp://a:1 {flag} 1",
                "--scheduler leaves runs at once and threads to its workers (--nworkers, "
                "--nthreads): not with --jobs, --threads",
            )
            for flag in ("--jobs", "--threads")
        ),
        (
            "--scheduler nowhere.json",
            "--scheduler nowhere.json: neither tcp://host:port nor a scheduler file ([Errno 2] No "
            "such file or directory: 'nowhere.json')",
        ),
        *(
            (
                f"--scheduler {address}",
                f"--scheduler {address}: '{address}' is not tcp://host:port or tls://host:port, "
                "with a port from 1 to 65535",
            )
            for address in ("http://a:1", "tcp://a:65536", "tls://a:0")
        ),
        ("--jobs 257", "--jobs 257: must be between 1 and 256"),
        ("--measure --fresh", "--measure trains nothing: not with --fresh"),
        *(
            (f"{flag}=", f"argument {flag}: not a path (empty); see --help")
            for flag in ("--out-dir", "--data-dir", "--predict")
        ),
        ("--data-dir a\0b", "argument --data-dir: not a path (has a NUL in it); see --help"),
        (
            "--out-dir ~nobody-of-this-name/x",
            "argument --out-dir: not a path (Could not determine home directory.); see --help",
        ),
    ],
)
def test_a_bad_value_is_one_line(flags: str, message: str) -> None:
    assert refusal(flags.split()) == message


def test_a_flag_given_twice_has_the_values_of_both() -> None:
    flags = "--seeds 0 --seeds 1 2 --models CNN3x3 --models ShallowCNN --predict a --predict b"
    arguments = build_parser(EXPERIMENTS, "").parse_args(flags.split())
    assert arguments.seeds == [0, 1, 2]
    assert arguments.models == ["CNN3x3", "ShallowCNN"]
    assert [path.name for path in arguments.predict] == ["a", "b"]


def test_help_names_an_experiment_whatever_is_in_its_name() -> None:
    experiments = [make_experiment(name=name, recipe=RECIPE) for name in ("width 50%", "100%s")]
    assert "width 50%, 100%s" in " ".join(build_parser(experiments, "").format_help().split())


def test_an_unknown_precision_is_refused() -> None:
    message = refusal(["--precision", "float16"])
    assert re.search(r"--precision.*'float16'.*float32.*bfloat16", message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused() -> None:
    message = refusal(["--device", "cuda"])
    assert message == "--device cuda: torch sees 0 CUDA devices here; use cpu"


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "results"
    message = refusal(["--out-dir", str(tmp_path / "file")])
    assert message == f"cannot write to {folder} (Not a directory); give another --out-dir"
    (tmp_path / "out").mkdir()
    (folder := tmp_path / "out" / "results").symlink_to(tmp_path / "gone")
    message = refusal(["--out-dir", str(tmp_path / "out")])
    assert message == f"cannot write to {folder} (a broken link); give another --out-dir"
    message = refusal(["--out-dir", str(tmp_path / ("long" * 100))])
    assert message.endswith("/results (File name too long); give another --out-dir")


def test_a_mistake_ends_with_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(EXPERIMENTS, "", ["--epochs", "99"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: --epochs 99: must be between 1 and 10\n"
    assert captured.out == ""


def test_defaults_are_the_declared_study() -> None:
    options = parse(EXPERIMENTS, "", [])
    assert options.experiments == EXPERIMENTS
    assert options.is_study
    assert options.train
    assert (options.labels, options.seeds, options.epochs) == (None, None, None)
    assert options.results == REPOSITORY / "results"


def test_a_seed_that_was_not_declared_may_join_the_study() -> None:
    options = parse(EXPERIMENTS, "", ["--seeds", "20", "0", "20"])
    assert options.is_study
    assert options.seeds == (20, 0)


def test_quick_output_stays_apart() -> None:
    options = parse(EXPERIMENTS, "", ["--quick", "--epochs", "1"])
    assert options.results == REPOSITORY / "results" / "quick"
    assert options.plots == REPOSITORY / "plots" / "quick"
    assert not options.is_study


def test_what_is_no_scheduler_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    deep, pipe = tmp_path / "deep.json", tmp_path / "pipe"
    deep.write_text("[" * 100_000)
    os.mkfifo(pipe)
    for given, why in ((deep, "maximum recursion depth"), (pipe, "not a file")):
        message = refusal(["--scheduler", str(given), "--out-dir", str(tmp_path)])
        where = f"--scheduler {given}: neither tcp://host:port nor a scheduler file ("
        assert message.startswith(f"{where}{why}")


def test_a_scheduler_is_an_address_or_stands_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tls://10.0.0.1:8786"}')
    for given, address in (
        ("tcp://localhost:8786", "tcp://localhost:8786"),
        (file, "tls://10.0.0.1:8786"),
    ):
        flags = ["--scheduler", str(given), "--device", "cuda:7", "--out-dir", str(tmp_path)]
        options = parse(EXPERIMENTS, "", flags)
        assert (options.scheduler, options.device) == (address, None)
        assert options.worker_device == "cuda:7"  # which is not looked for here
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(flags).endswith("needs Dask: pip install -r requirements-cluster.txt")


def test_no_more_threads_than_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("OMP_THREAD_LIMIT", "3")
    message = error_of(lambda: parse(EXPERIMENTS, "", ["--threads", "4"]))
    assert message == "--threads 4: OMP_THREAD_LIMIT=3 in the environment allows fewer; unset it"
    assert parse(EXPERIMENTS, "", ["--threads", "3"]).threads == 3
    assert parse(EXPERIMENTS, "", []).threads == 3
    monkeypatch.setenv("OMP_THREAD_LIMIT", "0")  # none, as OpenMP takes it
    assert parse(EXPERIMENTS, "", []).threads == 8


@pytest.mark.parametrize(
    "flags, threads", [("--threads 3 --jobs 2", 3), ("--jobs 2", 4), ("--jobs 64", 1), ("", 8)]
)
def test_runs_at_once_share_the_threads_that_were_not_asked_for(
    flags: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert parse(EXPERIMENTS, "", flags.split()).threads == threads


def test_help_explains_each_flag_with_its_default() -> None:
    parser = build_parser(EXPERIMENTS, "what it is")
    for action in parser._actions[1:]:
        assert "default:" in action.help, action.option_strings
    assert "what it is" in parser.format_help()


def test_a_circle_of_links_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    message = refusal(["--out-dir", str(tmp_path / "circle")])
    assert message.startswith("argument --out-dir: not a path (Symlink loop")


@pytest.mark.parametrize("name", ["with spaces", "a'b\"c", "σ", os.fsdecode(b"\xff\xfe"), "$(x)"])
def test_a_folder_may_have_any_name_and_tilde_is_ones_home(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = [f"{flag}=~/{name}" for flag in ("--out-dir", "--data-dir")]
    options = parse(EXPERIMENTS, "", flags)
    assert options.out_dir == options.data_dir == tmp_path / name
    assert options.results.is_dir()
    (picture,) = parse(EXPERIMENTS, "", [f"--predict=~/{name}"]).predict
    assert picture == tmp_path / name
