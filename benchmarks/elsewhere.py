"""What `make bench` found about a training step on another processor, beside the one of the page.

Processors differ in what bfloat16 is worth on them, and no machine has two. The record is a copy of
``steps.json`` as it was in the commit that it names, with what has changed since.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.steps_report import product_columns, usual_columns
from utils.markdown import markdown_table

NAME = "steps_elsewhere"
TITLE = "A training step on another processor"


def markdown(record: Mapping[str, Any]) -> str:
    """Both loops, how near ours is to the processor, and which code it was."""
    rows, precisions = record["rows"], record["precisions"]
    return "\n\n".join(
        [
            markdown_table(rows, usual_columns(precisions)),
            markdown_table(rows, product_columns(precisions)),
            f"Measured as above by the code of commit `{record['commit']}`; since then "
            f"{record['since']}.",
        ]
    )
