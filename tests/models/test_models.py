"""Every network: its parameter count, its shapes, and that none is missing from the list."""

import inspect
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import models
from models.convolutional import conv_pool_relu
from tests.networks import takes_digits

PARAMETERS = {
    "FCNet": 242_762,
    "SimpleCNN": 421_642,
    "CNNWithResidual": 160_906,
    "DeepFCNet": 3_805_450,
    "CNNWithResidualReg": 327_882,
    "CNN3x3": 60_362,
    "CNN5x5": 34_538,
    "CNN7x7": 17_722,
    "CNN1x1+3x3": 65_226,
    "CNN5x5-60k": 60_161,
    "CNN7x7-60k": 59_898,
    "CNN1x1+3x3-60k": 60_581,
    "MediumCNN": 322_762,
    "DeepCNN": 368_938,
    "ResNetLikeCNN": 151_818,
    "BasicBlockNet": 76_554,
    "BottleneckBlockNet": 7_082,
    "WideBlockNet": 233_610,
    "LocalCNN": 5_693_450,
    "LadderNet": 272_474,
    "SwappedCNN": 60_362,
}
CONTROLS = [  # what a row changes, and the parameters that it leaves
    ("LadderNet", {"layers": 8}, 78_042),
    ("LadderNet", {"layers": 44}, 661_338),
    ("LadderNet", {"layers": 44, "add_shortcut": False}, 658_586),
    ("LadderNet", {"layers": 44, "add_shortcut": False, "norm": False}, 657_002),
    (
        "LadderNet",
        {"layers": 44, "add_shortcut": False, "norm": False, "he_weights": True},
        657_002,
    ),
    ("MediumCNN", {"widths": (11, 22, 46, 46)}, 60_202),
    ("DeepCNN", {"widths": (11, 22, 43)}, 60_757),
    ("CNNWithResidual", {"in_channels": 3}, 161_482),
    ("ResNetLikeCNN", {"add_shortcut": False}, 149_642),
    ("SwappedCNN", {"activation": "SiLU"}, 60_362),
    ("SwappedCNN", {"activation": "Swish"}, 60_364),
    ("SwappedCNN", {"pooling": "AvgPool2d"}, 60_362),
    ("SwappedCNN", {"pooling": "L2Pooling"}, 60_362),
    ("SwappedCNN", {"convolution": "CustomConv"}, 60_362),
    ("SwappedCNN", {"gate": "ChannelAttention"}, 62_922),
    ("SwappedCNN", {"gate": "SqueezeExcitation"}, 63_042),
    ("CNN3x3", {"dropout": 0.3}, 60_362),
    ("CNN3x3", {"global_pooling": True}, 20_042),
    ("CNN5x5", {"widths": (18, 37)}, 41_745),
    ("CNN7x7", {"widths": (12, 25)}, 32_511),
    ("CNN1x1+3x3", {"widths": (12, 24, 24, 50)}, 46_124),
    ("BottleneckBlockNet", {"out_channels": 248}, 75_954),
]
PARTS = {  # of networks, beside what custom_layers has
    models.BasicResidualBlock,
    models.BottleneckBlock,
    models.WideResidualBlock,
    models.LocallyConnected2d,
}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_parameter_counts_are_exact_and_none_is_missing() -> None:
    assert {name: count(models.build(name)) for name in models.MODELS} == PARAMETERS


@pytest.mark.parametrize(("name", "overrides", "parameters"), CONTROLS)
def test_a_row_changes_what_it_says(name: str, overrides: dict, parameters: int) -> None:
    network = models.build(name, **overrides)
    assert count(network) == parameters
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_ladder_has_as_many_layers_as_it_says() -> None:
    for layers in (8, 20, 44):
        plain = models.build("LadderNet", layers=layers, add_shortcut=False)
        with_weights = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(with_weights) == layers
    with pytest.raises(ValueError, match=r"LadderNet: layers must be 8, 14, 20, … \(6 n \+ 2\)"):
        models.build("LadderNet", layers=10)


