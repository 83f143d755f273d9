from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

import models
from models import BasicResidualBlock
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from tests.networks import BY_HAND, Calls, is_known_by_hand
from utils.measuring.probes import feature_layers
from utils.measuring.receptive_field import (
    Field,
    UnknownOperationError,
    field_sizes,
    gradient_receptive_field,
    walk,
)


def receptive_fields(network: nn.Module, axis: int = 0) -> dict[str, Field]:
    """Of the layers that have one."""
    return {name: layer.fields[axis] for name, layer in walk(network).items() if layer.fields}


def sizes(network: nn.Module) -> dict[str, int]:
    return {name: field.size for name, field in receptive_fields(network).items()}


@pytest.mark.parametrize("name", [each for each in models.MODELS if is_known_by_hand(each)])
def test_sizes_are_those_computed_by_hand(name: str) -> None:
    found, expected = sizes(models.build(name)), BY_HAND[name.removesuffix("-60k")]
    assert found == expected
    order, expected = ([n for n in each if "shortcut" not in n] for each in (found, expected))
    assert order == expected  # that of the forward pass


def test_jump_is_how_far_neighbouring_units_are_apart() -> None:
    deep, residual = (receptive_fields(models.build(n)) for n in ("DeepCNN", "ResNetLikeCNN"))
    assert [field.jump for field in deep.values()] == [1, 1, 2, 2, 2, 4, 4, 4]
    assert residual["blocks.0"].jump == 1
    assert residual["blocks.1.shortcut.0"].jump == residual["blocks.2"].jump == 2


def test_window_of_a_unit() -> None:
    last = receptive_fields(models.build("CNN3x3"))["features.1.1"]  # 8 units of 10 pixels, each 4
    assert last == Field(size=10, jump=4, start=-3)
    assert last.window(0) == (-3, 7)
    assert last.window(4) == (13, 23)


@pytest.mark.parametrize(
    "layer, expected",
    [
        (nn.Conv2d(1, 1, 3, dilation=2), Field(5, 1, 0)),
        (nn.Conv2d(1, 1, 5, stride=2, padding=1), Field(5, 2, -1)),
        (nn.Conv2d(1, 1, 3, padding="same"), Field(3, 1, -1)),
        (nn.Conv2d(1, 1, 3, padding="valid"), Field(3, 1, 0)),
        (nn.Conv2d(1, 1, (3, 5), padding=(1, 2)), Field(3, 1, -1)),
        (nn.MaxPool2d(3, stride=2, padding=1), Field(3, 2, -1)),
        (nn.MaxPool2d(2, stride=1, dilation=3), Field(4, 1, 0)),
        (nn.AvgPool2d(2), Field(2, 2, 0)),
        (nn.LPPool2d(2, 2), Field(2, 2, 0)),
        (L2Pooling(2), Field(2, 2, 0)),
        (CustomConv(1, 1, 3, padding=1), Field(3, 1, -1)),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_every_windowed_layer(layer: nn.Module, expected: Field) -> None:
    assert receptive_fields(nn.Sequential(layer)) == {"0": expected}


def test_the_size_of_a_field_is_that_of_its_longer_side() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, (1, 7)), nn.Conv2d(4, 4, (3, 1)))
    assert field_sizes(network) == {"0": 7, "1": 7}


@pytest.mark.parametrize(
    "between",
    [nn.GroupNorm(2, 4), ChannelAttention(4, 2), nn.BatchNorm2d(4, track_running_stats=False)],
)
def test_behind_what_looks_at_the_whole_image_no_size_is_known(between: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), between, nn.Conv2d(4, 4, 7))
    assert field_sizes(network) == {"0": 3, "2": None}


