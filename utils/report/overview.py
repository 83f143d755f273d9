"""Overview: what the study answers on one screen, and every trained network in one table.

It is made of the records of all experiments, whichever script is running. A run that stands in
several experiments under several labels has one row of the table, under its first.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np

from utils.claim import Answer, Shown
from utils.records.environment import machine_name
from utils.records.study import Evidence
from utils.report.claims import Finding, find
from utils.report.figures.forest import ForestRow, draw_forest
from utils.report.languages import AS_GOOD, SUFFIXES, WORDS, localised, word_of
from utils.report.markdown import (
    Column,
    caption,
    count,
    digits,
    markdown_table,
    percent_cell,
)
from utils.report.measures import values_of
from utils.report.rows import Row, speed_columns, training_rows
from utils.report.verdicts import SUPPORTED
from utils.report.wording import listed

Compared = Mapping[str, tuple[Evidence, Finding]]  # id of a claim -> what decides it

ALSO = {  # key of a word -> how it is told among what else differs
    "parameters_too": "times the parameters",
    "flops_too": "times the FLOPs",
    "layers_too": "layers with weights",
    "field_too": "receptive field",
}
COLUMNS: list[Column] = [
    ("Model", lambda row: row["name"]),
    ("Dataset", lambda row: row["dataset"]),
    ("Experiment", lambda row: row["experiments"]),
    ("Parameters", lambda row: count(row["parameters"])),
    ("Latency, ms", lambda row: digits(row["latency_ms"])),
    ("Training time, s", lambda row: digits(row["training_seconds"])),
    ("Test accuracy, %", lambda row: percent_cell(row["test_accuracy"], row["test_accuracy_ci"])),
    ("Seeds", lambda row: count(row["seeds"])),
    ("reported", lambda row: ", ".join(map(percent_cell, row["reported"]))),
]


def render_overview(
    every: Sequence[Evidence], answers: Sequence[Answer], plots: Path
) -> dict[str, str]:
    """Draws ``plots/overview.png`` and its Russian twin; returns the blocks over all experiments.

    ``overview.figure`` and ``overview.answers``, each with a ``….ru``, are the README's first
    screen; ``overview.table`` is every trained network in one table. Without records they are
    empty.
    """
    compared, gone = comparisons(every), on_diverged(every)
    figures = {
        f"overview.figure{suffix}": draw_answers(answers, compared, gone, plots, language)
        for language, suffix in SUFFIXES.items()
    }
    return overview_texts(every, answers) | figures


def overview_texts(every: Sequence[Evidence], answers: Sequence[Answer]) -> dict[str, str]:
    """The blocks over all experiments but for the figure."""
    compared, rows = comparisons(every), overview_rows(every)
    table = f"{markdown_table(rows, COLUMNS)}\n\n{caption('overview')}" if rows else ""
    blocks = {"overview.table": table}
    for language, suffix in SUFFIXES.items():
        blocks[f"overview.answers{suffix}"] = answers_markdown(answers, compared, language)
        blocks[f"overview.time{suffix}"] = time_text(every, language)
    return blocks


def comparisons(every: Sequence[Evidence]) -> Compared:
    """The findings that compare something, by their claims' ids, with what they rest on."""
    return {
        finding.claim.id: (evidence, finding)
        for evidence in every
        for finding in find(evidence)
        if finding.comparisons
    }


def on_diverged(every: Sequence[Evidence]) -> set[str]:
    """The ids of the claims that rest on runs of which some diverged."""
    return {
        claim.id
        for evidence in every
        for claim in evidence.experiment.claims
        if any(name in evidence.diverged for pair in claim.pairs for name in pair)
    }


def draw_answers(
    answers: Sequence[Answer], compared: Compared, gone: Collection[str], plots: Path, language: str
) -> str:
    """Draws the forest of all comparisons that have one; returns the image with its caption.

    That names the comparisons that are left out, whose claims are ``gone``.
    """
    is_russian = language == "ru"
    groups = {
        answer.question_ru if is_russian else answer.question: [
            forest_row(shown, *compared[shown.claim], language)
            for shown in answer.shown
            if shown.claim in compared
        ]
        for answer in answers
    }
    groups = {question: rows for question, rows in groups.items() if rows}
    if not groups:
        return ""
    path, words = plots / f"overview{SUFFIXES[language]}.png", WORDS[language]
    draw_forest(groups, path, language)
    verdicts = Counter(row.verdict for rows in groups.values() for row in rows)
    each = ", ".join(f"{words[verdict]} {number}" for verdict, number in verdicts.most_common())
    finding = words["counts"].format(number=verdicts.total(), each=each)
    lost = [
        shown.label_ru if is_russian else shown.label
        for answer in answers
        for shown in answer.shown
        if shown.claim in gone
    ]
    left_out = words["left_out"].format(labels="; ".join(lost)) if lost else ""
    return f"![{finding}](plots/{path.name})\n\n*{words['forest']}{left_out}*"


