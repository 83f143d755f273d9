"""Claims -> verdicts: every comparison with its interval, its confounds and what follows from it.

    Evidence -> Findings -> results/claims.csv, the README's <experiment>.conclusions

The confounds stand beside every verdict: what else differs between the two that are compared.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import sub

import numpy as np

from utils.claim import PASSES, POINTS, TIMES, Claim
from utils.experiment import Experiment
from utils.records.study import Evidence
from utils.report.confounds import confounds_of
from utils.report.measures import LATENCY, UNITS, in_the_same_passes, metrics_of, values_of
from utils.report.statistics import (
    ALPHA,
    FEW,
    MOST,
    Estimate,
    contrast,
    dunnett,
    holm,
    levene,
    log_ratio,
    mean,
    needed,
)
from utils.report.verdicts import NO_DIFFERENCE, NOT_TESTED, OPEN, REFUTED, together, verdict


@dataclass(frozen=True)
class Comparison:
    """Two networks, layers or blocks in one metric, or one of them and a number."""

    a: str
    b: str
    metric: str
    unit: str  # of the difference; "ratio": of a / b
    means: tuple[float, float]  # of a and of b, or the number; of times the medians
    estimate: Estimate  # of a - b; of times the logarithm of a / b; of other ratios a / b - 1
    counts: tuple[int | None, int | None] = (None, None)  # seeds or passes
    margin: float | None = None
    confounds: str = ""
    levene: float | None = None  # its p, where the deviation is pooled over networks
    p_holm: float = math.nan
    verdict: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim, the comparisons in one metric that decide it, and the verdict."""

    experiment: Experiment
    claim: Claim
    comparisons: tuple[Comparison, ...]
    verdict: str


def find(evidence: Evidence) -> list[Finding]:
    """The experiment's claims with their verdicts; p-values are adjusted among them."""
    compared = [
        (claim, compare_all(claim, metric, evidence))
        for claim in evidence.experiment.claims
        for metric in metrics_of(claim, evidence)
    ]
    every = [each for _, made in compared if not isinstance(made, str) for each in made]
    adjusted = iter(adjusted_p(every, evidence))
    findings = []
    for claim, made in compared:
        if isinstance(made, str):
            findings.append(Finding(evidence.experiment, claim, (), made))
            continue
        judged = tuple(judge(claim, replace(each, p_holm=next(adjusted))) for each in made)
        findings.append(Finding(evidence.experiment, claim, judged, conclude(judged)))
    return findings


def adjusted_p(comparisons: Sequence[Comparison], evidence: Evidence) -> list[float]:
    """Holm's; where many rows are compared with one base, Dunnett's for their test accuracies.

    That takes one deviation for all rows: none is below the p of the comparison by itself.
    """
    base = evidence.experiment.base
    many = [each for each in comparisons if base and each.b == base and each.counts[1]]
    many = [each for each in many if each.metric == "test_accuracy"]
    adjusted = {}
    if many:
        groups = [values_of(each.a, "test_accuracy", evidence) for each in many]
        found = dunnett(groups, values_of(base, "test_accuracy", evidence))
        found = np.maximum(found, [each.estimate.p for each in many]).tolist()  # a NaN stays one
        adjusted = dict(zip(map(id, many), found, strict=True))
    others = [each for each in comparisons if id(each) not in adjusted]
    adjusted |= dict(zip(map(id, others), holm([o.estimate.p for o in others]), strict=True))
    return [adjusted[id(each)] for each in comparisons]


