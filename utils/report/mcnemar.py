"""Do two trained networks differ on these test images? Another question than that of the seeds.

which images were classified rightly by one seed --> results/mcnemar.csv, docs/methods.md
"""

from collections.abc import Sequence

from utils.records.checks import right_of
from utils.records.study import Evidence
from utils.report.markdown import Column, count, digits, markdown_table
from utils.report.rows import Row
from utils.report.statistics import mcnemar

SURE = 0.001  # pairs with a smaller p are counted, and stand in the CSV alone

COLUMNS: list[Column] = [
    ("A", lambda row: row["a"]),
    ("B", lambda row: row["b"]),
    ("Dataset", lambda row: row["dataset"]),
    ("Seed", lambda row: str(row["seed"])),
    ("Only A right", lambda row: count(row["only_a_right"])),
    ("Only B right", lambda row: count(row["only_b_right"])),
    ("A less B, points", lambda row: f"{row['difference']:+z.2f}"),
    ("p", lambda row: digits(row["p"], 2)),
]


def mcnemar_rows(evidence: Evidence) -> list[Row]:
    """A row for each pair of networks whose accuracies a claim of the experiment compares.

    Both of the same seed, the first that both have; where there is none there is no row.
    """
    rows = []
    for a, b in accuracy_pairs(evidence):
        common = evidence.correct[a].keys() & evidence.correct[b].keys()
        if not common:
            continue
        seed, images = min(common), evidence.runs[a][0].data.test_images
        first, second = (right_of(evidence.correct[label][seed], images) for label in (a, b))
        only_a, only_b, p = mcnemar(first, second)
        rows.append(
            {
                "experiment": evidence.experiment.name,
                "dataset": evidence.experiment.dataset,
                "seed": seed,
                "a": a,
                "b": b,
                "only_a_right": only_a,
                "only_b_right": only_b,
                "difference": 100 * (only_a - only_b) / len(first),
                "p": p,
            }
        )
    return rows


def accuracy_pairs(evidence: Evidence) -> list[tuple[str, str]]:
    """The pairs of labels with records whose test accuracies are compared, each once."""
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for claim in evidence.experiment.claims:
        is_of_two = claim.metric == "test_accuracy" and claim.kind in ("greater", "equal", "best")
        for pair in claim.pairs if is_of_two else ():
            if set(pair) <= set(evidence.runs):
                pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def mcnemar_text(rows: Sequence[Row]) -> str:
    """The pairs that differ less surely than the others."""
    if not rows:
        return "No predictions yet."
    rest = [row for row in rows if row["p"] >= SURE]
    counted = f"Of {len(rows)} pairs {len(rows) - len(rest)} differ with p < {SURE}"
    if not rest:
        return f"{counted}."
    return f"{counted}. The others:\n\n{markdown_table(rest, COLUMNS)}"
