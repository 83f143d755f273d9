"""How every benchmark is timed: in turn, the first round not counted.

    actions A, B --round by round: A B A B ...--> seconds [rounds] --A / B--> median and quartiles

A computer is faster in one minute than in the next, so no absolute time is a claim. What two
actions took in the same round can be compared: a slow minute falls on both, and the spread of the
ratios over the rounds says how far they can be believed.

``utils.measuring.speed`` times calls of milliseconds, each again and again within its turn; here a
turn is a whole segment of training, or what else takes seconds and is called once.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from utils.data.dataset import Dataset
from utils.measuring.speed import spread

Spread = dict[str, float]  # "median", "q1", "q3"
Action = Callable[[], object]


@dataclass(frozen=True)
class Staged:
    """An action that needs something made ready before it, and tidied up after it, untimed.

    ``stage`` is entered before the clock starts, gives what is timed, and is left afterwards.
    """

    stage: Callable[[], contextlib.AbstractContextManager[Action]]


@dataclass(frozen=True)
class Effort:
    """How long to measure: the more, the surer the medians."""

    rounds: int  # that count; one before them does not
    batches: int  # of a segment, at most
    least_batches: int  # of a segment, however dear they are
    segment_flops: float  # between the two, a segment has as many batches as cost this

    def batches_of(self, step_flops: float) -> int:
        """How many batches a segment has, where one training step costs ``step_flops``."""
        affordable = round(self.segment_flops / step_flops)
        return min(self.batches, max(self.least_batches, affordable))


FULL = Effort(rounds=5, batches=50, least_batches=6, segment_flops=1.2e11)
QUICK = Effort(rounds=2, batches=4, least_batches=2, segment_flops=5e9)


@dataclass(frozen=True)
class Setting:
    """What a section is given."""

    quick: bool
    effort: Effort
    threads: int  # torch's, already set
    device: torch.device
    dataset: Callable[[str], Dataset]  # "mnist" or "cifar10", on the device; loaded once


@dataclass(frozen=True)
class Claim:
    """A number beside its goal."""

    text: str  # what the number is
    value: float
    goal: float
    at_least: bool  # whether the goal is a lower limit, or else an upper one
    unit: str = "×"  # or "%": then value and goal are fractions, 0.85 for 85 %

    @property
    def reached(self) -> bool:
        """Whether the value is on the goal's good side, or on the goal."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def claim_lines(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per claim of a record: "text: value (goal …): reached" or "not reached"."""
    lines = []
    for fields in claims:
        claim = Claim(**fields)
        limit = "≥" if claim.at_least else "≤"
        value, goal = (_with_unit(number, claim.unit) for number in (claim.value, claim.goal))
        verdict = "reached" if claim.reached else "not reached"
        lines.append(f"{claim.text}: {value} (goal {limit} {goal}): {verdict}")
    return lines


def as_records(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """The claims as a record holds them."""
    return [asdict(claim) for claim in claims]


def _with_unit(number: float, unit: str) -> str:
    return f"{100 * number:.1f} %" if unit == "%" else f"{number:.2f}{unit}"


def in_turn(actions: Mapping[str, Action | Staged], rounds: int) -> dict[str, np.ndarray]:
    """Seconds that each action took, ``[rounds]``; all have their turn in every round.

    A round before the first does not count: first calls pay for memory and for the choice of
    kernels.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(1 + rounds):
        for name, action in actions.items():
            with _staged(action) as timed:
                seconds[name].append(_seconds(timed))
    return {name: np.array(values[1:]) for name, values in seconds.items()}


@contextlib.contextmanager
def _staged(action: Action | Staged) -> Iterator[Action]:
    if isinstance(action, Staged):
        with action.stage() as timed:
            yield timed
    else:
        yield action


def _seconds(action: Action) -> float:
    _wait_for_device()
    start = time.perf_counter()
    action()
    _wait_for_device()
    return time.perf_counter() - start


def _wait_for_device() -> None:
    """An accelerator works through a queue: without waiting only the queueing would be timed."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def repeated(action: Action, times: int) -> Action:
    """The action, that many times."""

    def repeat() -> None:
        for _ in range(times):
            action()

    return repeat


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Spread:
    """Median and quartiles of the ratios of the same round; both are ``[rounds]``."""
    return spread(np.asarray(numerator) / np.asarray(denominator))


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios: of 2 and 1/2 it is 1."""
    return float(np.exp(np.mean(np.log(values))))