def compare_all(claim: Claim, metric: str, evidence: Evidence) -> list[Comparison] | str:
    """The claim's comparisons in one metric; a verdict where there are none."""
    names = dict.fromkeys(name for pair in claim.pairs for name in pair if name)
    if gone := [name for name in names if name in evidence.diverged]:
        return f"{OPEN}: {'; '.join(diverged_text(name, evidence) for name in gone)}"
    values = {name: values_of(name, metric, evidence) for name in names}
    missing = [name for name in names if not values[name]]
    trained = evidence.runs if claim.kind != "time" else ()
    if unknown := [name for name in missing if name not in trained]:
        return f"{NOT_TESTED}: no record of {told_apart(unknown)}"
    for name in names:
        if name in missing or any(map(math.isnan, values[name])):
            return f"{OPEN}: {metric} of {name} is not defined"
    if claim.kind == "exact" and claim.than:
        for _, b in claim.pairs:
            if not values[b][0]:
                return f"{OPEN}: {metric} of {b} is 0, to which there is no ratio"
    if claim.kind == "time":
        for a, b in claim.pairs:
            if not in_the_same_passes(a, b, metric, evidence)[0]:
                return f"{NOT_TESTED}: {a} and {b} were timed in no common pass"
    if claim.kind == "front":
        best = told_apart(front(evidence))
        return f"no claim that data can decide; on the Pareto front of accuracy and latency: {best}"
    if claim.kind == "lead":
        first, *others = claim.pairs
        return [lead(claim, first, other, metric, evidence) for other in others]
    return [compare(claim, a, b, metric, evidence) for a, b in claim.pairs]


def diverged_text(name: str, evidence: Evidence) -> str:
    """As in "CNN3x3 diverged in 2 of 5 runs"."""
    count = len(evidence.diverged[name])
    return f"{name} diverged in {count} of {count + len(evidence.runs.get(name, ()))} runs"


def compare(claim: Claim, a: str, b: str, metric: str, evidence: Evidence) -> Comparison:
    """One pair in one metric, without its verdict."""
    if claim.kind == "constant":
        return with_a_number(claim, a, values_of(a, metric, evidence), metric)
    if claim.kind == "exact":
        (first,), (second,) = (values_of(name, metric, evidence) for name in (a, b))
        difference = first / second - 1 if claim.than else first - second
        found = Comparison(
            a,
            b,
            metric,
            unit="ratio" if claim.than else UNITS.get(metric, "1"),
            means=(first, second),
            estimate=Estimate(difference, math.nan, math.nan),
            margin=claim.margin,
        )
    elif claim.kind == "time":
        times = in_the_same_passes(a, b, metric, evidence)
        found = Comparison(
            a,
            b,
            metric,
            UNITS[metric],
            means=tuple(float(np.median(each)) for each in times),
            estimate=log_ratio(*times),
            counts=tuple(map(len, times)),
            margin=TIMES,
        )
    else:
        found = over_seeds(claim, ([a], [b]), metric, evidence)
    return replace(found, confounds=confounds_of(a, b, metric, claim.about, evidence))


def with_a_number(claim: Claim, a: str, values: Sequence[float], metric: str) -> Comparison:
    """The mean over seeds beside the claim's number."""
    found = mean(values)
    units = {"test_accuracy": " %", "train_accuracy": " %", "generalization_gap": " points"}
    power = "10^" if metric.startswith("log10") else ""
    return Comparison(
        a,
        f"{power}{claim.than:g}{units.get(metric, '')}",
        metric,
        UNITS.get(metric, "1"),
        means=(found.value, claim.than),
        estimate=replace(found, value=found.value - claim.than),
        counts=(len(values), None),
    )


def over_seeds(
    claim: Claim, sides: Sequence[Sequence[str]], metric: str, evidence: Evidence
) -> Comparison:
    """Two means over seeds, or two differences of means where each side has two names.

    A name that both sides have is one sample, not two. With few seeds the deviation is that of all
    networks together.
    """
    (a, *less_a), (b, *less_b) = sides
    times = Counter([a, *less_b])
    times.subtract([b, *less_a])
    values = {name: values_of(name, metric, evidence) for name in times}
    groups = of_few_seeds(list(values.values()), metric, evidence)
    means = [[float(np.mean(values[name])) for name in side] for side in sides]
    unit, margin = UNITS.get(metric, "1"), claim.margin
    if margin is None and unit == "points":
        margin = POINTS[evidence.experiment.dataset]
    return Comparison(
        *(" less ".join(side) for side in sides),
        metric,
        unit,
        means=tuple(reduce(sub, each) for each in means),
        estimate=contrast([(times[name], values[name]) for name in values], groups),
        counts=tuple(min(len(values[name]) for name in side) for side in sides),
        margin=margin,
        levene=levene(groups) if groups else None,
    )


