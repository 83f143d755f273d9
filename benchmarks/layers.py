"""The layers with a hand-written backward, against the torch layers that they stand beside.

    layer, analogue --round by round, in turn--> seconds --> ratios, and the ratio of peak memories

Both get the same input, float32, channels first, and the same direction of the gradient.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from benchmarks.peak_memory import peak_memory
from benchmarks.timing import Action, Claim, Setting, as_records, in_turn, ratio, repeated
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.measuring.speed import spread
from utils.report.markdown import Column, digits, markdown_table

NAME = "layers"
TITLE = "Custom layers against their analogues"

Shape = tuple[int, int, int, int]
LARGE: Shape = (128, 64, 32, 32)  # the goals are about this one
SMALL: Shape = (4, 3, 32, 32)
SEED = 0
# seconds in which the analogue is called again and again, and rounds for each of the effort's:
# the segments are short, so there can be many
SEGMENT, QUICK_SEGMENT, ROUNDS = 0.05, 0.005, 3
DIRECTIONS = {"forward": "forward", "forward_backward": "forward and backward"}

Build = Callable[[int], nn.Module]  # from the number of channels


@dataclass(frozen=True)
class Comparison:
    """A layer of torch or torchvision, and what of ours stands beside it."""

    analogue: str
    build: Build
    ours: Mapping[str, Build]


COMPARISONS = (
    Comparison(
        "SiLU",
        lambda channels: nn.SiLU(),
        {
            "Swish": lambda channels: Swish(),
            "Swish(beta=2)": lambda channels: Swish(beta=2.0),
            "Swish, trained beta": lambda channels: Swish(trainable=True),
        },
    ),
    Comparison(
        "LPPool2d", lambda channels: nn.LPPool2d(2, 2), {"L2Pooling": lambda channels: L2Pooling(2)}
    ),
    Comparison(
        "Conv2d",
        lambda channels: nn.Conv2d(channels, channels, 3, padding=1),
        {"CustomConv": lambda channels: CustomConv(channels, channels, 3, padding=1)},
    ),
    Comparison(
        "SqueezeExcitation",
        lambda channels: SqueezeExcitation(channels, hidden(channels)),
        {
            "ChannelAttention": lambda channels: ChannelAttention(
                channels, channels // hidden(channels)
            )
        },
    ),
)
KERNELS = {"Swish": " (β = 1, by SiLU's kernels)"}
GOALS = {"Swish": 1.05, "L2Pooling": 1.05, "CustomConv": 1.15, "ChannelAttention": 1.1}


def hidden(channels: int) -> int:
    """How many units the gate's hidden layer has, of both kinds."""
    return max(channels // 4, 1)


def measure(setting: Setting) -> dict[str, Any]:
    """One row per layer and size, and the claims about the large one."""
    rounds = ROUNDS * setting.effort.rounds
    rows = [
        row
        for shape in (LARGE, SMALL)
        for comparison in COMPARISONS
        for row in compare(comparison, shape, rounds, setting)
    ]
    return {"rounds": rounds, "rows": rows, "claims": as_records(claims(rows))}


def compare(
    comparison: Comparison, shape: Shape, rounds: int, setting: Setting
) -> list[dict[str, Any]]:
    """The rows of one analogue's layers at one size."""
    builds = {comparison.analogue: comparison.build, **comparison.ours}
    layers = {name: build(shape[1]).to(setting.device) for name, build in builds.items()}
    x = torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(setting.device)
    segment = QUICK_SEGMENT if setting.quick else SEGMENT
    rows = [
        {"layer": name, "analogue": comparison.analogue, "shape": list(shape)}
        for name in comparison.ours
    ]
    for direction in DIRECTIONS:
        make = forward if direction == "forward" else forward_backward
        actions = {name: make(layer, x) for name, layer in layers.items()}
        calls = calls_in(segment, actions[comparison.analogue])
        seconds = in_turn(
            {name: repeated(action, calls) for name, action in actions.items()}, rounds
        )
        memory = {name: peak_memory(action, setting.device) for name, action in actions.items()}
        theirs = comparison.analogue
        for row in rows:
            row[direction] = {
                "time": ratio(seconds[row["layer"]], seconds[theirs]),
                "memory": memory[row["layer"]] / memory[theirs],
                "analogue_seconds": spread(seconds[theirs] / calls),
                "analogue_bytes": memory[theirs],
            }
    return rows


def forward(layer: nn.Module, x: Tensor) -> Action:
    """The layer's output, with nothing kept for a backward."""

    def run() -> Tensor:
        with torch.no_grad():
            return layer(x)

    return run


def forward_backward(layer: nn.Module, x: Tensor) -> Action:
    """The output and all gradients, of the input as well."""
    x = x.detach().requires_grad_()
    sources = [x, *layer.parameters()]
    with torch.no_grad():
        direction = torch.ones_like(layer(x))

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(x), sources, direction)

    return run


