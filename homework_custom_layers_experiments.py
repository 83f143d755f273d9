"""Task 3: what does a custom layer cost and bring, and which residual block is worth its price?

    3.1 custom_layers     Swish, L2Pooling, CustomConv and ChannelAttention beside their analogues
    3.2 residual_blocks   basic, bottleneck and wide blocks: by themselves, and each inside the same
                          small network on CIFAR-10

Tables and figures: results/ and plots/.
"""

import sys
from collections.abc import Mapping

from torch import nn
from torchvision.ops import SqueezeExcitation

from models import (
    BasicResidualBlock,
    BottleneckBlock,
    ChannelAttention,
    CustomConv,
    L2Pooling,
    Swish,
    WideResidualBlock,
)
from utils.experiment import Experiment, LayerCase, Row
from utils.recipes import CIFAR10_RECIPE
from utils.report.wording import Numbers, best, listed, more_or_less, ranking
from utils.runner import main

Table = Mapping[str, Numbers]  # column -> layer, block or model -> number

IMAGES = (4, 3, 32, 32)  # the report's input of section 3.1
MAPS = (4, 16, 32, 32)  # what CustomConv makes of it
BLOCK_INPUT = (4, 64, 32, 32)  # the report's input of section 3.2


def custom_conv() -> nn.Module:
    """The report's convolution: 3 -> 16 channels, height and width stay."""
    return CustomConv(3, 16, 3, padding=1)


def conv_and_attention() -> nn.Module:
    """ChannelAttention as the report has it: behind the convolution."""
    return nn.Sequential(custom_conv(), ChannelAttention(16, reduction=4))


def conv_and_squeeze_excitation() -> nn.Module:
    """The analogue of both together."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), SqueezeExcitation(16, 4))


BEHIND = "CustomConv + ChannelAttention"


def layer_conclusions(table: Table) -> list[str]:
    """What the layers' table says, in the numbers of its record."""
    seconds = table["forward_backward_seconds_100_iterations"]
    signed, absolute = table["signed_mean_gradient_input"], table["mean_absolute_gradient_input"]
    pairs = [
        ("Swish", "SiLU"),
        ("L2Pooling", "LPPool2d"),
        ("CustomConv", "Conv2d"),
        ("ChannelAttention", "SqueezeExcitation"),
    ]
    costs = [f"{own} {seconds[own] / seconds[other]:.1f} times {other}" for own, other in pairs]
    return [
        f"Forward and backward at the report's size, a layer written in Python takes: "
        f"{listed(costs)}. Swish with β = 1 computes by SiLU's own kernels: what it takes longer "
        "is the call of a Python function in each direction.",
        f"The report's gradient column is the mean of signed gradients, which cancel: for Swish it "
        f"is {signed['Swish']:.2g}, while a gradient's mean size under a random cotangent is "
        f"{absolute['Swish']:.2g}. Only the second can be compared between layers.",
        f"Swish lets gradient through where ReLU does not: a mean size of {absolute['Swish']:.3g} "
        f"against {absolute['ReLU']:.3g}.",
        f"L2Pooling passes gradient to every element of a window, MaxPool2d to one of four: a mean "
        f"size of {absolute['L2Pooling']:.3g} against {absolute['MaxPool2d']:.3g}.",
    ]


