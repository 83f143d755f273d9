"""What a network computes is known by any kernels, and told from what another computes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torchvision.ops import StochasticDepth

import models
from models.registry import MODELS
from utils.measuring.computes import computed
from utils.measuring.sizes import sizes
from utils.records.runs import FILLED, changes

IMAGE = (3, 32, 32)
DEEP = {"layers": 44, "add_shortcut": False, "norm": False}


def built(name: str, overrides: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, **overrides)


@pytest.mark.parametrize(
    "name, overrides",
    [
        ("CNN3x3", {}),
        ("CNNWithResidualReg", {}),
        *(("LadderNet", {**DEEP, **more}) for more in ({}, {"norm": True}, {"add_shortcut": True})),
    ],
)
@pytest.mark.parametrize("make", [nn.GELU, nn.SiLU, lambda: nn.LeakyReLU(0.01), nn.Identity])
def test_another_activation_is_noticed_wherever_it_is(
    make: Callable[[], nn.Module], name: str, overrides: dict[str, object]
) -> None:
    before = computed(built(name, overrides), IMAGE)
    network = built(name, overrides)
    activations = [each for each, part in network.named_modules() if isinstance(part, nn.ReLU)]
    for place in (activations[0], activations[len(activations) // 2], activations[-1]):
        network = built(name, overrides)
        network.set_submodule(place, make())
        assert changes(before, computed(network, IMAGE)) == "other logits for the same weights"


@pytest.mark.parametrize("name, overrides", [("CNNWithResidualReg", {}), ("LadderNet", DEEP)])
def test_neither_kernels_nor_draws_are_taken_for_another_network(
    name: str, overrides: dict[str, object]
) -> None:
    before = computed(built(name, overrides), IMAGE)
    assert all(len(logits) == 10 for logits in before.logits)
    with torch.backends.mkldnn.flags(enabled=False):
        assert changes(before, computed(built(name, overrides), IMAGE)) == ""
    torch.manual_seed(1)  # as another version of torch may draw
    redrawn = computed(models.build(name, **overrides), IMAGE)
    assert changes(before, redrawn) == "initial weights of another size"
    assert changes(before, redrawn.model_copy(update={"torch": "1.13"})) == ""
    assert changes(before, None) == changes(None, before) == ""


def test_a_network_is_left_as_it_was() -> None:
    network = models.build("CNNWithResidualReg")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert computed(network, IMAGE)
    assert all(torch.equal(before[name], after) for name, after in network.state_dict().items())


class Drops(nn.Module):
    """Dropout as a layer and as a function, and one that drops nothing."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.layer, self.none = rate, nn.Dropout2d(0.1), nn.Dropout(0.0)
        self.head = nn.Linear(3072, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.dropout(self.layer(x), self.rate, self.training)
        return self.head(self.none(x.flatten(1)))


def test_other_dropout_and_other_initial_weights_are_noticed() -> None:
    found = []
    for rate in (0.3, 0.5):
        torch.manual_seed(0)
        found.append(computed(Drops(rate), IMAGE))
    before, after = found
    assert changes(before, after) == "dropout2d 0.1, dropout 0.3 (not dropout2d 0.1, dropout 0.5)"


@pytest.mark.parametrize(
    "edit",
    [
        lambda network: nn.init.zeros_(network.classifier[-1].weight),
        lambda network: nn.init.kaiming_normal_(network.stem[0].weight),
        lambda network: nn.init.constant_(network.stem[1].bias, 0.1),
    ],
)
def test_other_initial_weights_of_one_layer_are_noticed(
    edit: Callable[[nn.Module], object],
) -> None:
    before, network = (built("CNNWithResidualReg", {}) for _ in range(2))
    edit(network)
    told = changes(computed(before, IMAGE), computed(network, IMAGE))
    assert told == "initial weights of another size"


class Calls(nn.Module):
    """A linear layer, and then this."""

    def __init__(self, function: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.function, self.head = function, nn.Linear(3072, 10)

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self.head(x.flatten(1)))


def holding(layer: nn.Module) -> nn.Module:
    network = Calls(lambda x: x)
    network.inner = layer
    return network


@pytest.mark.parametrize(
    "before, after, told",
    [
        (
            *(Calls(nn.Dropout(0.1)), Calls(nn.AlphaDropout(0.1))),
            "dropout 0.1 (not alpha_dropout 0.1)",
        ),
        (
            *(holding(nn.LSTM(4, 4, 2, dropout=rate)) for rate in (0.1, 0.0)),
            "LSTM 0.1 (not no dropout)",
        ),
        (
            *(holding(nn.MultiheadAttention(8, 2, dropout=rate)) for rate in (0.1, 0.3)),
            "MultiheadAttention 0.1 (not MultiheadAttention 0.3)",
        ),
        (
            *(holding(StochasticDepth(rate, "row")) for rate in (0.1, 0.3)),
            "StochasticDepth 0.1 (not StochasticDepth 0.3)",
        ),
    ],
)
def test_dropout_of_another_kind_and_within_layers_is_noticed(
    before: nn.Module, after: nn.Module, told: str
) -> None:
    assert changes(computed(before, IMAGE), computed(after, IMAGE)).startswith(told)


def test_what_rounding_decides_is_left_out_and_what_raises_is_not_known() -> None:
    def raises(x: torch.Tensor) -> torch.Tensor:
        raise ValueError

    found = computed(Calls(lambda x: (1e6 * x).sin()), IMAGE)
    assert (found.logits, found.dropout) == (((), (), ()), ())
    assert computed(Calls(lambda x: x / 0), IMAGE).logits == ((), (), ())
    assert computed(Calls(raises), IMAGE) is None
    network = Calls(lambda x: x)
    network.register_buffer("expanded", torch.ones(1).expand(10))
    assert computed(network, IMAGE)


def test_a_network_with_infinity_in_its_mask_is_told_from_another() -> None:
    def masked(activation: nn.Module) -> nn.Module:
        network = Calls(lambda x: activation(x @ network.mask.softmax(-1)))
        mask = nn.Transformer.generate_square_subsequent_mask(10)
        network.register_buffer("mask", mask)
        return network

    before = computed(masked(nn.ReLU()), IMAGE)
    assert all(len(logits) == 10 for logits in before.logits)
    assert changes(before, computed(masked(nn.GELU()), IMAGE))


def test_a_network_that_draws_from_numpy_is_always_the_same_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build() -> nn.Module:
        order = torch.from_numpy(np.random.permutation(10))
        return Calls(lambda x: x[:, order])

    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=build))
    assert sizes("MyNet", {}, IMAGE) == sizes("MyNet", {}, IMAGE)


@pytest.mark.parametrize("norm", [orthogonal, spectral_norm, weight_norm, nn.utils.spectral_norm])
def test_another_activation_is_noticed_where_weights_are_computed(
    norm: Callable[[nn.Module], nn.Module],
) -> None:
    def build(activation: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        first, last = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8 * 15 * 15, 10)
        return nn.Sequential(norm(first), activation, nn.Flatten(), norm(last))

    before, again, *others = (
        computed(build(each), IMAGE) for each in (nn.ReLU(), nn.ReLU(), nn.Tanh(), nn.GELU())
    )
    assert changes(before, again) == ""
    for other in others:
        assert changes(before, other) == "other logits for the same weights"


def test_logits_with_weights_as_they_begin_are_those_of_one_version_of_torch() -> None:
    found = computed(nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(3072, 10))), IMAGE)
    *filled, begun = found.logits
    assert (len(filled), len(begun)) == (FILLED, 10)
    other = found.model_copy(update={"logits": (*filled, begun[::-1])})
    assert changes(found, other) == "other logits for the same weights"
    assert changes(found, other.model_copy(update={"torch": "1.13"})) == ""
