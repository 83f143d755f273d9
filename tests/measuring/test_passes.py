"""Passes: fresh processes, one after another, with the threads of the one that asks."""

import os
from functools import partial

import pytest

from tests.elsewhere import process_and_threads
from tests.fake_records import make_cases, make_speed
from utils.errors import SomeFailed
from utils.measuring.passes import in_passes, joined
from utils.records.schema import Speed


def test_each_pass_has_a_process_of_its_own() -> None:
    here = process_and_threads()
    found = in_passes(process_and_threads, 2)
    assert len({here[0], *(process for process, _ in found)}) == 3
    assert [threads for _, threads in found] == [here[1]] * 2
    assert in_passes(process_and_threads, 1) == [here]


def test_a_process_that_dies_is_a_line() -> None:
    with pytest.raises(SomeFailed, match="the process that measures died"):
        in_passes(partial(os._exit, 1), 2)


def test_several_passes_become_one_record() -> None:
    passes = [make_speed(times).model_copy(update={"began": (str(times),)}) for times in (1, 3)]
    speed = joined(passes)
    assert speed.began == ("1", "3")
    assert [each.median for each in speed.latency_seconds] == [0.0005, 0.0015]
    assert Speed.model_validate_json(speed.model_dump_json()) == speed
    first, second = make_cases().cases[:2]
    both = joined([first, second])
    assert both.forward_seconds_100 == first.forward_seconds_100 + second.forward_seconds_100
    assert both.gradient == first.gradient  # which no pass changes