class Scales(nn.Module):
    """Weighs channels by a parameter, which is seen as a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.gamma = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x) * self.gamma.view(1, -1, 1, 1))


def test_what_is_made_of_parameters_alone_ends_no_field() -> None:
    assert field_sizes(Scales()) == {"conv": 3, "last": 5}


def conv(kernel: int) -> nn.Module:
    return nn.Conv2d(2, 2, kernel, padding=kernel // 2)


class Attends(nn.Module):
    """CBAM's attention to places: it looks at each by its channels' mean and largest."""

    def __init__(self, end: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.conv, self.gate, self.last = conv(3), conv(7), conv(3)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        seen = torch.cat([x.mean(axis=1, keepdim=True), torch.amax(x, (1,), True)], 1)
        return self.last(self.end(x * torch.sigmoid(self.gate(seen))))


def test_what_is_taken_over_channels_sees_no_more_of_the_image() -> None:
    assert list(field_sizes(Attends()).values()) == [3, 3, 9, 9, 11]


@pytest.mark.parametrize(
    "end",
    [
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: nn.functional.avg_pool2d(x, x.size()[2:]),
    ],
    ids=["over places", "all of it"],
)
def test_a_field_ends_where_the_whole_map_is_pooled(end: Callable[[Tensor], Tensor]) -> None:
    assert list(field_sizes(Attends(end)).values()) == [3, 3, 9, 9, None]


@pytest.mark.parametrize(
    "mean", [lambda x: x.mean(dim=1)[:, None], lambda x: torch.mean(x, 1).unsqueeze(1)]
)
def test_a_map_that_lost_its_channels_is_told(mean: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnknownOperationError, match=r"^view, reshape, flatten or a mean w"):
        field_sizes(Attends(lambda x: torch.cat([mean(x), mean(x)], 1)))


def test_a_size_that_is_read_from_a_map_ends_no_field() -> None:
    resized = Attends(lambda x: nn.functional.interpolate(x, size=x.shape[2:]))
    with pytest.raises(UnknownOperationError, match=r"^interpolate: not known what a unit"):
        field_sizes(resized)


class Stacks(nn.Module):
    """Puts two maps one behind the other, along a dimension."""

    def __init__(self, *dim: int) -> None:
        super().__init__()
        self.conv, self.last, self.dim = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), dim

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.conv(x), self.conv(x)], *self.dim))


@pytest.mark.parametrize(("dim", "last"), [((1,), 5), ((-3,), 5), ((2,), None), ((), None)])
def test_only_channels_can_be_stacked(dim: tuple[int, ...], last: int | None) -> None:
    assert list(field_sizes(Stacks(*dim)).values())[-1] == last


def test_axis_chooses_the_side_of_a_kernel_that_is_no_square() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, (3, 5), padding=(1, 2)))
    assert receptive_fields(network, axis=1) == {"0": Field(5, 1, -2)}


@pytest.mark.parametrize(
    "end",
    [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.GroupNorm(1, 2), ChannelAttention(2, 1)],
    ids=lambda end: type(end).__name__,
)
def test_the_walk_ends_where_units_see_the_whole_image(end: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), Swish(), end, nn.Conv2d(2, 1, 3))
    assert sizes(network) == {"0": 3}


def test_an_operation_that_is_not_known_is_an_error_and_no_wrong_number() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.FractionalMaxPool2d(2, output_size=4))
    with pytest.raises(UnknownOperationError, match=r"^FractionalMaxPool2d: not known what a unit"):
        receptive_fields(network)


class Shuffles(nn.Module):
    """ShuffleNet's shuffle of channels by hand; an attention to all places has its views too."""

    def __init__(self, attends: bool = False) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(2, 2, 3)
        self.attends = attends

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        batch, channels, rows, columns = x.shape
        if self.attends:
            flat = x.view(batch, channels, rows * columns)
            x = ((flat @ flat.transpose(1, 2)).softmax(-1) @ flat).view(x.shape)
        else:
            x = x.view(batch, 2, channels // 2, rows, columns).transpose(1, 2).contiguous()
            x = torch.relu(x.view(batch, channels, rows, columns))
        return self.last(x.chunk(2, dim=1)[0])


def test_a_shuffle_of_channels_is_known_as_a_layer_and_told_where_it_is_made_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3))
    assert field_sizes(network) == {"0": 3, "2": 5}
    with pytest.raises(UnknownOperationError, match=r"^view, reshape, flatten or a mean w"):
        field_sizes(Shuffles())
    assert field_sizes(Shuffles(attends=True)) == {"conv": 3, "last": None}


