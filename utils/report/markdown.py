"""Markdown: the rows of ``utils.report.rows`` as a person reads them, with a caption below.

Accuracies become per cent, large numbers get separators, a spread stands beside its value;
columns in which nothing stands are left out. The caption says what was held, what was not
tuned, and how each number was measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.records.environment import machine_name
from utils.records.study import Evidence, Record
from utils.report.figures.training import Picture
from utils.report.rows import Row

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


def percent(value: float | None, sd: float | None = None) -> str:
    """A fraction as per cent with two decimals, with its deviation where there is one."""
    spread = "" if sd is None else f" ± {100 * sd:.2f}"
    return "" if value is None else f"{100 * value:.2f}{spread}"


def with_iqr(value: float | None, iqr: float | None) -> str:
    """``median (inter-quartile range)``."""
    return "" if value is None else f"{digits(value)} ({digits(iqr, 2)})"


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
    return text[:1].isalpha() or text[:1] == "["


TRAINING_COLUMNS: list[Column] = [
    ("Model", lambda row: row["model"]),
    ("Parameters", lambda row: count(row["parameters"])),
    ("reported", lambda row: count(row["reported_parameters"])),
    ("MFLOPs", lambda row: digits(row["forward_mflops"])),
    ("Latency, ms", lambda row: with_iqr(row["latency_ms"], row["latency_ms_iqr"])),
    ("reported", lambda row: digits(row["reported_latency_ms"])),
    ("Inference, images/s", lambda row: count(row["throughput_images_per_second"])),
    ("Training, images/s", lambda row: count(row["training_images_per_second"])),
    ("Training time, s", lambda row: digits(row["training_seconds"])),
    ("Train accuracy, %", lambda row: percent(row["train_accuracy"], row["train_accuracy_sd"])),
    ("reported", lambda row: percent(row["reported_train_accuracy"])),
    ("Test accuracy, %", lambda row: percent(row["test_accuracy"], row["test_accuracy_sd"])),
    ("reported", lambda row: percent(row["reported_test_accuracy"])),
    ("Gap, points", lambda row: percent(row["generalization_gap"])),
    ("Receptive field, pixels", lambda row: count(row.get("receptive_field"))),
    ("Seeds", lambda row: count(row["seeds"])),
    ("Batch loss IQR, last epoch", lambda row: digits(row.get("batch_loss_iqr"))),
    ("mean of epochs", lambda row: digits(row.get("batch_loss_iqr_mean"))),
    ("Largest gradient norm", lambda row: digits(row.get("gradient_norm_largest"))),
]


def module_columns(kind: str) -> list[Column]:
    """The columns of the layers' table (``kind`` "layer") or the blocks' ("block")."""

    def seconds(row: Row, column: str) -> str:
        return with_iqr(row[column], row[f"{column}_iqr"])

    return [
        (kind.capitalize(), lambda row: row[kind]),
        ("Output shape", lambda row: f"[{row['output_shape'].replace('x', ', ')}]"),
        ("Parameters", lambda row: count(row["parameters"])),
        ("reported", lambda row: count(row.get("reported_parameters"))),
        ("Signed mean gradient, input", lambda row: digits(row["signed_mean_gradient_input"])),
        ("reported", lambda row: digits(row["reported_signed_mean_gradient_input"])),
        ("weights", lambda row: digits(row["signed_mean_gradient_weights"])),
        ("reported", lambda row: digits(row.get("reported_signed_mean_gradient_weights"))),
        ("Mean absolute gradient, input", lambda row: digits(row["mean_absolute_gradient_input"])),
        ("weights", lambda row: digits(row["mean_absolute_gradient_weights"])),
        ("100 forward, s", lambda row: seconds(row, "seconds_100_iterations")),
        ("reported", lambda row: digits(row["reported_seconds_100_iterations"])),
        (
            "100 forward and backward, s",
            lambda row: seconds(row, "forward_backward_seconds_100_iterations"),
        ),
        ("Comment", lambda row: row["comment"] or ""),
    ]


def training_markdown(rows: Sequence[Row], evidence: Evidence) -> str:
    """The table of what was trained, and its caption."""
    columns = TRAINING_COLUMNS
    measured = [row for row in rows if row["reported_parameters"] is not None]
    agree = all(row["parameters"] == row["reported_parameters"] for row in measured)
    if agree:  # then one sentence says more than a column
        columns = [column for column in columns if column != TRAINING_COLUMNS[2]]
    if len({row["seeds"] for row in rows}) == 1:  # the caption names them
        columns = [column for column in columns if column[0] != "Seeds"]
    caption = [
        _what_was_run(evidence),
        f"Varied: {_listed(evidence.experiment.varied)}. "
        f"Held equal: {_listed(evidence.experiment.held)}. "
        f"Not tuned: {_listed(evidence.experiment.not_tuned)}.",
        "FLOPs are those of one image's forward pass: a multiply-add is 2, and only convolutions "
        "and matrix products count.",
        _how_speed_was_measured(evidence.speed, evidence.records[0]["recipe"]),
    ]
    if "batch_loss_iqr" in rows[0]:
        caption.append(
            "IQR: inter-quartile range of the batch losses within an epoch; the gradient norm is "
            "that of all parameters together, the largest of all steps."
        )
    if measured:
        caption.append(
            "*reported*: the numbers of the report that this study repeats"
            + ("; the parameter counts are the same." if agree else ".")
        )
    return f"{markdown_table(rows, columns)}\n\n{' '.join(filter(None, caption))}\n"


def layers_markdown(rows: Sequence[Row], record: Record, kind: str) -> str:
    """The table of layers (``kind`` "layer") or blocks ("block"), and its caption."""
    modules = record[f"{kind}s"]
    same = all(entry["input_shape"] == modules[0]["input_shape"] for entry in modules)
    caption = [
        f"Input {modules[0]['input_shape']}{'' if same else ' (the first row)'}; float32 on "
        f"{machine_name(record['environment'])}.",
        "Signed mean gradient: of the mean of the output, as the report has it; positive and "
        "negative entries cancel. Mean absolute gradient: under a random normal cotangent from a "
        "seeded generator.",
        "Times are seconds of 100 iterations: the median over the rounds, in brackets the "
        "inter-quartile range.",
        "*reported*: the numbers of the report that this study repeats.",
    ]
    return f"{markdown_table(rows, module_columns(kind))}\n\n{' '.join(caption)}\n"


def picture_markdown(picture: Picture, plots: Path) -> str:
    """The image, its link relative to the repository, and its caption below."""
    link = Path("plots") / picture.file.relative_to(plots)
    return f"![{picture.caption}]({link.as_posix()})\n\n*{picture.caption}*"


def _what_was_run(evidence: Evidence) -> str:
    """Dataset, size, epochs, seeds, precision, machine; and of which epoch the numbers are."""
    record = evidence.records[0]
    data = record["data"]
    machines = dict.fromkeys(
        machine_name(environment)
        for record in evidence.records
        for environment in (record["environment"], *record["continued_in"])
    )
    seeds = _listed([str(seed) for seed in evidence.seeds])
    several = "; ± is the sample standard deviation over the seeds" if evidence.seeds[1:] else ""
    return (
        f"{evidence.dataset}: {data['train_images']:,} train and {data['test_images']:,} test "
        f"images; {record['recipe']['epochs']} epochs, seed{'s' if evidence.seeds[1:] else ''} "
        f"{seeds}{several}. Trained in {record['precision']} on {' and '.join(machines)}. "
        "Accuracies are those of the last epoch, in eval mode and float32, the train accuracy on "
        "all train images without augmentation; the gap is train minus test."
    )


def _how_speed_was_measured(speed: Record | None, recipe: Record) -> str:
    if not speed:
        return "The speed was not measured: run the script with --measure."
    sizes, rounds = speed["batch_sizes"], speed["rounds"]
    muon = (
        " Muon's part of a step does not grow with the batch but with the weight matrices: it is "
        "small for convolutions and can be most of the step of a fully connected network."
        if recipe["muon_rate"]
        else ""
    )
    return (
        "Speed was measured apart from training, all models in turn, on "
        f"{machine_name(speed['environment'])}: medians over {rounds} rounds, in "
        "brackets the inter-quartile range. Inference is in "
        f"float32: latency at batch {sizes['latency']}, throughput at batch "
        f"{sizes['throughput']}. A training step is in {speed['precision']} at batch "
        f"{sizes['training']}, with its batch and the optimiser; the training time is derived from "
        f"it.{muon}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
