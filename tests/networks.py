"""Networks of one's own, of few layers: how they are made, and made known."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from models.registry import MODELS


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
