"""Statistics: scipy's own tests, and worked examples from outside, say the same."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from utils.report.statistics import (
    Estimate,
    contrast,
    detectable,
    dunnett,
    holm,
    levene,
    log_ratio,
    mcnemar,
    mean,
    needed,
    pooled_deviation,
)

A, B, C = [81.0, 81.4, 80.8, 81.1, 81.3], [80.1, 80.9, 80.3, 80.6], [79.0, 79.9, 79.4]


def welch(a: list[float], b: list[float]) -> Estimate:
    """The mean of a less that of b."""
    return contrast([(1, a), (-1, b)])


samples = st.lists(st.integers(0, 100), min_size=2, max_size=9).filter(lambda x: len(set(x)) > 1)


def test_half_an_interval_is_students() -> None:
    low, high = stats.t.interval(0.95, 4, np.mean(A), stats.sem(A))
    found = mean(A)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert math.isnan(mean([81.0]).half)


def test_a_constant_is_a_one_sample_t_test() -> None:
    found = mean([value - 80 for value in A])
    assert found.p == pytest.approx(stats.ttest_1samp(A, 80).pvalue)


@given(samples, samples)
def test_a_difference_is_welchs(a: list[int], b: list[int]) -> None:
    expected = stats.ttest_ind(a, b, equal_var=False)
    found, interval = welch(a, b), expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_of_two_groups_the_pooled_difference_is_students() -> None:
    expected = stats.ttest_ind(A, B)
    found, interval = contrast([(1, A), (-1, B)], [A, B]), expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_pooling_lends_single_seeds_the_others_deviation() -> None:
    deviation, freedom = pooled_deviation([A, B, C, [70.0]])
    within = [np.array(group) - np.mean(group) for group in (A, B, C)]
    assert freedom == 9
    assert deviation == pytest.approx(np.sqrt(sum((each**2).sum() for each in within) / 9))
    terms = [(1, [81.0]), (-1, [80.0])]
    found = contrast(terms, [A, B, C])
    assert found.error == pytest.approx(deviation * math.sqrt(2))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 9) * deviation * math.sqrt(2))
    assert math.isnan(contrast(terms, [[81.0], [80.0]]).p)  # nothing to pool


def test_a_mean_that_counts_twice_has_four_times_the_variance() -> None:
    twice = np.mean(A) * 2 - np.mean(B) - np.mean(C)
    parts = np.array([4, 1, 1]) * [stats.sem(group) ** 2 for group in (A, B, C)]
    freedom = parts.sum() ** 2 / (parts**2 / [4, 3, 2]).sum()
    found = contrast([(2, A), (-1, B), (-1, C)])
    interval = stats.t.interval(0.95, freedom, twice, np.sqrt(parts.sum()))
    assert (found.low, found.high) == pytest.approx(interval)
    variance = pooled_deviation([A, B, C])[0] ** 2
    found = contrast([(2, A), (-1, B), (-1, C)], [A, B, C])
    assert found.error == pytest.approx(np.sqrt(variance * (4 / 5 + 1 / 4 + 1 / 3)))


def test_of_single_seeds_dunnett_says_nothing() -> None:
    assert all(map(math.isnan, dunnett([[81.0], [82.0]], [80.0])))


@pytest.mark.filterwarnings("error")
def test_a_row_that_does_not_vary_is_compared_without_a_warning() -> None:
    (still, _) = dunnett([[10.0] * 5, [80.0, 81.0, 80.5]], [80.0, 81.0, 79.5, 80.2, 80.1])
    assert still < 1e-6


def test_levene_compares_the_groups_that_have_a_spread() -> None:
    assert levene([A, B, C, [1.0]]) == pytest.approx(stats.levene(A, B, C).pvalue)
    assert math.isnan(levene([A]))
    assert math.isnan(levene([[1.0] * 3, [2.0] * 3]))


def test_holm_is_the_worked_example() -> None:
    # Holm (1979) of 0.01, 0.04, 0.03, 0.005: the smallest four times, the next thrice, no decrease
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.6, math.nan, 0.7])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == [1, 1]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_falls_below_what_it_adjusts(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_mcnemar_counts_the_images_that_one_alone_has_right() -> None:
    a = np.array([True] * 10 + [False] * 2 + [True] * 5)
    b = np.array([False] * 10 + [True] * 2 + [True] * 5)
    assert mcnemar(a, b)[:2] == (10, 2)
    assert mcnemar(a, b)[2] == pytest.approx(2 * stats.binom.cdf(2, 12, 0.5))
    assert mcnemar(a, a) == (0, 0, 1.0)


def test_a_ratio_of_times_is_taken_pass_by_pass() -> None:
    slow, fast = [2.0, 4.0, 8.0], [1.0, 2.0, 4.0]  # passes differ, the ratio does not
    found = log_ratio(slow, fast)
    assert math.exp(found.value) == pytest.approx(2)
    assert found.p == pytest.approx(0, abs=1e-9)
    assert math.isnan(log_ratio([2.0], [1.0]).p)


def test_a_tie_in_every_seed_is_a_tie_however_many_there_are() -> None:
    assert (welch([11.35] * 5, [11.35] * 14).value, welch([11.35] * 5, [11.35] * 14).p) == (0, 1)


def test_equal_numbers_are_no_difference() -> None:
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1
    assert welch([2.0, 2.0], [1.0, 1.0]).p == 0


def test_so_many_seeds_find_a_detectable_difference_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    step = detectable(1.0, seeds=9, freedom=16)
    a, b = rng.normal(step, 1, (4000, 9)), rng.normal(0, 1, (4000, 9))
    found = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.02)


def test_the_seeds_that_are_needed_are_the_fewest_that_can_tell() -> None:
    few = welch([0.5, 1.5, 1.0], [0.0, 1.0, 0.5])  # 0.5 with a deviation of 0.5
    count = needed(few, 3, distance=0.5)
    assert detectable(0.5, count, 2 * count - 2) <= 0.5 < detectable(0.5, count - 1, 2 * count - 4)
    assert needed(few, 3, distance=1e-6) == 1001