def of_few_seeds(
    compared: Sequence[Sequence[float]], metric: str, evidence: Evidence
) -> list[list[float]]:
    """All networks' values, to pool their deviation where one that is compared has few seeds."""
    if min(map(len, compared)) >= FEW:
        return []
    every = [values_of(label, metric, evidence) for label in evidence.runs]
    return [values for values in every if not any(map(math.isnan, values))]


def lead(
    claim: Claim, pair: tuple[str, str], other: tuple[str, str], metric: str, evidence: Evidence
) -> Comparison:
    """By how much more the first of a pair is above the second than in the other pair."""
    confounds = [confounds_of(*each, metric, claim.about, evidence) for each in (pair, other)]
    found = over_seeds(claim, (pair, other), metric, evidence)
    return replace(found, confounds=" | ".join(confounds))


def front(evidence: Evidence) -> list[str]:
    """The networks that no other beats in test accuracy and latency both: means and medians."""
    points = {
        label: (np.mean(values_of(label, "test_accuracy", evidence)), -np.median(times))
        for label in evidence.runs
        if (times := values_of(label, LATENCY, evidence))
    }
    return [
        label
        for label, mine in points.items()
        if not any(
            other != mine and other[0] >= mine[0] and other[1] >= mine[1]
            for other in points.values()
        )
    ]


def judge(claim: Claim, comparison: Comparison) -> Comparison:
    """The comparison with the verdict on it."""
    found, margin = comparison.estimate, comparison.margin
    if claim.kind in ("constant", "time"):  # which say that a is less
        found = -found
    if claim.kind == "time":
        margin = math.log1p(margin)
    if claim.kind == "exact" and claim.than:
        distance = abs(1 + found.value - claim.than)
        found = replace(found, value=margin * claim.than - distance)
    word = verdict(claim.kind, found.value, found.low, found.high, comparison.p_holm, margin)
    if word == OPEN:
        word = f"{OPEN}: {what_it_takes(claim, comparison, margin)}"
    return replace(comparison, verdict=word)


def what_it_takes(claim: Claim, comparison: Comparison, margin: float | None) -> str:
    """About how many seeds would decide it, were the true difference the one that was found."""
    found, n = comparison.estimate, min(filter(None, comparison.counts), default=0)
    one, many = ("pass", "passes") if claim.kind == "time" else ("seed", "seeds")
    if math.isnan(found.error):
        planned = f", {PASSES} are planned" if claim.kind == "time" else ""
        return f"{n} {one if n == 1 else many}{planned}"
    distance, alpha = abs(found.value), ALPHA
    if claim.kind == "equal":
        distance = abs(margin - distance)
    else:
        # a small difference is decided too
        if claim.kind in ("greater", "lead", "time") and margin is not None:
            distance = max(distance, margin - distance)
        if comparison.p_holm > found.p:  # what the correction leaves of it
            alpha *= found.p / comparison.p_holm
    count = needed(found, n, distance, alpha)
    return f"more than {MOST} {many}" if count > MOST else f"about {count} {many}"


def conclude(comparisons: Sequence[Comparison]) -> str:
    """The verdict on the claim: who refutes it, or what is missing, is named."""
    if len(comparisons) == 1:
        return comparisons[0].verdict
    word = together([each.verdict for each in comparisons])
    if word == REFUTED:
        return f"{REFUTED} by {who(comparisons, REFUTED)}"
    if word == OPEN:  # more seeds would not decide it
        return f"{OPEN}: {NO_DIFFERENCE} from {who(comparisons, NO_DIFFERENCE)}"
    return word


def who(comparisons: Sequence[Comparison], word: str) -> str:
    """The rivals, or where these are one and the same those beside it, with this verdict."""
    one_a = len({each.a for each in comparisons}) == 1
    names = [each.b if one_a else each.a for each in comparisons if each.verdict == word]
    return told_apart(names)


def told_apart(names: Sequence[str]) -> str:
    """Names one after another, some of which may have commas of their own."""
    return ("; " if any("," in name for name in names) else ", ").join(names)