def block_conclusions(table: Table) -> list[str]:
    """What the blocks' tables say, in the numbers of their records."""
    parameters, seconds = table["parameters"], table["seconds_100_iterations"]
    accuracy, spread = table["test_accuracy"], table["batch_loss_iqr"]
    basic, narrow, wide = "BasicResidualBlock", "BottleneckBlock", "WideResidualBlock"
    signed = table["signed_mean_gradient_input"]
    return [
        f"By themselves: the bottleneck has {parameters[narrow] / parameters[basic]:.0%} of the "
        f"basic block's parameters and takes {seconds[narrow] / seconds[basic]:.0%} of its time "
        f"forward; the wide block {parameters[wide] / parameters[basic]:.1f} times the parameters "
        f"and {seconds[wide] / seconds[basic]:.1f} times the time.",
        f"Inside the same network, from the best down: {ranking(accuracy)}. The wide block scores "
        f"{more_or_less(accuracy['WideBlockNet'] - accuracy['BasicBlockNet'])} than the basic one, "
        f"the bottleneck {more_or_less(accuracy['BottleneckBlockNet'] - accuracy['BasicBlockNet'])}"
        ".",
        f"Batch losses of the last epoch spread most in {best(spread)}: an inter-quartile range of "
        + listed([f"{spread[model]:.3f} ({model})" for model in spread])
        + f". On the train split they end in this order: {ranking(table['train_accuracy'])}.",
        f"The signed mean gradient says nothing about a block. Where a batch-norm stands on every "
        f"path it is zero up to rounding ({signed[wide]:.1g} for the wide block); an identity "
        f"shortcut adds a constant, the part of units that ReLU lets through over their number "
        f"({signed[basic]:.3g} for the basic block, {signed[narrow]:.3g} for the bottleneck).",
    ]


CUSTOM_LAYERS = Experiment(
    name="custom_layers",
    question="What do four layers with hand-written gradients compute, and what do they cost?",
    cases=(
        LayerCase("Swish", Swish, IMAGES),
        LayerCase("SiLU", nn.SiLU, IMAGES, analogue_of="Swish"),
        LayerCase("ReLU", nn.ReLU, IMAGES, analogue_of="Swish"),
        LayerCase("L2Pooling", lambda: L2Pooling(2), IMAGES),
        LayerCase("LPPool2d", lambda: nn.LPPool2d(2, 2), IMAGES, analogue_of="L2Pooling"),
        LayerCase("MaxPool2d", lambda: nn.MaxPool2d(2), IMAGES, analogue_of="L2Pooling"),
        LayerCase("CustomConv", custom_conv, IMAGES),
        LayerCase("Conv2d", lambda: nn.Conv2d(3, 16, 3, padding=1), IMAGES, "CustomConv"),
        LayerCase("ChannelAttention", lambda: ChannelAttention(16, reduction=4), MAPS),
        LayerCase("SqueezeExcitation", lambda: SqueezeExcitation(16, 4), MAPS, "ChannelAttention"),
        LayerCase(BEHIND, conv_and_attention, IMAGES, weights_of="0"),
        LayerCase("Conv2d + SqueezeExcitation", conv_and_squeeze_excitation, IMAGES, BEHIND, "0"),
    ),
    cases_are="layer",
    varied=("layer",),
    held=("input", "initial weights of a layer and its analogue"),
    not_tuned=("implementation of the analogues, which are torch's own",),
    figures=("activation_functions", "pooling", "layer_timings"),
    conclusions=layer_conclusions,
)

RESIDUAL_BLOCKS = Experiment(
    name="residual_blocks",
    question="What do width and a bottleneck cost, and what do they bring inside a network?",
    dataset="cifar10",
    rows=(Row("BasicBlockNet"), Row("BottleneckBlockNet"), Row("WideBlockNet")),
    cases=(
        LayerCase("BasicResidualBlock", lambda: BasicResidualBlock(64, 64), BLOCK_INPUT),
        LayerCase("BottleneckBlock", lambda: BottleneckBlock(64, 64), BLOCK_INPUT),
        LayerCase("WideResidualBlock", lambda: WideResidualBlock(64, 128), BLOCK_INPUT),
    ),
    cases_are="block",
    recipe=CIFAR10_RECIPE,
    varied=("residual block",),
    held=("stem", "pooling", "classifier", "optimiser and schedule", "epochs", "data order"),
    not_tuned=("learning rate per network", "number of parameters"),
    figures=("curves", "stability", "block_timings"),
    columns=("stability",),
    in_overview=False,  # they frame a single block
    conclusions=block_conclusions,
)

EXPERIMENTS = (CUSTOM_LAYERS, RESIDUAL_BLOCKS)

if __name__ == "__main__":
    from study import EXPERIMENTS as STUDY  # of all scripts, for the overview

    sys.exit(main(EXPERIMENTS, __doc__, study=STUDY))
