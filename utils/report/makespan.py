"""The block of docs/cluster.md: how long the whole study takes on so many workers, on paper.

seconds of each declared run --longest first, to whoever is free first--> makespan
"""

import heapq
import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from utils.experiment import Run, declared_runs
from utils.records.environment import machine_name
from utils.records.schema import Record, Speed
from utils.records.study import Evidence
from utils.report.markdown import Column, digits, markdown_table
from utils.report.rows import speed_columns
from utils.report.wording import listed

WORKERS = tuple(2**power for power in range(9))  # 1 to 256

COLUMNS: list[Column] = [
    ("Workers", lambda row: str(row["workers"])),
    ("Makespan, hours", lambda row: digits(row["makespan"] / 3600)),
    ("Total / workers, hours", lambda row: digits(row["total"] / row["workers"] / 3600)),
    ("Longest run, hours", lambda row: digits(row["longest"] / 3600)),
]


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last run ends, if the longest that is left goes to whoever is free first."""
    free = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def bottleneck(seconds: Sequence[float]) -> int:
    """From how many workers on nothing but the longest run counts."""
    workers = math.ceil(sum(seconds) / max(seconds))
    while makespan(seconds, workers) > max(seconds):
        workers += 1
    return workers


class Trained(NamedTuple):
    """A declared run whose network has a record, and its speed where that was measured."""

    run: Run
    record: Record
    speed: Speed | None


def trained_runs(every: Sequence[Evidence]) -> list[Trained]:
    """Those of the study, each once."""
    speeds = {
        (evidence.experiment.dataset, row.run_name): evidence.speed[row.label]
        for evidence in every
        for row in evidence.experiment.rows
        if row.label in evidence.speed
    }
    found: dict[str, Trained] = {}
    for evidence in every:
        for (label, _), run in declared_runs(evidence.experiment).items():
            if records := evidence.runs.get(label) or evidence.diverged.get(label):
                trained = Trained(run, records[0], speeds.get((run.dataset, run.name)))
                found.setdefault(run.title, trained)
    return list(found.values())


def makespan_text(every: Sequence[Evidence]) -> str:
    """The table for the study as it is declared, and what its times are."""
    runs = trained_runs(every)
    by_name = {(each.run.dataset, each.run.name): each for each in reversed(runs) if each.speed}
    timed = list(by_name.values())  # each network once, those of later experiments first
    if not timed:
        return "No speeds yet."
    measured = [nearest(each, timed) for each in runs]
    seconds = [seconds_of(*pair) for pair in zip(runs, measured, strict=True)]
    common = {"total": sum(seconds), "longest": max(seconds)}
    rows = [{"workers": each, "makespan": makespan(seconds, each), **common} for each in WORKERS]
    _, title = max(zip(seconds, (each.run.name for each in runs), strict=True))
    own = sum(map(same, runs, measured))
    machines = listed(list(dict.fromkeys(machine_name(each.speed.environment) for each in timed)))
    return (
        f"{markdown_table(rows, COLUMNS)}\n\n"
        f"From {bottleneck(seconds)} workers on the longest run ({title}) is the bottleneck, and "
        f"more workers save nothing. A worker is one {machines}, and only training steps count. Of "
        f"{len(runs)} runs {own} have the measured speed of their own network, the others that of "
        "the timed network nearest in FLOPs, scaled by these: for the timed ones that would be off "
        f"by {100 * error(timed):.0f} % in the median."
    )


def nearest(each: Trained, timed: Sequence[Trained]) -> Trained:
    """Whose speed a run is taken to have: its own, its network's, or that nearest in FLOPs."""
    flops = math.log(each.record.forward_flops)
    return min(
        (other for other in timed if other.run.dataset == each.run.dataset),
        key=lambda other: (
            other.run.name != each.run.name,
            not same(other, each),
            abs(math.log(other.record.forward_flops) - flops),
        ),
    )


def same(first: Trained, second: Trained) -> bool:
    """Whether they train the same network, which takes as long per image."""
    return first.run.network == second.run.network and first.run.overrides == second.run.overrides


def seconds_of(each: Trained, measured: Trained) -> float:
    """Of training, at another's speed per FLOP."""
    ratio = each.record.forward_flops / measured.record.forward_flops
    return ratio * speed_columns(each.record, measured.speed)["training_seconds"]


def error(timed: Sequence[Trained]) -> float:
    """How far the guess by FLOPs is from the measured time of a timed network, in the median."""
    found = []
    for each in timed:
        others = [other for other in timed if not same(other, each)]
        if any(other.run.dataset == each.run.dataset for other in others):
            guess = seconds_of(each, nearest(each, others))
            found.append(abs(guess / seconds_of(each, each) - 1))
    return median(found) if found else math.nan