def forest_row(shown: Shown, evidence: Evidence, finding: Finding, language: str) -> ForestRow:
    """One comparison with what the figure writes beside it."""
    each = finding.comparisons[shown.pair]
    a, _b = finding.claim.pairs[shown.pair]
    values = values_of(a, each.metric, evidence)
    numbers = "{:.1f} : {:.1f} %".format(*each.means)
    return ForestRow(
        label=shown.label_ru if language == "ru" else shown.label,
        value=each.estimate.value,
        low=each.estimate.low,
        high=each.estimate.high,
        seeds=tuple(value - each.means[1] for value in values),
        margin=each.margin,
        numbers=localised(numbers, language),
        verdict=shown_verdict(finding, shown),
        confounded=each.confounds != "none",
    )


def shown_verdict(finding: Finding, shown: Shown) -> str:
    """The key in ``WORDS`` of the comparison's verdict; that of an equality says so."""
    word = word_of(finding.comparisons[shown.pair].verdict)
    return AS_GOOD if finding.claim.kind == "equal" and word == SUPPORTED else word


def also_differing(confounds: str, language: str) -> str:
    """What else differs between the two, in a word or two each; nothing where nothing does."""
    words, parts = WORDS[language], confounds.split("; ")
    if confounds == "none":
        return ""
    found = [words[key] for key, told in ALSO.items() if any(told in part for part in parts)]
    left = [part for part in parts if not any(told in part for told in ALSO.values())]
    return words["also"].format(what=", ".join([*found, *[words["else_too"]] * bool(left)]))


def answers_markdown(answers: Sequence[Answer], compared: Compared, language: str) -> str:
    """The first screen's table: a line for each answer, with its first comparison."""
    rows = [
        answer_row(answer, compared[answer.shown[0].claim][1], language)
        for answer in answers
        if answer.shown[0].claim in compared
    ]
    names = ("question", "answer", "difference", "verdict", "page")
    columns: list[Column] = [(WORDS[language][name], itemgetter(name)) for name in names]
    return markdown_table(rows, columns) if rows else ""


def answer_row(answer: Answer, finding: Finding, language: str) -> Row:
    """An answer beside its first comparison, which is ``finding``'s."""
    shown, is_russian = answer.shown[0], language == "ru"
    each = finding.comparisons[shown.pair]
    found, comma = each.estimate, "; " if is_russian else ", "
    interval = f" [{found.low:z.1f}{comma}{found.high:z.1f}]" if np.isfinite(found.low) else ""
    numbers = localised(f"{found.value:+z.1f}{interval}".replace("-", "−"), language)
    verdict = WORDS[language][shown_verdict(finding, shown)]
    return {
        "question": answer.question_ru if is_russian else answer.question,
        "answer": answer.answer_ru if is_russian else answer.answer,
        "difference": f"{shown.label_ru if is_russian else shown.label}: {numbers}",
        "verdict": f"{verdict}{also_differing(each.confounds, language)}",
        "page": f"[{answer.page.removesuffix('.md')}](docs/{answer.page})",
    }


def time_text(every: Sequence[Evidence], language: str) -> str:
    """How long the report's networks take to train with one seed, where their speed is known."""
    seconds, machines, precisions = {}, {}, {}
    for evidence in (each for each in every if not each.experiment.control):
        for row in evidence.experiment.rows:
            if (speed := evidence.speed.get(row.label)) and row.label in evidence.runs:
                key = evidence.experiment.dataset, row.run_name
                record = evidence.runs[row.label][0]
                seconds[key] = speed_columns(record, speed)["training_seconds"]
                machines[machine_name(speed.environment)] = True
                precisions[speed.precision] = True
    if not seconds:
        return ""
    hours = localised(f"{sum(seconds.values()) / 3600:.1f}", language)
    return WORDS[language]["time"].format(
        networks=len(seconds),
        hours=hours,
        machine=localised(listed(list(machines)), language),
        precision=listed(list(precisions)),
    )


def overview_rows(every: Sequence[Evidence]) -> list[Row]:
    """One row per run (over its seeds) that has a record, in the order of the experiments.

    Not of control experiments, each of which asks about one thing.
    """
    found: dict[tuple[str, str], Row] = {}
    for evidence in (each for each in every if not each.experiment.control):
        experiment = evidence.experiment
        rows = {row["model"]: row for row in training_rows(evidence)}
        for declared in experiment.rows:
            if rows.get(declared.label, {}).get("test_accuracy") is None:
                continue
            row = rows[declared.label]
            key = str(experiment.dataset), declared.run_name
            more = {"labels": [], "in": [], "reported": [], "dataset": evidence.dataset}
            known = found.setdefault(key, row | more)
            known["labels"].append(declared.label)
            known["in"].append(experiment.name)
            known["reported"] += filter(None, [row["reported_test_accuracy"]])
    for row in found.values():
        row["name"] = " = ".join(dict.fromkeys(row["labels"]))
        row["experiments"] = ", ".join(row["in"])
    return list(found.values())
