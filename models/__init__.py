"""Networks and layers of the study; imports torch, and nothing of ours outside this folder."""

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
from models.custom_layers import ChannelAttention, Convolution, CustomConv, L2Pooling, Swish
from models.fully_connected import DeepFCNet, FCNet
from models.locally_connected import LocalCNN, LocallyConnected2d, Weighted
from models.registry import MODELS, UnknownModelError, build, unknown_message
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

__all__ = [
    "MODELS",
    "BasicResidualBlock",
    "BlockNet",
    "BottleneckBlock",
    "CNN1x1_3x3",
    "CNN3x3",
    "CNN5x5",
    "CNN7x7",
    "CNNWithResidual",
    "CNNWithResidualReg",
    "ChannelAttention",
    "Convolution",
    "CustomConv",
    "DeepCNN",
    "DeepFCNet",
    "FCNet",
    "L2Pooling",
    "LadderNet",
    "LocalCNN",
    "LocallyConnected2d",
    "MediumCNN",
    "ResNetLikeCNN",
    "ShallowCNN",
    "SimpleCNN",
    "SwappedCNN",
    "Swish",
    "UnknownModelError",
    "Weighted",
    "WideResidualBlock",
    "build",
    "unknown_message",
]
