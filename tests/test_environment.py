"""The machine, as records hold it and as tables name it."""

import torch

from utils.environment import environment, has_native_bfloat16, machine_name

ABACUS = {"processor": "Abacus", "device": "cpu", "threads": 2}


def test_a_record_tells_processors_of_one_name_apart() -> None:
    here = environment(torch.device("cpu"))
    assert here["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert here["native_bfloat16"] == has_native_bfloat16(torch.device("cpu"))
    assert machine_name(here).startswith(f"{here['processor']} ({here['instructions']}")


def test_a_machine_is_named_by_what_its_speed_depends_on() -> None:
    plain = ABACUS | {"instructions": "AVX2", "native_bfloat16": False}
    assert machine_name(plain) == "Abacus (AVX2, 2 threads)"
    assert machine_name(plain | {"native_bfloat16": True, "threads": 1}) == (
        "Abacus (AVX2 with bfloat16, 1 thread)"
    )
    assert machine_name(ABACUS) == "Abacus (2 threads)"  # of a record from before
    assert machine_name(plain | {"device": "Difference Engine"}) == "Difference Engine (2 threads)"
