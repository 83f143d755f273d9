"""What does a layer with a hand-written gradient compute, and what does it cost?"""

from functools import partial

from torch import nn
from torchvision.ops import SqueezeExcitation

from models import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.claim import Claim
from utils.experiment import Experiment, LayerCase, Row
from utils.recipes import CIFAR10_RECIPE, MORE_SEEDS

IMAGES = (4, 3, 32, 32)  # the report's input of section 3.1
MAPS = (4, 16, 32, 32)  # what CustomConv makes of it
BEHIND = "CustomConv + ChannelAttention"


def custom_conv() -> nn.Module:
    """The report's convolution: 3 -> 16 channels, height and width stay."""
    return CustomConv(3, 16, 3, padding=1)


def conv_and_attention() -> nn.Module:
    """ChannelAttention as the report has it: behind the convolution."""
    return nn.Sequential(custom_conv(), ChannelAttention(16, reduction=4))


def conv_and_squeeze_excitation() -> nn.Module:
    """The analogue of both together."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), SqueezeExcitation(16, 4))


CLAIMS = (
    Claim(
        "3.1-swish-slower",
        "Swish is slower than ReLU.",
        "Swish медленнее, чем ReLU.",
        "report",
        "time",
        pairs=(("ReLU", "Swish"),),
    ),
    Claim(
        "3.1-swish-gradients",
        "Swish lets through gradients as large as ReLU does: in the mean of the absolute values.",
        "Градиенты Swish похожи на градиенты ReLU: по среднему абсолютных значений.",
        "report",
        "exact",
        pairs=(("Swish", "ReLU"),),
        metric="mean_absolute_gradient_input",
        than=1,
        margin=0.1,
    ),
    Claim(
        "3.1-l2pooling-slower",
        "L2Pooling is slower than MaxPool2d.",
        "L2Pooling медленнее, чем MaxPool2d.",
        "report",
        "time",
        pairs=(("MaxPool2d", "L2Pooling"),),
    ),
    Claim(
        "3.1-l2pooling-gradients",
        "L2Pooling lets through more gradient than MaxPool2d: in the mean of the absolute values.",
        "L2Pooling пропускает больше градиента, чем MaxPool2d: по среднему абсолютных значений.",
        "ours",
        "exact",
        pairs=(("L2Pooling", "MaxPool2d"),),
        metric="mean_absolute_gradient_input",
    ),
    Claim(
        "3.1-written-in-python",
        "Swish and CustomConv, written in Python, are slower than SiLU and Conv2d.",
        "Swish и CustomConv, написанные на Python, медленнее, чем SiLU и Conv2d.",
        "ours",
        "time",
        pairs=(("SiLU", "Swish"), ("Conv2d", "CustomConv")),
    ),
)


CUSTOM_LAYERS = Experiment(
    name="custom_layers",
    subject="Layers with hand-written gradients",
    question="What do four layers with hand-written gradients compute, and what do they cost?",
    cases=(
        LayerCase("Swish", Swish, IMAGES),
        LayerCase("SiLU", nn.SiLU, IMAGES, analogue_of="Swish"),
        LayerCase("ReLU", nn.ReLU, IMAGES, analogue_of="Swish"),
        LayerCase("L2Pooling", partial(L2Pooling, 2), IMAGES),
        LayerCase("LPPool2d", partial(nn.LPPool2d, 2, 2), IMAGES, analogue_of="L2Pooling"),
        LayerCase("MaxPool2d", partial(nn.MaxPool2d, 2), IMAGES, analogue_of="L2Pooling"),
        LayerCase("CustomConv", custom_conv, IMAGES),
        LayerCase("Conv2d", partial(nn.Conv2d, 3, 16, 3, padding=1), IMAGES, "CustomConv"),
        LayerCase("ChannelAttention", partial(ChannelAttention, 16, reduction=4), MAPS),
        LayerCase("SqueezeExcitation", partial(SqueezeExcitation, 16, 4), MAPS, "ChannelAttention"),
        LayerCase(BEHIND, conv_and_attention, IMAGES, weights_of="0"),
        LayerCase("Conv2d + SqueezeExcitation", conv_and_squeeze_excitation, IMAGES, BEHIND, "0"),
    ),
    cases_are="layer",
    varied=("layer",),
    held=("input", "initial weights of a layer and its analogue"),
    not_tuned=("implementation of the analogues, which are torch's own",),
    asks="cases",
    figures=("activation_functions", "pooling", "layer_timings"),
    claims=CLAIMS,
)

IN_TRAINING = (
    *(
        Claim(
            f"3.1-trained-{label.split(',')[0].lower()}",
            f"{label.replace(', ', ' with a ')} in place of {usual} makes the network more "
            "accurate.",
            f"{label.replace(', trained', ' с обучаемым')} вместо {usual} делает сеть точнее.",
            "ours",
            pairs=((label, "base"),),
            about=(field,),
        )
        for label, usual, field in (
            ("SiLU", "ReLU", "activation"),
            ("Swish, trained β", "ReLU", "activation"),
            ("AvgPool2d", "MaxPool2d", "pooling"),
            ("L2Pooling", "MaxPool2d", "pooling"),
            ("CustomConv", "Conv2d", "convolution"),
        )
    ),
    *(
        Claim(
            f"3.1-trained-{gate.lower()}",
            f"{gate} makes the network more accurate.",
            f"{gate} делает сеть точнее.",
            "ours",
            pairs=((gate, "base"),),
            about=("gate", "receptive_field"),  # it weighs channels by what the whole map holds
        )
        for gate in ("ChannelAttention", "SqueezeExcitation")
    ),
    Claim(  # put when all rows were known
        "3.1-trained-best",
        "Of the layers swapped in, L2Pooling makes the network the most accurate.",
        "Из заменённых слоёв точнее всего сеть с L2Pooling.",
        "ours",
        "best",
        pairs=tuple(
            ("L2Pooling", other)
            for other in (
                *("SiLU", "Swish, trained β", "AvgPool2d", "CustomConv"),
                *("ChannelAttention", "SqueezeExcitation"),
            )
        ),
    ),
    Claim(
        "3.1-l2pooling-overfitting",
        "L2Pooling in place of MaxPool2d lessens overfitting: the gap between train and test.",
        "L2Pooling вместо MaxPool2d уменьшает переобучение: разрыв между обучением и тестом.",
        "report",
        pairs=(("base", "L2Pooling"),),
        metric="generalization_gap",
        about=("pooling",),
    ),
)

LAYERS_IN_TRAINING = Experiment(
    name="layers_in_training",
    subject="CNN3x3 with one layer swapped",
    question="What does CNN3x3 gain or lose when one of its layers is swapped for another?",
    dataset="cifar10",
    rows=(
        Row("base", "SwappedCNN"),
        Row("SiLU", "SwappedCNN", {"activation": "SiLU"}),
        Row("Swish, trained β", "SwappedCNN", {"activation": "Swish"}),
        Row("AvgPool2d", "SwappedCNN", {"pooling": "AvgPool2d"}),
        Row("L2Pooling", "SwappedCNN", {"pooling": "L2Pooling"}),
        Row("CustomConv", "SwappedCNN", {"convolution": "CustomConv"}),
        Row("ChannelAttention", "SwappedCNN", {"gate": "ChannelAttention"}),
        Row("SqueezeExcitation", "SwappedCNN", {"gate": "SqueezeExcitation"}),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    varied=("one layer, in both stages",),
    held=("all other layers", "optimiser and schedule", "epochs", "augmentation", "data order"),
    not_tuned=("learning rate per layer",),
    figures=("accuracies",),
    base="base",
    claims=IN_TRAINING,
    control=True,
)
