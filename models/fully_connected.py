"""Fully connected networks: every pixel meets every unit, and nothing tells it where it stood.

| network | layers | parameters |
|---|---|---|
| FCNet (MNIST) | 784-256-128-64-10 | 242,762 |
| DeepFCNet (CIFAR-10) | 3072-1024-512-256-10 | 3,805,450 |

ReLU stands between the layers; the counts are asserted in ``tests/models/test_models.py``.
"""

from itertools import pairwise

from torch import Tensor, nn


class FullyConnectedNet(nn.Module):
    """A chain of linear layers with ReLU between them, on the flattened image.

    Input: ``[batch, channels, height, width]`` with ``channels * height * width == widths[0]``.
    Output: logits ``[batch, widths[-1]]``.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for in_features, out_features in pairwise(widths):
            layers += [nn.Linear(in_features, out_features), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # logits are signed: no ReLU after the last

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` -> logits ``[batch, classes]``."""
        return self.layers(x)


class FCNet(FullyConnectedNet):
    """784-256-128-64-10: the fully connected network of the MNIST table."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(28 * 28, 256, 128, 64, num_classes)


class DeepFCNet(FullyConnectedNet):
    """3072-1024-512-256-10: the fully connected network of the CIFAR-10 table."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(3 * 32 * 32, 1024, 512, 256, num_classes)
