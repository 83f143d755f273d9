"""The committed claims.csv, computed once more from the committed records by other means.

Nothing of ``utils.report`` is used: JSON, numpy and scipy alone, and the declared rows for the
names of files.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from scipy import stats

from experiments import STUDY
from utils import REPOSITORY

RESULTS = REPOSITORY / "results"
ACCURACY = "test_accuracy"
Line = dict[str, str]

with (RESULTS / "claims.csv").open(encoding="utf-8", newline="") as file:
    LINES = list(csv.DictReader(file))
BY_NAME = {experiment.name: experiment for experiment in STUDY}


@cache
def records(experiment: str, label: str) -> list[dict]:
    (row,) = (each for each in BY_NAME[experiment].rows if each.label == label)
    folder = RESULTS / "runs" / BY_NAME[experiment].dataset
    name = re.compile(re.escape(row.run_name) + r"-seed\d+\.json")
    return [json.loads(path.read_text()) for path in folder.iterdir() if name.fullmatch(path.name)]


def values(line: Line, side: str) -> np.ndarray:
    """One number for each seed."""
    return values_of(line["experiment"], line[side], line["metric"])


@cache
def values_of(experiment: str, label: str, metric: str) -> np.ndarray:
    found = []
    for record in records(experiment, label):
        final, epochs = record["final"], record["epochs"]
        if metric == "shift_loss":
            moved = record.get("shifted_test_accuracy")
            found += [100 * (moved[0] - moved[6])] if moved else []
        elif metric == "gradient_ratio":
            norms = [list(epoch["gradient_norm"].values()) for epoch in epochs]
            found.append(min(norm[0] / norm[-1] for norm in norms))
        elif metric == "log10_initial_gradient_ratio":
            norm = list(epochs[0]["gradient_norm_first"].values())
            found.append(np.log10(norm[0]) - np.log10(norm[-1]))
        elif metric == "generalization_gap":
            found.append(100 * (final["train_accuracy"] - final["test_accuracy"]))
        else:
            found.append(100 * final[metric])
    return np.array(found)


def pooled(line: Line) -> tuple[float, int]:
    """Variance within the networks of the experiment, and its degrees of freedom."""
    rows = BY_NAME[line["experiment"]].rows
    groups = [values_of(line["experiment"], row.label, line["metric"]) for row in rows]
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    return sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom, freedom


def case(line: Line, side: str) -> dict | None:
    """The layer or block by itself, where it is one."""
    path = RESULTS / line["experiment"] / "cases.json"
    cases = json.loads(path.read_text())["cases"] if path.exists() else []
    return next((each for each in cases if each["name"] == line[side]), None)


def exact(line: Line, side: str) -> float:
    """The number that a network or block has whatever its seed."""
    if (found := case(line, side)) is not None:
        gradient = found["gradient"]["mean_absolute_input"]
        return found["parameters"] if line["metric"] == "parameters" else gradient
    for record in records(line["experiment"], line[side]):
        if (found := record[line["metric"]]) is not None:
            return [*found.values()][-1] if isinstance(found, dict) else found
    raise AssertionError(line)


def times(line: Line, side: str) -> np.ndarray:
    """Seconds, one for each pass."""
    if (found := case(line, side)) is not None:
        passes = found[f"{line['metric'].replace('_and', '')}_seconds_100"]
        return np.array([each["median"] for each in passes])
    experiment = BY_NAME[line["experiment"]]
    (row,) = (each for each in experiment.rows if each.label == line[side])
    speed = json.loads(
        (RESULTS / "speed" / experiment.dataset / f"{row.run_name}.json").read_text()
    )
    if line["metric"] == "latency":
        return np.array([each["median"] for each in speed["latency_seconds"]])
    return 1 / np.array([each["median"] for each in speed["throughput_images_per_second"]])


def number(line: Line, column: str) -> float:
    return float(line[column]) if line[column] else np.nan


def numbers(line: Line) -> list[float]:
    """The difference, the ends of its interval and p."""
    return [number(line, column) for column in ("difference", "ci_low", "ci_high", "p")]


def compared(*kinds: str) -> list[Line]:
    return [line for line in LINES if line["kind"] in kinds and line["metric"]]


def by_claim() -> Iterator[tuple[str, list[Line]]]:
    for name in dict.fromkeys(line["id"] for line in LINES):
        yield name, [line for line in LINES if line["id"] == name]


@pytest.mark.parametrize("line", compared("greater", "equal", "best"), ids=lambda x: x["id"])
def test_a_difference_is_welchs(line: Line) -> None:
    a, b = values(line, "a"), values(line, "b")
    difference = a.mean() - b.mean()
    if min(len(a), len(b)) >= 5:
        test = stats.ttest_ind(a, b, equal_var=False)
        low, high = test.confidence_interval(0.95)
        p = test.pvalue
    else:  # with few seeds the deviation of all networks of the experiment
        variance, freedom = pooled(line)
        t = stats.t(freedom, difference, np.sqrt(variance * (1 / len(a) + 1 / len(b))))
        low, high = t.interval(0.95)
        p = 2 * min(t.cdf(0), t.sf(0))
    assert (int(line["n_a"]), int(line["n_b"])) == (len(a), len(b))
    assert numbers(line) == pytest.approx([difference, low, high, p], rel=1e-5, abs=1e-5)
    margin = {"mnist": 0.1, "cifar10": 0.5}[line["dataset"]]
    if line["metric"].startswith("log10"):
        margin = np.nan  # of ratios there is none
    assert number(line, "margin") == pytest.approx(margin, nan_ok=True)


@pytest.mark.parametrize("line", compared("lead"), ids=lambda x: x["id"])
def test_a_lead_is_a_contrast_of_means(line: Line) -> None:
    names = [*line["a"].split(" less "), *line["b"].split(" less ")]
    weights = Counter()  # a network that stands in both differences has the sum of its two
    for name, sign in zip(names, (1, -1, -1, 1), strict=True):
        weights[name] += sign
    names, signs = zip(*weights.items(), strict=True)
    groups = [values_of(line["experiment"], name, line["metric"]) for name in names]
    shares = np.square(signs) / [len(group) for group in groups]
    if min(map(len, groups)) >= 5:
        parts = shares * [group.var(ddof=1) for group in groups]
        freedom = parts.sum() ** 2 / sum(
            part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True)
        )
    else:
        variance, freedom = pooled(line)
        parts = shares * variance
    value = np.dot(signs, [group.mean() for group in groups])
    t = stats.t(freedom, value, np.sqrt(parts.sum()))
    expected = [value, *t.interval(0.95), 2 * min(t.cdf(0), t.sf(0))]
    assert numbers(line) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("line", compared("constant"), ids=lambda x: x["id"])
def test_a_constant_is_a_one_sample_t_test(line: Line) -> None:
    a, than = values(line, "a"), float(line["b"].split()[0].removeprefix("10^"))
    if len(a) == 1:
        assert number(line, "difference") == pytest.approx(a[0] - than, rel=1e-5)
        assert line["verdict"].startswith("open: 1 seed")
        return
    test = stats.ttest_1samp(a, than)
    interval = test.confidence_interval(0.95)
    expected = [a.mean() - than, interval.low - than, interval.high - than, test.pvalue]
    assert numbers(line) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("line", compared("exact"), ids=lambda x: x["id"])
def test_what_is_exact(line: Line) -> None:
    a, b = exact(line, "a"), exact(line, "b")
    expected = a / b - 1 if line["unit"] == "ratio" else a - b
    assert number(line, "difference") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("experiment", BY_NAME)
def test_p_values_are_adjusted_within_an_experiment(experiment: str) -> None:
    lines = [line for line in LINES if line["experiment"] == experiment and line["p"]]
    base = BY_NAME[experiment].base
    many = [line for line in lines if base and (line["b"], line["metric"]) == (base, ACCURACY)]
    if many:
        dunnett = stats.dunnett(*[values(line, "a") for line in many], control=values(many[0], "b"))
        found = [number(line, "p_holm") for line in many]
        assert found == pytest.approx(dunnett.pvalue, abs=3e-3)  # an integral by random numbers
    lines = [line for line in lines if line not in many]
    p_values = np.array([number(line, "p") for line in lines])
    for line in lines:
        p = number(line, "p")
        steps = [(p_values >= other).sum() * other for other in p_values[p_values <= p]]
        # equal p-values come one after another: the first of them has the largest factor
        assert number(line, "p_holm") == pytest.approx(min(1, max(steps)), rel=1e-4)


def expected_verdicts(line: Line) -> set[str]:
    """What the rules leave open of a line by itself, as the words that it may begin with."""
    difference, low, high = (number(line, each) for each in ("difference", "ci_low", "ci_high"))
    margin, p = number(line, "margin"), number(line, "p_holm")
    if line["kind"] == "time":
        difference, low, high, margin = (
            -np.log1p(difference), -np.log1p(high), -np.log1p(low), np.log1p(margin)
        )  # fmt: skip
    if line["kind"] == "constant":
        difference = -difference
    within = -margin <= low and high <= margin
    if line["kind"] == "equal":
        outside = low > margin or high < -margin
        return {"supported" if within else "refuted" if outside else "open"}
    if p < 0.05:
        if difference < 0:
            return {"refuted"}
        return {"supported, by less than matters" if within else "supported"}
    return {
        "no difference that matters" if within and line["kind"] in ("greater", "lead") else "open"
    }


def test_verdicts_follow_from_the_numbers_of_the_file() -> None:
    judged = 0
    for name, lines in by_claim():
        lines = [line for line in lines if line["metric"] and line["kind"] != "exact"]
        for metric in dict.fromkeys(line["metric"] for line in lines):
            mine = [line for line in lines if line["metric"] == metric]
            found = {re.split(r":| by (?!less)", line["verdict"])[0] for line in mine}
            words = [word for line in mine for word in expected_verdicts(line)]
            if "refuted" in words:
                expected = "refuted"
            elif all(word.startswith("supported") for word in words):
                expected = max(words, key=len)
            else:
                expected = words[0] if len(words) == 1 else "open"
            assert found == {expected}, name
            judged += 1
    assert judged >= 35


def test_what_is_exact_is_judged_by_its_numbers() -> None:
    """With a ratio in its sentence the margin is of that ratio: 1 where the sentence says equal."""
    for name, lines in by_claim():
        lines = [line for line in lines if line["kind"] == "exact"]
        than = 24 if name == "1.2-parameters" else 1
        holds = [
            abs(number(line, "difference") + 1 - than) <= number(line, "margin") * than
            if line["unit"] == "ratio"
            else number(line, "difference") > 0
            for line in lines
        ]
        if lines:
            assert lines[0]["verdict"].startswith("supported" if all(holds) else "refuted"), name


@pytest.mark.parametrize("line", compared("time"), ids=lambda x: x["id"])
def test_a_time_is_the_mean_logarithm_of_the_ratio_over_passes(line: Line) -> None:
    logs = np.log(times(line, "a")) - np.log(times(line, "b"))
    assert number(line, "difference") == pytest.approx(np.expm1(logs.mean()), rel=1e-4)
    assert int(line["n_a"]) == int(line["n_b"]) == len(logs)
    if len(logs) == 1:
        assert line["verdict"].startswith("open: 1 pass")
        return
    interval = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
    found = number(line, "ci_low"), number(line, "ci_high")
    assert found == pytest.approx(np.expm1(interval), rel=1e-4)
    assert number(line, "p") == pytest.approx(stats.ttest_1samp(logs, 0).pvalue, rel=1e-4)
