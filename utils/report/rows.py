"""Tables: records -> rows -> ``table.csv``, one row per model, layer or block.

A row maps column names to plain numbers; None is an empty cell. Accuracies are fractions in
[0, 1], every other unit stands in the column's name. Where the report that this study repeats
has a number, it stands in a column ``reported_…`` beside the measured one.
``utils/report/markdown.py`` turns the same rows into what a person reads.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from utils import REPOSITORY
from utils.records.study import Evidence, Record, by_epoch, loss_spread

Row = dict[str, Any]

REPORTED = REPOSITORY / "data" / "reported"

# whose question is how far a unit sees
WITH_RECEPTIVE_FIELD = ("kernel_size", "kernel_size_matched", "depth")


def training_rows(evidence: Evidence) -> list[Row]:
    """One row per trained model: size, speed, accuracy, and the report's numbers."""
    reported = _reported_results(evidence.experiment.reported_table)
    with_field = evidence.experiment.name in WITH_RECEPTIVE_FIELD
    return [
        {
            "model": model,
            "parameters": records[0]["parameters"],
            "forward_mflops": records[0]["forward_flops"] / 1e6,
            **_speed_columns(records[0], evidence.speed),
            **_accuracy_columns(records),
            **({"receptive_field": _last_receptive_field(records[0])} if with_field else {}),
            "seeds": len(records),
            **_reported_columns(reported.get(model, {})),
        }
        for model, records in evidence.runs.items()
    ]


def _speed_columns(record: Record, speed: Record | None) -> Row:
    """Medians over the rounds of the speed record, whose times are seconds."""
    measured = speed["models"].get(record["model"]) if speed else None
    if not measured:
        measured = {}
    latency = measured.get("latency_seconds", {})
    training = measured.get("training_images_per_second", {}).get("median")
    images = record["recipe"]["epochs"] * record["data"]["train_images"]
    return {
        "latency_ms": 1e3 * latency["median"] if latency else None,
        "latency_ms_iqr": 1e3 * (latency["q3"] - latency["q1"]) if latency else None,
        "throughput_images_per_second": measured.get("throughput_images_per_second", {}).get(
            "median"
        ),
        "training_images_per_second": training,
        "training_seconds": images / training if training else None,
    }


def _accuracy_columns(records: Sequence[Record]) -> Row:
    """Means over seeds and sample standard deviations, which one seed does not have."""
    columns: Row = {}
    for split in ("train", "test"):
        values = [record["final"][f"{split}_accuracy"] for record in records]
        columns[f"{split}_accuracy"] = float(np.mean(values))
        columns[f"{split}_accuracy_sd"] = float(np.std(values, ddof=1)) if values[1:] else None
    gap = columns["train_accuracy"] - columns["test_accuracy"]
    return {**columns, "generalization_gap": gap}


def _last_receptive_field(record: Record) -> int | None:
    """Input pixels that a unit of the last feature map sees along one side.

    That is the map behind the last convolution and the pooling or residual join that follows it.
    """
    return list(record["receptive_field"].values())[-1] if record["receptive_field"] else None


def stability_rows(evidence: Evidence) -> list[Row]:
    """The training table with how evenly the training went: batch losses and gradient norms."""
    rows = training_rows(evidence)
    for row in rows:
        records = evidence.runs[row["model"]]
        spread = loss_spread(records)  # [seeds, epochs]
        row["batch_loss_iqr"] = spread[:, -1].mean()
        row["batch_loss_iqr_mean"] = spread.mean()
        row["gradient_norm_largest"] = by_epoch(records, "gradient_norm_largest").max()
    return rows


def layer_rows(record: Record) -> list[Row]:
    """One row per custom layer and per analogue, in the record's order."""
    entries = {entry["layer"]: entry for entry in record["layers"]}
    reported = _reported_layers(entries)
    return [
        {
            "layer": name,
            **_module_columns(entry),
            "analogue_of": entry["analogue_of"],
            "comment": _layer_comment(entry, record["layers"]),
            "reported_signed_mean_gradient_input": _number(reported, name, "grad_mean_input"),
            "reported_signed_mean_gradient_weights": _number(reported, name, "grad_mean_weights"),
            "reported_seconds_100_iterations": _number(reported, name, "seconds_100_iterations"),
        }
        for name, entry in entries.items()
    ]