class Tokens(nn.Module):
    """Has its map as something else between two convolutions."""

    def __init__(self, do: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.conv, self.last = conv(3), conv(3)
        self.do, self.layers = do, nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.last(self.layers(self.do(x)).view(x.shape))


TOKENS = [
    lambda x: x.flatten(2).transpose(1, 2),
    lambda x: torch.flatten(x, start_dim=-2).permute(0, 2, 1),
    lambda x: x.reshape(1, 2, -1).transpose(1, 2),
    lambda x: x.view((1, 2, 64)).swapaxes(1, 2),
]
OF_EACH = [nn.LayerNorm(2), nn.Linear(2, 2), nn.Mish(), nn.Dropout(), nn.Softmax(-1)]


def attend(x: Tensor) -> Tensor:
    return (x @ x.mT).softmax(-1) @ x


def windows(x: Tensor) -> Tensor:
    """``[batch * windows, positions, channels]``: Swin's, each of four by four."""
    return x.view(1, 2, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(4, 16, 2)


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True))


@pytest.mark.parametrize(
    "network",
    [
        *(Tokens(do, layer) for do, layer in product(TOKENS, OF_EACH)),
        *(Tokens(nn.Flatten(2), layer) for layer in (nn.Conv1d(2, 2, 1), nn.PReLU())),
        *(Tokens(lambda x, do=do: rms_norm(do(x))) for do in TOKENS),
        Tokens(lambda x: x.flatten(2).softmax(dim=1)),
        Tokens(lambda x: nn.functional.normalize(x.flatten(2))),
        Tokens(lambda x: x.flatten(2) / x.flatten(2).norm(2, 1)),
        Tokens(lambda x: attend(windows(x))),
        Tokens(lambda x: x.flatten(2).transpose(1, 2).reshape(-1, 2), nn.Linear(2, 2)),
        Tokens(lambda x: x.flatten(2).unflatten(2, (8, 8))),
        Tokens(nn.Flatten(2), nn.Unflatten(2, (8, 8))),
        Tokens(lambda x: x.view(1, 2, 1, 8, 8).transpose(1, 2).flatten(1, 2)),
        Tokens(lambda x: x.view(1, 2, 1, 8, 8).transpose(1, 2), nn.Flatten(1, 2)),
        Tokens(lambda x: x.view(1, 2, 1, 8, 8).mean(2)),
        *(Tokens(nn.Flatten(), layer) for layer in (nn.Dropout(), nn.BatchNorm1d(128))),
    ],
)
def test_what_takes_each_position_by_itself_sees_no_whole_image(network: nn.Module) -> None:
    with pytest.raises(UnknownOperationError, match=r"^view, reshape, flatten or a mean w"):
        field_sizes(network)


ROWS = [
    *(lambda x: x.flatten(1), lambda x: torch.flatten(x, start_dim=1), nn.Flatten()),
    *(lambda x: x.view(1, -1), lambda x: x.reshape((1, 128))),
]


