"""The study on many workers, on paper."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fake_records import make_experiment
from utils.report.makespan import bottleneck, makespan, makespan_text

SECONDS = st.lists(st.integers(1, 50).map(float), min_size=1, max_size=20)


def test_longest_first_is_known_to_take_11_where_9_would_do() -> None:
    # Graham, Bounds on multiprocessing timing anomalies (1969): 5 + 3 + 3 where 3 + 3 + 3 would do
    assert makespan([3, 5, 4, 3, 4, 5, 3], 3) == 11


@given(seconds=SECONDS, workers=st.integers(1, 9))
def test_a_makespan_is_between_its_bounds(seconds: list[float], workers: int) -> None:
    low = max(sum(seconds) / workers, max(seconds))
    assert low - 1e-9 <= makespan(seconds, workers) <= sum(seconds) / workers + max(seconds)


@given(seconds=SECONDS)
def test_from_the_bottleneck_on_only_the_longest_run_counts(seconds: list[float]) -> None:
    workers = bottleneck(seconds)
    assert makespan(seconds, workers) == max(seconds)
    assert workers == 1 or makespan(seconds, workers - 1) > max(seconds)


def test_without_speeds_there_is_no_table(tmp_path: Path) -> None:
    assert makespan_text([make_experiment()], tmp_path) == "No speeds yet."
