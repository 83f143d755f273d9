"""CNN3x3 with one of its layers swapped for another: what does a layer bring in training?

conv3(3→32) activation gate pool, conv3(32→64) activation gate pool, 4096-10, where every part can
be named; by default it computes what CNN3x3 does, in the usual order, activation before pooling,
which an activation that falls somewhere is not free to leave.

| swapped | parameters |
|---|---|
| nothing; SiLU; AvgPool2d, L2Pooling; CustomConv | 60,362 |
| Swish with a trained β in each of two layers | 60,364 |
| ChannelAttention, reduction 4 | 62,922 |
| SqueezeExcitation, reduction 4 (with biases) | 63,042 |

The counts are asserted in ``tests/models/test_models.py``.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish

Make = Callable[..., nn.Module]

CONVOLUTIONS: Mapping[str, Make] = {"Conv2d": nn.Conv2d, "CustomConv": CustomConv}
ACTIVATIONS: Mapping[str, Make] = {
    "ReLU": nn.ReLU,
    "SiLU": nn.SiLU,
    "Swish": partial(Swish, trainable=True),
}
POOLINGS: Mapping[str, Make] = {
    "MaxPool2d": nn.MaxPool2d,
    "AvgPool2d": nn.AvgPool2d,
    "L2Pooling": L2Pooling,
}
GATES: Mapping[str, Make] = {  # of the number of channels
    "none": lambda channels: nn.Identity(),
    "ChannelAttention": lambda channels: ChannelAttention(channels, reduction=4),
    "SqueezeExcitation": lambda channels: SqueezeExcitation(channels, channels // 4),
}


class SwappedCNN(nn.Module):
    """CNN3x3 whose convolution, activation, pooling or gate is the named one, in both stages.

    Input ``[batch, 3, 32, 32]``, output logits ``[batch, num_classes]``.
    Raises: KeyError for a name that is not in this module's tables.
    """

    def __init__(
        self,
        convolution: str = "Conv2d",
        activation: str = "ReLU",
        pooling: str = "MaxPool2d",
        gate: str = "none",
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        stages = [
            nn.Sequential(
                CONVOLUTIONS[convolution](in_channels, out_channels, 3, padding=1),
                ACTIVATIONS[activation](),
                GATES[gate](out_channels),
                POOLINGS[pooling](2),
            )
            for in_channels, out_channels in ((3, 32), (32, 64))
        ]
        self.features = nn.Sequential(*stages)  # [batch, 64, 8, 8]
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 3, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))
