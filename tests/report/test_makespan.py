"""The study on many workers, on paper."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fake_records import NETWORKS, RECIPE, make_experiment, make_record, write_runs
from utils.records.study import gather
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


def test_a_network_without_a_speed_has_that_nearest_in_flops(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3", "CNN5x5", "CNN7x7"], seeds=(0, 1))
    records = [
        make_record(name, seed, forward_flops=flops)
        for name, flops in (("CNN3x3", 10**6), ("CNN5x5", 10**7), ("CNN7x7", 2 * 10**7))
        for seed in (0, 1)
    ]
    write_runs(tmp_path, experiment, records, timed=True)  # 5,000, 2,500 images a second
    (tmp_path / "speed" / "cifar10" / "CNN7x7.json").unlink()
    text = makespan_text([gather(experiment, tmp_path, NETWORKS)])
    epoch = 50_000 * RECIPE.epochs / 3600
    first, second = epoch / 5_000, epoch / 2_500
    third = 2 * second  # not a 20th of the first's speed
    total = 2 * (first + second + third)
    assert f"| 1 | {total:.3g} | {total:.3g} | {third:.3g} |" in text
    assert f"| 4 | {third:.3g} |" in text  # the rest fits beside the two longest
    assert "From 4 workers on the longest run (CNN7x7) is the bottleneck" in text
    assert "Of 6 runs 4 have the measured speed of their own network" in text
    # each of the timed two as if it were the other, ten times the work or a tenth
    wrong = [abs(guess - 1) for guess in (10 * first / second, second / 10 / first)]
    assert f"off by {100 * sum(wrong) / 2:.0f} % in the median" in text


def test_without_speeds_there_is_no_table(tmp_path: Path) -> None:
    assert makespan_text([gather(make_experiment(), tmp_path, NETWORKS)]) == "No speeds yet."