def block_rows(record: Record) -> list[Row]:
    """One row per residual block, in the record's order; the first is what others compare to."""
    reported = _read_reported("blocks.csv", "block")
    first = record["blocks"][0]
    return [
        {
            "block": entry["block"],
            **_module_columns(entry),
            "comment": "the block that the others are compared to"
            if entry is first
            else _times(entry, [first], "block"),
            "reported_parameters": _number(reported, entry["block"], "parameters", int),
            "reported_signed_mean_gradient_input": _number(reported, entry["block"], "grad_mean"),
            "reported_seconds_100_iterations": _number(
                reported, entry["block"], "seconds_100_runs"
            ),
        }
        for entry in record["blocks"]
    ]


def _module_columns(entry: Record) -> Row:
    """What layers and blocks have in common; forward seconds are the report's seconds."""
    gradient = entry["gradient"]
    forward, both = entry["forward_seconds_100"], entry["forward_backward_seconds_100"]
    return {
        "output_shape": "x".join(map(str, entry["output_shape"])),
        "parameters": entry["parameters"],
        "signed_mean_gradient_input": gradient["signed_mean_input"],
        "signed_mean_gradient_weights": gradient["signed_mean_weights"],
        "mean_absolute_gradient_input": gradient["mean_absolute_input"],
        "mean_absolute_gradient_weights": gradient["mean_absolute_weights"],
        "seconds_100_iterations": forward["median"],
        "seconds_100_iterations_iqr": forward["q3"] - forward["q1"],
        "forward_backward_seconds_100_iterations": both["median"],
        "forward_backward_seconds_100_iterations_iqr": both["q3"] - both["q1"],
    }


def _layer_comment(entry: Record, entries: Sequence[Record]) -> str | None:
    """What a custom layer costs beside its analogues; what an analogue stands beside."""
    if entry["analogue_of"]:
        return f"analogue of {entry['analogue_of']}"
    analogues = [other for other in entries if other["analogue_of"] == entry["layer"]]
    return _times(entry, analogues, "layer") if analogues else None


def _times(entry: Record, others: Iterable[Record], name: str) -> str:
    """How long an entry takes beside others; ``name`` is the key of their names."""

    def seconds(one: Record) -> float:
        return one["forward_backward_seconds_100"]["median"]

    ratios = [
        f"{seconds(entry) / seconds(other):.1f} times the time of {other[name]}" for other in others
    ]
    return f"{', '.join(ratios)}, forward and backward"


def _read_reported(file: str, key: str, table: str | None = None) -> dict[str, dict[str, str]]:
    """The report's lines by the column ``key``; of one table where the file holds several."""
    with (REPORTED / file).open(encoding="utf-8", newline="") as lines:
        return {
            line[key]: line for line in csv.DictReader(lines) if table in (None, line.get("table"))
        }


def _reported_results(table: str | None) -> dict[str, dict[str, str]]:
    return _read_reported("results.csv", "model", table) if table else {}


def _reported_columns(line: Mapping[str, str]) -> Row:
    return {
        "reported_parameters": int(line["parameters"]) if line else None,
        "reported_latency_ms": float(line["inference_ms"]) if line else None,
        "reported_train_accuracy": float(line["train_accuracy"]) if line else None,
        "reported_test_accuracy": float(line["test_accuracy"]) if line else None,
    }


def _reported_layers(measured: Iterable[str]) -> dict[str, dict[str, str]]:
    """The report's layers by the measured layer's name.

    It measured ChannelAttention behind CustomConv, so its numbers belong to that pair where the
    pair was measured too.
    """
    reported = _read_reported("layers.csv", "layer")
    pairs = [name for name in measured if "CustomConv" in name and "ChannelAttention" in name]
    if pairs:
        reported[pairs[0]] = reported.pop("ChannelAttention")
    return reported


def _number(
    reported: Mapping[str, Mapping[str, str]], name: str, column: str, kind: type = float
) -> float | int | None:
    text = reported.get(name, {}).get(column)
    return kind(text) if text else None


def columns(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Rows -> column -> {name in the first column -> value}."""
    if not rows:
        return {}
    first, *others = rows[0]
    return {column: {row[first]: row[column] for row in rows} for column in others}


def cell(value: object) -> str:
    """One CSV cell: six significant digits, no exponent on large numbers, empty for nothing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.6g}"
    return str(round(value)) if "e+" in text and np.isfinite(value) else text


def to_csv(rows: Sequence[Row]) -> str:
    """Rows, which share their columns -> the text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return text.getvalue()
