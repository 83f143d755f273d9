"""Numbers as the conclusions say them."""

from collections.abc import Mapping, Sequence

Numbers = Mapping[str, float]  # a column: the name of a row -> its number


def percent(fraction: float) -> str:
    """0.9871 -> "98.71 %"."""
    return f"{100 * fraction:.2f} %"


def points(difference: float) -> str:
    """A difference of two fractions, in percentage points: 0.012 -> "1.2 points"."""
    return f"{100 * difference:.1f} points"


def more_or_less(difference: float) -> str:
    """A signed difference: 0.012 -> "1.2 points more", -0.012 -> "1.2 points less"."""
    return f"{points(abs(difference))} {'more' if difference >= 0 else 'less'}"


def ranking(accuracy: Numbers) -> str:
    """All rows from the best down: "A (80.10 %), B (79.00 %)"."""
    order = sorted(accuracy, key=accuracy.__getitem__, reverse=True)
    return listed([f"{name} ({percent(accuracy[name])})" for name in order])


def best(column: Numbers) -> str:
    """The row with the largest number."""
    return max(column, key=column.__getitem__)


def listed(words: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