def test_a_plain_block_is_its_branch_alone() -> None:
    block = models.BasicResidualBlock(4, 4, add_shortcut=False).eval()
    twin = models.BasicResidualBlock(4, 4).eval()
    twin.load_state_dict(block.state_dict())
    x = torch.randn(2, 4, 5, 5)
    branch = block.bn2(block.conv2(block.relu1(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), branch.relu())
    torch.testing.assert_close(twin(x), (branch + x).relu())


def test_nothing_swapped_computes_what_cnn3x3_does() -> None:
    swapped, usual = models.build("SwappedCNN"), models.build("CNN3x3")
    names = [name for name, _ in usual.named_parameters()]
    usual.load_state_dict(dict(zip(names, swapped.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(swapped(x), usual(x))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_local_layer_with_equal_weights_at_all_places_is_a_convolution(kernel_size: int) -> None:
    torch.manual_seed(0)
    size = (4, 5)
    conv = nn.Conv2d(2, 3, kernel_size, padding=kernel_size // 2)
    local = models.LocallyConnected2d(2, 3, size, kernel_size)
    assert count(local) == count(conv) * math.prod(size)
    with torch.no_grad():
        local.weight.copy_(conv.weight.permute(0, 2, 3, 1).flatten(1).expand_as(local.weight))
        local.bias.copy_(conv.bias.repeat(math.prod(size)))
    x = torch.randn(6, 2, *size)
    torch.testing.assert_close(local(x), conv(x))


def test_each_place_of_a_local_layer_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    local = models.LocallyConnected2d(1, 2, (3, 4))
    assert len({tuple(place.flatten().tolist()) for place in local.weight}) == 12
    local(torch.randn(2, 1, 3, 4))[:, :, 1, 2].sum().backward()
    touched = local.weight.grad.flatten(1).abs().sum(1)
    assert touched.nonzero().tolist() == [[1 * 4 + 2]]
    assert local.bias.grad.view(3, 4, 2).nonzero().tolist() == [[1, 2, 0], [1, 2, 1]]


def test_a_local_layer_says_which_map_it_is_for() -> None:
    with pytest.raises(ValueError, match=r"a map of \(1, 4, 3\) where \(1, 3, 4\) is"):
        models.LocallyConnected2d(1, 2, (3, 4))(torch.zeros(2, 1, 4, 3))
    with pytest.raises(ValueError, match=r"a map of \(5, 3, 4\) where \(1, 3, 4\) is expected"):
        models.LocallyConnected2d(1, 2, [3, 4])(torch.zeros(2, 5, 3, 4))
    for kernel_size in (2, -1):
        with pytest.raises(ValueError, match="kernel_size must be odd"):
            models.LocallyConnected2d(1, 2, (3, 4), kernel_size)


def test_every_network_class_is_in_the_registry() -> None:
    registered = {type(models.build(name)) for name in models.MODELS}
    public = (getattr(models, name) for name in models.__all__)
    modules = {each for each in public if inspect.isclass(each) and issubclass(each, nn.Module)}
    layers = {each for each in modules if each.__module__ == models.custom_layers.__name__}
    assert modules - layers - PARTS - {models.ShallowCNN} == registered
    assert issubclass(models.ShallowCNN, models.CNN3x3)  # a second name, which a row has


@pytest.mark.parametrize("name", models.MODELS)
def test_an_image_gives_ten_logits_and_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, *((1, 28, 28) if takes_digits(name) else (3, 32, 32)))
    network = models.build(name)
    logits = network(images)
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    weights = [m.weight for m in network.modules() if isinstance(m, models.Weighted)]
    assert all(weight.grad.abs().sum() > 0 for weight in weights)
    assert network.eval()(images[:1]).shape == (1, 10)  # by itself too


@pytest.mark.parametrize(
    ("name", "hint"), [("CNN3×3", "did you mean 'CNN3x3'? Known"), ("…", "known")]
)
def test_an_unknown_name_gets_the_closest_and_all_known_names(name: str, hint: str) -> None:
    message = f"unknown model '{name}'; {hint}: {', '.join(models.MODELS)}"
    with pytest.raises(models.UnknownModelError, match=f"^{re.escape(message)}$"):
        models.build(name)


@pytest.mark.parametrize(
    "block, parameters, channels",
    [
        (models.BasicResidualBlock(64, 64), 74_112, 64),
        (models.BottleneckBlock(64, 64), 4_640, 64),
        (models.WideResidualBlock(64, 128), 230_528, 128),
        (models.WideResidualBlock(64), 230_528, 128),
    ],
)
def test_blocks_have_the_reported_count_and_shape(
    block: nn.Module, parameters: int, channels: int
) -> None:
    assert count(block) == parameters
    assert block(torch.zeros(4, 64, 32, 32)).shape == (4, channels, 32, 32)


def norm(x: torch.Tensor, bn: nn.BatchNorm2d) -> torch.Tensor:
    return F.batch_norm(x, None, None, bn.weight, bn.bias, training=True)


def basic_by_hand(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The formula of the basic block, with functional calls on the block's own weights."""
    stride = block.conv1.stride
    branch = F.conv2d(x, block.conv1.weight, block.conv1.bias, stride=stride, padding=1)
    branch = norm(branch, block.bn1).clamp(min=0)
    branch = norm(F.conv2d(branch, block.conv2.weight, block.conv2.bias, padding=1), block.bn2)
    if isinstance(block.shortcut, nn.Sequential):
        conv, bn = block.shortcut
        x = norm(F.conv2d(x, conv.weight, conv.bias, stride=stride), bn)
    return (branch + x).clamp(min=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out_channels, stride", [(4, 1), (4, 2), (8, 1), (8, 2)])
@pytest.mark.parametrize("kind", [models.BasicResidualBlock, models.WideResidualBlock])
def test_basic_and_wide_blocks_are_their_formula(
    kind: type[nn.Module], out_channels: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    block = kind(4, out_channels, stride=stride, bias=bias).double()
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(block(x), basic_by_hand(block, x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out_channels, stride", [(8, 1), (8, 2), (12, 1)])
def test_the_bottleneck_block_is_its_formula(out_channels: int, stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    block = models.BottleneckBlock(8, out_channels, stride=stride, bias=bias).double()
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64)

    branch = F.conv2d(x, block.conv1.weight, block.conv1.bias)
    branch = norm(branch, block.bn1).clamp(min=0)
    branch = F.conv2d(branch, block.conv2.weight, block.conv2.bias, stride=stride, padding=1)
    branch = norm(branch, block.bn2).clamp(min=0)
    branch = norm(F.conv2d(branch, block.conv3.weight, block.conv3.bias), block.bn3)
    shortcut = x
    if (out_channels, stride) != (8, 1):
        conv, bn = block.shortcut
        shortcut = norm(F.conv2d(x, conv.weight, conv.bias, stride=stride), bn)
    torch.testing.assert_close(block(x), (branch + shortcut).clamp(min=0))


@pytest.mark.parametrize(
    "block",
    [
        models.BasicResidualBlock(2, 2),
        models.BasicResidualBlock(2, 4, stride=2, bias=False),
        models.BottleneckBlock(4, 4),
        models.WideResidualBlock(2, 4),
    ],
)
def test_the_gradients_of_blocks_agree_with_differences(block: nn.Module) -> None:
    torch.manual_seed(0)
    block = block.double()
    channels = block.conv1.in_channels
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)


def test_a_bottleneck_without_a_channel_is_refused() -> None:
    message = "reduction 4 leaves no channel of out_channels 3; use a reduction of at most 3"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        models.BottleneckBlock(8, 3)


def test_dropout_works_in_training_only_and_at_its_rate() -> None:
    torch.manual_seed(0)
    block = models.BasicResidualBlock(8, 8, dropout=0.25)
    channels = torch.ones(4000, 8, 1, 1)
    dropped = (block.dropout(channels) == 0).double().mean().item()
    assert abs(dropped - 0.25) < 4 * (0.25 * 0.75 / 32_000) ** 0.5  # four deviations of the mean
    assert torch.equal(block.eval().dropout(channels), channels)


def test_the_regularised_network_has_a_dropout_in_each_block_and_before_the_classifier() -> None:
    network = models.build("CNNWithResidualReg")
    assert [block.dropout.p for block in network.blocks] == [0.1, 0.1, 0.1]
    assert isinstance(network.classifier[1], nn.Dropout)
    assert network.classifier[1].p == 0.3
    assert isinstance(network.classifier[2], nn.Linear)
    plain = models.build("CNNWithResidual")
    assert not any(isinstance(m, nn.Dropout | nn.Dropout2d) for m in plain.modules())


def test_the_pool_before_relu_gives_what_relu_before_the_pool_gives() -> None:
    torch.manual_seed(0)
    conv, pool, relu = layers = conv_pool_relu(3, 4)
    images = torch.randn(2, 3, 8, 8)
    gradients = []
    for order in (nn.Sequential(*layers), nn.Sequential(conv, relu, pool)):
        output = order(images)
        gradients.append(torch.autograd.grad(output.square().sum(), conv.weight)[0])
        assert torch.equal(output, layers(images))
    assert torch.equal(*gradients)


def test_names_with_commas_are_told_apart() -> None:
    found = models.unknown_message("row", "x", ["A, wide", "B"])
    assert found == "unknown row 'x'; known: A, wide; B"


@pytest.mark.parametrize(("he_weights", "vanish"), [(False, True), (True, False)])
def test_without_batch_norm_gradients_vanish_for_the_initial_weights(
    he_weights: bool, vanish: bool
) -> None:
    torch.manual_seed(0)
    bare = {"add_shortcut": False, "norm": False}
    network = models.build("LadderNet", layers=44, he_weights=he_weights, **bare)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    first, last = (
        layer.weight.grad.norm().item() for layer in (network.stem[0], network.classifier[1])
    )
    assert (first / last < 0.01) == vanish


def test_he_weights_have_the_deviation_of_the_paper() -> None:
    torch.manual_seed(0)
    network = models.build("LadderNet", layers=8, norm=False, he_weights=True)
    for name, each in network.blocks.named_parameters():
        if each.dim() == 4:
            assert each.detach().std().item() == pytest.approx(
                (2 / each[0].numel()) ** 0.5, rel=0.1
            )
        elif "shortcut.1" not in name:  # a projection's batch-norm
            assert not each.any()
