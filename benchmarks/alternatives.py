"""What else a training step could be made of: each alternative against ours, in turn.

    one network, one thing changed --round by round, in turn--> seconds --> alternative / ours

One setting serves all networks, so what does not pay for all is left out, and what makes no
difference too: the simpler code wins a tie.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.step_actions import resident_batch
from benchmarks.steps import distinct_runs, facts
from benchmarks.timing import Action, Setting, geometric_mean, in_turn, ratio, repeated
from utils.cli import warn_if_slower
from utils.experiment import Run
from utils.measuring.speed import spread
from utils.report.markdown import Column, digits, markdown_table
from utils.training.loop import Compute, initial_state, train_step

NAME = "alternatives"
TITLE = "Alternatives to our training step"

# without batch-norm, deeper without it, with it
NETWORKS = (
    ("kernel_size", "CNN3x3"),
    ("depth", "DeepCNN"),
    ("cifar_comparison", "CNNWithResidual"),
)
OURS = "ours"

Parts = tuple[nn.Module, Sequence[torch.optim.Optimizer], Tensor]  # network, optimisers, images

log = logging.getLogger(__name__)


def as_it_is(network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], x: Tensor) -> Parts:
    """Our step: channels last, ReLU out of place, fused optimiser, not compiled."""
    return network, optimizers, x


def channels_first(
    network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], x: Tensor
) -> Parts:
    """Filters and images as torch has them by default: ``[..., height, width]`` last in memory."""
    network = network.to(memory_format=torch.contiguous_format)
    return network, optimizers, x.contiguous(memory_format=torch.contiguous_format)


def relu_in_place(
    network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], x: Tensor
) -> Parts:
    """ReLU writes over its input."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return network, optimizers, x


def not_fused(network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], x: Tensor) -> Parts:
    """The optimiser as torch chooses it by default on a CPU: parameter by parameter."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["fused"] = False
    return network, optimizers, x


def compiled(network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], x: Tensor) -> Parts:
    """Forward and backward compiled by ``torch.compile`` with its defaults."""
    return torch.compile(network), optimizers, x


ALTERNATIVES: dict[str, Callable[..., Parts]] = {
    OURS: as_it_is,
    "channels first": channels_first,
    "ReLU in place": relu_in_place,
    "optimiser not fused": not_fused,
    "torch.compile": compiled,
}


def measure(setting: Setting) -> dict[str, Any]:
    """One row per network; ``--quick`` has the first alone and compiles nothing: it takes long."""
    precision = worthwhile_precision(setting.device)
    runs = [run for run in distinct_runs(setting.quick) if (run.experiment, run.model) in NETWORKS]
    compute = Compute(setting.device, precision)
    rows = [measure_network(run, compute, setting) for run in runs[: 1 if setting.quick else None]]
    return {"precision": precision, "rounds": setting.effort.rounds, "rows": rows, "claims": []}


def worthwhile_precision(device: torch.device) -> str:
    """bfloat16, where nobody would be warned of it."""
    return "float32" if warn_if_slower(device, "bfloat16") else "bfloat16"


def measure_network(run: Run, compute: Compute, setting: Setting) -> dict[str, Any]:
    """All alternatives in turn. Without Muon: it needs filters with their channels last."""
    run = replace(run, recipe=replace(run.recipe, muon_rate=0.0))
    row = facts(run, setting)
    names = [name for name in ALTERNATIVES if not (setting.quick and name == "torch.compile")]
    actions = {name: step_with(ALTERNATIVES[name], run, compute, setting) for name in names}
    if "torch.compile" in actions and not works(actions["torch.compile"]):
        del actions["torch.compile"]
    timed = {name: repeated(action, row["batches"]) for name, action in actions.items()}
    seconds = in_turn(timed, setting.effort.rounds)
    log.info("%s timed", run.model)
    return row | {
        "seconds_per_step": spread(seconds[OURS] / row["batches"]),
        "times": {
            name: ratio(each, seconds[OURS]) for name, each in seconds.items() if name != OURS
        },
    }


def step_with(change: Callable[..., Parts], run: Run, compute: Compute, setting: Setting) -> Action:
    """The training step on a batch that lies ready, with one thing changed."""
    dataset = setting.dataset(run.dataset)
    state = initial_state(run, dataset, compute)
    images, labels = resident_batch(run, dataset, state.generator)
    network, optimizers, images = change(state.network.train(), state.optimizers, images)
    smoothing = run.recipe.label_smoothing
    return lambda: train_step(network, images, labels, optimizers, compute, smoothing)


def works(action: Action) -> bool:
    """Whether it can be called: compiling needs a C++ compiler that is not on every machine."""
    try:
        action()
    except RuntimeError as error:
        log.warning("torch.compile left out: %s", str(error).strip().splitlines()[0])
        return False
    return True


def markdown(record: Mapping[str, Any]) -> str:
    """The table, how it was measured, and the mean of each alternative."""
    rows = record["rows"]
    names = [name for name in ALTERNATIVES if all(name in row["times"] for row in rows)]

    def column(name: str) -> Column:
        return (
            f"{name}, ×",
            lambda row: "{median:.2f} ({q1:.2f}–{q3:.2f})".format(**row["times"][name]),
        )

    means = [
        f"{name} {geometric_mean([row['times'][name]['median'] for row in rows]):.2f}×"
        for name in names
    ]
    columns: list[Column] = [
        ("Model", lambda row: row["model"]),
        ("Ours, ms", lambda row: digits(1000 * row["seconds_per_step"]["median"])),
        *map(column, names),
    ]
    return "\n\n".join([markdown_table(rows, columns), caption(record, means)])


def caption(record: Mapping[str, Any], means: Sequence[str]) -> str:
    """How it was measured."""
    return (
        f"Time of a training step with one thing changed, divided by that of ours, in "
        f"{record['precision']}: above 1 the change is slower. Medians over {record['rounds']} "
        "rounds in turn, in brackets the quartiles. Ours: channels last, ReLU out of place, the "
        "optimiser fused into one pass, nothing compiled; Muon is left out, which needs filters "
        f"with their channels last. Geometric means: {', '.join(means)}. What compiling takes "
        "before the first step is not counted."
    )
