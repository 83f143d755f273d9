"""Displayed name -> network: the one list of what the tables can hold.

To add a network of your own: write its class in this folder, add a line to ``MODELS``, name it
in an experiment of one of the scripts.
"""

import difflib
from collections.abc import Callable
from functools import partial

from torch import nn

from models.convolutional import (
    CNN1x1_3x3,
    CNN3x3,
    CNN5x5,
    CNN7x7,
    DeepCNN,
    MediumCNN,
    ShallowCNN,
    SimpleCNN,
)
from models.fully_connected import DeepFCNet, FCNet
from models.residual import (
    BasicResidualBlock,
    BlockNet,
    BottleneckBlock,
    CNNWithResidual,
    CNNWithResidualReg,
    ResNetLikeCNN,
    WideResidualBlock,
)

MODELS: dict[str, Callable[..., nn.Module]] = {
    "FCNet": FCNet,
    "SimpleCNN": SimpleCNN,
    "CNNWithResidual": CNNWithResidual,
    "DeepFCNet": DeepFCNet,
    "CNNWithResidualReg": CNNWithResidualReg,
    "CNN3x3": CNN3x3,
    "CNN5x5": CNN5x5,
    "CNN7x7": CNN7x7,
    "CNN1x1+3x3": CNN1x1_3x3,
    # the same four shapes at 60,362 parameters, give or take 1 %
    "CNN3x3-60k": CNN3x3,
    "CNN5x5-60k": partial(CNN5x5, widths=(24, 47)),
    "CNN7x7-60k": partial(CNN7x7, widths=(21, 34)),
    "CNN1x1+3x3-60k": partial(CNN1x1_3x3, widths=(16, 32, 32, 59)),
    "ShallowCNN": ShallowCNN,
    "MediumCNN": MediumCNN,
    "DeepCNN": DeepCNN,
    "ResNetLikeCNN": ResNetLikeCNN,
    # each residual block inside the same small network
    "BasicBlockNet": partial(BlockNet, BasicResidualBlock, 64),
    "BottleneckBlockNet": partial(BlockNet, BottleneckBlock, 64),
    "WideBlockNet": partial(BlockNet, WideResidualBlock, 128),
}


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The message for a name that is not in a list: the closest match, then the whole list."""
    lowered = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"did you mean {lowered[close[0]]!r}? Known: " if close else "known: "
    return f"unknown {kind} {name!r}; {hint}{', '.join(known)}"


class UnknownModelError(KeyError):
    """A name that is not in ``MODELS``; its text is printed as it is, not quoted."""

    def __str__(self) -> str:
        return str(self.args[0])


def build(name: str, **overrides: object) -> nn.Module:
    """Builds the network with this displayed name: ``build("CNNWithResidual", in_channels=3)``.

    ``overrides`` go to the network's constructor. Weights are drawn from torch's global
    generator: seed it first.
    Raises: UnknownModelError, a KeyError, for an unknown name (with the closest known one);
    TypeError for an argument that the network does not take.
    """
    if name not in MODELS:
        raise UnknownModelError(unknown("model", name, list(MODELS)))
    return MODELS[name](**overrides)
