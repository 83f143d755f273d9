"""Do two trained networks differ on these test images? Another question than that of the seeds.

predictions of one seed, labels --> results/mcnemar.csv, a table in docs/methods.md
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.records.files import read_arrays, write_text
from utils.records.study import Evidence, labels_path
from utils.report.markdown import Column, count, digits, markdown_table
from utils.report.rows import Row, to_csv
from utils.report.statistics import mcnemar

COLUMNS: list[Column] = [
    ("A", lambda row: row["a"]),
    ("B", lambda row: row["b"]),
    ("Dataset", lambda row: row["dataset"]),
    ("Seed", lambda row: str(row["seed"])),
    ("Only A right", lambda row: count(row["only_a_right"])),
    ("Only B right", lambda row: count(row["only_b_right"])),
    ("A less B, points", lambda row: f"{row['difference']:+.2f}"),
    ("p", lambda row: digits(row["p"], 2) if row["p"] > 1e-99 else "below 1e-99"),
]


def mcnemar_rows(evidence: Evidence, results: Path) -> list[Row]:
    """A row for each pair of networks whose accuracies a claim of the experiment compares.

    Both of the same seed, the first on record; without predictions or labels there is none.
    Raises: UserError where predictions and labels do not give the accuracy on record.
    """
    path = labels_path(results, str(evidence.experiment.dataset))
    if not path.exists():
        return []
    labels, rows = read_arrays(path)["test_labels"], []
    for a, b in accuracy_pairs(evidence):
        seeds = [evidence.runs[label][0].seed for label in (a, b)]
        if seeds[0] != seeds[1] or "test_predictions" not in evidence.arrays[a]:
            continue
        first, second = (_right(label, labels, evidence, path) for label in (a, b))
        only_a, only_b, p = mcnemar(first, second)
        rows.append(
            {
                "experiment": evidence.experiment.name,
                "dataset": evidence.experiment.dataset,
                "seed": seeds[0],
                "a": a,
                "b": b,
                "only_a_right": only_a,
                "only_b_right": only_b,
                "difference": 100 * (only_a - only_b) / len(labels),
                "p": p,
            }
        )
    return rows


def accuracy_pairs(evidence: Evidence) -> list[tuple[str, str]]:
    """The pairs of labels with records whose test accuracies are compared, each once."""
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for claim in evidence.experiment.claims:
        if claim.metric == "test_accuracy" and claim.kind in ("greater", "equal", "best"):
            for pair in claim.pairs:
                if set(pair) <= set(evidence.runs):
                    pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def _right(label: str, labels: np.ndarray, evidence: Evidence, path: Path) -> np.ndarray:
    """Which test images the first record's network has right, ``[images]``."""
    predictions = evidence.arrays[label]["test_predictions"]
    accuracy = evidence.runs[label][0].final.test_accuracy
    if len(predictions) != len(labels) or abs(np.mean(predictions == labels) - accuracy) > 1e-9:
        raise UserError(
            f"{path}: with these labels {label} has another accuracy than on record; delete the "
            "file and train one network of the dataset again"
        )
    return predictions == labels


def render_mcnemar(rows: Sequence[Row], results: Path) -> str:
    """Writes ``results/mcnemar.csv``; returns the table."""
    write_text(results / "mcnemar.csv", to_csv(rows))
    return markdown_table(rows, COLUMNS)
