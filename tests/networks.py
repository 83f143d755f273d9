"""The study's networks and what is known of them by hand; small ones of one's own."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from experiments import STUDY
from models.registry import MODELS

# Receptive fields by hand: a k×k kernel adds (k - 1) · jump, a pooling or a stride of 2 doubles the
# jump behind it.
TWO_LAYERS = ("features.0.0", "features.0.1", "features.1.0", "features.1.1")  # conv, P, conv, P
FOUR_LAYERS = tuple(f"features.{layer}" for layer in ("0.0", "1.0", "1.1", "2.0", "3.0", "3.1"))
BLOCK = {"stem.0": 3, "reduce": 4}  # what stands before the block
RESIDUAL = {  # jump 1 up to blocks.0, 2 behind the stride of blocks.1.conv1
    "blocks.0.conv1": 5,
    "blocks.0.conv2": 7,
    "blocks.0": 7,
    "blocks.1.conv1": 9,
    "blocks.1.conv2": 13,
    "blocks.1.shortcut.0": 7,  # 1×1: the strided shortcut sees no further
    "blocks.1": 13,  # the maximum over both paths
    "blocks.2.conv1": 17,
    "blocks.2.conv2": 21,
    "blocks.2": 21,
}
STRIDED_TWICE = {"blocks.2.conv2": 25, "blocks.2.shortcut.0": 13, "blocks.2": 25}
LADDER = (  # the two convolutions of each block
    *((7, 11), (15, 19), (23, 27)),
    *((31, 39), (47, 55), (63, 71)),
    *((79, 95), (111, 127), (143, 159)),
)
MEDIUM = dict(zip(FOUR_LAYERS, (3, 5, 6, 10, 14, 16), strict=True))
BY_HAND = {
    "FCNet": {},
    "DeepFCNet": {},
    "SimpleCNN": dict(zip(TWO_LAYERS, (3, 4, 8, 10), strict=True)),
    "CNN3x3": dict(zip(TWO_LAYERS, (3, 4, 8, 10), strict=True)),
    "LocalCNN": {"features.0": 3, "features.1": 4, "features.3": 8, "features.4": 10},
    "CNN5x5": dict(zip(TWO_LAYERS, (5, 6, 14, 16), strict=True)),
    "CNN7x7": dict(zip(TWO_LAYERS, (7, 8, 20, 22), strict=True)),
    "CNN1x1+3x3": dict(zip(FOUR_LAYERS, (1, 3, 4, 4, 8, 10), strict=True)),
    "MediumCNN": MEDIUM,
    "DeepCNN": {**MEDIUM, "features.4.0": 24, "features.5.0": 32},
    "CNNWithResidual": {"stem.0": 3, **RESIDUAL},
    "ResNetLikeCNN": {"stem": 3, **RESIDUAL},
    "CNNWithResidualReg": {"stem.0": 3, **RESIDUAL, **STRIDED_TWICE},
    "BasicBlockNet": BLOCK | {"block.conv1": 8, "block.conv2": 12, "block": 12},
    "BottleneckBlockNet": BLOCK
    | {"block.conv1": 4, "block.conv2": 8, "block.conv3": 8, "block": 8},
    "WideBlockNet": BLOCK
    | {"block.conv1": 8, "block.conv2": 12, "block.shortcut.0": 4, "block": 12},
    # pixels a step apart: 2 in the first stage, 4 in the second, 8 in the third
    "LadderNet": {
        "stem.0": 3,
        **{
            f"blocks.{block}{part}": size
            for block, (first, second) in enumerate(LADDER)
            for part, size in (
                (".conv1", first),
                (".conv2", second),
                *([(".shortcut.0", {3: 27, 6: 71}[block])] if block in (3, 6) else []),
                ("", second),
            )
        },
    },
    "SwappedCNN": {"features.0.0": 3, "features.0.3": 4, "features.1.0": 8, "features.1.3": 10},
}


def is_known_by_hand(name: str) -> bool:
    """Whether it is the study's: one's own needs no entry here."""
    return name.removesuffix("-60k") in BY_HAND


def takes_digits(name: str) -> bool:
    """Whether the network, built as it is by default, is trained on MNIST."""
    rows = (row for each in STUDY if each.dataset == "mnist" for row in each.rows)
    return any(row.network == name and not row.overrides for row in rows)


class Does(nn.Module):
    """A layer that is a function."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


class Calls(nn.Module):
    """Layers by any name, called in any order."""

    def __init__(self, order: list[str], **layers: nn.Module) -> None:
        super().__init__()
        self.order = order
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = getattr(self, name)(x)
        return x


def small(*features: nn.Module, channels: int) -> nn.Sequential:
    """Images in, eight by eight; logits out."""
    return nn.Sequential(nn.AvgPool2d(4), *features, nn.Flatten(), nn.Linear(64 * channels, 10))


def frozen() -> nn.Module:
    return small(nn.Conv2d(3, 4, 1), channels=4).requires_grad_(False)


def add_network(
    monkeypatch: pytest.MonkeyPatch, build: Callable[..., nn.Module], name: str = "MyNet"
) -> None:
    """The registry knows it, by this name."""
    monkeypatch.setitem(MODELS, name, MODELS["CNN7x7"]._replace(build=build))