def attend_as_timm_does(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    of_each = torch.cat([tokens] * 3, 2).reshape(1, 64, 3, 2, 1).permute(2, 0, 3, 1, 4)
    return ((of_each[0] @ of_each[1].transpose(-2, -1)).softmax(-1) @ of_each[2]).transpose(1, 2)


class MixesTokens(nn.Module):
    """An encoder's block: what it finds in all of them, added to each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x)[0]


@pytest.mark.parametrize(
    "network",
    [
        *(
            Tokens(do, layer)
            for do, layer in product(ROWS, (nn.Linear(128, 128), nn.LayerNorm(128)))
        ),
        Tokens(lambda x: x.flatten(2).transpose(1, 2), MixesTokens()),
        Tokens(attend_as_timm_does),
        Tokens(lambda x: attend(x.view(1, 2, 1, 64))),
        Tokens(lambda x: attend(x.flatten(2).transpose(1, 2).reshape(1, 64, 2, 1).transpose(1, 2))),
        Tokens(lambda x: attend(x.flatten(2).reshape(2, 1, 64))),
        Tokens(lambda x: x.flatten(-3) @ torch.ones(128, 128)),
        Tokens(lambda x: nn.functional.normalize(x.flatten(1))),
        *(
            Tokens(nn.Flatten(2), layer)
            for layer in (nn.AdaptiveAvgPool1d(64), nn.Linear(64, 64), nn.LayerNorm(64))
        ),
        *(
            Tokens(lambda x, mix=mix: x * mix(x.flatten(2)).view(1, 2, 1, 1))
            for mix in (lambda x: x.std(2), lambda x: x.max(dim=-1)[0], lambda x: x.norm(dim=2))
        ),
        Tokens(lambda x: x * x.flatten(2).softmax(-1).view(x.shape)),
        Tokens(lambda x: x * x.flatten(2).transpose(1, 2).mean(1).view(1, 2, 1, 1)),
        Tokens(lambda x: x * x.view(1, 2, -1).mean(2).view(1, 2, 1, 1)),
    ],
)
def test_what_takes_all_positions_together_sees_the_whole_image(network: nn.Module) -> None:
    assert field_sizes(network) == {"conv": 3, "last": None}


def test_the_measured_field_is_of_the_map_whose_units_see_most() -> None:
    class Streams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Conv2d(3, 2, 7), nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.large(x).mean((2, 3)), self.small(x).mean((2, 3))], 1)

    assert field_sizes(Streams()) == {"large": 7, "small": 3}
    field = gradient_receptive_field(Streams(), torch.randn(4, 3, 32, 32))
    assert (field > 0).any(0).sum() == 7


def test_a_layer_that_is_called_twice_counts_twice() -> None:
    class Tutorial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.conv2(self.pool(self.conv1(x)))).flatten(1)

    assert sizes(Tutorial()) == {"conv1": 5, "pool": 6, "conv2": 14, "pool_1": 16}
    field = gradient_receptive_field(Tutorial(), torch.randn(4, 3, 32, 32))
    assert (field > 0).any(0).sum() == 16


class Forks(nn.Module):
    """Two paths, one of which may see everything."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(2, 2, 3, padding=1), other

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + self.other(x))


def test_a_join_sees_what_either_path_sees() -> None:
    shifted = nn.Conv2d(2, 2, 6, padding="same")  # not centred: rows -2 to 3 beside -1 to 1
    assert receptive_fields(Forks(shifted))["add"] == Field(6, 1, -2)
    assert receptive_fields(Forks(nn.Conv2d(2, 2, 7, padding=3)))["add"] == Field(7, 1, -3)


def test_a_join_with_a_path_that_sees_everything_ends_the_walk() -> None:
    assert sizes(Forks(nn.AdaptiveAvgPool2d(1))) == {"conv": 3}


@pytest.mark.parametrize(
    "gate",
    [
        *(nn.AvgPool2d(8), nn.AvgPool2d(8, stride=1), nn.Conv2d(2, 2, 8, groups=2)),
        *(nn.AvgPool2d((1, 8)), nn.MaxPool2d((8, 1), ceil_mode=True)),
    ],
)
def test_a_map_of_another_size_meets_every_position(gate: nn.Module) -> None:
    gated = nn.Sequential(Forks(gate), nn.Conv2d(2, 2, 3))
    assert gated(torch.zeros(1, 2, 8, 8)).shape == (1, 2, 6, 6)
    assert field_sizes(gated) == {"0.conv": 3, "0.other": 8, "1": None}


def test_maps_are_stacked_by_whatever_name_their_channels_have() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x).data
            return torch.cat([x, self.b(x)], axis=1)

    assert sizes(Dense())["cat"] == 5


def test_an_optional_argument_has_its_default() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
            self.wide = nn.Conv2d(2, 2, 7)

        def forward(self, x: Tensor, short: Tensor | None = None, scale: float = 1) -> Tensor:
            x = self.first(x)
            if short is None and scale == 1:
                x = self.wide(x)
            return self.last(x)

    network = Deep()
    assert sizes(network) == {"first": 3, "wide": 9, "last": 11}
    field = gradient_receptive_field(network, torch.randn(4, 2, 32, 32))
    assert (field > 0).any(0).sum() == 11


