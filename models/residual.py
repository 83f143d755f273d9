"""Residual blocks written from scratch, and the networks built of them.

A block computes ``relu(branch(x) + shortcut(x))``. The shortcut is the identity, or a 1×1
convolution with batch-norm where the number of channels or the image size changes
(projection, option B of the paper).

| block | branch | parameters |
|---|---|---|
| BasicResidualBlock(64, 64) | conv3-BN-ReLU-conv3-BN | 74,112 |
| BottleneckBlock(64, 64) | conv1(64→16)-BN-ReLU-conv3-BN-ReLU-conv1(16→64)-BN | 4,640 |
| WideResidualBlock(64, 128) | Basic at twice the width, with a projection | 230,528 |

``Res(a→b)`` is a BasicResidualBlock whose convolutions have no bias (the batch-norm behind
each takes its place), ``[o/2]`` means stride 2.

| network | layers | parameters |
|---|---|---|
| CNNWithResidual, 1 channel | conv3(1→32)-BN-ReLU, Res(32→32), Res(32→64 [o/2]), Res(64→64), average pool to 4×4, 1024-10 | 160,906 |
| CNNWithResidual, 3 channels | the same from 3 channels | 161,482 |
| CNNWithResidualReg | conv3(3→32)-BN-ReLU, Res(32→32), Res(32→64 [o/2]), Res(64→128 [o/2]), average pool to 4×4, 2048-10, with dropout | 327,882 |
| ResNetLikeCNN | conv3(3→32), Res(32→32), Res(32→64 [o/2]), Res(64→64), global average pool, 64-10 | 151,818 |

The counts are asserted in ``tests/models/test_models.py``.
Source: He et al., Deep Residual Learning (2015), arXiv:1512.03385, figures 2 and 5.
"""  # noqa: E501 (a table row cannot be broken)

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn


def shortcut(in_channels: int, out_channels: int, stride: int, bias: bool) -> nn.Module:
    """The identity where the shape stays, else 1×1 convolution and batch-norm.

    ``[batch, in_channels, height, width]`` ->
    ``[batch, out_channels, height / stride, width / stride]``.
    """
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias),
        nn.BatchNorm2d(out_channels),
    )


class BasicResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

        y = relu(bn2(conv2(dropout(relu(bn1(conv1(x)))))) + shortcut(x))

    Input ``[batch, in_channels, height, width]``, output
    ``[batch, out_channels, height / stride, width / stride]``. ``dropout`` is the probability
    with which whole channels are zeroed after the first ReLU (0: none). For controls:
    ``add_shortcut=False`` leaves the sum out, ``norm=False`` the batch-norms.
    Source: He et al. (2015), arXiv:1512.03385, figure 5 left; the dropout's place is that of
    Zagoruyko and Komodakis, Wide Residual Networks (2016), arXiv:1605.07146, figure 1d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        add_shortcut: bool = True,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.relu1 = nn.ReLU()
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.shortcut = shortcut(in_channels, out_channels, stride, bias) if add_shortcut else None
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, h, w]`` -> ``[batch, out_channels, h / stride, w / stride]``."""
        branch = self.dropout(self.relu1(self.bn1(self.conv1(x))))
        branch = self.bn2(self.conv2(branch))
        return self.relu2(branch if self.shortcut is None else branch + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A 1×1 convolution narrows, a 3×3 looks around, a 1×1 widens again; beside a shortcut.

        y = relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))

    Input ``[batch, in_channels, height, width]``, output
    ``[batch, out_channels, height / stride, width / stride]``; the 3×3 convolution works on
    ``out_channels // reduction`` channels.
    Source: He et al. (2015), arXiv:1512.03385, figure 5 right. Differs from the paper: the
    stride stands in the 3×3 convolution, as in torchvision, so that no pixel is skipped unseen.
    Raises: ValueError where ``reduction`` leaves the narrow part without a channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        bias: bool = True,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        narrow = out_channels // reduction
        if narrow < 1:
            raise ValueError(
                f"reduction {reduction} leaves no channel of out_channels {out_channels}; "
                f"use a reduction of at most {out_channels}"
            )
        self.conv1 = nn.Conv2d(in_channels, narrow, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride=stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(narrow, out_channels, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride, bias)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, h, w]`` -> ``[batch, out_channels, h / stride, w / stride]``."""
        branch = self.relu1(self.bn1(self.conv1(x)))
        branch = self.relu2(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        return self.relu3(branch + self.shortcut(x))


class WideResidualBlock(BasicResidualBlock):
    """The basic block at twice the width, which needs a projection as its shortcut.

    Input ``[batch, in_channels, height, width]``, output ``[batch, out_channels, height / stride,
    width / stride]``, where ``out_channels`` is ``2 * in_channels`` unless it is given.
    Source: Zagoruyko and Komodakis, Wide Residual Networks (2016), arXiv:1605.07146.
    Differs from the paper: batch-norm and ReLU stand behind the convolutions, as in the other
    blocks, so that they stand in the same places in all three.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels or 2 * in_channels, stride, bias, dropout)


def conv_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """3×3 convolution with bias, batch-norm, ReLU; height and width stay."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


class CNNWithResidual(nn.Module):
    """A convolution, three residual blocks, an average over 4×4 regions, a linear layer.

    Input ``[batch, in_channels, height, width]``, output logits ``[batch, num_classes]``.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, 32)
        self.blocks = nn.Sequential(
            BasicResidualBlock(32, 32, bias=False),
            BasicResidualBlock(32, 64, stride=2, bias=False),
            BasicResidualBlock(64, 64, bias=False),  # [batch, 64, height / 2, width / 2]
        )
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, height, width]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))


class CNNWithResidualReg(nn.Module):
    """The regularised residual network: dropout in the blocks and before the classifier.

    Input ``[batch, in_channels, height, width]``, output logits ``[batch, num_classes]``.
    The report does not say where its dropout stood nor how strong it was; ours is
    ``block_dropout`` of the channels after the first ReLU of each block and ``dropout`` of the
    features before the classifier. Its last block is wider than CNNWithResidual's.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        block_dropout: float = 0.1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, 32)
        self.blocks = nn.Sequential(
            BasicResidualBlock(32, 32, bias=False, dropout=block_dropout),
            BasicResidualBlock(32, 64, stride=2, bias=False, dropout=block_dropout),
            BasicResidualBlock(64, 128, stride=2, bias=False, dropout=block_dropout),
        )  # [batch, 128, height / 4, width / 4]
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(128 * 4 * 4, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, height, width]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))


