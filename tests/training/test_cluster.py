"""Runs on a Dask cluster: two workers here, each a process, as good as one after another."""

# ruff: noqa: E402 (nothing is imported where there is no Dask)

import asyncio
import errno
import logging
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

distributed = pytest.importorskip(
    "distributed", reason="Dask is not installed: pip install -r requirements-cluster.txt"
)

from distributed.comm import CommClosedError

from experiments import TASK_1
from tests.elsewhere import die, note
from tests.fakes import TINY_CIFAR10, error_of, make_arrays, make_tiny, write_npz
from tests.training.runs import RUN, Killed, StopAfter, assert_same_files, nothing, train_in
from tests.training.test_jobs import lines_of
from utils import REPOSITORY, runner
from utils.data import dataset as datasets
from utils.data.dataset import Dataset
from utils.errors import UserError
from utils.experiment import Run
from utils.one_run import Kept, keep_one, run_one, train_one
from utils.records.runs import identity, run_path
from utils.training import cluster, worker
from utils.training.checkpoint import find_checkpoint
from utils.training.cluster import Cluster, Place
from utils.training.jobs import one_after_another
from utils.training.progress import Event, Progress, Tell

RUNS = [replace(RUN, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def local() -> Iterator["distributed.LocalCluster"]:
    """A scheduler, still without workers; ``scale(2)`` starts two."""
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, memory_limit=None, dashboard_address=None
    ) as started:
        yield started


@pytest.fixture(scope="module")
def sequential(cifar10: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of the same runs, one after another in this process."""
    results = tmp_path_factory.mktemp("sequential")
    work = partial(run_one, results=results, weights=True, load=lambda _: cifar10)
    assert one_after_another(RUNS, work, nothing) == {}
    return results


def place(results: Path) -> Place:
    results.mkdir(parents=True, exist_ok=True)
    return Place(results, "cpu", None)


def assert_same(runs: list, results: Path, others: Path) -> None:
    """All files of these runs say the same, the time they took apart."""
    for run in runs:
        paths = [run_path(folder, run) for folder in (results, others)]
        assert_same_files(*paths)
        first, second = (path.with_suffix(".safetensors").read_bytes() for path in paths)
        assert first == second
        assert not [*paths[0].parent.glob("*.checkpoint.pt")]


def test_workers_that_come_late_without_the_images_give_the_records_of_one_after_another(
    local: "distributed.LocalCluster",
    cifar10: Dataset,
    sequential: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress({run.title: 1.0 for run in RUNS})
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        progress(event)

    waiting = f"no worker at {local.scheduler_address} yet; waiting for one"
    threading.Timer(1, local.scale, [2]).start()
    images = {"cifar10": cifar10}
    work = partial(train_one, weights=True)
    with Cluster(local.scheduler_address, place(tmp_path / "a")) as connection:
        keep = partial(keep_one, results=tmp_path / "a", tell=tell)
        before = Mock(side_effect=lambda: caplog.messages.index(waiting))  # or it raises
        assert connection.train(RUNS, work, keep, images, tell, before) == {}
    before.assert_called_once()
    workers = {str(name) for name in local.workers}
    finished = [line for line in caplog.messages if " finished in " in line]
    assert len(finished) == len(RUNS)
    assert {line.rpartition(" on ")[2] for line in finished} <= workers == {"0", "1"}
    for run in RUNS:
        mine = [event for event in events if event.run.title == run.title]
        assert [event.epoch.epoch for event in mine if event.epoch] == [1, 2, 3]
        assert sum(event.share for event in mine) == pytest.approx(1)
        assert mine[-1].finished
    assert_same(RUNS, tmp_path / "a", sequential)
    assert not list(tmp_path.rglob("*.tmp"))


def trains_or_dies(run: Run, tell: Tell, dataset: Dataset, checkpoint: Path, folder: Path) -> Kept:
    """Is ended after an epoch with seed 0, and with seed 1 the first time."""

    def tells(event: Event) -> None:
        tell(event)
        if event.resumed:
            note(run, folder)
        if event.epoch:
            die(run, folder)

    return train_one(run, tells, dataset, checkpoint, weights=True)


def test_a_run_whose_worker_is_killed_goes_on_elsewhere_and_one_that_kills_two_stops_no_other(
    local: "distributed.LocalCluster",
    cifar10: Dataset,
    sequential: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    local.scale(2)
    results = tmp_path / "a"
    work = partial(trains_or_dies, folder=tmp_path)
    with Cluster(local.scheduler_address, place(results)) as connection:
        keep = partial(keep_one, results=results, tell=nothing)
        before = Mock()
        failures = connection.train(RUNS, work, keep, {"cifar10": cifar10}, nothing, before)
    before.assert_called_once()  # though the first run is begun twice
    assert {title: str(error) for title, error in failures.items()} == {
        RUNS[0].title: "its process died, twice"
    }
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == "xx"
    assert f"{RUNS[1].title}: its worker died, it is begun again" in caplog.messages
    assert "continuing after epoch 1" in caplog.messages  # the folder is before the workers too
    run_path(results, RUNS[0]).with_suffix(".checkpoint.pt").unlink()
    assert_same(RUNS[1:], results, sequential)


SOAK = pytest.mark.soak
FLAGS = ["--quick", "--experiments", "locality_mnist", "--models", "SimpleCNN", "--scheduler"]


def begun(address: str, folder: Path) -> "subprocess.Popen[str]":
    script = str(REPOSITORY / "homework_cnn_vs_fc_comparison.py")
    return subprocess.Popen(
        [sys.executable, script, *FLAGS, address, "--out-dir", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=SOAK)])
def test_a_command_that_is_killed_or_stopped_is_taken_up_by_the_same_command(
    number: signal.Signals,
    local: "distributed.LocalCluster",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    local.scale(1)
    stopped = begun(local.scheduler_address, tmp_path)
    next(line for line in lines_of(stopped, 120) if "epoch 1/2" in line)
    start = time.monotonic()
    stopped.send_signal(number)
    error = stopped.stderr.read()
    ended = stopped.wait(10)
    assert time.monotonic() - start < 2
    if number == signal.SIGTERM:
        assert ended == 128 + number
        assert error.splitlines()[-1].startswith("interrupted; the same command goes on after")
    assert "Traceback" not in error
    flags = [*FLAGS, local.scheduler_address, "--out-dir", str(tmp_path)]
    assert runner.main(TASK_1, "", flags) == 0
    assert "continuing after epoch 1" in caplog.messages
    runs = tmp_path / "results" / "quick" / "runs" / "mnist"
    assert [path.name for path in runs.glob("*.*")].count("SimpleCNN-crop_padding=0-seed0.json")
    assert not list(runs.glob("*.checkpoint.pt"))


def test_a_worker_of_another_version_is_left_out_with_a_line_that_names_both(
    local: "distributed.LocalCluster",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    local.scale(1)
    local.wait_for_workers(1)
    version = cluster.VERSION
    with Cluster(local.scheduler_address, place(tmp_path)) as connection:
        monkeypatch.setattr(cluster, "VERSION", "sources 123, torch 2.11 (commit 456)")
        (address,) = there = connection.client.processing()
        assert connection._free(there, {}) == []
        assert connection.met[address].result(60) is None
        assert connection._free({}, {}) == []
        assert not connection.met  # another may be started at the same address
    (line,) = (each for each in caplog.messages if "left out" in each)
    assert line == (
        f"worker {address} is left out: it has {version}, and here is sources 123, torch 2.11 "
        "(commit 456); start it in an up-to-date clone of the repository, as docs/cluster.md says"
    )


def test_the_version_is_that_of_the_sources(tmp_path: Path) -> None:
    for name in ("models", "utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    before = worker.version_of(tmp_path)
    assert "commit" not in before  # no repository
    (tmp_path / "README.md").write_text("x")
    assert worker.version_of(tmp_path) == before
    (tmp_path / "utils" / "a.py").write_text("2")
    assert worker.version_of(tmp_path) != before
    assert cluster.is_same(cluster.VERSION.partition(" (")[0] + " (commit 123)")


def test_a_worker_reads_the_images_that_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "images_here", {})
    monkeypatch.setitem(datasets.OFFICIAL, "cifar10", TINY_CIFAR10)
    wanted = {"cifar10": make_tiny(TINY_CIFAR10).fingerprint}
    assert worker.lacking(wanted, tmp_path) == ["cifar10"]
    write_npz(tmp_path, TINY_CIFAR10, make_arrays(TINY_CIFAR10, seed=1))
    assert worker.lacking(wanted, tmp_path) == ["cifar10"]  # others
    write_npz(tmp_path, TINY_CIFAR10, make_arrays(TINY_CIFAR10))
    assert worker.lacking(wanted, None) == ["cifar10"]
    assert worker.lacking(wanted, tmp_path) == []


def test_a_run_goes_on_from_its_checkpoint_on_the_same_kind_of_device_alone(
    cifar10: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train_in(tmp_path, RUN, cifar10, StopAfter(4))  # an epoch has as many
    path = tmp_path / "run.checkpoint.pt"
    assert worker.goes_on(path, RUN, cifar10.fingerprint)
    elsewhere = replace(RUN, compute=replace(RUN.compute, device="cuda"))
    assert not worker.goes_on(path, elsewhere, cifar10.fingerprint)
    wanted = identity(elsewhere) | {"fingerprint": cifar10.fingerprint}
    del wanted["device"]  # what the command asks, which does not know the worker
    assert find_checkpoint(path, wanted)
    path.write_bytes(b"damaged")
    assert worker.goes_on(path, RUN, cifar10.fingerprint)  # it is set aside


class Greets(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
        self.request.recv(1)


def test_an_address_where_no_scheduler_answers_costs_a_line(tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greets) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        for each, reason in ((1, "Timed out"), (port, "something else does, or nothing in time")):
            start = time.monotonic()
            address = f"tcp://127.0.0.1:{each}"
            text = error_of(lambda at=address: Cluster(at, place(tmp_path)))
            assert text.startswith(
                f"--scheduler {address}: no Dask scheduler answers there ({reason}"
            )
            assert text.endswith("; start one, or correct the address")
            assert time.monotonic() - start < 5
        server.shutdown()


@pytest.mark.parametrize(
    "error, told, text",
    [
        (
            CommClosedError("in <TCP>: ended"),
            UserError,
            r"the scheduler is gone \(ended\); what is",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left"),
    ],
)
def test_a_scheduler_that_is_gone_is_told_apart_from_a_full_disk(
    error: OSError,
    told: type[Exception],
    text: str,
    local: "distributed.LocalCluster",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics: list[str] = []
    with Cluster(local.scheduler_address, place(tmp_path)) as connection:
        monkeypatch.setattr(connection.client, "processing", Mock(side_effect=error))
        monkeypatch.setattr(connection.client, "unsubscribe_topic", topics.append)
        with pytest.raises(told, match=text):
            connection.train(RUNS, train_one, keep_one, {}, nothing, before := Mock())
    before.assert_not_called()
    assert len(topics) == 1  # or the scheduler goes on sending to nobody
    assert not list(tmp_path.glob("*.tmp"))


def test_a_worker_that_is_slow_to_answer_holds_up_no_other(
    local: "distributed.LocalCluster",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def meet(self: Cluster, address: str, images: object) -> dict[str, str]:
        await asyncio.sleep(3600 if address == "slow" else 0)
        return {"device": "cpu"}

    monkeypatch.setattr(Cluster, "_meet", meet)
    there = {"slow": (), "quick": (), "busy": ("a task",)}
    with Cluster(local.scheduler_address, place(tmp_path)) as connection:
        connection._free(there, {})
        for each in ("quick", "busy"):
            connection.met[each].result(10)
        assert connection._free(there, {}) == ["quick"]
        assert connection._free({}, {}) == []  # all are gone
    assert [line for line in caplog.messages if "waiting for one" in line] == [
        f"no worker at {local.scheduler_address} yet; waiting for one"
    ]


def test_a_worker_takes_no_more_threads_than_its_environment_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_dask = Mock(state=Mock(nthreads=4))
    assert worker.introduce("cpu", of_dask)["threads"] == 4
    monkeypatch.setenv("OMP_THREAD_LIMIT", "3")
    assert worker.introduce("cpu", of_dask)["threads"] == 3
