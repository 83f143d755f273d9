"""The numbers of docs/methods.md: what so many seeds, and so many test images, can show."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from utils.records.study import Evidence
from utils.report.markdown import Column, digits, markdown_table
from utils.report.mcnemar import mcnemar_text
from utils.report.measures import values_of
from utils.report.provenance import mixed_precisions, provenance
from utils.report.rows import Row
from utils.report.statistics import ALPHA, detectable, levene, pooled_deviation
from utils.report.wording import listed

SEEDS = (3, 5, 9, 20)
LEVELS = (0.6, 0.8, 0.9, 0.99)  # accuracies that the study's networks are near to

SPREAD: list[Column] = [
    ("Experiment", lambda row: row["experiment"]),
    ("Networks", lambda row: str(row["networks"])),
    ("Seeds of each", lambda row: row["seeds"]),
    ("Deviation over seeds, points", lambda row: f"{row['deviation']:.3f}"),
    ("Levene's p", lambda row: digits(row["levene"], 2)),
    *(
        (f"{'shown by ' if seeds == SEEDS[0] else ''}{seeds} seeds", lambda row, n=seeds: row[n])
        for seeds in SEEDS
    ),
]


def methods_blocks(every: Sequence[Evidence], tested: Sequence[Row]) -> dict[str, str]:
    """The rendered blocks of the page; ``tested`` are all lines of ``mcnemar_rows``."""
    found = [evidence for evidence in every if evidence.runs]
    return {
        "methods.spread": markdown_table(list(filter(None, map(spread_row, found))), SPREAD),
        "methods.correlation": correlation_text(found),
        "methods.images": images_text(found),
        "methods.provenance": provenance_text(found),
        "methods.mcnemar": mcnemar_text(tested),
    }


def provenance_text(found: Sequence[Evidence]) -> str:
    """Which seeds were trained where; experiments of which the same is true stand together."""
    same: dict[str, list[str]] = {}
    for evidence in found:
        text = f"{provenance(evidence.runs)}. {mixed_precisions(evidence.runs)}".strip()
        same.setdefault(text, []).append(evidence.experiment.name)
    return "\n".join(f"- *{', '.join(names)}*: {text}" for text, names in same.items())


def spread_row(evidence: Evidence) -> Row | None:
    """How much an experiment's test accuracies vary over seeds; None where each has one seed."""
    groups = [values_of(label, "test_accuracy", evidence) for label in evidence.runs]
    deviation, freedom = pooled_deviation(groups)
    if not freedom:
        return None
    sizes = sorted({len(group) for group in groups})
    found = levene(groups)
    return {
        "experiment": evidence.experiment.name,
        "networks": len(groups),
        "seeds": " to ".join(map(str, [sizes[0], *sizes[-1:]] if sizes[1:] else sizes)),
        "deviation": deviation,
        "levene": None if np.isnan(found) else found,
        **{n: f"{detectable(deviation, n, 2 * n - 2):.2f}" for n in SEEDS},
    }


def correlation_text(found: Sequence[Evidence]) -> str:
    """Whether a seed that is good for one network is good for another: in the mean over pairs."""
    by_run: dict[tuple[str, str], dict[int, float]] = {}
    for evidence in found:
        for row in evidence.experiment.rows:
            records = evidence.runs.get(row.label, ())
            if len(records) > 2:
                key = str(evidence.experiment.dataset), row.run_name
                by_run[key] = {each.seed: each.final.test_accuracy for each in records}
    correlations = []
    for (first, a), (second, b) in combinations(by_run.items(), 2):
        common = sorted(a.keys() & b.keys())
        x, y = ([values[seed] for seed in common] for values in (a, b))
        if first[0] == second[0] and len(common) > 2 and np.ptp(x) and np.ptp(y):
            correlations.append(stats.pearsonr(x, y).statistic)
    if not correlations:
        return "There are too few seeds to tell."
    return (
        f"The correlation of two networks' test accuracies over the seeds is "
        f"{np.mean(correlations):+z.2f} in the mean of {len(correlations):,} pairs."
    )


def images_text(found: Sequence[Evidence]) -> str:
    """Half the 95 % interval that the test images alone give one accuracy (binomial)."""
    if not found:
        return "No records yet."
    images = found[0].records[0].data.test_images
    quantile = stats.norm.ppf(1 - ALPHA / 2)
    halves = [100 * quantile * np.sqrt(level * (1 - level) / images) for level in LEVELS]
    pairs = zip(halves, LEVELS, strict=True)
    each = listed([f"±{half:.1f} points at {100 * level:.4g} %" for half, level in pairs])
    return f"{images:,} test images give an accuracy a 95 % interval of {each} (binomial)."