def calls_in(seconds: float, action: Action) -> int:
    """How many calls of the action take about this long; at least 1."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() < start + seconds:
        action()
        calls += 1
    return calls


def claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Each layer's times at the large size beside its goal."""
    return [
        Claim(
            f"{row['layer']}{KERNELS.get(row['layer'], '')} against {row['analogue']}, {words}",
            row[direction]["time"]["median"],
            GOALS[row["layer"]],
            at_least=False,
        )
        for row in rows
        if row["layer"] in GOALS and row["shape"] == list(LARGE)
        for direction, words in DIRECTIONS.items()
    ]


def markdown(record: Mapping[str, Any]) -> str:
    """A table for each size, and how they were measured."""
    parts = []
    for shape in (LARGE, SMALL):
        rows = [row for row in record["rows"] if row["shape"] == list(shape)]
        parts += [f"Input {list(shape)}:", markdown_table(rows, COLUMNS)]
    reasons = [
        f"Here is why {layer} is not at its goal: {reason}"
        for layer, reason in REASONS.items()
        if any(
            not Claim(**claim).reached
            for claim in record["claims"]
            if claim["text"].startswith(f"{layer} ")
        )
    ]
    return "\n\n".join([*parts, caption(record), *reasons])


def times(direction: str) -> Callable[[Mapping[str, Any]], str]:
    """A row's text: median and quartiles of the ratio of times."""

    def text(row: Mapping[str, Any]) -> str:
        found = row[direction]["time"]
        return f"{found['median']:.2f} ({found['q1']:.2f}–{found['q3']:.2f})"

    return text


COLUMNS: list[Column] = [
    ("Layer", lambda row: row["layer"]),
    ("Analogue", lambda row: row["analogue"]),
    ("Forward, ×", times("forward")),
    ("its peak memory, ×", lambda row: f"{row['forward']['memory']:.2f}"),
    ("Forward and backward, ×", times("forward_backward")),
    ("their peak memory, ×", lambda row: f"{row['forward_backward']['memory']:.2f}"),
    (
        "The analogue's, ms",
        lambda row: digits(1000 * row["forward_backward"]["analogue_seconds"]["median"]),
    ),
    ("MB", lambda row: digits(row["forward_backward"]["analogue_bytes"] / 1e6)),
]


def caption(record: Mapping[str, Any]) -> str:
    """How it was measured."""
    return (
        "Layer divided by analogue, time and peak memory: below 1 ours is cheaper. Both have "
        f"their turn in each of {record['rounds']} rounds, in brackets are the quartiles of the "
        "rounds; float32, channels first. Forward keeps nothing for a backward; backward computes "
        "the gradients of the input and of all parameters. Peak memory is on top of the input, the "
        "parameters and the direction of the gradient; the analogue's own time and memory are "
        "those of forward and backward together. "
        "At the small size it is calls that are timed, not arithmetic: a backward in Python costs "
        "its microseconds whatever the size. Swish with β = 1 has both of SiLU's kernels, of one "
        "pass each. For another or a trained β its backward needs two passes at least, written out "
        "in torch's operations: from g to g σ(βx), and from there with y and g to the gradient. "
        "They read 5 tensors and write 2, where SiLU's reads 2 and writes 1. The product βy is a "
        "third, and the gradient of a trained β takes four more."
    )


REASONS = {
    "Swish": "the kernels are SiLU's own; what is on top of them is the call of a Function that is "
    "written in Python.",
    "ChannelAttention": "it reads its input once more than SqueezeExcitation in each direction: "
    "for the maximum, and for where it is.",
}
