"""Name -> network, its colour and its marker: the one list of what the tables can hold.

To add a network of your own: write its class in this folder, add a line to ``MODELS``, give it a
row in an experiment of ``experiments/``.
"""

import difflib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from models.convolutional import CNN1x1_3x3, CNN3x3, CNN5x5, CNN7x7, DeepCNN, MediumCNN, SimpleCNN
from models.fully_connected import DeepFCNet, FCNet
from models.locally_connected import LocalCNN
from models.residual import (
    BasicResidualBlock,
    BlockNet,
    BottleneckBlock,
    CNNWithResidual,
    CNNWithResidualReg,
    LadderNet,
    ResNetLikeCNN,
    WideResidualBlock,
)
from models.swapped import SwappedCNN

# Okabe and Ito, Color Universal Design (2008): told apart by the common kinds of colour blindness
BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"

LOCAL = ("local connections", "max-pooling")
POOLED = ("convolutions", "max-pooling")
SHORTCUTS = ("convolutions", "shortcuts", "batch-norm")
STRIDED = (*SHORTCUTS, "strides", "average pooling to 4×4")
GLOBAL = (*SHORTCUTS, "strides", "global average pooling")
BLOCK = (*POOLED, "shortcuts", "batch-norm", "global average pooling")


class Network(NamedTuple):
    """A network that the tables can hold."""

    build: Callable[..., nn.Module]
    colour: str  # in every figure; networks that share a figure differ in it
    traits: tuple[str, ...] = ()  # what it is made of: named where two networks differ in it
    marker: str = "o"  # in every figure, as matplotlib calls it; with the colour its own


MODELS = {
    "FCNet": Network(FCNet, BLACK, marker="s"),
    "SimpleCNN": Network(SimpleCNN, BLUE, POOLED, marker="D"),
    "CNNWithResidual": Network(CNNWithResidual, VERMILLION, STRIDED, marker="^"),
    "DeepFCNet": Network(DeepFCNet, BLACK, marker="D"),
    "CNNWithResidualReg": Network(CNNWithResidualReg, PURPLE, (*STRIDED, "dropout"), marker="v"),
    "CNN3x3": Network(CNN3x3, BLUE, POOLED),
    "CNN5x5": Network(CNN5x5, ORANGE, POOLED, marker="s"),
    "CNN7x7": Network(CNN7x7, GREEN, POOLED, marker="D"),
    "CNN1x1+3x3": Network(CNN1x1_3x3, PURPLE, POOLED, marker="^"),
    # three of these shapes at CNN3x3's 60,362 parameters, give or take 1 %
    "CNN5x5-60k": Network(partial(CNN5x5, widths=(24, 47)), ORANGE, POOLED, marker="s"),
    "CNN7x7-60k": Network(partial(CNN7x7, widths=(21, 34)), GREEN, POOLED, marker="D"),
    "CNN1x1+3x3-60k": Network(
        partial(CNN1x1_3x3, widths=(16, 32, 32, 59)), PURPLE, POOLED, marker="^"
    ),
    "MediumCNN": Network(MediumCNN, GREEN, POOLED, marker="s"),
    "DeepCNN": Network(DeepCNN, ORANGE, POOLED, marker="D"),
    "ResNetLikeCNN": Network(ResNetLikeCNN, VERMILLION, GLOBAL, marker="v"),
    # each residual block inside the same small network
    "BasicBlockNet": Network(partial(BlockNet, block=BasicResidualBlock), BLUE, BLOCK, marker="^"),
    "BottleneckBlockNet": Network(
        partial(BlockNet, block=BottleneckBlock), ORANGE, BLOCK, marker="v"
    ),
    "WideBlockNet": Network(
        partial(BlockNet, block=WideResidualBlock, out_channels=128),
        PURPLE,
        BLOCK,
        marker="s",
    ),
    "LocalCNN": Network(LocalCNN, SKY, LOCAL, marker="^"),
    # for controls: what their arguments change is all that differs
    "LadderNet": Network(LadderNet, VERMILLION, GLOBAL, marker="D"),
    "SwappedCNN": Network(SwappedCNN, BLUE, POOLED, marker="s"),
}


def unknown_message(kind: str, name: str, known: list[str]) -> str:
    """For a name that is not in a list: the closest match, then the whole list."""
    lowered = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"did you mean {lowered[close[0]]!r}? Known: " if close else "known: "
    comma = "; " if any("," in each for each in known) else ", "
    return f"unknown {kind} {name!r}; {hint}{comma.join(known)}"


class UnknownModelError(KeyError):
    """A name that is not in ``MODELS``; its text is printed as it is, not quoted."""

    def __str__(self) -> str:
        return str(self.args[0])


def build(name: str, /, **overrides: object) -> nn.Module:
    """Builds the network with this name: ``build("CNNWithResidual", in_channels=3)``.

    ``overrides`` go to the network's constructor. Weights are drawn from torch's global
    generator: seed it first.
    Raises: UnknownModelError, a KeyError, for an unknown name (with the closest known one);
    TypeError for an argument that the network does not take.
    """
    if name not in MODELS:
        raise UnknownModelError(unknown_message("model", name, list(MODELS)))
    return MODELS[name].build(**overrides)
