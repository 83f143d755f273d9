from tests.fake_records import ENVIRONMENT
from utils.records.environment import machine_name
from utils.records.schema import Environment


def machine(**changes: object) -> Environment:
    return ENVIRONMENT.model_copy(update=changes)


def test_a_machine_is_named_by_what_its_speed_depends_on() -> None:
    plain = {"instructions": "AVX2", "native_bfloat16": False}
    assert machine_name(machine(**plain)) == "A Processor (AVX2, 2 threads)"
    fast = machine(instructions="AVX512", native_bfloat16=True, threads=1)
    assert machine_name(fast) == "A Processor (AVX512 with bfloat16, 1 thread)"
    assert machine_name(machine()) == "A Processor (2 threads)"  # of a record from before
    elsewhere = machine(**plain, device="Difference Engine")
    assert machine_name(elsewhere) == "Difference Engine (2 threads)"
