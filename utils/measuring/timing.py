"""The only timer: actions in turn, round by round, the first round not counted.

    actions A, B --A B A B …--> seconds per call [rounds] --A / B--> median and quartiles

A computer is faster in one minute than in the next. With the actions in turn a slow minute falls
on all of them alike, and the spread over the rounds says how much it weighs: differences within it
mean nothing. What two actions took in the same round can be divided.
"""

import contextlib
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from utils.machine import torchs_timer
from utils.records.schema import Quartiles

Key = TypeVar("Key", bound=Hashable)
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

    rounds: int  # that count, how often each action has its turn
    seconds: float = 0.0  # of one turn, in which it is called again and again; 0: called once


def in_turn(actions: Mapping[Key, Action | Staged], effort: Effort) -> dict[Key, np.ndarray]:
    """Seconds per call of each action, ``[rounds]``; all have their turn in every round.

    A first round does not count: first calls pay for memory and for the choice of kernels, and a
    processor that was idle is faster for some seconds. An accelerator is waited for.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in actions}
    for _ in range(1 + effort.rounds):
        for key, action in actions.items():
            is_staged = isinstance(action, Staged)
            with action.stage() if is_staged else contextlib.nullcontext(action) as timed:
                seconds[key].append(_seconds(timed, effort.seconds))
    return {key: np.array(values[1:]) for key, values in seconds.items()}


def _seconds(action: Action, least: float) -> float:
    if least:
        # without num_threads the timer would run on one thread
        told = {"globals": {"action": action}, "num_threads": torch.get_num_threads()}
        return torchs_timer()("action()", **told).blocked_autorange(min_run_time=least).median
    _wait_for_device()  # torch's timer would call a segment of training three times
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


def quartiles(values: np.ndarray) -> Quartiles:
    """Of one value per round."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Quartiles(median=median, q1=q1, q3=q3)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Quartiles:
    """Of the ratios of the same round; both are ``[rounds]``."""
    return quartiles(numerator / denominator)
