"""What does a layer with a hand-written gradient compute, and what does it cost?"""

from collections.abc import Mapping

from torch import nn
from torchvision.ops import SqueezeExcitation

from models import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.experiment import Experiment, LayerCase, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS
from utils.report.wording import Numbers, listed

Table = Mapping[str, Numbers]  # column -> layer -> number

IMAGES = (4, 3, 32, 32)  # the report's input of section 3.1
MAPS = (4, 16, 32, 32)  # what CustomConv makes of it
BEHIND = "CustomConv + ChannelAttention"


def custom_conv() -> nn.Module:
    """The report's convolution: 3 -> 16 channels, height and width stay."""
    return CustomConv(3, 16, 3, padding=1)


def conv_and_attention() -> nn.Module:
    """ChannelAttention as the report has it: behind the convolution."""
    return nn.Sequential(custom_conv(), ChannelAttention(16, reduction=4))


def conv_and_squeeze_excitation() -> nn.Module:
    """The analogue of both together."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), SqueezeExcitation(16, 4))


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

LAYERS_IN_TRAINING = Experiment(
    name="layers_in_training",
    question="What does CNN3x3 gain or lose when one of its layers is swapped for another?",
    dataset="cifar10",
    rows=(
        Row("base", "SwappedCNN"),
        Row("SiLU", "SwappedCNN", {"activation": "SiLU"}),
        Row("Swish, trained β", "SwappedCNN", {"activation": "Swish"}),
        Row("AvgPool2d", "SwappedCNN", {"pooling": "AvgPool2d"}),
        Row("L2Pooling", "SwappedCNN", {"pooling": "L2Pooling"}),
        Row("CustomConv", "SwappedCNN", {"convolution": "CustomConv"}),
        Row("ChannelAttention", "SwappedCNN", {"gate": "ChannelAttention"}),
        Row("SqueezeExcitation", "SwappedCNN", {"gate": "SqueezeExcitation"}),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    varied=("one layer, in both stages",),
    held=("all other layers", "optimiser and schedule", "epochs", "augmentation", "data order"),
    not_tuned=("learning rate per layer",),
    in_overview=False,
)
