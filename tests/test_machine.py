"""The machine: what a record says of it, which precision is fast on it, what it keeps."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from utils.machine import (
    bfloat16_speed,
    environment,
    has_native_bfloat16,
    limit_threads,
    warn_if_slower,
)

PROGRAM = """
import resource, torch
from utils.machine import keep_freed_memory
def faults():
    def step():
        torch.ones(16, 2**20)  # 64 MiB, freed at once
    for _ in range(15):  # the first ones find their place
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_what_is_freed_is_not_asked_of_the_system_again() -> None:
    libc = subprocess.run(["ldd", "--version"], capture_output=True, text=True)
    if "musl" in libc.stdout + libc.stderr:
        pytest.skip("musl's allocator has no such setting")

    command = [sys.executable, "-c", PROGRAM]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    returned, kept = map(int, printed.split())
    assert kept < 100
    assert returned > 100 * max(kept, 1)


@pytest.mark.parametrize(("limit", "threads"), [("2", 2), ("9", 8), ("", 8), ("none", 8)])
def test_torch_takes_no_more_threads_than_are_allowed(
    limit: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    limit_threads()
    assert taken == [threads]


def test_a_record_tells_processors_of_one_name_apart() -> None:
    here = environment(torch.device("cpu"))
    assert here.instructions == torch.backends.cpu.get_cpu_capability()
    assert here.native_bfloat16 == has_native_bfloat16(torch.device("cpu"))
    assert here.threads == torch.get_num_threads()


def test_the_speed_of_bfloat16_is_float32s_time_over_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bfloat16_speed(torch.device("cpu"), rounds=1) > 0

    class FakeTimer:
        def __init__(self, statement: str, globals: dict, num_threads: int) -> None:
            assert globals["x"].is_contiguous(memory_format=torch.channels_last)
            assert globals["weight"].dtype == globals["x"].dtype
            is_wide = globals["x"].dtype == torch.float32
            self.seconds = iter([1.0, 3.0, 2.0] if is_wide else [9.0, 4.0, 5.0])

        def timeit(self, number: int) -> SimpleNamespace:
            return SimpleNamespace(median=next(self.seconds))

    monkeypatch.setattr("torch.utils.benchmark.Timer", FakeTimer)
    assert bfloat16_speed(torch.device("cpu"), rounds=3) == 0.25  # the fastest of either


@pytest.mark.parametrize(
    "precision, native, speed, warning",
    [
        ("float32", False, 0.1, None),
        ("bfloat16", True, 0.95, None),  # a tie
        ("bfloat16", True, 0.85, "cpu has bfloat16, but a convolution takes 1.2 times as long as"),
        ("bfloat16", True, 0.5, "cpu has bfloat16, but a convolution takes 2.0 times as long as"),
        ("bfloat16", False, 1.9, "cpu has no native bfloat16: it is emulated, many times slower"),
    ],
)
def test_a_precision_that_is_slower_is_warned_of(
    precision: str, native: bool, speed: float, warning: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.machine.has_native_bfloat16", lambda device: native)
    monkeypatch.setattr("utils.machine.bfloat16_speed", lambda device: speed)
    found = warn_if_slower(torch.device("cpu"), precision)
    if warning is None:
        assert found is None
    else:
        assert found.startswith(warning) and found.endswith("--precision float32")
