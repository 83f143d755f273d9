"""The block of docs/cluster.md: how long the whole study takes on so many workers, on paper.

seconds of each declared run --longest first, to whoever is free first--> makespan
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from utils.experiment import Experiment, Run, declared_runs
from utils.records.environment import machine_name
from utils.records.files import read_record
from utils.records.runs import run_path, speed_path
from utils.records.schema import Record, Speed
from utils.report.markdown import Column, digits, markdown_table
from utils.report.rows import speed_columns
from utils.report.wording import listed

WORKERS = tuple(2**power for power in range(9))  # 1 to 256

Key = tuple[str, str]  # dataset, name of a run's files

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


def makespan_text(experiments: Sequence[Experiment], results: Path) -> str:
    """The table for the study as it is declared, and what its times are."""
    runs = {
        run_path(results, run): run
        for experiment in experiments
        if experiment.rows
        for run in declared_runs(experiment).values()
    }
    first = {(run.dataset, run.name): run for run in reversed(runs.values())}
    records = {
        key: read_record(path, Record)
        for key, run in first.items()
        if (path := run_path(results, run)).exists()
    }
    timed = {
        key: read_record(path, Speed)
        for key in records
        if (path := speed_path(results, first[key])).exists()
    }
    if not timed:
        return "No speeds yet."
    ways = {key: way(key, first, records, timed) for key in records}
    known = [(run.dataset, run.name) for run in runs.values()]
    known = [key for key in known if key in records]
    seconds = [seconds_of(key, ways[key], records, timed) for key in known]
    common = {"total": sum(seconds), "longest": max(seconds)}
    rows = [{"workers": each, "makespan": makespan(seconds, each), **common} for each in WORKERS]
    title = max(zip(seconds, known, strict=True))[1][1]
    is_same = {key: same(first[key], first[ways[key]]) for key in records}
    own = sum(is_same[key] for key in known)
    machines = listed(list({machine_name(each.environment): True for each in timed.values()}))
    return (
        f"{markdown_table(rows, COLUMNS)}\n\n"
        f"From {bottleneck(seconds)} workers on the longest run ({title}) is the bottleneck, and "
        f"more workers save nothing. A worker is one {machines}, and only training steps count. Of "
        f"{len(known)} runs {own} have the measured speed of their own network, the others that of "
        "the timed network nearest in FLOPs, scaled by these: for the timed ones that would be off "
        f"by {100 * error(first, records, timed):.0f} % in the median."
    )


def way(
    key: Key,
    first: Mapping[Key, Run],
    records: Mapping[Key, Record],
    timed: Mapping[Key, Speed],
) -> Key:
    """Whose speed a run is taken to have: its own, its network's, or that nearest in FLOPs."""
    flops = math.log(records[key].forward_flops)
    return min(
        (each for each in timed if each[0] == key[0]),
        key=lambda each: (
            each != key,
            not same(first[each], first[key]),
            abs(math.log(records[each].forward_flops) - flops),
        ),
    )


def same(run: Run, other: Run) -> bool:
    """Whether they train the same network, which takes as long per image."""
    return (run.network, run.overrides) == (other.network, other.overrides)


def seconds_of(
    key: Key, measured: Key, records: Mapping[Key, Record], timed: Mapping[Key, Speed]
) -> float:
    """Of training, at another's speed per FLOP."""
    ratio = records[key].forward_flops / records[measured].forward_flops
    return ratio * speed_columns(records[key], timed[measured])["training_seconds"]


def error(
    first: Mapping[Key, Run], records: Mapping[Key, Record], timed: Mapping[Key, Speed]
) -> float:
    """How far the guess by FLOPs is from the measured time of a timed network, in the median."""
    found = []
    for key in timed:
        others = {each: speed for each, speed in timed.items() if not same(first[each], first[key])}
        if any(each[0] == key[0] for each in others):
            guess = seconds_of(key, way(key, first, records, others), records, timed)
            found.append(abs(guess / seconds_of(key, key, records, timed) - 1))
    return median(found) if found else math.nan
