"""The verdict on made-up numbers: every cell of the table, on both sides."""

import math

import pytest

from utils.claim import Kind
from utils.report.verdicts import LITTLE, NO_DIFFERENCE, OPEN, REFUTED, SUPPORTED, together, verdict

MARGIN = 0.5


@pytest.mark.parametrize("kind", ["greater", "lead", "time", "best"])
@pytest.mark.parametrize(
    ("value", "half", "p_holm", "expected"),
    [
        (2.0, 0.3, 0.001, SUPPORTED),
        (-2.0, 0.3, 0.001, REFUTED),
        (0.6, 0.3, 0.01, SUPPORTED),  # the interval reaches beyond the margin
        (0.3, 0.1, 0.01, LITTLE),
        (-0.3, 0.1, 0.01, REFUTED),  # below is below, however little
        (0.1, 0.3, 0.4, NO_DIFFERENCE),
        (-0.1, 0.3, 0.4, NO_DIFFERENCE),
        (0.3, 0.1, 0.06, NO_DIFFERENCE),  # adjusted it is no longer significant
        (0.4, 0.9, 0.2, OPEN),
        (-0.4, 0.9, 0.2, OPEN),
        (2.0, 0.3, 0.05, OPEN),  # not below 0.05
        (2.0, math.nan, math.nan, OPEN),  # one seed
    ],
)
def test_one_above_another(
    kind: Kind, value: float, half: float, p_holm: float, expected: str
) -> None:
    if kind == "best" and expected == NO_DIFFERENCE:
        expected = OPEN  # the best is either above a rival, or below, or it is not known
    assert verdict(kind, value, value - half, value + half, p_holm, MARGIN) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.5, 0.5, SUPPORTED),
        (0.1, 0.4, SUPPORTED),  # another value, but as good
        (-0.4, -0.1, SUPPORTED),
        (0.6, 0.9, REFUTED),
        (-0.9, -0.6, REFUTED),
        (0.4, 0.6, OPEN),
        (-0.6, -0.4, OPEN),
        (-0.6, 0.6, OPEN),
        (math.nan, math.nan, OPEN),
    ],
)
def test_one_as_good_as_another(low: float, high: float, expected: str) -> None:
    for p_holm in (0.001, 0.9):  # whether it differs from zero is not the question
        assert verdict("equal", (low + high) / 2, low, high, p_holm, MARGIN) == expected


@pytest.mark.parametrize(
    ("value", "p_holm", "expected"),
    [(1.0, 0.01, SUPPORTED), (-1.0, 0.01, REFUTED), (1.0, 0.2, OPEN), (-1.0, 0.2, OPEN)],
)
def test_one_beside_a_number(value: float, p_holm: float, expected: str) -> None:
    assert verdict("constant", value, value - 0.1, value + 0.1, p_holm, None) == expected


@pytest.mark.parametrize(("value", "expected"), [(3.0, SUPPORTED), (0.0, REFUTED), (-3.0, REFUTED)])
def test_what_is_exact_holds_or_does_not(value: float, expected: str) -> None:
    assert verdict("exact", value, math.nan, math.nan, math.nan, None) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([SUPPORTED, LITTLE], LITTLE),
        ([SUPPORTED, "open: about 40 seeds", REFUTED], REFUTED),
        ([SUPPORTED, "open: about 40 seeds"], "open: about 40 seeds"),
        (["open: about 40 seeds", "open: about 12 seeds"], "open: about 40 seeds"),
        ([SUPPORTED, NO_DIFFERENCE], OPEN),
        ([NO_DIFFERENCE, NO_DIFFERENCE], NO_DIFFERENCE),
    ],
)
def test_a_sentence_about_several_holds_where_each_does(verdicts: list[str], expected: str) -> None:
    assert together(verdicts) == expected