def test_a_forward_of_its_own_is_told() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU())
    network.forward = network[0].forward
    with pytest.raises(NotImplementedError, match="a forward of the network's own"):
        field_sizes(network)


def test_hooks_are_told() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU())
    hook = network[0].register_forward_hook(lambda layer, images, output: output.roll(3, -1))
    with pytest.raises(NotImplementedError, match="hooks are not traced"):
        field_sizes(network)
    hook.remove()
    network[0].register_forward_pre_hook(lambda layer, images: (images[0].roll(3, -1),))
    with pytest.raises(NotImplementedError, match="hooks are not traced"):
        field_sizes(network)
    assert field_sizes(nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(2, 2, 3)))) == {"0": 3}


@pytest.mark.parametrize(
    ("pool", "conv", "side"),
    [
        (nn.MaxPool2d(1, 4, ceil_mode=True), nn.Conv2d(2, 2, 4, 4), 16),
        (nn.MaxPool2d(2, 2, 1, ceil_mode=True), nn.Conv2d(2, 2, 1, 2), 7),
    ],
)
def test_the_last_window_may_be_dropped(pool: nn.Module, conv: nn.Module, side: int) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.conv = pool, conv

        def forward(self, x: Tensor) -> Tensor:
            return torch.concat([self.pool(x), self.conv(x)], 1)

    assert Both()(torch.zeros(1, 2, side, side)).shape[2] == 4
    assert sizes(Both())["concat"]


def test_a_map_that_is_turned_is_told() -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, (1, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x).mT)

    with pytest.raises(UnknownOperationError, match="getattr: not known"):
        field_sizes(Turns())


def test_a_stride_may_leave_something_over_where_two_paths_meet() -> None:
    class Shortens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(2, 2, k, 2, (k - 1) // 2) for k in (1, 2, 3))
            self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.pool(x), *(conv(x) for conv in self.convs)], 1)

    assert Shortens()(torch.zeros(1, 2, 8, 8)).shape == (1, 8, 4, 4)
    assert sizes(Shortens())["cat"] == 4


