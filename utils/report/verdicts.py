"""What a comparison says of a claim, by rules that were fixed before anybody looked."""

from collections.abc import Sequence

from utils.claim import Kind
from utils.report.statistics import ALPHA

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "open"
LITTLE = "supported, by less than matters"
NO_DIFFERENCE = "no difference that matters"
NOT_TESTED = "not tested yet"


def verdict(
    kind: Kind, value: float, low: float, high: float, p_holm: float, margin: float | None
) -> str:
    """The verdict on one comparison; positive values speak for the claim.

    ``low`` and ``high`` are the ends of the plain 95 % interval, in the unit of the margin; NaN
    where they are not known, and then it is open.

        kind            supported                 refuted                  no difference
        greater, lead   p < 0.05, above           p < 0.05, below          within ± margin
        time            likewise
        best            p < 0.05, above           p < 0.05, below          -
        constant        p < 0.05, on that side    p < 0.05, on the other   -
        equal           within ± margin           wholly outside           -
        exact           holds (above 0)           does not                 -
    """
    if kind == "exact":
        return SUPPORTED if value > 0 else REFUTED
    within = margin is not None and -margin <= low and high <= margin
    if kind == "equal":
        outside = low > margin or high < -margin
        return SUPPORTED if within else REFUTED if outside else OPEN
    if p_holm < ALPHA:
        return REFUTED if value < 0 else LITTLE if within else SUPPORTED
    return NO_DIFFERENCE if within and kind in ("greater", "lead", "time") else OPEN


def together(verdicts: Sequence[str]) -> str:
    """The verdict on a sentence that says several things: each has to hold.

    Where it is open, the one that is open longest is meant.
    """
    if REFUTED in verdicts:
        return REFUTED
    if set(verdicts) <= {SUPPORTED, LITTLE}:
        return LITTLE if LITTLE in verdicts else SUPPORTED
    if set(verdicts) == {NO_DIFFERENCE}:
        return NO_DIFFERENCE
    missing = [each for each in verdicts if each.startswith(OPEN)]
    return max(missing, key=_first_number, default=OPEN)


def _first_number(text: str) -> int:
    return next((int(word) for word in text.split() if word.isdigit()), 0)
