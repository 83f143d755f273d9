"""The timer: every action in every round, the first round for nothing, a device waited for."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch

from utils.measuring.timing import Effort, Staged, in_turn, quartiles, ratio, repeated
from utils.records.schema import Quartiles


def test_all_actions_have_their_turn_in_every_round() -> None:
    calls: list[str] = []
    actions = {name: lambda name=name: calls.append(name) for name in "ABC"}
    seconds = in_turn(actions, Effort(rounds=4, seconds=1e-9))
    assert {name: values.shape for name, values in seconds.items()} == dict.fromkeys("ABC", (4,))
    changes = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert "".join(changes) == "ABC" + 4 * "ABC"  # the warm-up, then the rounds


def test_without_a_time_to_fill_an_action_is_called_once_a_round() -> None:
    calls: list[str] = []
    in_turn({"A": lambda: calls.append("A")}, Effort(rounds=3))
    assert len(calls) == 4


def test_actions_run_on_all_of_torchs_threads() -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        in_turn({"A": lambda: seen.append(torch.get_num_threads())}, Effort(1, 1e-9))
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {2}


def test_what_is_staged_is_made_ready_and_tidied_up_in_every_round() -> None:
    calls: list[str] = []

    @contextlib.contextmanager
    def stage() -> Iterator[Callable[[], None]]:
        calls.append("ready")
        yield lambda: calls.append("timed")
        calls.append("tidy")

    seconds = in_turn({"A": Staged(stage)}, Effort(rounds=1))
    assert calls == 2 * ["ready", "timed", "tidy"]
    assert seconds["A"].shape == (1,)


def test_repeated_is_that_many_calls() -> None:
    calls: list[int] = []
    repeated(lambda: calls.append(1), 3)()
    assert calls == [1, 1, 1]


def test_quartiles_are_those_of_the_rounds_and_of_their_ratios() -> None:
    values = np.array([5.0, 1.0, 2.0, 4.0, 3.0])
    assert quartiles(values) == Quartiles(median=3.0, q1=2.0, q3=4.0)
    doubled = 2 * values[::-1]
    assert ratio(doubled[::-1], values) == Quartiles(median=2.0, q1=2.0, q3=2.0)
