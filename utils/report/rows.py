"""Tables: records -> rows -> ``table.csv``, one row per model, layer or block.

A row maps column names to plain numbers; None is an empty cell. Accuracies are fractions in
[0, 1], every other unit stands in the column's name. Where the report that this study repeats
has a number, it stands in a column ``reported_…`` beside the measured one.
``utils/report/markdown.py`` turns the same rows into what a person reads.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from utils import REPOSITORY
from utils.errors import UserError
from utils.records.schema import Case, Cases, Record, Speed, over_passes
from utils.records.study import Evidence, by_epoch, first_known, loss_spread
from utils.report.statistics import mean

Row = dict[str, Any]

REPORTED = REPOSITORY / "data" / "reported"


def training_rows(evidence: Evidence) -> list[Row]:
    """One row per trained network: size, speed, accuracy, and the report's numbers."""
    reported = reported_results(evidence.experiment.reported_table)
    rows: list[Row] = []
    for label in evidence.experiment.labels:
        records, gone = evidence.runs.get(label, ()), evidence.diverged.get(label, ())
        if not (records or gone):
            continue
        known = (records or gone)[0]
        row = {
            "model": label,
            "parameters": known.parameters,
            "forward_mflops": known.forward_flops / 1e6,
            **speed_columns(known, evidence.speed.get(label)),
            **accuracy_columns(records),
            **({"diverged": len(gone)} if evidence.diverged else {}),
        }
        for name in evidence.experiment.columns:
            row |= EXTRA_COLUMNS[name](records)
        row |= {"seeds": len(records), **reported_columns(reported.get(label, {}))}
        rows.append(row)
    return rows


def speed_columns(record: Record, speed: Speed | None) -> Row:
    """Medians of the speed record, whose times are seconds; empty without one."""
    if speed is None:
        return dict.fromkeys(
            (
                "latency_ms",
                "latency_ms_iqr",
                "throughput_images_per_second",
                "training_images_per_second",
                "training_seconds",
            )
        )
    latency = over_passes(speed.latency_seconds)
    training = over_passes(speed.training_images_per_second).median
    images = record.recipe.epochs * record.data.train_images
    return {
        "latency_ms": 1e3 * latency.median,
        "latency_ms_iqr": 1e3 * (latency.q3 - latency.q1),
        "throughput_images_per_second": over_passes(speed.throughput_images_per_second).median,
        "training_images_per_second": training,
        "training_seconds": images / training,
    }


def accuracy_columns(records: Sequence[Record]) -> Row:
    """Means over seeds, and half the 95 % intervals of the means, which one seed does not have.

    Empty where every run diverged.
    """
    columns: Row = {}
    for name in ("train_accuracy", "test_accuracy"):
        values = [getattr(record.final, name) for record in records]
        columns[name] = mean(values).value if values else None
        columns[f"{name}_ci"] = mean(values).half if values[1:] else None
    gap = columns["train_accuracy"] - columns["test_accuracy"] if records else None
    return {**columns, "generalization_gap": gap}


def largest_receptive_field(records: Sequence[Record]) -> int | None:
    """Input pixels that a unit sees along one side, in the feature map where it sees most.

    On one path that is the last: behind a convolution, pooling or residual join no unit sees less.
    None where the record has no such number, or such a unit sees the whole image.
    """
    fields = (first_known(records, "receptive_field") or {}).values()
    return None if None in fields else max(fields, default=None)


def stability(records: Sequence[Record]) -> Row:
    """How evenly the training went: batch losses and gradient norms."""
    if not records:
        return dict.fromkeys(("batch_loss_iqr", "batch_loss_iqr_mean", "gradient_norm_largest"))
    spread = loss_spread(records)  # [seeds, epochs]
    return {
        "batch_loss_iqr": spread[:, -1].mean(),
        "batch_loss_iqr_mean": spread.mean(),
        "gradient_norm_largest": by_epoch(records, "gradient_norm_largest").max(),
    }


def moved(records: Sequence[Record]) -> Row:
    """The mean test accuracy on images moved by as many pixels as are tried at most."""
    found = [record.shifted_test_accuracy[-1] for record in records if record.shifted_test_accuracy]
    return {"test_accuracy_moved_6_pixels": np.mean(found) if found else None}


def gradient_ratio(records: Sequence[Record]) -> Row:
    """The first layer's gradient norm over the last's: in the first step, in the last epoch.

    The geometric mean over seeds; empty where a norm is no positive number.
    """
    row: Row = {}
    for name, norms in (
        ("first_step", [record.epochs[0].gradient_norm_first for record in records]),
        ("last_epoch", [record.epochs[-1].gradient_norm for record in records]),
    ):
        ends = np.array([[*each.values()] for each in norms if each], dtype=float)
        usable = ends.size > 0 and bool((ends > 0).all())
        row[f"gradient_ratio_{name}"] = (
            float(np.exp(np.log(ends[:, 0] / ends[:, -1]).mean())) if usable else None
        )
    return row


# what an experiment's declaration adds to its table, by the name it has there
EXTRA_COLUMNS: Mapping[str, Callable[[Sequence[Record]], Row]] = {
    "receptive_field": lambda records: {"receptive_field": largest_receptive_field(records)},
    "shift": moved,
    "gradient_ratio": gradient_ratio,
    "stability": stability,
}


