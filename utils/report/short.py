"""Short tables: at most five columns of an experiment, for the README in both languages."""

import math
from collections.abc import Callable, Mapping

from utils.records.environment import machine_name
from utils.records.study import Evidence
from utils.report.languages import SUFFIXES, WORDS, localised
from utils.report.markdown import Column, accuracy_cell, count, digits, markdown_table, percent_cell
from utils.report.measures import BOTH, FORWARD, values_of
from utils.report.rows import Row, case_rows, training_rows
from utils.report.statistics import log_ratio

ASKED: Mapping[str, Callable[[Row], str]] = {  # what an experiment's question needs
    "latency": lambda row: digits(row["latency_ms"]),
    "gap": lambda row: percent_cell(row["generalization_gap"]),
    "receptive_field": lambda row: count(row["receptive_field"]),
}


def short_tables(evidence: Evidence) -> dict[str, str]:
    """The README's blocks ``<experiment>.short`` and ``….short.ru``; none without records."""
    experiment = evidence.experiment
    if experiment.asks in ASKED and evidence.runs:
        make = _networks
    elif experiment.asks == "cases" and evidence.cases:
        make = _cases
    else:
        return {}
    return {
        f"{experiment.name}.short{suffix}": make(evidence, language)
        for language, suffix in SUFFIXES.items()
    }


def _networks(evidence: Evidence, language: str) -> str:
    words, asked = WORDS[language], evidence.experiment.asks
    columns: list[Column] = [
        (words["network"], lambda row: row["model"]),
        (words["parameters"], lambda row: localised(count(row["parameters"]), language)),
        (words["mflops"], lambda row: localised(digits(row["forward_mflops"]), language)),
        (words["accuracy"], lambda row: localised(accuracy_cell(row, "test_accuracy"), language)),
        (words[asked], lambda row: localised(ASKED[asked](row), language)),
    ]
    counts = sorted({len(records) for records in evidence.runs.values()})
    seeds = words["to"].join(map(str, [counts[0], *counts[1:][-1:]]))
    below = [words["seeds"].format(seeds=seeds)] if counts[0] > 1 else []
    speed = next(iter(evidence.speed.values()), None)
    if asked == "latency" and speed:
        machine = localised(machine_name(speed.environment), language)
        below.append(words["timed"].format(machine=machine, passes=len(speed.began)))
    return "\n\n".join(
        filter(None, [markdown_table(training_rows(evidence), columns), " ".join(below)])
    )


def _cases(evidence: Evidence, language: str) -> str:
    words, cases = WORDS[language], evidence.cases
    rows = {row["layer"]: row for row in case_rows(cases, "layer")}

    def times(row: Row, metric: str) -> str:
        own, other = (values_of(row[name], metric, evidence) for name in ("analogue_of", "layer"))
        return localised(f"{math.exp(log_ratio(own, other).value):.2f}", language)

    columns: list[Column] = [
        (words["layer"], lambda row: row["analogue_of"]),
        (words["analogue"], lambda row: row["layer"]),
        (
            words["parameters"],
            lambda row: localised(count(rows[row["analogue_of"]]["parameters"]), language),
        ),
        (words["forward"], lambda row: times(row, FORWARD)),
        (words["both"], lambda row: times(row, BOTH)),
    ]
    shown = [row for row in rows.values() if row["analogue_of"]]
    below = words["ratios"].format(
        machine=localised(machine_name(cases.environment), language),
        passes=len(cases.cases[0].forward_seconds_100),
    )
    return f"{markdown_table(shown, columns)}\n\n{below}"