class ResNetLikeCNN(nn.Module):
    """The residual network of the depth table: seven 3×3 convolutions, global average pooling.

    Input ``[batch, in_channels, height, width]``, output logits ``[batch, num_classes]``.
    Nothing stands between the first convolution and the first block. ``add_shortcut=False`` is
    its plain twin: the same without the sums and the projection of the second.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 10, add_shortcut: bool = True
    ) -> None:
        super().__init__()
        block = partial(BasicResidualBlock, bias=False, add_shortcut=add_shortcut)
        self.stem = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.blocks = nn.Sequential(
            block(32, 32), block(32, 64, stride=2), block(64, 64)
        )  # [batch, 64, height / 2, width / 2]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, height, width]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))


def draw_he_weights(module: nn.Module) -> None:
    """Draws a convolution's weights anew, from a normal distribution of variance 2 / fan-in.

    Behind ReLU a signal then has the same mean square in every layer. Biases become zero.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class LadderNet(nn.Module):
    """A network of ``layers`` layers, 6 n + 2, that differs from others of its kind in depth alone.

    A 3×3 convolution, three stages of n basic blocks with 16, 32 and 64 channels, each stage but
    the first halving the image, global average pooling, a linear layer.
    Input ``[batch, 3, 32, 32]``, output logits ``[batch, num_classes]``.

    Source: He et al. (2015), arXiv:1512.03385, section 4.2. Differs from the paper: the first
    convolution has stride 2, which makes all that follows four times cheaper; projections are 1×1
    convolutions (option B); initial weights are torch's defaults.
    ``add_shortcut=False`` is the paper's plain network, ``norm=False`` that without batch-norm;
    ``he_weights`` draws those of convolutions as the paper does, with biases of zero (He et al.
    (2015), Delving Deep into Rectifiers, arXiv:1502.01852, equation 10): torch's are smaller by a
    factor of √6, and a signal shrinks by it in each layer.
    Raises: ValueError where ``layers`` is not 6 n + 2.
    """

    def __init__(
        self,
        layers: int = 20,
        add_shortcut: bool = True,
        norm: bool = True,
        he_weights: bool = False,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(layers - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"LadderNet: layers must be 8, 14, 20, … (6 n + 2), got {layers}")
        block = partial(BasicResidualBlock, bias=not norm, add_shortcut=add_shortcut, norm=norm)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=not norm),  # [batch, 16, 16, 16]
            nn.BatchNorm2d(16) if norm else nn.Identity(),
            nn.ReLU(),
        )
        stages = []
        for in_channels, out_channels, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            stages.append(block(in_channels, out_channels, stride))
            stages += [block(out_channels, out_channels) for _ in range(blocks - 1)]
        self.blocks = nn.Sequential(*stages)  # [batch, 64, 4, 4]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
        if he_weights:
            self.apply(draw_he_weights)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 3, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))


class BlockNet(nn.Module):
    """One residual block inside the smallest network that lets it learn.

    Input ``[batch, 3, 32, 32]``, output logits ``[batch, num_classes]``. ``block`` makes the
    block from ``(in_channels, out_channels)``.
    """

    def __init__(
        self,
        block: Callable[[int, int], nn.Module] = BasicResidualBlock,
        out_channels: int = 64,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU())
        self.reduce = nn.MaxPool2d(2)  # [batch, 64, 16, 16]
        self.block = block(64, out_channels)  # [batch, out_channels, 16, 16]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(out_channels, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 3, 32, 32]`` -> logits ``[batch, num_classes]``."""
        return self.classifier(self.pool(self.block(self.reduce(self.stem(x)))))
