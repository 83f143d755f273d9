"""Statistics: what seeds and passes can tell apart; every distribution and test is scipy's.

Seeds differ in the initial weights, the order of the images, crops, flips and dropout. An interval
covers such draws, not the choice of the test images.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ALPHA = 0.05  # of every test; intervals are of 95 %
POWER = 0.8  # with which a difference of the size that is asked about would be found
FEW = 5  # seeds: with fewer the standard deviation is pooled over the experiment's networks
MOST = 1000  # seeds: beyond it nobody would train them

Values = Sequence[float]


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half of its 95 % interval (Student's t); NaN where the spread is not known."""
        return float(stats.t.ppf(1 - ALPHA / 2, self.freedom)) * self.error

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value + self.half

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that the true value is zero."""
        if not self.error:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value / self.error), self.freedom))

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value, self.error, self.freedom)


def mean(values: Values) -> Estimate:
    """The mean over seeds; of one seed its spread is NaN."""
    n = len(values)
    if n > 1 and min(values) == max(values):  # no rounding in what has no spread
        return Estimate(float(values[0]), 0.0, n - 1)
    deviation = float(np.std(values, ddof=1)) if n > 1 else math.nan
    return Estimate(float(np.mean(values)), deviation / math.sqrt(n), n - 1 or math.nan)


def contrast(terms: Sequence[tuple[int, Values]], groups: Sequence[Values] = ()) -> Estimate:
    """A sum of means, each so many times; no sample comes twice, so that they are independent.

    Each has its own deviation (Welch 1947, of two means; Satterthwaite's degrees of freedom), or
    all of them the one that is pooled over ``groups``: for few seeds.
    """
    means = [(times, mean(values)) for times, values in terms]
    value = sum(times * each.value for times, each in means)
    if groups:
        deviation, freedom = pooled_deviation(groups)
        squares = sum(times**2 / len(values) for times, values in terms)
        return Estimate(value, deviation * math.sqrt(squares), freedom or math.nan)
    parts = [((times * each.error) ** 2, each.freedom) for times, each in means]
    variance = sum(square for square, _ in parts)
    below = sum(square**2 / freedom for square, freedom in parts)
    freedom = variance**2 / below if below else sum(freedom for _, freedom in parts)
    return Estimate(value, math.sqrt(variance), freedom)


def pooled_deviation(groups: Sequence[Values]) -> tuple[float, int]:
    """Standard deviation within groups, pooled over them, and its degrees of freedom.

    NaN and 0 where no group has two values.
    """
    groups = [group for group in groups if len(group)]
    squares = sum(float(np.sum((np.asarray(group) - np.mean(group)) ** 2)) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def levene(groups: Sequence[Values]) -> float:
    """The p of equal variances, by deviations from the medians; NaN where it cannot be had."""
    groups = [group for group in groups if len(group) > 2]
    spread = any(len(set(group)) > 1 for group in groups)
    return float(stats.levene(*groups).pvalue) if len(groups) > 1 and spread else math.nan


def log_ratio(a: Values, b: Values) -> Estimate:
    """The mean logarithm of the ratio of two times, pass by pass."""
    return mean((np.log(a) - np.log(b)).tolist())


def dunnett(groups: Sequence[Values], base: Values) -> list[float]:
    """Adjusted p of each group's mean against that of one base (Dunnett 1955).

    NaN where no group has two values. The quasi-random integral behind it gets a seed of its own:
    the same numbers every time.
    """
    if not pooled_deviation([*groups, base])[1]:
        return [math.nan] * len(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of groups that do not vary at all
        return stats.dunnett(*groups, control=base, rng=0).pvalue.tolist()


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the given order; a NaN stays one."""
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def mcnemar(a: np.ndarray, b: np.ndarray) -> tuple[int, int, float]:
    """Images that a alone has right, that b alone has, and the exact p; both ``[images]``, bool."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not only_a + only_b:
        return 0, 0, 1.0
    return only_a, only_b, float(stats.binomtest(only_a, only_a + only_b).pvalue)


def detectable(deviation: float, seeds: int, freedom: float) -> float:
    """The difference of two networks that so many seeds of each show in four of five studies."""
    quantiles = stats.t.ppf([1 - ALPHA / 2, POWER], freedom)
    return float(quantiles.sum()) * deviation * math.sqrt(2 / seeds)


def needed(estimate: Estimate, n: int, distance: float, alpha: float = ALPHA) -> int:
    """About how many seeds (of each) tell ``distance`` from zero, where n gave this estimate.

    More than ``MOST`` where even that many do not, or where the spread is not known.
    """
    for count in range(n + 1, MOST + 1):
        freedom = estimate.freedom * (count - 1) / max(n - 1, 1)
        reach = float(stats.t.ppf([1 - alpha / 2, POWER], freedom).sum())
        if reach * estimate.error * math.sqrt(n / count) <= distance:
            return count
    return MOST + 1
