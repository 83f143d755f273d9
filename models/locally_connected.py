"""A convolution's twin that shares no weights: what does one filter for all places bring?

``local3(a→b)`` looks at 3×3 neighbours as a convolution does, with filters of its own at each
place of the image; ReLU and a 2×2 max-pool ``P`` follow.

| network | layers | parameters |
|---|---|---|
| LocalCNN | local3(3→32) P local3(32→64) P, 4096-10 | 5,693,450 |

The count is asserted in ``tests/models/test_models.py``.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.custom_layers import Convolution


class LocallyConnected2d(nn.Module):
    """At each place of a map a linear layer of its own, from the window around it.

    ``[batch, in_channels, *size]`` -> ``[batch, out_channels, *size]``; outside the map are zeros.
    ``weight`` is ``[places, out_channels, kernel_size² * in_channels]``, ``bias``
    ``[places * out_channels]``. Equal at all places they make it a convolution. Each place starts
    as the filters of ``nn.Conv2d`` do: uniform up to 1 / sqrt(numbers in a window).

    Source: Taigman et al., DeepFace (2014), section 2.2, for the layer; LeCun, Generalization and
    Network Design Strategies (1989), for the comparison with shared weights.
    Raises: ValueError for a kernel size that is even or below 1, or for a map of another size or
    with other channels.
    """

    stride = 1  # with kernel_size and padding what a receptive field is computed from

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], kernel_size: int = 3
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd and positive, to have a middle: {kernel_size}"
            )
        self.in_channels, self.size = in_channels, tuple(map(int, size))
        self.kernel_size, self.padding = kernel_size, kernel_size // 2
        numbers = in_channels * kernel_size**2
        bound = 1 / math.sqrt(numbers)
        weight = torch.empty(math.prod(size), out_channels, numbers)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        bias = torch.empty(out_channels * math.prod(size))
        self.bias = nn.Parameter(bias.uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, *size]`` -> ``[batch, out_channels, *size]``."""
        expected = (self.in_channels, *self.size)
        if x.shape[1:] != expected:
            raise ValueError(f"a map of {tuple(x.shape[1:])} where {expected} is expected")
        # places first and channels last: what is copied and multiplied lies together in memory
        x = F.pad(x.permute(2, 3, 0, 1), (0, 0, 0, 0, *4 * (self.padding,)))
        height, width = self.size
        offsets = itertools.product(range(self.kernel_size), repeat=2)
        moved = [x[down : down + height, right : right + width] for down, right in offsets]
        windows = torch.cat(moved, dim=-1).flatten(0, 1)  # [places, batch, numbers]
        bias = self.bias.view(len(windows), 1, -1)
        at_places = windows @ self.weight.mT + bias  # [places, batch, out_channels]
        y = at_places.unflatten(0, self.size).permute(2, 3, 0, 1)
        return y.contiguous(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        """What ``print`` shows in its brackets."""
        places, out_channels, _ = self.weight.shape
        return f"{places} places, {out_channels} channels, kernel_size={self.kernel_size}"


Weighted = Convolution | LocallyConnected2d | nn.Linear  # for isinstance


class LocalCNN(nn.Module):
    """CNN3x3 with filters of its own at each place: local connections without shared weights.

    Input ``[batch, in_channels, 32, 32]``, output logits ``[batch, num_classes]``.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            LocallyConnected2d(in_channels, 32, (32, 32)),
            nn.MaxPool2d(2),
            nn.ReLU(),  # [batch, 32, 16, 16]
            LocallyConnected2d(32, 64, (16, 16)),
            nn.MaxPool2d(2),
            nn.ReLU(),  # [batch, 64, 8, 8]
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))
