"""Plain convolutional networks: no batch-norm, no shortcut, one linear layer or two at the end.

``conv3(a→b)`` is a 3×3 convolution with bias that keeps the image size, followed by ReLU;
``P`` is a 2×2 max-pool.

| network | layers | parameters |
|---|---|---|
| SimpleCNN (MNIST) | conv3(1→32) P conv3(32→64) P, 3136-128-10 | 421,642 |
| CNN3x3, ShallowCNN | conv3(3→32) P conv3(32→64) P, 4096-10 | 60,362 |
| CNN5x5 | conv5(3→16) P conv5(16→32) P, 2048-10 | 34,538 |
| CNN7x7 | conv7(3→8) P conv7(8→16) P, 1024-10 | 17,722 |
| CNN1x1+3x3 | conv1(3→16) conv3(16→32) P conv1(32→32) conv3(32→64) P, 4096-10 | 65,226 |
| MediumCNN | conv3 3→32→64 P conv3 64→128→128 P, 8192-10 | 322,762 |
| DeepCNN | conv3 3→32→32 P conv3 32→64→64 P conv3 64→128→128, 8192-10 | 368,938 |

The counts are asserted in ``tests/models/test_models.py``. All but SimpleCNN take 32×32 images.
Where a pool follows it stands before the ReLU, which changes nothing but the time that it takes.
"""

from torch import Tensor, nn


def conv_relu(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """A convolution that keeps height and width, then ReLU.

    ``[batch, in_channels, height, width]`` -> ``[batch, out_channels, height, width]``;
    ``kernel_size`` is odd, so that ``kernel_size // 2`` pixels of padding keep the size.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(conv, nn.ReLU())


def conv_pool_relu(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """A convolution that keeps height and width, 2×2 max-pooling, then ReLU.

    ``[batch, in_channels, height, width]`` -> ``[batch, out_channels, height / 2, width / 2]``.
    The usual order is ReLU before the pool, with the same result: the largest of four numbers is
    the largest after ReLU too. This way ReLU has a quarter of the numbers to go through.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(conv, nn.MaxPool2d(2), nn.ReLU())


class SimpleCNN(nn.Module):
    """Two convolutions, each followed by pooling, and two linear layers: LeNet's plan.

    Input ``[batch, in_channels, 28, 28]``, output logits ``[batch, num_classes]``.
    Source: LeCun et al., Gradient-based learning applied to document recognition (1998).
    Differs from the paper: 3×3 kernels, 32 and 64 channels, ReLU and max-pooling.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_pool_relu(in_channels, 32),  # [batch, 32, 14, 14]
            conv_pool_relu(32, 64),  # [batch, 64, 7, 7]
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 28, 28]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))


class TwoLayerCNN(nn.Module):
    """Two convolutions of one kernel size, each followed by pooling, and one linear layer.

    Input ``[batch, in_channels, 32, 32]``, output logits ``[batch, num_classes]``;
    ``widths`` are the channels behind the first and the second convolution, ``dropout`` the
    probability with which a feature is zeroed before the linear layer (0: none). With
    ``global_pooling`` each channel is averaged over the image before it.
    """

    def __init__(
        self,
        kernel_size: int,
        widths: tuple[int, int],
        in_channels: int,
        num_classes: int,
        dropout: float = 0.0,
        global_pooling: bool = False,
    ) -> None:
        super().__init__()
        first, second = widths
        self.features = nn.Sequential(
            conv_pool_relu(in_channels, first, kernel_size),  # [batch, first, 16, 16]
            conv_pool_relu(first, second, kernel_size),  # [batch, second, 8, 8]
        )
        pooled = [nn.AdaptiveAvgPool2d(1)] if global_pooling else []
        dropped = [nn.Dropout(dropout)] if dropout else []
        linear = nn.Linear(second if global_pooling else second * 8 * 8, num_classes)
        self.classifier = nn.Sequential(*pooled, nn.Flatten(), *dropped, linear)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))


class CNN3x3(TwoLayerCNN):
    """3×3 kernels; a unit before the classifier sees 10×10 pixels."""

    def __init__(
        self,
        widths: tuple[int, int] = (32, 64),
        in_channels: int = 3,
        num_classes: int = 10,
        dropout: float = 0.0,
        global_pooling: bool = False,
    ) -> None:
        super().__init__(3, widths, in_channels, num_classes, dropout, global_pooling)


class CNN5x5(TwoLayerCNN):
    """5×5 kernels; a unit before the classifier sees 16×16 pixels."""

    def __init__(
        self, widths: tuple[int, int] = (16, 32), in_channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__(5, widths, in_channels, num_classes)


class CNN7x7(TwoLayerCNN):
    """7×7 kernels; a unit before the classifier sees 22×22 pixels."""

    def __init__(
        self, widths: tuple[int, int] = (8, 16), in_channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__(7, widths, in_channels, num_classes)


class ShallowCNN(CNN3x3):
    """CNN3x3 under the name that it has in the depth table: two convolutions."""


class CNN1x1_3x3(nn.Module):
    """A 1×1 convolution mixes the channels before each 3×3 convolution looks around.

    Input ``[batch, in_channels, 32, 32]``, output logits ``[batch, num_classes]``;
    ``widths`` are the channels behind the four convolutions. Displayed as ``CNN1x1+3x3``.
    Source: Lin et al., Network In Network (2013), arXiv:1312.4400, for the 1×1 convolution.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 32, 32, 64),
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        mix1, look1, mix2, look2 = widths
        self.features = nn.Sequential(
            conv_relu(in_channels, mix1, 1),
            conv_pool_relu(mix1, look1, 3),  # [batch, look1, 16, 16]
            conv_relu(look1, mix2, 1),
            conv_pool_relu(mix2, look2, 3),  # [batch, look2, 8, 8]
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(look2 * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))


class MediumCNN(nn.Module):
    """Four convolutions in two stages: VGG's plan at a small size.

    Input ``[batch, in_channels, 32, 32]``, output logits ``[batch, num_classes]``;
    ``widths`` are the channels behind the four convolutions.
    Source: Simonyan and Zisserman, Very Deep Convolutional Networks (2014), arXiv:1409.1556.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (32, 64, 128, 128),
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.features = nn.Sequential(
            conv_relu(in_channels, first),
            conv_pool_relu(first, second),  # [batch, second, 16, 16]
            conv_relu(second, third),
            conv_pool_relu(third, fourth),  # [batch, fourth, 8, 8]
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(fourth * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))


class DeepCNN(nn.Module):
    """Six convolutions in three stages; the last stage is not pooled.

    Input ``[batch, in_channels, 32, 32]``, output logits ``[batch, num_classes]``;
    ``widths`` are the channels of the three stages, two convolutions each.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (32, 64, 128),
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.features = nn.Sequential(
            conv_relu(in_channels, first),
            conv_pool_relu(first, first),  # [batch, first, 16, 16]
            conv_relu(first, second),
            conv_pool_relu(second, second),  # [batch, second, 8, 8]
            conv_relu(second, third),
            conv_relu(third, third),  # [batch, third, 8, 8]
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(third * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.features(x))
