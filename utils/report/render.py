"""Render: records on disk -> tables, figures and the README's blocks; nothing is trained here.

results/<experiment>/…  -->  results/<experiment>/table.csv, table.md
                             plots/<experiment>/*.png
                             README blocks <experiment>.table, .figures, .conclusions
"""

from pathlib import Path

from utils.records.files import write_text
from utils.records.study import Evidence
from utils.report.claim_text import claims_markdown
from utils.report.claims import diverged_text, find
from utils.report.figures import FIGURES
from utils.report.markdown import cases_markdown, picture_markdown, training_markdown
from utils.report.rows import Row, case_rows, to_csv, training_rows
from utils.report.short import short_tables

TABLES = ("table.csv", "table.md", "training.csv", "training.md")
BLOCKS = ("table", "conclusions", "figures", "short", "short.ru")  # of an experiment


def render_experiment(evidence: Evidence, results: Path, plots: Path) -> dict[str, str]:
    """Writes an experiment's tables and figures; returns its README blocks, by name.

    Without any record nothing is written, and its blocks are empty.
    """
    experiment = evidence.experiment
    if evidence.empty:
        return text_blocks(evidence)
    for name, text in make_tables(evidence).items():
        write_text(results / experiment.name / name, text)
    gone = "; ".join(diverged_text(label, evidence) for label in evidence.diverged)
    left_out = f" Left out: {gone}." if gone else ""
    pictures = [
        picture_markdown(each._replace(caption=each.caption + left_out), plots)
        for name in experiment.figures
        for each in FIGURES[name](evidence, plots / experiment.name)
    ]
    return text_blocks(evidence) | {f"{experiment.name}.figures": "\n\n".join(pictures)}


def text_blocks(evidence: Evidence) -> dict[str, str]:
    """An experiment's README blocks but for its figures; all of them, empty, without any record."""
    experiment = evidence.experiment
    if evidence.empty:
        return {f"{experiment.name}.{part}": "" for part in BLOCKS}
    tables = [text for name, text in make_tables(evidence).items() if name.endswith(".md")]
    return short_tables(evidence) | {
        f"{experiment.name}.table": "\n\n".join(
            [f"*{experiment.question}*", *(text.strip() for text in tables)]
        ),
        f"{experiment.name}.conclusions": claims_markdown(find(evidence)),
    }


def is_outdated(evidence: Evidence, results: Path) -> bool:
    """Whether a table that was written before is not what the records say now."""
    folder = results / evidence.experiment.name
    tables = {folder / name: text for name, text in make_tables(evidence).items()}
    return any(path.exists() and not holds(path, text) for path, text in tables.items())


def stale_tables(evidence: Evidence, results: Path) -> list[Path]:
    """Its tables that were written before, of results that are no longer on record."""
    experiment, made = evidence.experiment, make_tables(evidence)
    has_both = experiment.cases and experiment.rows  # else there is no table called training
    tables = [name for name in TABLES if has_both or "training" not in name]
    paths = [results / experiment.name / name for name in tables if name not in made]
    return [path for path in paths if path.is_file()]


def holds(path: Path, text: str) -> bool:
    """Whether this is a file's text."""
    # what is no UTF-8 differs, whatever is read in its place
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text


def make_tables(evidence: Evidence) -> dict[str, str]:
    """File name -> text, of the tables whose records exist.

    That of the trained networks is ``table``, or ``training`` beside a table of cases.
    """
    experiment = evidence.experiment
    parts: list[tuple[str, list[Row], str]] = []  # file name, rows, Markdown
    if evidence.cases:
        rows = case_rows(evidence.cases, experiment.cases_are)
        parts.append(("table", rows, cases_markdown(rows, evidence.cases, experiment.cases_are)))
    if evidence.runs:
        rows = training_rows(evidence)
        file = "training" if experiment.cases else "table"
        parts.append((file, rows, training_markdown(rows, evidence)))
    files: dict[str, str] = {}
    for file, rows, markdown in parts:
        files |= {f"{file}.csv": to_csv(rows), f"{file}.md": markdown}
    return files
