"""The layers with a hand-written backward, against the torch layers that they stand beside.

    layer, analogue --round by round, in turn--> seconds --> ratios

Both get the same input, float32, channels first, and the same direction of the gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from benchmarks.setting import Record, Setting, between
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.measuring.layers import forward, forward_backward
from utils.measuring.timing import Effort, in_turn, ratio
from utils.records.schema import Quartiles
from utils.report.markdown import Column, markdown_table

NAME = "layers"
TITLE = "Custom layers against their analogues"

SHAPES = ((128, 64, 32, 32), (4, 3, 32, 32))  # [batch, channels, height, width]
SECONDS, QUICK_SECONDS = 0.05, 0.005  # of one turn
ROUNDS = 3  # for each of the setting's: the turns are short, so there can be many

Build = Callable[[int], nn.Module]  # from the number of channels


def hidden(channels: int) -> int:
    """How many units the gate's hidden layer has, of both kinds."""
    return max(channels // 4, 1)


SILU: Build = lambda c: nn.SiLU()  # noqa: E731
PAIRS: tuple[tuple[str, Build, str, Build], ...] = (  # ours, its analogue
    ("Swish", lambda c: Swish(), "SiLU", SILU),
    ("Swish(beta=2)", lambda c: Swish(beta=2.0), "SiLU", SILU),
    ("Swish, trained beta", lambda c: Swish(trainable=True), "SiLU", SILU),
    ("L2Pooling", lambda c: L2Pooling(2), "LPPool2d", lambda c: nn.LPPool2d(2, 2)),
    (
        "CustomConv",
        lambda c: CustomConv(c, c, 3, padding=1),
        "Conv2d",
        lambda c: nn.Conv2d(c, c, 3, padding=1),
    ),
    (
        "ChannelAttention",
        lambda c: ChannelAttention(c, c // hidden(c)),
        "SqueezeExcitation",
        lambda c: SqueezeExcitation(c, hidden(c)),
    ),
)


def measure(setting: Setting) -> dict[str, Any]:
    """One row per layer and size."""
    effort = Effort(ROUNDS * setting.rounds, QUICK_SECONDS if setting.quick else SECONDS)
    rows = [
        {"layer": layer, "analogue": analogue, "shape": list(shape)}
        | compare(build(shape[1]), build_analogue(shape[1]), shape, effort, setting.device)
        for shape in SHAPES
        for layer, build, analogue, build_analogue in PAIRS
    ]
    return {"rounds": effort.rounds, "rows": rows}


def compare(
    layer: nn.Module,
    analogue: nn.Module,
    shape: tuple[int, ...],
    effort: Effort,
    device: torch.device,
) -> dict[str, Any]:
    """Ratios of time at one size, forward and with the backward."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    found = {}
    for direction, make in (("forward", forward), ("forward_backward", forward_backward)):
        actions = {"ours": make(layer.to(device), x), "theirs": make(analogue.to(device), x)}
        seconds = in_turn(actions, effort)
        found[direction] = {"time": ratio(seconds["ours"], seconds["theirs"]).model_dump()}
    return found


def markdown(record: Record) -> str:
    """A row for each layer with both sizes, what makes the difference, and how it was measured."""
    large, small = (
        {row["layer"]: row for row in record["rows"] if row["shape"] == list(shape)}
        for shape in SHAPES
    )

    def column(heading: str, rows: Record, direction: str) -> Column:
        return heading, lambda layer: between(Quartiles(**rows[layer][direction]["time"]))

    columns: list[Column] = [
        ("Layer", str),
        ("Analogue", lambda layer: large[layer]["analogue"]),
        column("Large input: forward, ×", large, "forward"),
        column("with backward, ×", large, "forward_backward"),
        column("Small input: forward, ×", small, "forward"),
        column("with backward, ×", small, "forward_backward"),
    ]
    caption = (
        "Time of the layer over its analogue's, below 1 the layer is faster; inputs "
        f"{' and '.join(str(list(shape)) for shape in SHAPES)}, float32, channels first. Medians "
        f"of {record['rounds']} rounds, in brackets the quartiles. With backward: the gradients of "
        "the input and of all parameters too."
    )
    return f"{WHY}\n\n{markdown_table(list(large), columns)}\n\n{caption}"


WHY = (
    "A small input is timed by its calls, not its arithmetic: a backward in Python costs its "
    "microseconds whatever the size. A large one is timed by its passes over memory: Swish with "
    "β = 1 has SiLU's own kernels, of one pass each, with another or a trained β it needs several; "
    "ChannelAttention reads its input once more than SqueezeExcitation, for the maximum."
)
