"""Render: records on disk -> tables, figures and the README's blocks; nothing is trained here.

results/<experiment>/…  -->  results/<experiment>/table.csv, table.md
                             plots/<experiment>/*.png
                             README blocks <experiment>.table, .figures, .conclusions
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.experiment import Experiment
from utils.records.files import write_text
from utils.records.study import Evidence, gather, gradient_ratios, gradient_verdict, largest_drop
from utils.report.figures.registry import draw
from utils.report.figures.training import Picture
from utils.report.markdown import layers_markdown, picture_markdown, training_markdown
from utils.report.overview import render_overview
from utils.report.readme import replace_blocks
from utils.report.rows import (
    Row,
    block_rows,
    columns,
    layer_rows,
    stability_rows,
    to_csv,
    training_rows,
)

__all__ = ["render_experiment", "render_overview", "render_readme"]

Columns = dict[str, dict[str, Any]]


class NotMeasuredError(KeyError):
    """A conclusion asked for a cell that is empty."""


class Column(dict):
    """Name -> value of one table column, without its empty cells.

    Raises: NotMeasuredError for an empty cell, KeyError for a name that the table does not have.
    """

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        super().__init__({key: value for key, value in values.items() if value is not None})
        self.name, self.known = name, set(values)

    def __missing__(self, key: str) -> None:
        if key in self.known:
            raise NotMeasuredError(f"{self.name} of {key}")
        raise KeyError(f"{key!r} has no row; there are {', '.join(sorted(self.known))}")


def render_experiment(experiment: Experiment, results: Path, plots: Path) -> dict[str, str]:
    """Writes an experiment's tables and figures; returns its README blocks, by name.

    Without any record nothing is written, and no block comes back.
    """
    evidence = gather(experiment, results)
    if evidence.empty:
        return {}
    tables, cells = write_tables(evidence, results / experiment.name)
    pictures = {name: draw(name, evidence, plots / experiment.name) for name in experiment.figures}
    question = f"*{experiment.question}*"
    return {
        f"{experiment.name}.table": "\n\n".join([question, *(each.strip() for each in tables)]),
        f"{experiment.name}.figures": figures_markdown(pictures, plots),
        f"{experiment.name}.conclusions": conclusions_markdown(evidence, cells),
    }


def write_tables(evidence: Evidence, folder: Path) -> tuple[list[str], Columns]:
    """Writes the tables whose records exist; returns their Markdown, and their cells by column.

    For conclusions alone there are columns ``gradient_…`` and ``largest_drop``, see
    ``utils.records.study``.
    """
    parts: list[tuple[str, list[Row], str]] = []  # file name, rows, Markdown
    if evidence.layers:
        rows = layer_rows(evidence.layers)
        parts.append(("table", rows, layers_markdown(rows, evidence.layers, "layer")))
    if evidence.blocks:
        rows = block_rows(evidence.blocks)
        parts.append(("table", rows, layers_markdown(rows, evidence.blocks, "block")))
    if evidence.runs:
        of_blocks = evidence.experiment.name == "residual_blocks"
        rows = stability_rows(evidence) if of_blocks else training_rows(evidence)
        file = "training" if of_blocks else "table"
        parts.append((file, rows, training_markdown(rows, evidence)))
    cells: Columns = {}
    for file, rows, markdown in parts:
        write_text(folder / f"{file}.csv", to_csv(rows))
        write_text(folder / f"{file}.md", markdown)
        for column, values in columns(rows).items():
            cells.setdefault(column, {}).update(values)
    for model, records in evidence.runs.items():
        ratios = gradient_ratios(records)
        cells.setdefault("largest_drop", {})[model] = largest_drop(records)
        cells.setdefault("gradient_verdict", {})[model] = gradient_verdict(ratios)
        cells.setdefault("gradient_ratio_smallest", {})[model] = ratios.min()
        cells.setdefault("gradient_ratio_largest", {})[model] = ratios.max()
    return [markdown for *_, markdown in parts], cells


def figures_markdown(pictures: Mapping[str, Sequence[Picture]], plots: Path) -> str:
    """Each figure with its caption; the many of one kind fold away behind a line to click."""
    parts = []
    for name, drawn in pictures.items():
        shown = [picture_markdown(picture, plots) for picture in drawn]
        if len(shown) <= 2:
            parts += shown
            continue
        visible, folded = (shown[:1], shown[1:]) if drawn[0].file.stem == name else ([], shown)
        parts += visible
        title = f"{name.replace('_', ' ').capitalize()}, each model by itself"
        parts.append(f"<details><summary>{title}</summary>")
        parts += [*folded, "</details>"]
    return "\n\n".join(parts)


def conclusions_markdown(evidence: Evidence, cells: Columns) -> str:
    """The experiment's conclusions with the numbers of its tables, as a list.

    Where a model or a measurement is still missing, a line that says which.
    """
    experiment = evidence.experiment
    missing = [model for model in experiment.models if model not in evidence.runs]
    if missing:
        return f"No conclusions yet: no record of {', '.join(missing)}."
    if experiment.conclusions is None:
        return ""
    try:
        sentences = experiment.conclusions(
            {name: Column(name, values) for name, values in cells.items()}
        )
    except NotMeasuredError as error:
        return f"No conclusions yet: {error.args[0]} was not measured."
    return "\n".join(f"- {sentence}" for sentence in sentences)


def render_readme(path: Path, blocks: Mapping[str, str]) -> None:
    """Puts the blocks between their markers in the file, which is written atomically.

    Raises: UserError for a file that cannot be read, and for what is wrong with its markers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error}); restore it from the repository"
        ) from error
    rendered = replace_blocks(text, blocks, str(path))
    if rendered != text:
        write_text(path, rendered)
