"""Overview: every trained network of the study in one table and one figure.

It is made of the tables that stand on disk, whichever script rendered them, and of the run
records beside them; the declarations of the experiments are not needed.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from utils.records.files import read_runs
from utils.records.study import Record, data_name, family
from utils.report.figures.canvas import new_figure, save
from utils.report.figures.plotting import Point, plot_overview
from utils.report.figures.training import Picture
from utils.report.markdown import Column, count, markdown_table, percent, picture_markdown, with_iqr
from utils.report.rows import Row

ORDER = (  # as the README tells the study; others follow by name
    "mnist_comparison",
    "cifar_comparison",
    "kernel_size",
    "kernel_size_matched",
    "depth",
    "custom_layers",
    "residual_blocks",
)

COLUMNS: list[Column] = [
    ("Model", lambda row: row["model"]),
    ("Dataset", lambda row: row["dataset"]),
    ("Experiment", lambda row: row["experiment"]),
    ("Parameters", lambda row: count(row["parameters"])),
    ("Latency, ms", lambda row: with_iqr(row["latency_ms"], row["latency_ms_iqr"])),
    ("Test accuracy, %", lambda row: percent(row["test_accuracy"], row["test_accuracy_sd"])),
    ("reported", lambda row: percent(row["reported_test_accuracy"])),
]
NUMBERS = (
    "parameters",
    "forward_mflops",
    "latency_ms",
    "latency_ms_iqr",
    "test_accuracy",
    "test_accuracy_sd",
    "reported_test_accuracy",
)


def render_overview(results: Path, plots: Path) -> dict[str, str]:
    """Draws ``plots/overview.png``; returns the README blocks over all experiments.

    ``overview.figure`` is that figure, ``overview.table`` every trained network in one table, and
    ``overview.same_network`` compares rows that are one network under several names. A block that
    would be empty does not come back.
    """
    rows = read_rows(results)
    if not rows:
        return {}
    pictures = draw_overview(
        [
            row
            for row in rows
            if row["role"] == "cifar10" and row["experiment"] != "residual_blocks"
        ],
        plots,
    )
    blocks = {
        "overview.figure": "\n\n".join(picture_markdown(picture, plots) for picture in pictures),
        "overview.table": overview_markdown(rows),
        "overview.same_network": same_network_markdown(rows),
    }
    return {name: text for name, text in blocks.items() if text}


def read_rows(results: Path) -> list[Row]:
    """The rows of all tables of trained networks, with what the run records add to them."""
    names = sorted(path.parent.name for path in results.glob("*/runs"))
    rows = []
    for name in [*filter(names.__contains__, ORDER), *sorted(set(names) - set(ORDER))]:
        table = next(
            (path for file in ("training", "table") if (path := _table(results, name, file))), None
        )
        records = {record["model"]: record for record in read_runs(results, name)}
        if table:
            with table.open(encoding="utf-8", newline="") as lines:
                cells = [line for line in csv.DictReader(lines) if line.get("model") in records]
            rows += [_row(line, name, records[line["model"]]) for line in cells]
    return rows


def _table(results: Path, experiment: str, file: str) -> Path | None:
    path = results / experiment / f"{file}.csv"
    return path if path.exists() else None


def _row(line: dict[str, str], experiment: str, record: Record) -> Row:
    numbers = {column: float(line[column]) if line[column] else None for column in NUMBERS}
    return {
        "model": line["model"],
        "experiment": experiment,
        "dataset": data_name(record),
        "role": record["dataset"],
        "family": family(record),
        "seeds": int(line["seeds"]),
        **numbers,
    }


def same_networks(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in groups of one network: the same dataset, parameters and FLOPs."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = row["dataset"], row["family"], row["parameters"], row["forward_mflops"]
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def draw_overview(rows: Sequence[Row], plots: Path) -> list[Picture]:
    """Test accuracy against parameters for the networks trained on CIFAR-10."""
    if not rows:
        return []
    dataset = rows[0]["dataset"]
    figure, axes = new_figure(1, 1, 6.5, f"Accuracy and size on {dataset}")
    plot_overview([point for group in same_networks(rows) for point in _points(group)], axes[0, 0])
    most = max(row["seeds"] for row in rows)
    caption = (
        f"Test accuracy after the last epoch against trainable parameters, {dataset}: every "
        "network but the three that frame a single residual block; "
        + (f"means over {most} seeds, bars: ± one sample deviation." if most > 1 else "one seed.")
        + " Hollow: the accuracy that the report has for the network, joined to ours by a line."
    )
    return [Picture(save(figure, plots / "overview.png"), caption)]


def _points(group: Sequence[Row]) -> list[Point]:
    """One point per row; rows of one network that came out the same share it, and its label."""
    points: list[Point] = []
    for row in group:
        point = Point(
            row["model"],
            row["parameters"],
            row["test_accuracy"],
            accuracy_sd=row["test_accuracy_sd"],
            reported=tuple(filter(None, [row["reported_test_accuracy"]])),
            family=row["family"],
        )
        if points and points[-1].accuracy == point.accuracy:
            points[-1] = replace(
                points[-1],
                label=f"{points[-1].label}, {point.label}",
                reported=points[-1].reported + point.reported,
            )
        else:
            points.append(point)
    return points


def overview_markdown(rows: Sequence[Row]) -> str:
    """Every trained network, in the order of the experiments."""
    caption = (
        "Accuracies are those of the last epoch; latency: one image in float32, median "
        "(inter-quartile range), in turn with all networks of the same script; another script's "
        "were timed at another time, when the machine may have been faster or slower; *reported*: "
        "the report that this study repeats."
    )
    return f"{markdown_table(rows, COLUMNS)}\n\n{caption}"


def same_network_markdown(rows: Sequence[Row]) -> str:
    """The rows that are one network under several names: they differ by noise alone."""
    same = [row for group in same_networks(rows) if len(group) > 1 for row in group]
    if not same:
        return ""
    caption = (
        "Rows with the same dataset, parameters and FLOPs are the same network, timed each in its "
        "turn: what differs between their latencies is noise, and under one seed and recipe so is "
        "what differs between their accuracies."
    )
    return f"{markdown_table(same, COLUMNS)}\n\n{caption}"
