"""The machine, as records hold it and as tables name it."""

from types import SimpleNamespace

import pytest
import torch

from utils import environment as module
from utils.records.environment import bfloat16_speed, environment, has_native_bfloat16, machine_name

ABACUS = {"processor": "Abacus", "device": "cpu", "threads": 2}


def test_a_record_tells_processors_of_one_name_apart() -> None:
    here = environment(torch.device("cpu"))
    assert here["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert here["native_bfloat16"] == has_native_bfloat16(torch.device("cpu"))
    assert machine_name(here).startswith(f"{here['processor']} ({here['instructions']}")


def test_the_speed_of_bfloat16_is_float32s_time_over_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bfloat16_speed(torch.device("cpu")) > 0

    class FakeTimer:
        def __init__(self, statement: str, globals: dict, num_threads: int) -> None:
            assert globals["x"].is_contiguous(memory_format=torch.channels_last)
            assert globals["weight"].dtype == globals["x"].dtype
            is_wide = globals["x"].dtype == torch.float32
            self.seconds = iter([1.0, 3.0, 2.0] if is_wide else [9.0, 4.0, 5.0])

        def timeit(self, number: int) -> SimpleNamespace:
            return SimpleNamespace(median=next(self.seconds))

    monkeypatch.setattr(module, "Timer", FakeTimer)
    assert bfloat16_speed(torch.device("cpu"), rounds=3) == 0.25  # the fastest of either


def test_a_machine_is_named_by_what_its_speed_depends_on() -> None:
    plain = ABACUS | {"instructions": "AVX2", "native_bfloat16": False}
    assert machine_name(plain) == "Abacus (AVX2, 2 threads)"
    assert machine_name(plain | {"native_bfloat16": True, "threads": 1}) == (
        "Abacus (AVX2 with bfloat16, 1 thread)"
    )
    assert machine_name(ABACUS) == "Abacus (2 threads)"  # of a record from before
    assert machine_name(plain | {"device": "Difference Engine"}) == "Difference Engine (2 threads)"
