"""The original report's conclusions, one by one: what becomes of each, with its numbers."""

from collections.abc import Sequence
from operator import itemgetter

from utils.records.study import Evidence
from utils.report.claim_text import TIMES, difference_text, numbers_text
from utils.report.claims import Comparison, Finding, find
from utils.report.markdown import Column, markdown_table
from utils.report.rows import Row
from utils.report.verdicts import NOT_TESTED

COLUMNS: list[Column] = [
    (name, itemgetter(name)) for name in ("Section", "The report says", "Verdict", "Found")
]


def original_text(every: Sequence[Evidence]) -> str:
    """The table of the page, a line for each claim of the report's; empty without records."""
    findings = [finding for evidence in every for finding in find(evidence)]
    rows: dict[str, Row] = {}
    for finding in findings:
        # of a claim about times the first metric, one image, is what the report means
        if finding.claim.source == "report" and not finding.verdict.startswith(NOT_TESTED):
            rows.setdefault(finding.claim.id, conclusion(finding))
    return markdown_table(list(rows.values()), COLUMNS) if rows else ""


def conclusion(finding: Finding) -> Row:
    """The line of one claim."""
    return {
        "Section": finding.claim.id.partition("-")[0],
        "The report says": finding.claim.text,
        "Verdict": finding.verdict,
        "Found": "; ".join(map(found, finding.comparisons)),
    }


def found(each: Comparison) -> str:
    """As in "CNN3x3 against CNN5x5: +2.44 points [+2.23, +2.65]"."""
    difference = difference_text(each)
    if each.metric in TIMES or (each.unit == "points" and each.counts[1] is not None):
        return f"{each.a} against {each.b}: {difference}"
    return ", ".join(filter(None, [numbers_text(each), difference]))
