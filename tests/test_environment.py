"""The machine, as records hold it and as tables name it."""

import pytest
import torch

from utils import environment as module
from utils.environment import bfloat16_speed, environment, has_native_bfloat16, machine_name

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
            self.median = {torch.float32: 1.0, torch.bfloat16: 4.0}[globals["x"].dtype]

        def timeit(self, number: int) -> "FakeTimer":
            return self

    monkeypatch.setattr(module, "Timer", FakeTimer)
    assert bfloat16_speed(torch.device("cpu")) == 0.25


def test_a_machine_is_named_by_what_its_speed_depends_on() -> None:
    plain = ABACUS | {"instructions": "AVX2", "native_bfloat16": False}
    assert machine_name(plain) == "Abacus (AVX2, 2 threads)"
    assert machine_name(plain | {"native_bfloat16": True, "threads": 1}) == (
        "Abacus (AVX2 with bfloat16, 1 thread)"
    )
    assert machine_name(ABACUS) == "Abacus (2 threads)"  # of a record from before
    assert machine_name(plain | {"device": "Difference Engine"}) == "Difference Engine (2 threads)"