def case_rows(record: Cases, kind: str) -> list[Row]:
    """One row per layer or block (``kind``), in the record's order, with the report's numbers."""
    reported = reported_cases(kind, [case.name for case in record.cases])
    rows = [
        {
            kind: case.name,
            **case_columns(case),
            "analogue_of": case.analogue_of,
            "comment": comment(case, record.cases, kind),
            **reported_case_columns(reported.get(case.name, {})),
        }
        for case in record.cases
    ]
    # layers have analogues and blocks have none; the report counts the parameters of blocks alone
    optional = [name for name in rows[0] if name.startswith(("analogue_of", "reported_"))]
    empty = [name for name in optional if all(row[name] is None for row in rows)]
    return [{name: row[name] for name in row if name not in empty} for row in rows]


def case_columns(case: Case) -> Row:
    """What was measured; forward seconds are the report's seconds."""
    gradient = case.gradient
    forward = over_passes(case.forward_seconds_100)
    both = over_passes(case.forward_backward_seconds_100)
    return {
        "output_shape": "x".join(map(str, case.output_shape)),
        "parameters": case.parameters,
        "signed_mean_gradient_input": gradient.signed_mean_input,
        "signed_mean_gradient_weights": gradient.signed_mean_weights,
        "mean_absolute_gradient_input": gradient.mean_absolute_input,
        "mean_absolute_gradient_weights": gradient.mean_absolute_weights,
        "seconds_100_iterations": forward.median,
        "seconds_100_iterations_iqr": forward.q3 - forward.q1,
        "forward_backward_seconds_100_iterations": both.median,
        "forward_backward_seconds_100_iterations_iqr": both.q3 - both.q1,
    }


def comment(case: Case, cases: Sequence[Case], kind: str) -> str | None:
    """What a case costs beside its analogues, or beside the first where there are none."""
    if case.analogue_of:
        return f"analogue of {case.analogue_of}"
    analogues = [other for other in cases if other.analogue_of == case.name]
    if not any(other.analogue_of for other in cases):
        if case is cases[0]:
            return f"the {kind} that the others are compared to"
        analogues = [cases[0]]

    def seconds(of: Case) -> float:
        return over_passes(of.forward_backward_seconds_100).median

    ratios = [
        f"{seconds(case) / seconds(other):.1f} times the time of {other.name}"
        for other in analogues
    ]
    return f"{', '.join(ratios)}, forward and backward" if ratios else None


def _read_reported(file: str, key: str, table: str | None = None) -> dict[str, dict[str, str]]:
    """The report's lines by the column ``key``; of one table where the file holds several."""
    with (REPORTED / file).open(encoding="utf-8", newline="") as lines:
        return {
            line[key]: line for line in csv.DictReader(lines) if table in (None, line.get("table"))
        }


def reported_results(table: str | None) -> dict[str, dict[str, str]]:
    """Model -> the report's line; nothing for an experiment that the report does not have."""
    return _read_reported("results.csv", "model", table) if table else {}


def reported_columns(line: Mapping[str, str]) -> Row:
    """The report's numbers of a trained network."""
    return {
        "reported_parameters": number(line, "parameters", kind=int),
        "reported_latency_ms": number(line, "inference_ms"),
        "reported_train_accuracy": number(line, "train_accuracy"),
        "reported_test_accuracy": number(line, "test_accuracy"),
    }


def reported_cases(kind: str, measured: Sequence[str]) -> dict[str, dict[str, str]]:
    """Measured layer or block -> the report's line.

    It measured ChannelAttention behind CustomConv, so its numbers belong to that pair where the
    pair was measured too.
    """
    reported = _read_reported(f"{kind}s.csv", kind)
    pairs = [name for name in measured if "CustomConv" in name and "ChannelAttention" in name]
    if pairs:
        reported[pairs[0]] = reported.pop("ChannelAttention")
    return reported


def reported_case_columns(line: Mapping[str, str]) -> Row:
    """The report's numbers of a layer or block, which it called by several names."""
    return {
        "reported_parameters": number(line, "parameters", kind=int),
        "reported_signed_mean_gradient_input": number(line, "grad_mean_input", "grad_mean"),
        "reported_signed_mean_gradient_weights": number(line, "grad_mean_weights"),
        "reported_seconds_100_iterations": number(
            line, "seconds_100_iterations", "seconds_100_runs"
        ),
    }


def number(line: Mapping[str, str], *columns: str, kind: type = float) -> float | int | None:
    """A cell of the report, from the first of these columns that has one; else None.

    Raises: UserError for one that is no number.
    """
    column, text = next(((name, line[name]) for name in columns if line.get(name)), ("", ""))
    try:
        return kind(text) if text else None
    except ValueError as error:
        raise UserError(
            f"{REPORTED}: {column} {text!r} is no number; restore the file from the repository"
        ) from error


def cell(value: object) -> str:
    """One CSV cell: six significant digits, no exponent on large numbers, empty for nothing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.6g}"
    return str(round(value)) if "e+" in text and np.isfinite(value) else text


def to_csv(rows: Sequence[Row]) -> str:
    """Rows, which share their columns -> the text of a CSV file; an empty one of none."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return text.getvalue()
