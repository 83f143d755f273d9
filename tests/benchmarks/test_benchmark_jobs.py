"""Runs one after another, side by side and on a cluster are the same runs."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch

from benchmarks import jobs
from benchmarks.setting import Setting
from tests.fakes import TINY, make_tiny
from utils.data.mapped import MappedLoader, save_mapped


@pytest.fixture
def load(tmp_path: Path) -> MappedLoader:
    for name, each in TINY.items():
        save_mapped(make_tiny(each), tmp_path / f"{name}.pt")
    return MappedLoader(tmp_path, "cpu")


def test_a_run_that_fails_makes_the_measurement_fail(load: MappedLoader) -> None:
    run = jobs.declared(True)[0]
    jobs.train([run], 1, partial(jobs.here, load))
    with pytest.raises(RuntimeError, match="1 of 1 runs failed"):
        jobs.train([replace(run, network="nothing")], 1, partial(jobs.here, load))


def test_it_is_left_out_where_no_two_threads_are_allowed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    setting = Setting(quick=True, rounds=1, device=torch.device("cpu"), dataset=make_tiny)
    assert jobs.measure(setting) is None
    assert caplog.messages == ["left out: 2 processors, as many threads and Dask are needed"]


def test_a_cluster_is_called_as_it_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = pytest.importorskip("utils.training.cluster")
    train = create_autospec(cluster.Cluster.train, return_value={})
    connection = create_autospec(cluster.Cluster, instance=True)
    connection.__enter__.return_value.train = partial(train, connection)
    monkeypatch.setattr(cluster, "Cluster", lambda address, place: connection)
    run = jobs.declared(True)[0]
    assert jobs.there("tcp://here:1", {}, [run], tmp_path) == {}
    assert train.call_args.args[:2] == (connection, [run])


def test_the_table_divides_round_by_round() -> None:
    seconds = {
        jobs.ALONE: [10.0, 20.0, 40.0],
        jobs.BESIDE: [8.0, 15.0, 20.0],
        jobs.CLUSTER: [8.0, 18.0, 20.0],
    }
    text = jobs.markdown({"runs": ["a", "b"], "train_images": 10, "seconds": seconds})
    assert "| `--jobs 2 --threads 1` | 15.0 (11.5–17.5) | 0.75 (0.62–0.78) |" in text
    assert "it takes 1.00 (1.00–1.10) times as long as `--jobs`" in text