def test_fields_are_what_the_gradient_reaches() -> None:
    """All weights positive and nothing but sums: every pixel of the window counts."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1), BasicResidualBlock(2, 4, stride=2), nn.AvgPool2d(2)
    )
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    heat = gradient_receptive_field(network, torch.rand(2, 1, 64, 64))
    assert_fills_window(heat, receptive_fields(network)["2"], centre_unit=4)


@pytest.mark.parametrize("name, centre_unit", [("CNN3x3", 4), ("CNN7x7", 4), ("DeepCNN", 4)])
def test_gradient_field_fills_the_theoretical_window(name: str, centre_unit: int) -> None:
    """With max-pooling a single image reaches a part of the window, many reach all of it."""
    network = models.build(name)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.01, 0.1)  # no unit is cut off by ReLU
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    field = list(receptive_fields(network).values())[-1]
    assert_fills_window(gradient_receptive_field(network, images), field, centre_unit)


def assert_fills_window(heat: Tensor, field: Field, centre_unit: int) -> None:
    first, end = (min(max(0, pixel), len(heat)) for pixel in field.window(centre_unit))
    inside = heat[first:end, first:end]
    corners = [inside[0, 0], inside[0, -1], inside[-1, 0], inside[-1, -1]]
    assert inside.numel() > 0
    assert all(corner > 0 for corner in corners)
    outside = heat.clone()
    outside[first:end, first:end] = 0
    assert outside.count_nonzero() == 0
    assert heat.max() == 1


def test_gradient_field_of_a_convolution_is_its_mean_absolute_kernel() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    heat = gradient_receptive_field(network, torch.randn(8, 3, 9, 9), channels=4)
    kernel = network[0].weight.detach().abs().mean(dim=(0, 1))
    expected = torch.zeros(9, 9)
    expected[3:6, 3:6] = kernel / kernel.max()
    torch.testing.assert_close(heat, expected)


def test_gradient_field_is_taken_in_eval_mode_and_leaves_no_gradient() -> None:
    network = models.build("CNNWithResidualReg").eval()
    images = torch.randn(4, 3, 32, 32)
    heat = gradient_receptive_field(network, images)
    assert torch.equal(heat, gradient_receptive_field(network, images))  # dropout draws nothing
    assert all(parameter.grad is None for parameter in network.parameters())
    assert images.grad is None and not images.requires_grad


def test_gradient_field_of_a_dead_network_is_zero_not_nan() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2))
    nn.init.constant_(network[0].bias, -1e6)
    assert gradient_receptive_field(network, torch.randn(2, 1, 8, 8)).count_nonzero() == 0


def test_a_network_without_feature_map_has_no_gradient_field() -> None:
    with pytest.raises(ValueError, match=r"^FCNet has no feature map: no receptive field$"):
        gradient_receptive_field(models.build("FCNet"), torch.randn(1, 1, 28, 28))


@pytest.mark.parametrize(
    "order, expected",
    [
        (["conv_1", "conv", "conv_2"], {"conv_1": 3, "conv": 5, "conv_2": 13}),
        (["conv", "conv_1", "conv_2"], {"conv": 3, "conv_1": 5, "conv_2": 13}),
        (["conv_in", "conv"], {"conv_in": 3, "conv": 5}),
        (
            ["conv", "conv_1", "conv", "conv_1", "conv"],
            {"conv": 3, "conv_1": 5, "conv_2": 7, "conv_1_1": 9, "conv_3": 11},
        ),
        (["conv", "conv", "conv_2"], {"conv": 3, "conv_1": 5, "conv_2": 13}),
        (["conv", "conv", "conv_1"], {"conv": 3, "conv_2": 5, "conv_1": 7}),
    ],
    ids=" ".join,
)
def test_no_two_layers_share_a_name(order: list[str], expected: dict[str, int]) -> None:
    kernels = {name: 9 if name == "conv_2" else 3 for name in order}
    network = Calls(order, **{name: conv(kernel) for name, kernel in kernels.items()})
    assert sizes(network) == expected


def test_names_cannot_collide_with_those_of_joins() -> None:
    class Joins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add, self.add_1, self.block = conv(3), conv(5), Forks(conv(3))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.add(x)
            x = self.block(self.block(x))
            return x + self.add_1(x)

    found = sizes(Joins())
    assert list(found.values()) == [3, 3, 5, 5, 5, 7, 7, 7, 11, 11]
    named = ["add", "block.conv", "block.other", "block", "add_1"]
    assert [name for name in found if name in named] == named
    assert len(found) == 10


def test_a_join_is_a_block_where_nothing_but_activations_stands_behind_it() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([x, self.first(x)], 1)
            return torch.relu(torch.cat([x, self.second(x), x], 1) + 1)

    network = nn.Sequential(Dense(), nn.AvgPool2d(2))
    expected = {"0.first": 3, "0.cat": 3, "0.second": 5, "0": 5, "1": 6}
    assert list(sizes(network).items()) == list(expected.items())
    blocks = {name: layer.block for name, layer in walk(network).items()}
    assert blocks == dict.fromkeys(expected, "") | {"0": "0"}
    assert walk(network)["0"].output.name == "relu"


def test_a_network_that_is_part_of_another_is_no_block() -> None:
    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = conv(3), conv(5)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.first(x)
            return torch.flatten(self.second(x + 1).mean((2, 3)), 1)

    network = nn.Sequential(Trunk(), nn.Linear(2, 10))
    assert sizes(network) == {"0.first": 3, "0.add": 3, "0.second": 7}
    assert list(feature_layers(network)) == ["0.first", "0.second"]


def test_parts_of_torchvision_are_seen_through_but_for_a_gate() -> None:
    network = mobilenet_v3_small(num_classes=10).eval()
    fields = receptive_fields(network)
    assert fields["features.0.0"].size == 3
    assert list(fields)[-1] == "features.1.block.0.0"  # SqueezeExcitation sees the whole image
    heat = gradient_receptive_field(network, torch.randn(2, 3, 32, 32))
    assert heat.max() == 1
