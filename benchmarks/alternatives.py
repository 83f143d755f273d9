"""What else a training step could be made of: each alternative against ours, in turn.

    one network, one thing changed --round by round, in turn--> seconds --> alternative / ours

One setting serves all networks, so what does not pay for all is left out, and what makes no
difference too: the simpler code wins a tie.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.setting import Record, Setting, between
from benchmarks.step_actions import BareStep
from benchmarks.steps import distinct_runs
from utils.experiment import Run
from utils.machine import warn_if_slower
from utils.measuring.timing import Effort, geometric_mean, in_turn, ratio
from utils.records.schema import Quartiles
from utils.report.markdown import Column, markdown_table
from utils.report.wording import listed

NAME = "alternatives"
TITLE = "Channels last, and torch.compile"

NETWORKS = ("CNN3x3", "DeepCNN", "CNNWithResidual")  # without batch-norm, deeper, with it
OURS = "ours"
SECONDS, QUICK_SECONDS = 1.0, 0.05  # of one turn

log = logging.getLogger(__name__)


def channels_first(step: BareStep) -> None:
    """Filters and images as torch has them by default: ``[..., height, width]`` last in memory."""
    step.network = step.network.to(memory_format=torch.contiguous_format)
    step.images = step.images.contiguous(memory_format=torch.contiguous_format)


def compiled(step: BareStep) -> None:
    """Forward and backward compiled by ``torch.compile`` with its defaults."""
    step.network = torch.compile(step.network)


ALTERNATIVES: dict[str, Callable[[BareStep], None]] = {
    OURS: lambda step: None,
    "channels first": channels_first,
    "torch.compile": compiled,
}


def measure(setting: Setting) -> dict[str, Any]:
    """One row per network; ``--quick`` has the first alone and compiles nothing: it takes long."""
    precision = "float32" if warn_if_slower(setting.device, "bfloat16") else "bfloat16"
    chosen = [
        (label, replace(run, compute=setting.compute(precision)))
        for label, run in distinct_runs(setting)
        if run.network in NETWORKS and run.dataset == "cifar10"
    ]
    rows = [
        measure_network(label, run, setting) for label, run in chosen[: 1 if setting.quick else 3]
    ]
    return {"precision": precision, "rounds": setting.rounds, "rows": rows}


def measure_network(label: str, run: Run, setting: Setting) -> dict[str, Any]:
    """All alternatives in turn. Without Muon: it needs filters with their channels last."""
    run = replace(run, recipe=replace(run.recipe, muon_rate=0.0))
    steps = {name: BareStep(run, setting.dataset(run.dataset)) for name in ALTERNATIVES}
    for name, step in steps.items():
        ALTERNATIVES[name](step)
    if setting.quick or not works(steps["torch.compile"]):
        del steps["torch.compile"]
    seconds = in_turn(steps, Effort(setting.rounds, QUICK_SECONDS if setting.quick else SECONDS))
    ours = seconds.pop(OURS)
    log.info("%s timed", label)
    return {
        "label": label,
        "times": {name: ratio(each, ours).model_dump() for name, each in seconds.items()},
    }


def works(step: BareStep) -> bool:
    """Whether it can be called: compiling needs a C++ compiler that is not on every machine."""
    try:
        step()
    except RuntimeError as error:
        log.warning("torch.compile left out: %s", str(error).strip().splitlines()[0])
        return False
    return True


def markdown(record: Record) -> str:
    """What each alternative does, the table, and how it was measured."""
    rows = record["rows"]
    names = [
        name for name in ALTERNATIVES if name != OURS and all(name in row["times"] for row in rows)
    ]
    means = listed(
        [
            f"{name} {geometric_mean([row['times'][name]['median'] for row in rows]):.2f}×"
            for name in names
        ]
    )

    def column(name: str) -> Column:
        return f"{name}, ×", lambda row: between(Quartiles(**row["times"][name]))

    columns: list[Column] = [("Network", lambda row: row["label"]), *map(column, names)]
    caption = (
        f"Time of a training step with one thing changed over that of ours, in "
        f"{record['precision']}: above 1 the change is slower. Geometric means: {means}. Medians "
        f"of {record['rounds']} rounds, in brackets the quartiles; without Muon, which needs "
        "channels last, and without the time of compiling."
    )
    return "\n\n".join([WHY, markdown_table(rows, columns), caption])


WHY = (
    "With its channels first a convolution on a CPU rearranges them in every step. Compiling needs "
    "a C++ compiler on the machine, and has to help all networks alike to be worth that."
)
