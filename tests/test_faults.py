"""A fault at a write, and the same command again: a few of those that `make soak` tries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_records import make_arrays, make_experiment, make_record, write_runs
from utils import REPOSITORY

if not hasattr(os, "fork"):
    pytest.skip("a process cannot be forked here", allow_module_level=True)

from tests.faults import KINDS, Operation, contents, every_fault, sample

NOTHING = "0 lost, 0 different, 0 trained twice, 0 temporary files left, 0 tracebacks"


def test_a_fault_at_any_kind_of_write_loses_nothing() -> None:
    """In a process of its own: what is forked must have no threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--sample"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    match = re.fullmatch(r"(\d+) .*, (\d+) faults tried: (.*)\n", done.stdout)
    operations, tried, rest = match.groups()
    assert (int(operations) > 100, int(tried) > 10, rest) == (True, True, NOTHING)


def test_a_sample_has_every_kind_of_fault_of_operation_and_of_file() -> None:
    names = ("a.json.1.tmp", "a.npz.1.tmp", "a.log", "results")
    operations = [Operation(event, n) for n in names for event in ("open", "os.rename", "os.mkdir")]
    faults = every_fault(operations)
    assert len(faults) == len(operations) * 3 + len(names) * 2
    chosen = sample(operations, faults)
    assert len(chosen) < 10
    assert {fault.kind for fault in chosen} == set(KINDS)
    seen = [operations[fault.number] for fault in chosen]
    assert {each.event for each in seen} == {"open", "os.rename", "os.mkdir"}
    assert {each.name for each in seen} == set(names)


def test_what_is_torn_or_changed_is_seen(tmp_path: Path) -> None:
    arrays = make_arrays({"features.0": (4, 8)})
    paths = write_runs(tmp_path, make_experiment(), [make_record()], arrays)
    paths += [paths[0].with_suffix(".npz")]
    before = contents(tmp_path)
    assert len(before) == 2 and None not in before.values()
    for path in paths:
        whole, name = path.read_bytes(), str(path.relative_to(tmp_path))
        path.write_bytes(whole[:-9])
        assert [key for key, value in contents(tmp_path).items() if value is None] == [name]
        path.write_bytes(whole)
    write_runs(tmp_path, make_experiment(), [make_record(test_accuracy=0.76)], arrays)
    after = contents(tmp_path)
    assert None not in after.values()
    assert [after[name] == before[name] for name in before] == [False, False]
