"""Freed memory is kept: asking for the same again costs no page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from utils.machine import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    torch.ones(16, 2**20)  # 64 MiB, freed at once
for _ in range(15):  # the first ones find their place
    step()
before = faults()
for _ in range(5):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_what_is_freed_is_not_asked_of_the_system_again() -> None:
    libc = subprocess.run(["ldd", "--version"], capture_output=True, text=True)
    if "musl" in libc.stdout + libc.stderr:
        pytest.skip("musl's allocator has no such setting")

    def faults(call: str) -> int:
        command = [sys.executable, "-c", PROGRAM.format(call=call)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    kept, returned = faults("keep_freed_memory()"), faults("")
    assert kept < 100
    assert returned > 100 * max(kept, 1)
