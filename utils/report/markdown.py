"""Markdown: the rows of ``utils.report.rows`` as a person reads them, with a caption below.

Accuracies become per cent, large numbers get separators; columns in which nothing stands are left
out, as are throughputs, output shapes, signed gradients and quartiles, which stand in the CSV. The
caption says what was held, and what was not tuned.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from utils.records.environment import machine_name
from utils.records.schema import Cases
from utils.records.study import Evidence
from utils.report.figures.canvas import Picture
from utils.report.provenance import moved_seeds, trained_on
from utils.report.rows import Row

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # Markdown of our own, no HTML
)

Column = tuple[str, Callable[[Row], str]]  # heading, and a row's text ("" where it has none)


def count(value: float | None) -> str:
    """A whole number with separators."""
    return "" if value is None else f"{value:,.0f}"


def digits(value: float | None, significant: int = 3) -> str:
    """A number with this many significant digits, whole and with separators where it is large."""
    if value is None:
        return ""
    return (
        count(value) if abs(value) >= 10**significant else f"{value:#.{significant}g}".rstrip(".")
    )


def percent_cell(value: float | None, half: float | None = None) -> str:
    """A fraction as per cent with two decimals, with what stands behind ± where there is one."""
    spread = "" if half is None else f" ± {100 * half:.2f}"
    return "" if value is None else f"{100 * value:.2f}{spread}"


def accuracy_cell(row: Row, column: str) -> str:
    """A mean over seeds with half of its interval, which stands beside it in the row."""
    return percent_cell(row[column], row[f"{column}_ci"]) or "diverged"


def markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A table in Markdown: text to the left, numbers to the right.

    A column without any text is left out.
    """
    cells = [[text(row) for row in rows] for _, text in columns]
    shown = [(heading, texts) for (heading, _), texts in zip(columns, cells, strict=True)]
    shown = [(heading, texts) for heading, texts in shown if any(texts)]
    lines = [
        [heading for heading, _ in shown],
        [":---" if any(map(_is_words, texts)) else "---:" for _, texts in shown],
        *zip(*[texts for _, texts in shown], strict=True),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_words(text: str) -> bool:
    """Not of "0.42 (0.01)", "1,024" or "1.2e-17"."""
    return bool(re.sub(r"[\d.,()%±e+\-−–\s]", "", text))


TRAINING_COLUMNS: list[Column] = [
    ("Model", lambda row: row["model"]),
    ("Parameters", lambda row: count(row["parameters"])),
    ("reported", lambda row: count(row["reported_parameters"])),
    ("MFLOPs", lambda row: digits(row["forward_mflops"])),
    ("Latency, ms", lambda row: digits(row["latency_ms"])),
    ("reported", lambda row: digits(row["reported_latency_ms"])),
    ("Training time, s", lambda row: digits(row["training_seconds"])),
    ("Train accuracy, %", lambda row: accuracy_cell(row, "train_accuracy")),
    ("reported", lambda row: percent_cell(row["reported_train_accuracy"])),
    ("Test accuracy, %", lambda row: accuracy_cell(row, "test_accuracy")),
    ("reported", lambda row: percent_cell(row["reported_test_accuracy"])),
    ("Moved 6 pixels, %", lambda row: percent_cell(row.get("test_accuracy_moved_6_pixels"))),
    ("Gap, points", lambda row: percent_cell(row["generalization_gap"])),
    ("Receptive field, pixels", lambda row: count(row.get("receptive_field"))),
    ("Seeds", lambda row: count(row["seeds"])),
    ("Diverged", lambda row: count(row.get("diverged"))),
    (
        "First-to-last gradient, first step",
        lambda row: digits(row.get("gradient_ratio_first_step")),
    ),
    ("in the last epoch", lambda row: digits(row.get("gradient_ratio_last_epoch"))),
    ("Batch loss IQR, last epoch", lambda row: digits(row.get("batch_loss_iqr"))),
    ("mean of epochs", lambda row: digits(row.get("batch_loss_iqr_mean"))),
    ("Largest gradient norm", lambda row: digits(row.get("gradient_norm_largest"))),
]


def case_columns(kind: str) -> list[Column]:
    """The columns of the layers' table (``kind`` "layer") or the blocks' ("block")."""
    return [
        (kind.capitalize(), lambda row: row[kind]),
        ("Parameters", lambda row: count(row["parameters"])),
        ("reported", lambda row: count(row.get("reported_parameters"))),
        ("Mean absolute gradient, input", lambda row: digits(row["mean_absolute_gradient_input"])),
        ("weights", lambda row: digits(row["mean_absolute_gradient_weights"])),
        ("100 forward, s", lambda row: digits(row["seconds_100_iterations"])),
        ("reported", lambda row: digits(row.get("reported_seconds_100_iterations"))),
        (
            "100 forward and backward, s",
            lambda row: digits(row["forward_backward_seconds_100_iterations"]),
        ),
        ("Comment", lambda row: row["comment"] or ""),
    ]


def training_markdown(rows: Sequence[Row], evidence: Evidence) -> str:
    """The table of what was trained, and its caption."""
    columns = TRAINING_COLUMNS
    counted = [row for row in rows if row["reported_parameters"] is not None]
    agree = all(row["parameters"] == row["reported_parameters"] for row in counted)
    if agree:  # then one sentence says more than a column
        columns = [column for column in columns if column != TRAINING_COLUMNS[2]]
    speed = next(iter(evidence.speed.values()), None)
    below = caption(
        "training",
        epochs=sorted({record.recipe.epochs for record in evidence.records}),
        dataset=evidence.dataset,
        trained=trained_on(evidence.runs),
        moved=moved_seeds(evidence.runs) if "shift" in evidence.experiment.columns else "",
        varied=evidence.experiment.varied,
        held=evidence.experiment.held,
        not_tuned=evidence.experiment.not_tuned,
        speed=speed,
        timed=evidence.experiment.timed,
        passes=len(speed.began) if speed else 0,
        speed_machine=speed and machine_name(speed.environment),
        reported=counted,
        counts_agree=agree,
    )
    return f"{markdown_table(rows, columns)}\n\n{below}\n"


def cases_markdown(rows: Sequence[Row], record: Cases, kind: str) -> str:
    """The table of layers (``kind`` "layer") or blocks ("block"), and its caption."""
    shapes = [list(case.input_shape) for case in record.cases]
    same = all(shape == shapes[0] for shape in shapes)
    machine = machine_name(record.environment)
    passes = len(record.cases[0].forward_seconds_100)
    below = caption("cases", shape=shapes[0], same=same, machine=machine, passes=passes)
    return f"{markdown_table(rows, case_columns(kind))}\n\n{below}\n"


def caption(name: str, **facts: object) -> str:
    """A template of this folder, filled in, as one paragraph."""
    return " ".join(TEMPLATES.get_template(f"{name}.txt").render(facts).split())


def picture_markdown(picture: Picture, plots: Path) -> str:
    """The image, its link relative to the repository, and below what it shows, and its caption.

    What it shows is its alternative text too, which a page does not show.
    """
    link = Path("plots") / picture.file.relative_to(plots)
    return f"![{picture.finding}]({link.as_posix()})\n\n*{picture.finding}. {picture.caption}*"
