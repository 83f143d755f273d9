"""What `make bench` found about a training step on another processor, beside the one of the page.

Processors differ in what bfloat16 is worth on them, and no machine has two. The record is a copy of
``steps.json`` as it was in the commit that it names, with what has changed since.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.steps_report import (
    median,
    optimizer_reason,
    product_columns,
    usual_columns,
    usual_reason,
)
from utils.report.markdown import markdown_table

NAME = "steps_elsewhere"
TITLE = "A training step on another processor"


def markdown(record: Mapping[str, Any]) -> str:
    """Both loops, what bfloat16 is worth, how near ours is to the processor, which code it was."""
    rows, precisions = record["rows"], record["precisions"]
    worth = ("Time of a step, bfloat16 / float32", lambda row: f"{time_in_bfloat16(row):.2f}")
    return "\n\n".join(
        filter(
            None,
            [
                markdown_table(rows, [*usual_columns(precisions), worth]),
                *(optimizer_reason(rows, precision) for precision in precisions),
                *(usual_reason(rows, precision) for precision in precisions),
                markdown_table(rows, product_columns(precisions)),
                caption(record),
            ],
        )
    )


def time_in_bfloat16(row: Mapping[str, Any]) -> float:
    """Of our loop, as a multiple of its time in float32."""
    return median(row, "float32", "images_per_second") / median(
        row, "bfloat16", "images_per_second"
    )


def caption(record: Mapping[str, Any]) -> str:
    """Where it differs from what stands above."""
    rows = record["rows"]
    fewest, most = (choose(row["batches"] for row in rows) for choose in (min, max))
    rate = rows[0]["product_flops_per_second"]["median"]
    return (
        f"Measured as above, in segments of {fewest} to {most} batches, beside a product of "
        f"{rate / 1e9:,.0f} GFLOP/s, with the code of commit `{record['commit']}`; since then "
        f"{record['since']}."
    )
