"""Findings as text: the lines of ``results/claims.csv``, and the README's list."""

import math
from collections.abc import Sequence

from utils.records.study import Evidence
from utils.report.claims import Comparison, Finding, find
from utils.report.markdown import digits
from utils.report.measures import AT_BATCH_256, BOTH, FORWARD, LATENCY
from utils.report.rows import Row, to_csv
from utils.report.statistics import Estimate

TIMES = {  # metric -> what a person calls it
    LATENCY: "one image",
    AT_BATCH_256: "an image of a batch of 256",
    FORWARD: "100 times forward",
    BOTH: "100 times forward and backward",
}


def claims_csv(every: Sequence[Evidence]) -> str:
    """The text of ``results/claims.csv``: a line for each comparison of each claim of the study."""
    rows: list[Row] = []
    for evidence in every:
        for finding in find(evidence):
            rows += csv_rows(finding)
    return to_csv(rows)


def csv_rows(finding: Finding) -> list[Row]:
    """A line for each comparison, or one for a claim that has none."""
    claim, experiment = finding.claim, finding.experiment
    start = {
        "id": claim.id,
        "experiment": experiment.name,
        "source": claim.source,
        "kind": claim.kind,
        "claim": claim.text,
        "dataset": experiment.dataset,
    }
    none = Comparison(
        *(claim.pairs or [("", "")])[0], "", "", (math.nan,) * 2, Estimate(*(math.nan,) * 3)
    )
    rows = []
    for each in finding.comparisons or [none]:
        ends = [each.estimate.value, each.estimate.low, each.estimate.high]
        if claim.kind == "time":
            ends = list(map(math.expm1, ends))
        rows.append(
            start
            | {"a": each.a, "b": each.b, "metric": each.metric, "unit": each.unit}
            | dict(zip(("n_a", "n_b"), each.counts, strict=True))
            | dict(zip(("difference", "ci_low", "ci_high"), ends, strict=True))
            | {"p": each.estimate.p, "p_holm": each.p_holm, "margin": each.margin}
            | {"confounds": each.confounds, "verdict": finding.verdict}
        )
    return rows


def claims_markdown(findings: Sequence[Finding]) -> str:
    """The claims as a list: the sentence, whose it is, the verdict, and below it the numbers.

    A claim about times stands there once, with the verdicts in both of its metrics; numbers that
    an earlier claim has are not repeated.
    """
    lines: list[str] = []
    for claim in dict.fromkeys(each.claim for each in findings):
        mine = [each for each in findings if each.claim is claim]
        verdicts = list(dict.fromkeys(each.verdict for each in mine))
        if verdicts[1:]:
            verdicts = [f"{TIMES[each.comparisons[0].metric]}: {each.verdict}" for each in mine]
        words = "; ".join(verdicts)
        whose = "Report" if claim.source == "report" else "Ours"
        pairs = zip(*(each.comparisons for each in mine), strict=True)
        numbers = [f"  - {comparison_text(pair)}." for pair in pairs]
        new = [line for line in numbers if line not in lines]
        above = " Numbers above." if len(new) < len(numbers) else ""
        lines.append(f"- {whose}: {claim.text} **{words[0].upper()}{words[1:]}.**{above}")
        lines += new
    return "\n".join(lines)


def comparison_text(metrics: Sequence[Comparison]) -> str:
    """Both numbers, the difference with its interval, how many seeds, and what else differs.

    Of one pair, in one metric or, where it is about times, in two.
    """
    first = metrics[0]
    parts = [text(each) for each in metrics for text in (numbers_text, difference_text)]
    parts.append(counts_text(first))
    if first.levene is not None:
        p = "not known" if math.isnan(first.levene) else f"{first.levene:.2g}"
        parts.append(f"deviation pooled over the networks of the experiment (Levene's p {p})")
    if first.confounds:
        parts.append(f"what else differs: {first.confounds}")
    return "; ".join(filter(None, parts))


def numbers_text(each: Comparison) -> str:
    """What a and b have."""
    metric = "generalization_gap" if " less " in each.a else each.metric  # of points too
    first, second = (number_text(value, metric) for value in each.means)
    if each.counts[1] is None and each.counts[0]:
        return f"{each.a} {first}, the claim {each.b}"
    what = f"{TIMES[each.metric]}: " if each.metric in TIMES else ""
    return f"{what}{each.a} {first}, {each.b} {second}"


def number_text(value: float, metric: str) -> str:
    """A number as a person reads it, in the unit of its metric."""
    if metric in TIMES:
        return f"{digits(1e3 * value)} ms"
    if metric == "forward_flops":
        return f"{value / 1e6:.1f} MFLOPs"
    if metric in ("parameters", "receptive_field"):
        return f"{value:,.0f} {'pixels' if metric == 'receptive_field' else metric}"
    if metric in ("test_accuracy", "train_accuracy"):
        return f"{value:.2f} %"
    if metric.startswith("log10"):
        return f"10^{value:z.1f}"
    points = metric in ("generalization_gap", "shift_loss")
    return f"{value:z.2f} points" if points else f"{value:.3g}"


def difference_text(each: Comparison) -> str:
    """The difference or ratio with its 95 % interval, where there is one."""
    found = each.estimate
    ends = [] if math.isnan(found.low) else [found.low, found.high]
    if each.metric in TIMES:
        interval = f" [{', '.join(f'{math.exp(end):.2f}' for end in ends)}]" if ends else ""
        return f"{math.exp(found.value):.2f} times as long{interval}"
    if each.unit == "ratio":
        return f"{1 + found.value:.2f} times"
    if not ends:
        return ""
    form = "+z.2f" if each.unit == "points" else "+z.3g"
    interval = ", ".join(format(end, form) for end in ends)
    unit = " points" if each.unit == "points" else ""
    return f"{found.value:{form}}{unit} [{interval}]"


def counts_text(each: Comparison) -> str:
    """As in "9 seeds", "9 and 5 seeds" or "1 pass"."""
    counts = list(dict.fromkeys(count for count in each.counts if count is not None))
    if not counts:
        return ""
    one, many = ("pass", "passes") if each.metric in TIMES else ("seed", "seeds")
    return f"{' and '.join(map(str, counts))} {one if counts == [1] else many}"
