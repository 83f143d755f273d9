"""Overview: every trained network of the study in one table and one figure.

It is made of the records of all experiments, whichever script is running. A run that stands in
several experiments under several labels has one row, under its first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.experiment import Experiment, Styled
from utils.records.study import accuracies, gather
from utils.report.figures.canvas import Picture, new_figure, save
from utils.report.figures.plotting import Point, plot_overview
from utils.report.markdown import (
    Column,
    caption,
    count,
    markdown_table,
    percent_cell,
    picture_markdown,
    with_iqr,
)
from utils.report.rows import Row, training_rows

COLUMNS: list[Column] = [
    ("Model", lambda row: row["name"]),
    ("Dataset", lambda row: row["dataset"]),
    ("Experiment", lambda row: row["experiments"]),
    ("Parameters", lambda row: count(row["parameters"])),
    ("Latency, ms", lambda row: with_iqr(row["latency_ms"], row["latency_ms_iqr"])),
    ("Test accuracy, %", lambda row: percent_cell(row["test_accuracy"], row["test_accuracy_ci"])),
    ("Seeds", lambda row: count(row["seeds"])),
    ("reported", lambda row: ", ".join(map(percent_cell, row["reported"]))),
]


def render_overview(
    experiments: Sequence[Experiment],
    results: Path,
    plots: Path,
    networks: Mapping[str, Styled],
) -> dict[str, str]:
    """Draws ``plots/overview.png``; returns the README blocks over all experiments.

    ``overview.figure`` is that figure, ``overview.table`` every trained network in one table. A
    block that would be empty does not come back.
    """
    rows = overview_rows(experiments, results, networks)
    if not rows:
        return {}
    shown = [row for row in rows if row["role"] == "cifar10" and row["reported"]]
    blocks = {
        "overview.figure": picture_markdown(draw_overview(shown, plots), plots) if shown else "",
        "overview.table": overview_markdown(rows),
    }
    return {name: text for name, text in blocks.items() if text}


def overview_rows(
    experiments: Sequence[Experiment], results: Path, networks: Mapping[str, Styled]
) -> list[Row]:
    """One row per run (over its seeds) that has a record, in the order of the experiments.

    Not of control experiments, each of which asks about one thing.
    """
    found: dict[tuple[str, str], Row] = {}
    for experiment in (each for each in experiments if not each.control):
        evidence = gather(experiment, results, networks)
        rows = {row["model"]: row for row in training_rows(evidence)}
        for declared in experiment.rows:
            if rows.get(declared.label, {}).get("test_accuracy") is None:
                continue
            row = rows[declared.label]
            key = str(experiment.dataset), declared.run_name
            known = found.setdefault(
                key,
                row
                | {
                    "labels": [],
                    "in": [],
                    "reported": [],
                    "dataset": evidence.dataset,
                    "role": experiment.dataset,
                    "family": evidence.styles[declared.label].family,
                    "accuracies": accuracies(evidence, declared.label),
                },
            )
            known["labels"].append(declared.label)
            known["in"].append(experiment.name)
            known["reported"] += filter(None, [row["reported_test_accuracy"]])
    for row in found.values():
        row["name"], row["experiments"] = " = ".join(row["labels"]), ", ".join(row["in"])
    return list(found.values())


def draw_overview(rows: Sequence[Row], plots: Path) -> Picture:
    """Test accuracy against parameters."""
    dataset = rows[0]["dataset"]
    figure, axes = new_figure(1, 1, 6.5, f"Accuracy and size on {dataset}")
    points = [
        Point(
            row["labels"][0],
            row["parameters"],
            row["test_accuracy"],
            seeds=row["accuracies"],
            reported=tuple(row["reported"]),
            family=row["family"],
        )
        for row in rows
    ]
    plot_overview(points, axes[0, 0])
    seeds = sorted({row["seeds"] for row in rows})
    text = (
        f"Test accuracy after the last epoch against trainable parameters, {dataset}: the networks "
        "of the report; "
        + (
            f"means over {seeds[0]} to {seeds[-1]} seeds, small dots: each seed."
            if seeds[-1] > 1
            else "one seed."
        )
        + " Hollow: the accuracy that the report has for the network, joined to ours by a line."
    )
    return Picture(save(figure, plots / "overview.png"), text)


def overview_markdown(rows: Sequence[Row]) -> str:
    """Every trained network, in the order of the experiments."""
    return f"{markdown_table(rows, COLUMNS)}\n\n{caption('overview')}"
